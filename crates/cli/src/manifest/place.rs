//! Where in a manifest something stands, and errors that show it.

use miette::{GraphicalReportHandler, GraphicalTheme, SourceSpan};
use std::fmt;
use std::sync::Arc;

/// Shorthand.
pub(crate) type Result<T> = std::result::Result<T, Box<ManifestError>>;

/// The text of one manifest.
#[derive(Debug)]
pub(crate) struct Source {
    /// As the user named it, such as `compose.yaml`.
    pub(crate) name: String,
    /// All of it.
    pub(crate) text: String,
}

/// A stretch of a manifest's text.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    source: Arc<Source>,
    /// Byte offset in the text.
    offset: usize,
    /// Bytes; may be 0.
    length: usize,
}

impl Place {
    /// From a line (from 1) and a column (from 0, in characters), `length` characters long. What is
    /// outside of the text is brought inside; it ends with its line at the latest.
    pub(crate) fn new(source: &Arc<Source>, line: usize, column: usize, length: usize) -> Self {
        let start: usize = source
            .text
            .split_inclusive('\n')
            .take(line.saturating_sub(1))
            .map(str::len)
            .sum();
        let rest = source.text.get(start..).unwrap_or("");
        let line = rest.lines().next().unwrap_or("");
        let bytes = |text: &str, characters: usize| -> usize {
            text.chars().take(characters).map(char::len_utf8).sum()
        };
        let before = bytes(line, column);
        let tail = line.get(before..).unwrap_or("");
        Self {
            source: Arc::clone(source),
            offset: start + before,
            length: bytes(tail, length).min(tail.trim_end().len()),
        }
    }

    /// The beginning of a manifest.
    pub(crate) fn start(source: &Arc<Source>) -> Self {
        Self::new(source, 1, 0, 0)
    }

    /// An error at this place.
    pub(crate) fn error(&self, message: impl Into<String>) -> Box<ManifestError> {
        Box::new(ManifestError {
            message: message.into(),
            place: self.clone(),
            hint: None,
        })
    }

    fn line_and_column(&self) -> (usize, usize) {
        let before = self.source.text.get(..self.offset).unwrap_or("");
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }
}

/// `file:line:column`, both from 1.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column();
        write!(f, "{}:{line}:{column}", self.source.name)
    }
}

/// A manifest says something that rouse cannot do or understand.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub(crate) struct ManifestError {
    message: String,
    place: Place,
    hint: Option<String>,
}

impl ManifestError {
    /// Adds what to do about it.
    pub(crate) fn hint(mut self: Box<Self>, hint: impl Into<String>) -> Box<Self> {
        self.hint = Some(hint.into());
        self
    }

    /// With the lines around the place, for people.
    pub(crate) fn render(&self, colours: bool) -> String {
        let theme = if colours {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_links(false)
            .with_width(100);
        let mut text = String::new();
        match handler.render_report(&mut text, self) {
            Ok(()) => text.trim_end().to_owned(),
            Err(_) => self.to_string(),
        }
    }
}

impl miette::Diagnostic for ManifestError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let hint = self.hint.as_ref()?;
        Some(Box::new(hint))
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        Some(self)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        let span = SourceSpan::new(self.place.offset.into(), self.place.length);
        let label = miette::LabeledSpan::new_with_span(Some("here".to_owned()), span);
        Some(Box::new(std::iter::once(label)))
    }
}

impl miette::SourceCode for ManifestError {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> std::result::Result<Box<dyn miette::SpanContents<'a> + 'a>, miette::MietteError> {
        let source = &self.place.source;
        let contents = source.text.read_span(span, before, after)?;
        Ok(Box::new(miette::MietteSpanContents::new_named(
            source.name.clone(),
            contents.data(),
            *contents.span(),
            contents.line(),
            contents.column(),
            contents.line_count(),
        )))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn source(text: &str) -> Arc<Source> {
        Arc::new(Source {
            name: "compose.yaml".to_owned(),
            text: text.to_owned(),
        })
    }

    #[test]
    fn a_place_counts_characters_and_stays_inside_its_line() {
        let source = source("a: ü\nbü: x\n");
        let place = Place::new(&source, 2, 4, 99);
        assert_eq!(place.to_string(), "compose.yaml:2:5");
        assert_eq!((place.offset, place.length), (11, 1));
        assert_eq!(Place::new(&source, 9, 9, 9).offset, source.text.len());
    }

    #[test]
    fn an_error_shows_the_line_and_the_hint() {
        let place = Place::new(&source("services:\n  web:\n    imago: x\n"), 3, 4, 5);
        let text = place
            .error("\"imago\" is not known")
            .hint("did you mean \"image\"?");
        let text = text.render(false);
        assert!(
            text.contains("compose.yaml:3:5: \"imago\" is not known"),
            "{text}"
        );
        assert!(text.contains("imago: x"), "{text}");
        assert!(text.contains("did you mean"), "{text}");
    }
}
