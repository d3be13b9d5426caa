//! The part of JSONPath that EventBridge knows: `$.detail.items[0].name`, `[*]`, `.*`.

use crate::Invalid;
use serde_json::Value;

/// Longest path, in bytes (EventBridge's bound).
const MAX_PATH: usize = 256;

/// A path into an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(usize),
    Every,
}

impl Path {
    /// Reads a path: `$`, then fields in dot notation and indices in brackets. 256 bytes at most.
    ///
    /// # Errors
    /// Says what cannot be read.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let shown: String = text.chars().take(64).collect();
        let refused = |why: &str| Invalid::new(format!("Invalid JSON path \"{shown}\": {why}"));
        if text.len() > MAX_PATH {
            return Err(refused("it has more than 256 bytes"));
        }
        let mut rest = text
            .strip_prefix('$')
            .ok_or_else(|| refused("it must begin with $"))?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let (field, tail) = after.split_at(end);
                steps.push(match field {
                    "" => return Err(refused("a field's name is empty")),
                    _ if field.contains([']', '\'', '"', '(', '?', '@']) => {
                        return Err(refused("only dot notation, indices and * are supported"));
                    }
                    "*" => Step::Every,
                    field => Step::Field(field.to_owned()),
                });
                rest = tail;
            } else if let Some(after) = rest.strip_prefix('[') {
                let (index, tail) = after
                    .split_once(']')
                    .ok_or_else(|| refused("a bracket is not closed"))?;
                steps.push(match index {
                    "*" => Step::Every,
                    index => {
                        Step::Index(index.parse().map_err(|_| {
                            refused("only dot notation, indices and * are supported")
                        })?)
                    }
                });
                rest = tail;
            } else {
                return Err(refused("a field must follow a dot"));
            }
        }
        Ok(Self { steps })
    }

    /// What is there, or `None`. With a `*` in the path it is the array of all that is there.
    pub fn find(&self, event: &Value) -> Option<Value> {
        let mut found = vec![event];
        for step in &self.steps {
            let mut next = Vec::new();
            for value in found {
                match (step, value) {
                    (Step::Field(name), value) => next.extend(value.get(name)),
                    (Step::Index(index), Value::Array(list)) => next.extend(list.get(*index)),
                    (Step::Every, Value::Array(list)) => next.extend(list),
                    (Step::Every, Value::Object(object)) => next.extend(object.values()),
                    _ => {}
                }
            }
            found = next;
        }
        if self.steps.contains(&Step::Every) {
            return (!found.is_empty()).then(|| found.into_iter().cloned().collect());
        }
        found.first().map(|value| (*value).clone())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn fields_indices_and_stars() {
        let event = json!({"detail": {"a-b": [{"n": 1}, {"n": 2}], "x/y_z": "v", "o": {"p": 5}}});
        for (path, expected) in [
            ("$", Some(event.clone())),
            ("$.detail.a-b[1].n", Some(json!(2))),
            ("$.detail.a-b[*].n", Some(json!([1, 2]))),
            ("$.detail.x/y_z", Some(json!("v"))),
            ("$.detail.o.*", Some(json!([5]))),
            ("$.detail.a-b[2]", None),
            ("$.detail.o[0]", None),
            ("$.nothing", None),
        ] {
            assert_eq!(Path::parse(path).unwrap().find(&event), expected, "{path}");
        }
        for bad in [
            "", "detail", "$detail", "$.", "$..a", "$.a['b']", "$[", "$[x]", "$.a]",
        ] {
            assert!(Path::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[$.a*\\[\\]0-9é]{0,20}") {
            if let Ok(path) = Path::parse(&text) {
                path.find(&json!({"a": [1, {"a": 2}]}));
            }
        }
    }
}
