//! Buckets and what they wake.

use crate::{BucketName, Invalid, Qualifier, Target};
use serde::{Deserialize, Serialize};

/// Which S3 event names a rule takes, such as `s3:ObjectCreated:*` or `s3:ObjectCreated:Put`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventPattern(String);

/// The names of AWS's "supported event types" that rouse can raise.
const KNOWN: [&str; 9] = [
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectRemoved:DeleteMarkerCreated",
    "s3:TestEvent",
];

impl EventPattern {
    /// Whether `name`, such as `s3:ObjectCreated:Put`, is meant.
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => self.0 == name,
        }
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for EventPattern {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        if KNOWN.contains(&text.as_str()) {
            return Ok(Self(text));
        }
        let shown: String = text.chars().take(60).collect();
        let reason = format!(
            "\"{}\" is not one of {}",
            shown.escape_debug(),
            KNOWN.join(", ")
        );
        Err(Invalid::new("event", reason))
    }
}

impl From<EventPattern> for String {
    fn from(pattern: EventPattern) -> String {
        pattern.0
    }
}

/// In what form a change is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeForm {
    /// As S3 tells functions and queues: `{"Records": […]}`.
    #[default]
    Records,
    /// As S3 tells EventBridge: "Object Created", "Object Deleted".
    EventBridge,
}

impl ChangeForm {
    fn is_records(&self) -> bool {
        *self == Self::Records
    }
}

/// "When such an object changes, wake this."
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotificationRule {
    /// Names the rule within its bucket; shown as `configurationId` in events.
    pub id: String,
    /// Which changes; any of them is enough.
    pub events: Vec<EventPattern>,
    /// The key must begin with this.
    #[serde(default)]
    pub prefix: String,
    /// The key must end with this.
    #[serde(default)]
    pub suffix: String,
    /// What is woken.
    pub target: Target,
    /// Which version of a function; an alias is followed at each attempt. `None` for where its events
    /// without a qualifier go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualifier: Option<Qualifier>,
    /// How it is told.
    #[serde(default, skip_serializing_if = "ChangeForm::is_records")]
    pub form: ChangeForm,
}

impl NotificationRule {
    /// Whether a change `event` (such as `s3:ObjectCreated:Put`) of `key` is meant.
    pub fn matches(&self, event: &str, key: &str) -> bool {
        self.events.iter().any(|pattern| pattern.matches(event))
            && key.starts_with(&self.prefix)
            && key.ends_with(&self.suffix)
    }
}

/// What a user declares of a bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketSpec {
    /// Its name, unique in the server.
    pub name: BucketName,
    /// What it wakes: 100 rules at most. On deploy, replaces what was there.
    #[serde(default)]
    pub notify: Vec<NotificationRule>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, prefix: &str, suffix: &str) -> NotificationRule {
        NotificationRule {
            id: "r".into(),
            events: vec![pattern.to_owned().try_into().unwrap()],
            prefix: prefix.into(),
            suffix: suffix.into(),
            target: Target::Function {
                name: "f".parse().unwrap(),
            },
            qualifier: None,
            form: Default::default(),
        }
    }

    #[test]
    fn a_rule_filters_by_event_prefix_and_suffix() {
        let rule = rule("s3:ObjectCreated:*", "in/", ".jpg");
        assert!(rule.matches("s3:ObjectCreated:Put", "in/a.jpg"));
        assert!(!rule.matches("s3:ObjectRemoved:Delete", "in/a.jpg"));
        assert!(!rule.matches("s3:ObjectCreated:Put", "out/a.jpg"));
        assert!(!rule.matches("s3:ObjectCreated:Put", "in/a.png"));
    }

    #[test]
    fn an_unknown_event_name_is_refused() {
        assert!(EventPattern::try_from("s3:Objekt".to_owned()).is_err());
    }
}
