//! Events as the control API shows them.

use model::{EventId, EventState, LogLine, Qualifier, Run, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EventView {
    /// Its identity.
    pub(crate) id: EventId,
    /// What it wakes, as [`model::Target::key`].
    pub(crate) target: String,
    /// Which version of a function works on it, if its maker said so.
    #[serde(default)]
    pub(crate) qualifier: Option<Qualifier>,
    /// Where it comes from.
    pub(crate) source: String,
    /// What happened.
    pub(crate) kind: String,
    /// To what it happened.
    pub(crate) subject: String,
    /// When it was accepted.
    pub(crate) accepted: Timestamp,
    /// Where it is in its life.
    pub(crate) state: EventState,
    /// Attempts that ended.
    pub(crate) attempts: u32,
    /// Leases so far.
    pub(crate) epoch: u64,
    /// No attempt is made before this.
    pub(crate) not_before: Timestamp,
    /// Why the last attempt failed.
    pub(crate) last_error: Option<String>,
    /// How many events stand before it in its chain of causes.
    #[serde(default)]
    pub(crate) depth: u32,
    /// When its end state was recorded.
    pub(crate) ended: Option<Timestamp>,
    /// The event that caused it.
    pub(crate) cause: Option<EventId>,
    /// The event that it repeats.
    pub(crate) replay_of: Option<EventId>,
    /// Its body; absent in listings.
    #[serde(default)]
    pub(crate) payload: serde_json::Value,
    /// Its attempts, oldest first; empty in listings.
    #[serde(default)]
    pub(crate) runs: Vec<Run>,
}

impl EventView {
    /// What it wakes, with the version that was named.
    pub(crate) fn woken(&self) -> String {
        match &self.qualifier {
            Some(qualifier) => format!("{}:{qualifier}", self.target),
            None => self.target.clone(),
        }
    }
}

/// One event and its whole life.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EventLife {
    /// The event.
    #[serde(flatten)]
    pub(crate) event: EventView,
    /// What caused it, what caused that, and so on.
    pub(crate) causes: Vec<EventView>,
    /// What it caused, oldest first.
    pub(crate) effects: Vec<EventView>,
    /// What repeats it, oldest first.
    pub(crate) replays: Vec<EventView>,
    /// What its last attempts logged, by request.
    pub(crate) logs: BTreeMap<String, Vec<LogLine>>,
}

/// A page of events.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EventPage {
    /// Newest first.
    pub(crate) events: Vec<EventView>,
}

/// The answer to what makes an event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NewEventAnswer {
    /// The event that was made.
    pub(crate) event_id: EventId,
}
