//! Events: what is durable and wakes something.

use crate::{
    BucketName, BusName, Delivery, FunctionName, QueueName, Run, ServiceName, Timestamp,
    WebhookName,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An event's identity: a UUID version 7, so that ids sort by time of acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub uuid::Uuid);

impl EventId {
    /// A new one, later than all made before in this process and all that it follows.
    pub fn generate() -> Self {
        Self(crate::identity::ordered())
    }

    /// Lets every id that is made from now on be later than this one, which a process before this may
    /// have made when the clock was ahead.
    pub fn follow(self) {
        crate::identity::follow(self.0);
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for EventId {
    type Err = crate::Invalid;
    fn from_str(text: &str) -> Result<Self, crate::Invalid> {
        let parsed = text
            .parse()
            .map_err(|_| crate::Invalid::new("event id", "must be a UUID"))?;
        Ok(Self(parsed))
    }
}

/// What an event wakes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// A function.
    Function {
        /// Its name.
        name: FunctionName,
    },
    /// A resident service, by a CloudEvent over HTTP.
    Service {
        /// Its name.
        name: ServiceName,
        /// Path that takes the POST, such as `/events`.
        path: String,
    },
    /// A queue, by a message whose body is the payload. A FIFO queue needs [`Delivery::group`].
    Queue {
        /// Its name.
        name: QueueName,
    },
    /// A bus, whose rules say what is woken.
    Bus {
        /// Its name.
        name: BusName,
    },
    /// An address outside, by a signed CloudEvent over HTTP.
    Webhook {
        /// Its name.
        name: WebhookName,
    },
    /// A bucket, by an object whose bytes are the payload.
    Bucket {
        /// Its name.
        name: BucketName,
    },
}

impl Target {
    /// One word for tables and keys: `function:thumbnail`, `service:catalog/events`, `queue:orders`,
    /// `bus:default`, `webhook:billing` or `bucket:records`.
    pub fn key(&self) -> String {
        match self {
            Self::Bus { name } => format!("bus:{name}"),
            Self::Webhook { name } => format!("webhook:{name}"),
            Self::Bucket { name } => format!("bucket:{name}"),
            Self::Function { name } => format!("function:{name}"),
            Self::Service { name, path } => format!("service:{name}{path}"),
            Self::Queue { name } => format!("queue:{name}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key())
    }
}

/// An event for one target, not yet accepted. One change that wakes two targets is two events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Its identity.
    pub id: EventId,
    /// What it wakes.
    pub target: Target,
    /// Where it comes from, such as `s3:photos`, `invoke` or `replay` (CloudEvents `source`).
    pub source: String,
    /// What happened, such as `s3:ObjectCreated:Put` (CloudEvents `type`).
    pub kind: String,
    /// To what it happened, such as the object's key (CloudEvents `subject`).
    pub subject: String,
    /// The body that the target is given: JSON, 1 MiB at most.
    pub payload: Bytes,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// The event that caused this one.
    pub cause: Option<EventId>,
    /// The event that this one repeats.
    pub replay_of: Option<EventId>,
    /// What its maker wants of its delivery.
    pub delivery: Delivery,
}

/// Where an event is in its life. All but the first two are end states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventState {
    /// Accepted, or waiting for its next attempt.
    Waiting,
    /// An attempt is under way.
    Leased,
    /// Its target took it.
    Succeeded,
    /// A dead letter: every attempt failed, or none could succeed.
    Dead,
    /// It grew too old before it succeeded.
    Expired,
    /// Its target was deleted before it succeeded.
    Cancelled,
}

impl EventState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Waiting,
        Self::Leased,
        Self::Succeeded,
        Self::Dead,
        Self::Expired,
        Self::Cancelled,
    ];

    /// The end states: each event comes to exactly one. Whatever has ended can be replayed.
    pub const ENDED: [Self; 4] = [Self::Succeeded, Self::Dead, Self::Expired, Self::Cancelled];

    /// Whether it is an end state.
    pub fn is_end(self) -> bool {
        Self::ENDED.contains(&self)
    }

    /// The word kept in the store and shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Leased => "leased",
            Self::Succeeded => "succeeded",
            Self::Dead => "dead",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

impl std::str::FromStr for EventState {
    type Err = crate::Invalid;
    fn from_str(text: &str) -> Result<Self, crate::Invalid> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| {
                let words = "must be waiting, leased, succeeded, dead, expired or cancelled";
                crate::Invalid::new("state", words)
            })
    }
}

/// An event as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What was accepted.
    pub accepted: NewEvent,
    /// Where it is in its life.
    pub state: EventState,
    /// Attempts that ended, the successful one included.
    pub attempts: u32,
    /// Grows by one at each lease; a settlement must carry the current one.
    pub epoch: u64,
    /// No attempt is made before this.
    pub not_before: Timestamp,
    /// Why the last attempt failed, or why the event ended without success.
    pub last_error: Option<String>,
    /// How many events stand before it in its chain of causes; 0 without a cause. What is deeper than
    /// the server's bound is not attempted.
    pub depth: u32,
    /// When its end state was recorded.
    pub ended: Option<Timestamp>,
    /// Its attempts, oldest first; empty in listings.
    pub runs: Vec<Run>,
}

/// Which events to list. Newest first.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only of this target key ([`Target::key`]); a bare `function:NAME` or `service:NAME` prefix too.
    pub target: Option<String>,
    /// Only in this state.
    pub state: Option<EventState>,
    /// Only accepted at this time or later.
    pub since: Option<Timestamp>,
    /// Only before this id (for paging).
    pub before: Option<EventId>,
    /// At most this many: 1 to 1 000.
    pub limit: u32,
}
