//! What a target is told: the event, a part of it, a constant, or a template filled from it
//! (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html>).

use crate::{Invalid, Path};
use serde_json::Value;
use std::collections::BTreeMap;

/// Most variables of one template (EventBridge's bound).
pub const MAX_VARIABLES: usize = 100;
/// Longest template and longest constant, in bytes (EventBridge's bound).
pub const MAX_TEMPLATE: usize = 8192;
/// Longest name of a variable, in bytes (EventBridge's bound).
const MAX_NAME: usize = 256;

/// What a target is told of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// All of it.
    Event,
    /// This JSON, whatever the event.
    Constant(String),
    /// What is at a path; `null` if nothing is there.
    Part(Path),
    /// A text in which `<name>` is replaced.
    Template(Template),
}

/// What the reserved variables say of the rule.
#[derive(Debug, Clone, Copy)]
pub struct RuleWords<'a> {
    /// `<aws.events.rule-arn>`.
    pub arn: &'a str,
    /// `<aws.events.rule-name>`.
    pub name: &'a str,
    /// `<aws.events.event.ingestion-time>`, RFC 3339.
    pub ingested: &'a str,
}

/// A template, cut at its variables.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    pieces: Vec<Piece>,
    /// Neither an object nor an array nor a quoted text: what it gives is made a JSON string.
    bare: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Variable { source: Source, quoted: bool },
}

#[derive(Debug, Clone, PartialEq)]
enum Source {
    At(Path),
    RuleArn,
    RuleName,
    IngestionTime,
    /// The event without its `detail`.
    Event,
    EventJson,
}

impl Input {
    /// Reads what a target declares; at most one of the three may be there. `transformer` is
    /// `InputPathsMap` and `InputTemplate`.
    ///
    /// # Errors
    /// Says what breaks a rule.
    pub fn parse(
        constant: Option<&str>,
        path: Option<&str>,
        transformer: Option<(&BTreeMap<String, String>, &str)>,
    ) -> Result<Self, Invalid> {
        match (constant, path, transformer) {
            (None, None, None) => Ok(Self::Event),
            (Some(text), None, None) => {
                if text.len() > MAX_TEMPLATE {
                    return Err(Invalid::new(format!(
                        "Input has more than {MAX_TEMPLATE} bytes"
                    )));
                }
                serde_json::from_str::<serde::de::IgnoredAny>(text)
                    .map_err(|error| Invalid::new(format!("Input is not JSON: {error}")))?;
                Ok(Self::Constant(text.to_owned()))
            }
            (None, Some(path), None) => Ok(Self::Part(Path::parse(path)?)),
            (None, None, Some((paths, text))) => Ok(Self::Template(Template::parse(paths, text)?)),
            _ => Err(Invalid::new(
                "Only one of Input, InputPath, or InputTransformer must be provided",
            )),
        }
    }

    /// What the target is told: always JSON. `None` if it would be longer than `limit` bytes, which a
    /// template that names the event many times can make it.
    pub fn apply(&self, event: &Value, rule: RuleWords<'_>, limit: usize) -> Option<String> {
        let told = match self {
            Self::Event => event.to_string(),
            Self::Constant(text) => text.clone(),
            Self::Part(path) => path.find(event).unwrap_or(Value::Null).to_string(),
            Self::Template(template) => template.fill(event, rule, limit)?,
        };
        (told.len() <= limit).then_some(told)
    }
}

