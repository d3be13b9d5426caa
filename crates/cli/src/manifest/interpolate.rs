//! `$VARIABLES` in a manifest's values, as Compose replaces them.

use super::dotenv;
use std::collections::{BTreeMap, BTreeSet};

/// Deepest nesting of defaults within defaults.
const MAX_DEPTH: usize = 16;

/// Where the values of variables come from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables {
    environment: BTreeMap<String, String>,
    /// Of files; the environment wins.
    files: BTreeMap<String, String>,
    /// Variables that were asked for, had no value and no default; the empty text took their place.
    unset: BTreeSet<String>,
}

impl Variables {
    /// From a `.env` file's text and the environment, which wins.
    pub(crate) fn new(
        dotenv: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, String> {
        let mut variables = Self {
            environment: environment.into_iter().collect(),
            ..Self::default()
        };
        variables.read(dotenv)?;
        Ok(variables)
    }

    /// Takes the variables of one more file, which win over those of files before.
    ///
    /// # Errors
    /// `LINE: what is wrong`.
    pub(crate) fn read(&mut self, dotenv: &str) -> Result<(), String> {
        let pairs = dotenv::parse(dotenv, dotenv::Format::Quoted, self)?;
        for (name, value) in pairs {
            if let Some(value) = value {
                self.put(&name, &value);
            }
        }
        Ok(())
    }

    /// Sets a variable that the environment does not have.
    pub(crate) fn put(&mut self, name: &str, value: &str) {
        self.files.insert(name.to_owned(), value.to_owned());
    }

    /// The value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let value = self.environment.get(name).or_else(|| self.files.get(name));
        value.map(String::as_str)
    }

    /// Takes over what another was asked in vain, and none of its values.
    pub(super) fn forget_values_of(&mut self, other: Self) {
        self.unset.extend(other.unset);
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
        let value = self.get(name);
        let value = value.filter(|value| !(colon && value.is_empty()));
        let value = value.map(str::to_owned);
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
        if let Some(value) = self.get(name) {
            return value.to_owned();
        }
        self.unset.insert(name.to_owned());
        String::new()
    }
}

/// Bytes of the variable's name with which a text begins; 0 if it begins with none.
pub(super) fn name_length(text: &str) -> usize {
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
        // Of two, the second is the text of the first.
        dollar = c == '$' && !dollar;
    }
    None
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
            ("${NONE:-$$}{", "${"),
            ("${NONE:-$$${A}}", "$1"),
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
    fn later_files_win_over_earlier_and_the_environment_over_both() {
        let mut variables = variables();
        variables.read("C=later\nB=later\n").unwrap();
        assert_eq!(variables.get("C"), Some("later"));
        assert_eq!(variables.get("B"), Some("from the shell"));
        assert!(variables.read("A=1\n?\n").unwrap_err().starts_with("2: "));
    }

    /// A template and what it means, built together.
    #[derive(Debug, Clone)]
    enum Part {
        Text(String),
        Dollar,
        Bare(&'static str),
        Braced(&'static str),
        Operation(&'static str, bool, char, Vec<Part>),
    }

    const NAMES: [&str; 4] = ["A", "EMPTY", "NONE", "B_2"];

    fn value_of(name: &str) -> Option<&'static str> {
        match name {
            "A" => Some("1"),
            "EMPTY" => Some(""),
            "B_2" => Some("$A {} }"),
            _ => None,
        }
    }

    fn parts() -> impl Strategy<Value = Vec<Part>> {
        let name = || proptest::sample::select(&NAMES[..]);
        let leaf = prop_oneof![
            // Not what could go on a name that stands before it.
            "[ .,:/-][a-z ]{0,4}".prop_map(Part::Text),
            Just(Part::Dollar),
            name().prop_map(Part::Bare),
            name().prop_map(Part::Braced),
        ];
        let part = leaf.prop_recursive(3, 24, 3, move |inner| {
            let operand = proptest::collection::vec(inner, 0..3);
            let operator = proptest::sample::select(&['-', '+', '?'][..]);
            (name(), any::<bool>(), operator, operand).prop_map(
                |(name, colon, operator, operand)| Part::Operation(name, colon, operator, operand),
            )
        });
        proptest::collection::vec(part, 0..5)
    }

    fn template(parts: &[Part]) -> String {
        let one = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Dollar => "$$".to_owned(),
            // What comes next must not go on the name.
            Part::Bare(name) => format!("${name}."),
            Part::Braced(name) => format!("${{{name}}}"),
            Part::Operation(name, colon, operator, operand) => {
                let colon = if *colon { ":" } else { "" };
                format!("${{{name}{colon}{operator}{}}}", template(operand))
            }
        };
        parts.iter().map(one).collect()
    }

    /// What the specification's table says; `None` for an error.
    fn meaning(parts: &[Part]) -> Option<String> {
        let one = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Dollar => Some("$".to_owned()),
            Part::Bare(name) => Some(format!("{}.", value_of(name).unwrap_or(""))),
            Part::Braced(name) => Some(value_of(name).unwrap_or("").to_owned()),
            Part::Operation(name, colon, operator, operand) => {
                let value = value_of(name).filter(|value| !(*colon && value.is_empty()));
                match (operator, value) {
                    ('-' | '?', Some(value)) => Some(value.to_owned()),
                    ('-', None) | ('+', Some(_)) => meaning(operand),
                    ('+', None) => Some(String::new()),
                    _ => None,
                }
            }
        };
        parts.iter().map(one).collect()
    }

    proptest! {
        #[test]
        fn nothing_panics_and_escaping_gives_the_text_back(text in ".{0,40}") {
            let _ = variables().interpolate(&text);
            let escaped = text.replace('$', "$$");
            prop_assert_eq!(variables().interpolate(&escaped).unwrap(), text);
        }

        #[test]
        fn every_template_means_what_the_specification_says(parts in parts()) {
            let pairs = NAMES.iter().filter_map(|name| Some((name.to_string(), value_of(name)?.to_owned())));
            let mut variables = Variables::new("", pairs).unwrap();
            let text = template(&parts);
            prop_assert_eq!(variables.interpolate(&text).ok(), meaning(&parts), "{}", text);
        }
    }
}
