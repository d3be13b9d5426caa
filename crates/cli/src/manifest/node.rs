//! A manifest's YAML as a tree in which every key and value knows its place.

use super::interpolate::Variables;
use super::place::{Place, Result, Source};
use saphyr::{MarkedYaml, ScalarStyle, YamlData, YamlLoader};
use std::sync::Arc;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) value: Value,
    /// Where it stands.
    pub(crate) place: Place,
    /// Whether it is a scalar without quotes, so that `5` is meant as a number.
    pub(crate) plain: bool,
    /// What it asks of the merge with the file before.
    pub(super) amend: Amend,
}

/// How a value is to be merged into that of a file before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Amend {
    /// By the rules of its key.
    #[default]
    Merge,
    /// `!reset`: the key is as if nobody had written it.
    Reset,
    /// `!override`: it takes the place of all that was there.
    Override,
}

/// What a node is. Scalars stay as written: `8080`, `on` and `1.0` are text until somebody who knows
/// what is meant reads them.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Text, interpolated.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order of the file; keys are unique.
    Map(Vec<(Key, Node)>),
}

/// A mapping's key and its place.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// The key as written.
    pub(crate) text: String,
    /// Where it stands.
    pub(crate) place: Place,
}

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 64;

impl Node {
    /// Parses a manifest: one YAML document. Duplicate keys are errors, aliases and `<<` are followed,
    /// `$VARIABLES` in values are replaced.
    pub(crate) fn parse(source: &Arc<Source>, variables: &mut Variables) -> Result<Self> {
        let mut parser = saphyr_parser::Parser::new_from_str(&source.text);
        let mut loader = YamlLoader::<MarkedYaml<'_>>::default();
        loader.early_parse(false);
        let scanned = parser.load(&mut loader, false);
        if let Some(error) = scanned.err().or_else(|| loader.error().cloned()) {
            let mark = error.marker();
            let place = Place::new(source, mark.line(), mark.col(), 1);
            return Err(place.error(format!("this is not YAML: {}", error.info())));
        }
        match loader.into_documents().into_iter().next() {
            Some(document) => convert(source, &document, variables, 0),
            None => Err(Place::start(source)
                .error("is empty")
                .hint("declare at least one service; `rouse deploy --help` shows an example")),
        }
    }

    /// The value of a key of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => {
                let mut entries = entries.iter().filter(|(one, _)| one.text == key);
                entries.next().map(|(_, node)| node)
            }
            _ => None,
        }
    }

    /// What the value is, for errors.
    pub(super) fn sort(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// Whether it is a mapping with this key.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// An error at this node.
    pub(crate) fn error(&self, message: impl Into<String>) -> Box<super::ManifestError> {
        self.place.error(message)
    }

    /// The text of a scalar; `what` names it in the error.
    pub(crate) fn text(&self, what: &str) -> Result<&str> {
        match &self.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.error(format!("{what} must be a text, and is {}", self.sort()))),
        }
    }

    /// The entries of a list.
    pub(crate) fn list(&self, what: &str) -> Result<&[Node]> {
        match &self.value {
            Value::List(entries) => Ok(entries),
            _ => Err(self.error(format!("{what} must be a list, and is {}", self.sort()))),
        }
    }

    /// The entries of a mapping; nothing is an empty one.
    pub(crate) fn map(&self, what: &str) -> Result<&[(Key, Node)]> {
        match &self.value {
            Value::Map(entries) => Ok(entries),
            Value::Null => Ok(&[]),
            _ => Err(self.error(format!("{what} must be a mapping, and is {}", self.sort()))),
        }
    }

    /// A text that `parse` understands.
    pub(crate) fn parsed<T>(
        &self,
        what: &str,
        parse: impl FnOnce(&str) -> std::result::Result<T, String>,
    ) -> Result<T> {
        let text = self.text(what)?;
        parse(text).map_err(|reason| self.error(format!("{what} {reason}")))
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, what: &str) -> Result<bool> {
        self.parsed(what, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(format!("must be true or false, and is {other:?}")),
        })
    }

    /// A whole number.
    pub(crate) fn number<T: std::str::FromStr>(&self, what: &str) -> Result<T> {
        self.parsed(what, |text| {
            text.parse()
                .map_err(|_| format!("must be a whole number in its bounds, and is {text:?}"))
        })
    }

    /// A list of texts.
    pub(crate) fn texts(&self, what: &str) -> Result<Vec<String>> {
        let entries = self.list(what)?.iter();
        entries
            .map(|entry| entry.text(what).map(str::to_owned))
            .collect()
    }
}