impl Template {
    fn parse(paths: &BTreeMap<String, String>, text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > MAX_TEMPLATE {
            let reason = format!("InputTemplate must have 1 to {MAX_TEMPLATE} bytes");
            return Err(Invalid::new(reason));
        }
        let variables = variables(paths)?;
        let bare = !text.trim_start().starts_with(['{', '[', '"']);
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let (mut quoted, mut escaped) = (false, false);
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            if character == '<'
                && let Some((name, after)) = rest[1..].split_once('>')
                && !name.is_empty()
                && name.bytes().all(is_name)
            {
                let source = variables.get(name).cloned().or_else(|| reserved(name));
                let source = source.ok_or_else(|| {
                    Invalid::new(format!(
                        "InputTemplate names <{name}>, which InputPathsMap does not define"
                    ))
                })?;
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
                let quoted = quoted || bare;
                pieces.push(Piece::Variable { source, quoted });
                rest = after;
                continue;
            }
            if character == '"' && !escaped {
                quoted = !quoted;
            }
            escaped = character == '\\' && !escaped;
            literal.push(character);
            rest = &rest[character.len_utf8()..];
        }
        pieces.push(Piece::Text(literal));
        let template = Self { pieces, bare };
        template.check()?;
        Ok(template)
    }

    /// A template of JSON must be JSON whatever its variables are.
    fn check(&self) -> Result<(), Invalid> {
        let Some(written) = self.written(|_| Some(Value::from(0)), usize::MAX) else {
            return Ok(());
        };
        if self.bare {
            return Ok(());
        }
        match serde_json::from_str::<serde::de::IgnoredAny>(&written) {
            Ok(_) => Ok(()),
            Err(error) => Err(Invalid::new(format!("InputTemplate is not JSON: {error}"))),
        }
    }

    fn fill(&self, event: &Value, rule: RuleWords<'_>, limit: usize) -> Option<String> {
        let value_of = |source: &Source| match source {
            Source::At(path) => path.find(event),
            Source::RuleArn => Some(rule.arn.into()),
            Source::RuleName => Some(rule.name.into()),
            Source::IngestionTime => Some(rule.ingested.into()),
            Source::EventJson => Some(event.clone()),
            Source::Event => {
                let mut event = event.clone();
                if let Some(object) = event.as_object_mut() {
                    object.remove("detail");
                }
                Some(event)
            }
        };
        let written = self.written(value_of, limit)?;
        Some(match self.bare {
            true => Value::from(written).to_string(),
            false => written,
        })
    }

    /// Puts values in the place of variables. Outside of quotes a value stands as JSON. Within, a text
    /// stands as it is and other values as their JSON, both escaped so that the quotes stay whole.
    /// What is not there is an empty text. `None` as soon as it is longer than `limit`.
    fn written(&self, value_of: impl Fn(&Source) -> Option<Value>, limit: usize) -> Option<String> {
        let mut written = String::new();
        for piece in &self.pieces {
            if written.len() > limit {
                return None;
            }
            match piece {
                Piece::Text(text) => written.push_str(text),
                Piece::Variable { source, quoted } => {
                    let value = value_of(source).unwrap_or_else(|| "".into());
                    if !quoted {
                        written.push_str(&value.to_string());
                        continue;
                    }
                    let text = match value {
                        Value::String(text) => text,
                        other => other.to_string(),
                    };
                    if self.bare {
                        written.push_str(&text);
                        continue;
                    }
                    let escaped = Value::from(text).to_string();
                    written.push_str(&escaped[1..escaped.len() - 1]);
                }
            }
        }
        Some(written)
    }
}

