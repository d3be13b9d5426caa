//! `$VARIABLES` in a manifest's values, as Compose replaces them, and the `.env` file beside it.

use std::collections::{BTreeMap, BTreeSet};

/// Deepest nesting of defaults within defaults.
const MAX_DEPTH: usize = 16;

/// Where the values of variables come from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables {
    values: BTreeMap<String, String>,
    /// Variables that were asked for, had no value and no default; the empty text took their place.
    unset: BTreeSet<String>,
}

impl Variables {
    /// From a `.env` file's text and the environment, which wins.
    pub(crate) fn new(
        dotenv: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, String> {
        let mut values = BTreeMap::new();
        for (number, line) in dotenv.lines().enumerate() {
            let parsed = parse_line(line).map_err(|error| format!("{}: {error}", number + 1))?;
            values.extend(parsed);
        }
        values.extend(environment);
        Ok(Self {
            values,
            unset: BTreeSet::new(),
        })
    }

    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Names that were asked for in vain, sorted.
    pub(crate) fn unset(&self) -> impl Iterator<Item = &str> {
        self.unset.iter().map(String::as_str)
    }

    /// Replaces `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?error}`,
    /// `${NAME?error}`, `${NAME:+other}`, `${NAME+other}`; `$$` becomes `$`. With the colon an empty
    /// value counts as none.
    pub(crate) fn interpolate(&mut self, text: &str) -> Result<String, String> {
        self.expand(text, 0)
    }

    fn expand(&mut self, text: &str, depth: usize) -> Result<String, String> {
        if depth > MAX_DEPTH {
            return Err(format!(
                "defaults are nested deeper than {MAX_DEPTH} levels"
            ));
        }
        let mut result = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            result.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                result.push('$');
                rest = after;
            } else if let Some(after) = after.strip_prefix('{') {
                let end = closing_brace(after)
                    .ok_or_else(|| format!("\"${{{after}\" has no closing brace"))?;
                result.push_str(&self.braced(&after[..end], depth)?);
                rest = &after[end + 1..];
            } else {
                let end = name_length(after);
                if end == 0 {
                    return Err("a dollar sign is not followed by a variable's name".to_owned());
                }
                result.push_str(&self.value_or_blank(&after[..end]));
                rest = &after[end..];
            }
        }
        result.push_str(rest);
        Ok(result)
    }

    fn braced(&mut self, inside: &str, depth: usize) -> Result<String, String> {
        let (name, operation) = inside.split_at(name_length(inside));
        if name.is_empty() {
            return Err(format!(
                "\"${{{inside}}}\" does not begin with a variable's name"
            ));
        }
        if operation.is_empty() {
            return Ok(self.value_or_blank(name));
        }
        let (colon, operation) = match operation.strip_prefix(':') {
            Some(operation) => (true, operation),
            None => (false, operation),
        };
        let value = self
            .values
            .get(name)
            .filter(|value| !(colon && value.is_empty()));
        let value = value.cloned();
        let mut operation = operation.chars();
        let operator = operation.next();
        let operand = operation.as_str();
        match (operator, value) {
            (Some('-' | '?'), Some(value)) => Ok(value),
            (Some('-'), None) | (Some('+'), Some(_)) => self.expand(operand, depth + 1),
            (Some('+'), None) => Ok(String::new()),
            (Some('?'), None) => {
                let reason = self.expand(operand, depth + 1)?;
                let reason = if reason.is_empty() {
                    "it is required"
                } else {
                    &reason
                };
                Err(format!("the variable {name} has no value: {reason}"))
            }
            _ => Err(format!("\"${{{inside}}}\" is not a form that is known")),
        }
    }

    fn value_or_blank(&mut self, name: &str) -> String {
        if let Some(value) = self.values.get(name) {
            return value.clone();
        }
        self.unset.insert(name.to_owned());
        String::new()
    }
}

fn name_length(text: &str) -> usize {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c| !legal(c)).unwrap_or(text.len())
}

/// The offset of the brace that closes one opened before `text`.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut dollar = false;
    for (offset, c) in text.char_indices() {
        match c {
            '{' if dollar => open += 1,
            '}' if open == 0 => return Some(offset),
            '}' => open -= 1,
            _ => {}
        }
        dollar = c == '$';
    }
    None
}

/// One line of a `.env` file: `NAME=value`, `export NAME=value`, quotes, comments.
fn parse_line(line: &str) -> Result<Option<(String, String)>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
    let Some((name, value)) = line.split_once('=') else {
        return Err("must be NAME=value".to_owned());
    };
    let name = name.trim_end();
    if name.is_empty() || name_length(name) != name.len() {
        return Err(format!(
            "\"{}\" is not a variable's name",
            name.escape_debug()
        ));
    }
    let value = value.trim_start();
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => unquote(&value[1..], quote)?,
        _ => value.split(" #").next().unwrap_or("").trim_end().to_owned(),
    };
    Ok(Some((name.to_owned(), value)))
}

fn unquote(text: &str, quote: char) -> Result<String, String> {
    let mut value = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            _ if c == quote => return Ok(value),
            '\\' if quote == '"' => match characters.next() {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some(other) => value.push(other),
                None => break,
            },
            _ => value.push(c),
        }
    }
    Err(format!("has no closing {quote}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn variables() -> Variables {
        let environment = [("A", "1"), ("EMPTY", ""), ("B", "from the shell")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let dotenv = "# comment\nB=from the file\nexport C=\"x\\ny\" # end\nD='$A' \nE=a b # end\n";
        Variables::new(dotenv, environment).unwrap()
    }

    #[test]
    fn every_form_is_replaced() {
        let cases = [
            ("plain", "plain"),
            ("$A-$A", "1-1"),
            ("${A}x", "1x"),
            ("$$A and $${A}", "$A and ${A}"),
            ("${NONE:-d}", "d"),
            ("${NONE-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY-d}", ""),
            ("${NONE:-${A}${NONE:-z}}", "1z"),
            ("${A:+yes}${NONE:+no}", "yes"),
            ("${A:?must}", "1"),
            ("$B|$C|$D|$E", "from the shell|x\ny|$A|a b"),
            ("${NONE}", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(variables().interpolate(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn bad_forms_say_why() {
        let cases = [
            ("${NONE:?set it}", "the variable NONE has no value: set it"),
            (
                "${EMPTY:?}",
                "the variable EMPTY has no value: it is required",
            ),
            ("${A", "\"${A\" has no closing brace"),
            ("5$", "a dollar sign is not followed by a variable's name"),
            ("${A!x}", "\"${A!x}\" is not a form that is known"),
            ("${}", "\"${}\" does not begin with a variable's name"),
        ];
        for (text, expected) in cases {
            assert_eq!(
                variables().interpolate(text).unwrap_err(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn unset_variables_are_remembered() {
        let mut variables = variables();
        variables.interpolate("$NONE ${A} ${OTHER:-x}").unwrap();
        assert_eq!(variables.unset().collect::<Vec<_>>(), ["NONE"]);
    }

    #[test]
    fn a_bad_line_of_the_file_is_named() {
        assert_eq!(
            Variables::new("A=1\nnonsense\n", []).unwrap_err(),
            "2: must be NAME=value"
        );
        assert_eq!(
            Variables::new("A='x", []).unwrap_err(),
            "1: has no closing '"
        );
    }

    proptest! {
        #[test]
        fn nothing_panics_and_escaping_gives_the_text_back(text in ".{0,40}") {
            let _ = variables().interpolate(&text);
            let escaped = text.replace('$', "$$");
            prop_assert_eq!(variables().interpolate(&escaped).unwrap(), text);
        }
    }
}