fn convert(
    source: &Arc<Source>,
    yaml: &MarkedYaml<'_>,
    variables: &mut Variables,
    depth: usize,
) -> Result<Node> {
    let place = place_of(source, yaml);
    if depth > MAX_DEPTH {
        return Err(place.error(format!("is nested deeper than {MAX_DEPTH} levels")));
    }
    let mut amend = Amend::Merge;
    let value = match &yaml.data {
        YamlData::Representation(text, style, tag) => {
            let plain = *style == ScalarStyle::Plain;
            if let Some(tag) = tag.as_ref().filter(|tag| !tag.is_yaml_core_schema()) {
                amend = amend_of(tag, &place)?;
            }
            if plain && matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL") {
                Value::Null
            } else {
                let text = variables.interpolate(text).map_err(|error| {
                    let hint = "${NAME}, ${NAME:-default} and ${NAME:?error} are replaced; \
                                write $$ for a dollar sign";
                    place.error(error).hint(hint)
                })?;
                Value::Text(text)
            }
        }
        YamlData::Sequence(entries) => Value::List(
            entries
                .iter()
                .map(|entry| convert(source, entry, variables, depth + 1))
                .collect::<Result<_>>()?,
        ),
        YamlData::Mapping(entries) => {
            let mut map = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let key = convert_key(source, key)?;
                let known = map
                    .iter()
                    .any(|(known, _): &(Key, Node)| known.text == key.text);
                if known && key.text != "<<" {
                    return Err(key
                        .place
                        .error(format!("duplicated key \"{}\"", key.text.escape_debug())));
                }
                map.push((key, convert(source, value, variables, depth + 1)?));
            }
            Value::Map(merge(map)?)
        }
        YamlData::BadValue if yaml.span.is_empty() => Value::Null,
        YamlData::Tagged(tag, node) => {
            let amend = amend_of(tag, &place)?;
            let node = convert(source, node, variables, depth + 1)?;
            return Ok(Node { amend, ..node });
        }
        _ => return Err(place.error("is not understood here")),
    };
    let plain = matches!(
        &yaml.data,
        YamlData::Representation(_, ScalarStyle::Plain, _)
    );
    Ok(Node {
        value,
        place,
        plain,
        amend,
    })
}

/// Compose's own tags; others are refused.
fn amend_of(tag: &saphyr_parser::Tag, place: &Place) -> Result<Amend> {
    match (tag.handle.as_str(), tag.suffix.as_str()) {
        ("!", "reset") => Ok(Amend::Reset),
        ("!", "override") => Ok(Amend::Override),
        _ => Err(place
            .error(format!(
                "tags such as !{} are not understood",
                tag.suffix.escape_debug()
            ))
            .hint("known are Compose's !reset and !override")),
    }
}

fn convert_key(source: &Arc<Source>, yaml: &MarkedYaml<'_>) -> Result<Key> {
    let place = place_of(source, yaml);
    match &yaml.data {
        YamlData::Representation(text, _, _) => Ok(Key {
            text: text.to_string(),
            place,
        }),
        _ => Err(place.error("a key must be a text")),
    }
}

/// Carries out YAML 1.1's merge key `<<`: own keys win over merged ones, earlier over later.
fn merge(entries: Vec<(Key, Node)>) -> Result<Vec<(Key, Node)>> {
    let (merges, mut own): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|(key, _)| key.text == "<<");
    for (_, node) in merges {
        let sources = match node.value {
            Value::List(entries) => entries,
            _ => vec![node],
        };
        for node in sources {
            for (key, value) in node.map("<<")? {
                if !own.iter().any(|(known, _)| known.text == key.text) {
                    own.push((key.clone(), value.clone()));
                }
            }
        }
    }
    Ok(own)
}

fn place_of(source: &Arc<Source>, yaml: &MarkedYaml<'_>) -> Place {
    let start = yaml.span.start;
    let length = yaml.span.end.index().saturating_sub(start.index());
    Place::new(source, start.line(), start.col(), length)
}