fn variables(paths: &BTreeMap<String, String>) -> Result<BTreeMap<String, Source>, Invalid> {
    if paths.len() > MAX_VARIABLES {
        let reason = format!("InputPathsMap has more than {MAX_VARIABLES} entries");
        return Err(Invalid::new(reason));
    }
    let mut variables = BTreeMap::new();
    for (name, path) in paths {
        let begins = name.get(..3).is_some_and(|b| b.eq_ignore_ascii_case("aws"));
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(legal) || begins {
            let shown: String = name.chars().take(64).collect();
            return Err(Invalid::new(format!(
                "InputPathsMap: \"{}\" must be 1 to 256 of A-Z a-z 0-9 _ - and not begin with AWS",
                shown.escape_debug()
            )));
        }
        variables.insert(name.clone(), Source::At(Path::parse(path)?));
    }
    Ok(variables)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

fn reserved(name: &str) -> Option<Source> {
    Some(match name {
        "aws.events.rule-arn" => Source::RuleArn,
        "aws.events.rule-name" => Source::RuleName,
        "aws.events.event.ingestion-time" => Source::IngestionTime,
        "aws.events.event" => Source::Event,
        "aws.events.event.json" => Source::EventJson,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn event() -> Value {
        json!({"id": "7bf73129", "source": "aws.ec2", "detail": {
            "instance-id": "i-0123456789", "state": "RUNNING", "n": 5, "list": [1, "a"], "odd": "a\"b\\",
        }})
    }

    const RULE: RuleWords<'static> = RuleWords {
        arn: "arn:aws:events:us-east-1:000000000000:rule/r",
        name: "r",
        ingested: "2026-11-22T10:00:00Z",
    };

    fn paths() -> BTreeMap<String, String> {
        [
            ("instance", "$.detail.instance-id"),
            ("state", "$.detail.state"),
            ("n", "$.detail.n"),
            ("list", "$.detail.list"),
            ("odd", "$.detail.odd"),
            ("missing", "$.detail.missing"),
        ]
        .map(|(name, path)| (name.to_owned(), path.to_owned()))
        .into()
    }

    fn filled(template: &str) -> Value {
        let input = Input::parse(None, None, Some((&paths(), template))).unwrap();
        serde_json::from_str(&input.apply(&event(), RULE, 9_999).unwrap()).unwrap()
    }

    #[test]
    fn aws_documented_examples() {
        for (template, expected) in [
            (
                r#""instance <instance> is in <state>""#,
                json!("instance i-0123456789 is in RUNNING"),
            ),
            (
                r#""instance \"<instance>\" is in <state>""#,
                json!("instance \"i-0123456789\" is in RUNNING"),
            ),
            (
                "<instance> is in <state>",
                json!("i-0123456789 is in RUNNING"),
            ),
            (
                r#"{"instance": <instance>, "state": <state>}"#,
                json!({"instance": "i-0123456789", "state": "RUNNING"}),
            ),
            (
                r#"{"instance": <instance>, "state": "<state>", "s": "instance \"<instance>\" is <state>"}"#,
                json!({"instance": "i-0123456789", "state": "RUNNING",
                    "s": "instance \"i-0123456789\" is RUNNING"}),
            ),
            (
                r#"{"instance": <instance>, "state": [9, <state>, true], "Transformed": "Yes"}"#,
                json!({"instance": "i-0123456789", "state": [9, "RUNNING", true], "Transformed": "Yes"}),
            ),
            (
                r#"{"a": <aws.events.rule-arn>, "n": "<aws.events.rule-name>", "t": <aws.events.event.ingestion-time>}"#,
                json!({"a": RULE.arn, "n": "r", "t": RULE.ingested}),
            ),
            (r#"{"e": <aws.events.event.json>}"#, json!({"e": event()})),
            (
                r#"{"e": <aws.events.event>}"#,
                json!({"e": {"id": "7bf73129", "source": "aws.ec2"}}),
            ),
            (
                r#"{"n": <n>, "list": <list>, "both": "<n> <list>"}"#,
                json!({"n": 5, "list": [1, "a"], "both": "5 [1,\"a\"]"}),
            ),
            (
                r#"{"m": <missing>, "t": "<missing>"}"#,
                json!({"m": "", "t": ""}),
            ),
            (
                r#"{"o": <odd>, "t": "<odd>!"}"#,
                json!({"o": "a\"b\\", "t": "a\"b\\!"}),
            ),
            (r#"{"less": "1 < 2 > 0"}"#, json!({"less": "1 < 2 > 0"})),
        ] {
            assert_eq!(filled(template), expected, "{template}");
        }
    }

    #[test]
    fn constants_and_parts() {
        let told = |constant, path| {
            Input::parse(constant, path, None)
                .unwrap()
                .apply(&event(), RULE, 9_999)
                .unwrap()
        };
        assert_eq!(told(Some(r#"{"a":  1}"#), None), r#"{"a":  1}"#);
        assert_eq!(told(None, Some("$.detail.n")), "5");
        assert_eq!(told(None, Some("$.detail.none")), "null");
        assert_eq!(told(None, None), event().to_string());
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        let none = BTreeMap::new();
        let template = |paths: &BTreeMap<String, String>, text: &str| {
            Input::parse(None, None, Some((paths, text))).unwrap_err().0
        };
        assert!(template(&none, r#"{"a": <b>}"#).contains("<b>"));
        assert!(template(&none, r#"{"a": }"#).contains("not JSON"));
        assert!(template(&none, &"x".repeat(MAX_TEMPLATE + 1)).contains("8192"));
        let reserved = BTreeMap::from([("AwsX".to_owned(), "$.a".to_owned())]);
        assert!(template(&reserved, "x").contains("AWS"));
        assert!(Input::parse(Some("1"), Some("$"), None).is_err());
        assert!(Input::parse(Some("{"), None, None).is_err());
    }

    #[test]
    fn what_grows_too_long_is_not_told() {
        let text = "<aws.events.event.json>".repeat(300);
        let input = Input::parse(None, None, Some((&BTreeMap::new(), &text))).unwrap();
        let event = json!({"large": "x".repeat(10_000)});
        assert_eq!(input.apply(&event, RULE, 100_000), None);
        assert_eq!(Input::Event.apply(&event, RULE, 10), None);
    }

    proptest! {
        /// Whatever stands in the event, a template that was taken gives JSON.
        #[test]
        fn what_is_told_is_json(text in ".{0,20}", before in "[a-z<> ]{0,5}") {
            let paths = BTreeMap::from([("v".to_owned(), "$.v".to_owned())]);
            let event = json!({"v": text});
            for template in [format!("{{\"k\": <v>, \"q\": \"{before}<v>\"}}"), format!("{before}<v>")] {
                if let Ok(input) = Input::parse(None, None, Some((&paths, &template))) {
                    let told = input.apply(&event, RULE, 9_999).unwrap();
                    prop_assert!(serde_json::from_str::<Value>(&told).is_ok(), "{}", told);
                }
            }
        }
    }
}
