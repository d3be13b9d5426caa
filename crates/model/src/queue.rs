//! Queues: their names, their settings and the bounds of both, as SQS has them
//! (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html>).

mod message;
mod receipt;

pub use message::{
    AttributeValue, MAX_MESSAGE, Message, MessageAttribute, MessageId, NewMessage, legal_char,
    legal_token, sequence_number,
};
pub use receipt::ReceiptHandle;

use crate::name::name;
use crate::{Invalid, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Most messages of one queue that may be in flight: 120 000.
pub const MAX_IN_FLIGHT: u64 = 120_000;
/// Most messages in one call of the SQS API: 10.
pub const MAX_BATCH: usize = 10;
/// How long a deduplication id is remembered, in milliseconds: 5 minutes.
pub const DEDUPLICATION: i64 = 300_000;

name!(
    /// A queue's name: 1 to 80 of `A-Z a-z 0-9 - _`. One that ends with `.fifo` (which counts) keeps
    /// the order of its messages.
    QueueName,
    "queue name",
    check_queue
);

impl QueueName {
    /// Whether the queue keeps the order of its messages.
    pub fn is_fifo(&self) -> bool {
        self.as_str().ends_with(".fifo")
    }
}

fn check_queue(text: &str) -> Result<(), &'static str> {
    let stem = text.strip_suffix(".fifo").unwrap_or(text);
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if stem.is_empty() || text.len() > 80 || !stem.bytes().all(legal) {
        return Err("must be 1 to 80 letters, digits, '-' or '_', and may end with .fifo");
    }
    Ok(())
}

/// Where messages go that were received too often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redrive {
    /// The dead-letter queue: of the same sort as this one.
    pub dead_letter: QueueName,
    /// Receives after which a message goes there instead of being received once more: 1 to 1 000.
    pub max_receives: u32,
}

/// Whose dead-letter queue this one may be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RedriveAllow {
    /// Every queue's.
    #[default]
    All,
    /// No queue's.
    Nobody,
    /// That of these queues: 10 at most.
    Queues(Vec<QueueName>),
}

/// What a user declares of a queue. Durations are seconds, as in SQS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueAttributes {
    /// How long a new message is hidden: 0 to 900; 0 by default.
    pub delay: u32,
    /// Largest message in bytes, attributes included: 1 024 to 1 048 576, which is the default.
    pub max_message: u32,
    /// How long a message is kept: 60 to 1 209 600; 345 600 (4 days) by default.
    pub retention: u32,
    /// How long a receive waits for a message if it does not say: 0 to 20; 0 by default.
    pub wait: u32,
    /// How long a received message is hidden: 0 to 43 200; 30 by default.
    pub visibility: u32,
    /// The dead-letter queue, if there is one.
    pub redrive: Option<Redrive>,
    /// Whose dead-letter queue this may be.
    pub redrive_allow: RedriveAllow,
    /// FIFO: the digest of a body stands in for a deduplication id that is not given.
    pub content_deduplication: bool,
    /// FIFO: deduplication ids count for each message group, not for the queue.
    pub deduplicate_by_group: bool,
    /// FIFO: the throughput limit is said to be for each message group. There is none here.
    pub limit_by_group: bool,
    /// An access policy: kept and given back, not interpreted. 8 KiB at most.
    pub policy: Option<String>,
}

impl Default for QueueAttributes {
    fn default() -> Self {
        Self {
            delay: 0,
            max_message: 1_048_576,
            retention: 345_600,
            wait: 0,
            visibility: 30,
            redrive: None,
            redrive_allow: RedriveAllow::All,
            content_deduplication: false,
            deduplicate_by_group: false,
            limit_by_group: false,
            policy: None,
        }
    }
}

