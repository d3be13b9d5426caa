//! Messages of queues.

use super::{QueueName, ReceiptHandle};
use crate::{Chain, Invalid, Timestamp};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Largest message in bytes, attributes included, and largest sum of one batch: 1 MiB.
pub const MAX_MESSAGE: usize = 1024 * 1024;
/// Most attributes of one message.
const MAX_ATTRIBUTES: usize = 10;

/// A message's identity: a UUID version 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub uuid::Uuid);

impl MessageId {
    /// A new one.
    pub fn generate() -> Self {
        Self(crate::identity::random())
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An attribute's value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttributeValue {
    /// Of the types `String` and `Number`.
    Text(String),
    /// Of the type `Binary`.
    Binary(Bytes),
}

/// What a sender says about a message besides its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageAttribute {
    /// `String`, `Number` or `Binary`, each with an optional `.label`.
    pub data_type: String,
    /// Its value.
    pub value: AttributeValue,
}

impl MessageAttribute {
    /// Bytes that count against a message's bound, its name apart.
    fn size(&self) -> usize {
        let value = match &self.value {
            AttributeValue::Text(text) => text.len(),
            AttributeValue::Binary(bytes) => bytes.len(),
        };
        self.data_type.len() + value
    }

    fn check(&self, name: &str) -> Result<(), Invalid> {
        let fault = |reason: &str| Err(Invalid::new("MessageAttributes", reason));
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let lower = name.to_ascii_lowercase();
        if name.is_empty()
            || name.len() > 256
            || !name.bytes().all(legal)
            || name.starts_with('.')
            || name.ends_with('.')
            || name.contains("..")
            || lower.starts_with("aws.")
            || lower.starts_with("amazon.")
        {
            return fault(
                "a name has 1 to 256 of A-Z a-z 0-9 _ - and single dots inside, and does not begin with AWS. or Amazon.",
            );
        }
        let (sort, label) = self
            .data_type
            .split_once('.')
            .map_or((self.data_type.as_str(), None), |(sort, label)| {
                (sort, Some(label))
            });
        if self.data_type.len() > 256 || label.is_some_and(str::is_empty) {
            return fault("a type is String, Number or Binary with an optional .label");
        }
        match (sort, &self.value) {
            ("String", AttributeValue::Text(text)) if !text.is_empty() => legal_text(text),
            ("Number", AttributeValue::Text(text)) if text.trim().parse::<f64>().is_ok() => Ok(()),
            ("Number", AttributeValue::Text(_)) => fault("a Number's value must be a number"),
            ("Binary", AttributeValue::Binary(bytes)) if !bytes.is_empty() => Ok(()),
            ("String" | "Number" | "Binary", _) => {
                fault("must have a value that is not empty and of its type")
            }
            _ => fault("a type is String, Number or Binary with an optional .label"),
        }
    }
}

/// A message, not yet accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Its identity.
    pub id: MessageId,
    /// 1 byte to 1 MiB, attributes included, of the characters that XML allows.
    pub body: String,
    /// 10 at most.
    pub attributes: BTreeMap<String, MessageAttribute>,
    /// The system attribute `AWSTraceHeader`.
    pub trace: Option<String>,
    /// Who sent it.
    pub sender: String,
    /// FIFO: its message group. In a standard queue it is kept and changes nothing.
    pub group: Option<String>,
    /// FIFO: the same within five minutes is accepted once.
    pub deduplication: Option<String>,
    /// FIFO: hex SHA-256 of the body, for a queue that takes it when no deduplication id is given.
    pub digest: Option<String>,
    /// Seconds for which it is hidden: 0 to 900; the queue's delay if it does not say.
    pub delay: Option<u32>,
    /// When it was sent.
    pub sent: Timestamp,
    /// What caused it.
    pub chain: Chain,
}

impl NewMessage {
    /// Bytes that count against the queue's and the batch's bound.
    pub fn size(&self) -> usize {
        let named = |(name, attribute): (&String, &MessageAttribute)| name.len() + attribute.size();
        self.body.len() + self.attributes.iter().map(named).sum::<usize>()
    }

    /// Checks everything that does not depend on the queue's settings.
    ///
    /// # Errors
    /// Names the parameter, as SQS calls it.
    pub fn check(&self, fifo: bool) -> Result<(), Invalid> {
        if self.body.is_empty() {
            return Err(Invalid::new("MessageBody", "must not be empty"));
        }
        legal_text(&self.body)?;
        if self.attributes.len() > MAX_ATTRIBUTES {
            let reason = format!("a message has at most {MAX_ATTRIBUTES}");
            return Err(Invalid::new("MessageAttributes", reason));
        }
        for (name, attribute) in &self.attributes {
            attribute.check(name)?;
        }
        for (field, value) in [
            ("MessageGroupId", &self.group),
            ("MessageDeduplicationId", &self.deduplication),
        ] {
            if value.as_ref().is_some_and(|text| !legal_token(text)) {
                let reason = "has 1 to 128 letters, digits and ASCII punctuation";
                return Err(Invalid::new(field, reason));
            }
        }
        if self.delay.is_some_and(|delay| delay > 900) {
            return Err(Invalid::new("DelaySeconds", "is 0 to 900"));
        }
        if fifo && self.delay.is_some_and(|delay| delay > 0) {
            let reason = "a FIFO queue has a delay of its own and none for a message";
            return Err(Invalid::new("DelaySeconds", reason));
        }
        if fifo && self.group.is_none() {
            let reason = "is missing: a message of a FIFO queue has a group";
            return Err(Invalid::new("MessageGroupId", reason));
        }
        if !fifo && self.deduplication.is_some() {
            let reason = "is for FIFO queues only";
            return Err(Invalid::new("MessageDeduplicationId", reason));
        }
        Ok(())
    }
}

