//! What becomes of events beyond their attempts: who is told of their end, and what their maker wants
//! of their delivery.

use crate::{
    AttributeValue, Invalid, MessageAttribute, Qualifier, QueueName, RetryPolicy, Target, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is told of the end of a function's events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Destinations {
    /// Given a record of each event that succeeded.
    pub on_success: Option<Target>,
    /// Given a record of each event that became a dead letter.
    pub on_failure: Option<Target>,
    /// A standard queue that is given each dead letter itself (AWS Lambda's `DeadLetterConfig`).
    pub dead_letter: Option<QueueName>,
    /// When the Lambda API last changed how events of the function are delivered; `None` if what
    /// holds is what was declared.
    pub modified: Option<Timestamp>,
}

impl Destinations {
    /// Those that are given records.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.on_success.iter().chain(&self.on_failure)
    }

    /// Checks what of them does not depend on what exists. `own` is the function's.
    ///
    /// # Errors
    /// Names the first field that breaks a rule.
    pub fn check(&self, own: &Target) -> Result<(), Invalid> {
        let fields = [
            ("destinations.on_success", &self.on_success),
            ("destinations.on_failure", &self.on_failure),
        ];
        for (field, target) in fields {
            match target {
                Some(target) if target == own => {
                    let reason =
                        "is the function itself, which would be told of its own end for ever";
                    return Err(Invalid::new(field, reason));
                }
                Some(Target::Queue { name }) if name.is_fifo() => {
                    let reason =
                        "is a FIFO queue, and a record has no message group: name a standard queue";
                    return Err(Invalid::new(field, reason));
                }
                Some(Target::Service { path, .. }) if !is_path(path) => {
                    let reason = "needs a URL's path that begins with / and has 1024 bytes at most";
                    return Err(Invalid::new(field, reason));
                }
                _ => {}
            }
        }
        if self.dead_letter.as_ref().is_some_and(QueueName::is_fifo) {
            let reason = "must be a standard queue: a dead letter has no message group";
            return Err(Invalid::new("destinations.dead_letter", reason));
        }
        Ok(())
    }
}

fn is_path(text: &str) -> bool {
    // The characters of a path and query (RFC 3986), so that whatever calls it can write it into a request.
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&b);
    text.starts_with('/') && text.len() <= 1024 && text.bytes().all(legal)
}

/// What the maker of an event (a schedule, a rule) wants of its delivery, beyond what its target says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delivery {
    /// Attempts in all, the first included, in place of the target's: 1 to 186.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Milliseconds after acceptance past which no attempt is made, in place of the target's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u64>,
    /// The message group, for a FIFO queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The key of the object, for a bucket; without, the event's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Attributes of the message, for a queue: 10 at most.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, MessageAttribute>,
    /// For a queue: when it does not take so large a message, it is given one that says so in place of the payload.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub may_leave_out: bool,
    /// Where the event goes if it becomes a dead letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
    /// Which version of its function works on it; an alias is followed at each attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qualifier: Option<Qualifier>,
}

/// Where dead letters of one maker go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadLetter {
    /// A standard queue.
    pub queue: QueueName,
    /// What its message says besides the error, such as `RULE_ARN`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, MessageAttribute>,
}

impl DeadLetter {
    /// Adds a text to what its message says; an empty one says nothing.
    pub fn say(&mut self, name: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        let attribute = MessageAttribute {
            data_type: "String".to_owned(),
            value: AttributeValue::Text(text.to_owned()),
        };
        self.attributes.insert(name.to_owned(), attribute);
    }
}

impl Delivery {
    /// Whether it wants nothing.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// The target's policy, as far as nothing else is wanted.
    pub fn policy(&self, mut policy: RetryPolicy) -> RetryPolicy {
        policy.max_attempts = self.max_attempts.unwrap_or(policy.max_attempts);
        policy.max_age = self.max_age.unwrap_or(policy.max_age);
        policy
    }

