//! Filter criteria of an event source mapping from a queue: which messages reach the function
//! (<https://docs.aws.amazon.com/lambda/latest/dg/with-sqs-filtering.html>).

use crate::{Invalid, Pattern};
use serde_json::Value;

/// Most filters of one mapping (Lambda's bound on request).
pub const MAX_FILTERS: usize = 10;

/// Filters of which one must fit; without any, everything does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    patterns: Vec<Pattern>,
}

impl Filter {
    /// Compiles at most [`MAX_FILTERS`] patterns.
    ///
    /// # Errors
    /// Names the first pattern that breaks a rule, from 1, and why.
    pub fn parse<T: AsRef<str>>(patterns: &[T]) -> Result<Self, Invalid> {
        if patterns.len() > MAX_FILTERS {
            let reason = format!("{} filters are more than {MAX_FILTERS}", patterns.len());
            return Err(Invalid::new(reason));
        }
        let compile = |(at, text): (usize, &T)| {
            let refused = |error: Invalid| Invalid::new(format!("filter {}: {error}", at + 1));
            Pattern::parse(text.as_ref()).map_err(refused)
        };
        let patterns = patterns.iter().enumerate().map(compile);
        Ok(Self {
            patterns: patterns.collect::<Result<_, _>>()?,
        })
    }

    /// Whether a record, as the function would be given it, fits one of the filters.
    ///
    /// Its `body` is looked into where it is a JSON object or array, and is a text otherwise, so that a
    /// filter for fields drops texts and a filter for texts drops JSON. `data_key` names that field:
    /// `body` for a queue.
    pub fn matches(&self, record: &Value, data_key: &str) -> bool {
        if self.patterns.is_empty() {
            return true;
        }
        let mut record = record.clone();
        let body = record.get_mut(data_key);
        if let Some(body) = body
            && let Some(text) = body.as_str()
            && let Ok(parsed @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text)
        {
            *body = parsed;
        }
        self.patterns.iter().any(|pattern| pattern.matches(&record))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_body_is_matched_as_what_it_is() {
        for (filter, body, expected) in [
            (r#"{"body": {"kind": ["a"]}}"#, r#"{"kind": "a"}"#, true),
            (r#"{"body": {"kind": ["a"]}}"#, r#"{"kind": "b"}"#, false),
            (r#"{"body": {"kind": ["a"]}}"#, "kind a", false),
            (r#"{"body": ["hello"]}"#, "hello", true),
            (r#"{"body": ["hello"]}"#, r#"{"hello": 1}"#, false),
            (r#"{"body": [{"prefix": "he"}]}"#, "hello", true),
            (r#"{"body": ["5"]}"#, "5", true),
            (r#"{"attributes": {"n": ["1"]}}"#, "whatever", true),
            (r#"{"attributes": {"n": ["2"]}}"#, "whatever", false),
        ] {
            let record = json!({"messageId": "m", "body": body, "attributes": {"n": "1"}});
            let found = Filter::parse(&[filter]).unwrap().matches(&record, "body");
            assert_eq!(found, expected, "{filter} on {body}");
        }
    }

    #[test]
    fn one_of_several_is_enough_and_none_lets_all_through() {
        let record = json!({"body": "b"});
        let two = Filter::parse(&[r#"{"body": ["a"]}"#, r#"{"body": ["b"]}"#]).unwrap();
        assert!(two.matches(&record, "body"));
        assert!(Filter::parse::<&str>(&[]).unwrap().matches(&record, "body"));
        let error = Filter::parse(&[r#"{"body": ["a"]}"#, "{}"]).unwrap_err();
        assert_eq!(error.0, "filter 2: Empty objects are not allowed");
        assert!(Filter::parse(&["{}"; MAX_FILTERS + 1]).is_err());
    }
}