/// A group's or deduplication's id: 1 to 128 letters, digits and ASCII punctuation.
pub fn legal_token(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Whether a message may hold the character: those that XML 1.0 allows (<https://www.w3.org/TR/REC-xml/#charsets>).
pub fn legal_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn legal_text(text: &str) -> Result<(), Invalid> {
    if text.chars().all(legal_char) {
        return Ok(());
    }
    let reason = "holds a character that is not allowed: only tab, line feed, carriage return and \
                  what XML allows above U+001F";
    Err(Invalid::new("InvalidMessageContents", reason))
}

/// A message that was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// As it was sent.
    pub sent: NewMessage,
    /// Orders all messages of the server: those of a FIFO queue are received by it.
    pub sequence: i64,
    /// How often it was received, in all queues that it was in, this time included.
    pub receives: u32,
    /// When it was received first.
    pub first_received: Timestamp,
    /// The queue that it was a dead letter of.
    pub dead_letter_of: Option<QueueName>,
    /// With which it is deleted, as long as it is not received again.
    pub handle: ReceiptHandle,
}

/// A place in the order of all messages as SQS writes it: 20 digits, so that it sorts as text too.
pub fn sequence_number(sequence: i64) -> String {
    format!("{sequence:020}")
}

impl Message {
    /// What is known of the message besides what its sender said, by SQS's names. `arn` names a queue.
    pub fn system_attributes(
        &self,
        arn: impl Fn(&QueueName) -> String,
    ) -> Vec<(&'static str, String)> {
        let sent = &self.sent;
        let ordered = sent.deduplication.is_some();
        let all = [
            ("SenderId", Some(sent.sender.clone())),
            ("SentTimestamp", Some(sent.sent.0.to_string())),
            ("ApproximateReceiveCount", Some(self.receives.to_string())),
            (
                "ApproximateFirstReceiveTimestamp",
                Some(self.first_received.0.to_string()),
            ),
            (
                "SequenceNumber",
                ordered.then(|| sequence_number(self.sequence)),
            ),
            ("MessageDeduplicationId", sent.deduplication.clone()),
            ("MessageGroupId", sent.group.clone()),
            ("AWSTraceHeader", sent.trace.clone()),
            (
                "DeadLetterQueueSourceArn",
                self.dead_letter_of.as_ref().map(arn),
            ),
        ];
        let known = all.into_iter();
        known
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> NewMessage {
        NewMessage {
            id: MessageId::generate(),
            body: body.to_owned(),
            attributes: BTreeMap::new(),
            trace: None,
            sender: "root".to_owned(),
            group: None,
            deduplication: None,
            digest: None,
            delay: None,
            sent: Timestamp(0),
            chain: Default::default(),
        }
    }

    fn with(name: &str, data_type: &str, value: AttributeValue) -> NewMessage {
        let data_type = data_type.to_owned();
        let attribute = MessageAttribute { data_type, value };
        NewMessage {
            attributes: BTreeMap::from([(name.to_owned(), attribute)]),
            ..message("b")
        }
    }

    #[test]
    fn what_xml_cannot_say_is_refused() {
        assert!(message("Grüße\t\r\n \u{10ffff}").check(false).is_ok());
        for bad in ["", "\0", "a\u{1b}b", "\u{ffff}"] {
            assert!(message(bad).check(false).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn attributes_have_a_name_a_type_and_a_value() {
        let text = |text: &str| AttributeValue::Text(text.to_owned());
        assert!(with("a.b", "String.x", text("v")).check(false).is_ok());
        assert!(with("a", "Number", text("-1.5e3")).check(false).is_ok());
        let binary = AttributeValue::Binary(Bytes::from_static(b"x"));
        assert!(with("a", "Binary", binary.clone()).check(false).is_ok());
        for (name, data_type, value) in [
            ("AWS.x", "String", text("v")),
            ("a..b", "String", text("v")),
            ("a", "String", text("")),
            ("a", "Number", text("one")),
            ("a", "String", binary),
            ("a", "Text", text("v")),
        ] {
            assert!(with(name, data_type, value).check(false).is_err(), "{name}");
        }
        assert_eq!(with("abc", "String", text("de")).size(), 1 + 3 + 6 + 2);
    }

    #[test]
    fn a_fifo_message_has_no_delay_and_a_standard_one_no_deduplication() {
        let group = Some("g".to_owned());
        let delayed = NewMessage {
            delay: Some(1),
            group: group.clone(),
            ..message("b")
        };
        assert!(delayed.check(false).is_ok());
        assert!(delayed.check(true).is_err());
        let deduplication = Some("d".to_owned());
        let message = NewMessage {
            deduplication,
            group,
            ..message("b")
        };
        assert!(message.check(true).is_ok());
        assert!(message.check(false).is_err());
    }
}