    /// Checks the bounds above, for a target.
    ///
    /// # Errors
    /// Names the first field that breaks a rule, as AWS calls it.
    pub fn check(&self, target: &Target) -> Result<(), Invalid> {
        if self
            .max_attempts
            .is_some_and(|most| !(1..=186).contains(&most))
        {
            let reason = "must be 0 to 185";
            return Err(Invalid::new("RetryPolicy.MaximumRetryAttempts", reason));
        }
        let letters = self.dead_letter.as_ref();
        if letters.is_some_and(|letters| letters.queue.is_fifo()) {
            let reason = "must name a standard queue: a dead letter has no message group";
            return Err(Invalid::new("DeadLetterConfig", reason));
        }
        if self.qualifier.is_some() && !matches!(target, Target::Function { .. }) {
            let reason = "names a version, which only functions have";
            return Err(Invalid::new("qualifier", reason));
        }
        let field = "SqsParameters.MessageGroupId";
        match (target, &self.group) {
            (Target::Queue { name }, None) if name.is_fifo() => {
                let reason = format!("is missing: \"{name}\" is a FIFO queue");
                Err(Invalid::new(field, reason))
            }
            (Target::Queue { name }, Some(group)) if name.is_fifo() => {
                if crate::legal_token(group) {
                    return Ok(());
                }
                let reason = "has 1 to 128 letters, digits and ASCII punctuation";
                Err(Invalid::new(field, reason))
            }
            (_, Some(_)) => Err(Invalid::new(field, "is for FIFO queues only")),
            (_, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn queue(name: &str) -> Target {
        Target::Queue {
            name: name.parse().unwrap(),
        }
    }

    #[test]
    fn a_fifo_queue_needs_a_group_and_nothing_else_takes_one() {
        let grouped = |group: &str| Delivery {
            group: Some(group.into()),
            ..Delivery::default()
        };
        assert!(grouped("g").check(&queue("q.fifo")).is_ok());
        assert!(Delivery::default().check(&queue("q")).is_ok());
        for (delivery, target) in [
            (Delivery::default(), "q.fifo"),
            (grouped(""), "q.fifo"),
            (grouped(&"g".repeat(129)), "q.fifo"),
            (grouped("g"), "q"),
        ] {
            let error = delivery.check(&queue(target)).unwrap_err();
            assert_eq!(error.field, "SqsParameters.MessageGroupId", "{target}");
        }
    }

    #[test]
    fn what_is_wanted_takes_the_place_of_the_targets_policy() {
        let wanted = Delivery {
            max_attempts: Some(1),
            ..Delivery::default()
        };
        let policy = wanted.policy(RetryPolicy::default());
        assert_eq!(policy.max_attempts, 1);
        assert_eq!(policy.max_age, RetryPolicy::default().max_age);
    }

    #[test]
    fn a_destination_takes_records_and_is_somebody_else() {
        let own = Target::Function {
            name: "f".parse().unwrap(),
        };
        let to = |target: Target| Destinations {
            on_failure: Some(target),
            ..Destinations::default()
        };
        assert!(to(queue("q")).check(&own).is_ok());
        assert!(to(queue("q.fifo")).check(&own).is_err());
        assert!(to(own.clone()).check(&own).is_err());
        for (path, legal) in [
            ("/", true),
            ("/failed/a%20b?x=1&y=:@!$'()*+,;~", true),
            ("failed", false),
            ("/a b", false),
            ("/a#b", false),
            ("/a<b>", false),
            ("/a`b", false),
            ("/\u{e4}", false),
        ] {
            let service = Target::Service {
                name: "s".parse().unwrap(),
                path: path.into(),
            };
            assert_eq!(to(service).check(&own).is_ok(), legal, "{path}");
        }
        let letters = Destinations {
            dead_letter: Some("q.fifo".parse().unwrap()),
            ..Destinations::default()
        };
        assert!(letters.check(&own).is_err());
    }
}