impl QueueAttributes {
    /// Checks every bound above, for a queue of this name.
    ///
    /// # Errors
    /// Names the first attribute, as SQS calls it, that is out of its bounds.
    pub fn check(&self, name: &QueueName) -> Result<(), Invalid> {
        let within = |field: &str, value: u32, least: u32, most: u32| {
            if value < least || value > most {
                let reason = format!("{value} is outside {least} to {most}");
                return Err(Invalid::new(field, reason));
            }
            Ok(())
        };
        within("DelaySeconds", self.delay, 0, 900)?;
        within("MaximumMessageSize", self.max_message, 1_024, 1_048_576)?;
        within("MessageRetentionPeriod", self.retention, 60, 1_209_600)?;
        within("ReceiveMessageWaitTimeSeconds", self.wait, 0, 20)?;
        within("VisibilityTimeout", self.visibility, 0, 43_200)?;
        if let Some(redrive) = &self.redrive {
            within("maxReceiveCount", redrive.max_receives, 1, 1_000)?;
            if redrive.dead_letter.is_fifo() != name.is_fifo() {
                let reason = "a FIFO queue's dead-letter queue is a FIFO queue, a standard queue's a standard one";
                return Err(Invalid::new("RedrivePolicy", reason));
            }
        }
        if matches!(&self.redrive_allow, RedriveAllow::Queues(queues) if queues.is_empty() || queues.len() > 10)
        {
            let reason = "byQueue names 1 to 10 queues";
            return Err(Invalid::new("RedriveAllowPolicy", reason));
        }
        if self.policy.as_ref().is_some_and(|text| text.len() > 8_192) {
            return Err(Invalid::new("Policy", "has at most 8192 bytes"));
        }
        let fifo_only =
            self.content_deduplication || self.deduplicate_by_group || self.limit_by_group;
        if fifo_only && !name.is_fifo() {
            let reason = "is for FIFO queues only, whose names end with .fifo";
            return Err(Invalid::new("ContentBasedDeduplication", reason));
        }
        if self.limit_by_group && !self.deduplicate_by_group {
            let reason = "perMessageGroupId needs DeduplicationScope messageGroup";
            return Err(Invalid::new("FifoThroughputLimit", reason));
        }
        Ok(())
    }
}

/// A queue that a manifest declares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueSpec {
    /// Its name, unique in the server.
    pub name: QueueName,
    /// Its settings. On deploy, they replace what was there.
    #[serde(default)]
    pub attributes: QueueAttributes,
}

/// A queue as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: QueueName,
    /// When it was made.
    pub created: Timestamp,
    /// When its attributes were last changed.
    pub modified: Timestamp,
    /// Its settings.
    pub attributes: QueueAttributes,
    /// Its tags: 50 at most.
    pub tags: BTreeMap<String, String>,
}

/// How many messages of a queue are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueCounts {
    /// Those that can be received now.
    pub visible: u64,
    /// Received, not deleted, and still hidden.
    pub in_flight: u64,
    /// Sent with a delay that is not over.
    pub delayed: u64,
}

/// Where a move of dead letters is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MoveState {
    /// Messages are being moved.
    Running,
    /// All were moved.
    Completed,
    /// It was stopped by its owner.
    Cancelled,
    /// It could not go on.
    Failed,
}

impl MoveState {
    /// As SQS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Cancelled => "CANCELLED",
            Self::Failed => "FAILED",
        }
    }
}

impl FromStr for MoveState {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        [
            Self::Running,
            Self::Completed,
            Self::Cancelled,
            Self::Failed,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
        .ok_or_else(|| Invalid::new("status", "is not one of a move's"))
    }
}

/// A move of dead letters back to where they came from, or to another queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveTask {
    /// Names it.
    pub id: uuid::Uuid,
    /// The dead-letter queue that is emptied.
    pub source: QueueName,
    /// Where messages go; `None` for the queue that each came from.
    pub destination: Option<QueueName>,
    /// Most messages a second: 1 to 500; `None` for as fast as it goes.
    pub rate: Option<u32>,
    /// Where it is in its life.
    pub state: MoveState,
    /// When it began.
    pub started: Timestamp,
    /// Messages moved so far.
    pub moved: u64,
    /// How many there were to move when it began.
    pub to_move: u64,
    /// Why it failed.
    pub failure: Option<String>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn queue_names_follow_sqs() {
        let longest = "x".repeat(80);
        for good in ["a", "orders_1-b", "orders.fifo", longest.as_str()] {
            assert!(good.parse::<QueueName>().is_ok(), "{good}");
        }
        assert!("orders.fifo".parse::<QueueName>().unwrap().is_fifo());
        let long = format!("{}.fifo", "x".repeat(76));
        for bad in ["", ".fifo", "a.b", "a.fifo.fifo", "a b", long.as_str()] {
            assert!(bad.parse::<QueueName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn bounds_are_named_as_sqs_names_them() {
        let standard: QueueName = "q".parse().unwrap();
        let fifo: QueueName = "q.fifo".parse().unwrap();
        let fault = |attributes: QueueAttributes, name| attributes.check(name).unwrap_err().field;
        let default = QueueAttributes::default;
        assert!(default().check(&standard).is_ok());
        let delay = QueueAttributes {
            delay: 901,
            ..default()
        };
        assert_eq!(fault(delay, &standard), "DelaySeconds");
        let redrive = QueueAttributes {
            redrive: Some(Redrive {
                dead_letter: standard.clone(),
                max_receives: 3,
            }),
            ..default()
        };
        assert!(redrive.check(&standard).is_ok());
        assert_eq!(fault(redrive, &fifo), "RedrivePolicy");
        let content = QueueAttributes {
            content_deduplication: true,
            ..default()
        };
        assert!(content.check(&fifo).is_ok());
        assert_eq!(fault(content, &standard), "ContentBasedDeduplication");
    }
}
