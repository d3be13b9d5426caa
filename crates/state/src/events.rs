//! Table `event`: put, lease, settle, list.

use crate::{Result, State};
use model::{Event, EventFilter, EventId, NewEvent, Run, Target, Timestamp};

/// An event and the right to work on it until `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// The event; its `epoch` is this lease's.
    pub event: Event,
    /// When the lease ends by itself.
    pub until: Timestamp,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The target took it: an end state.
    Ack,
    /// Try again at `not_before`; the attempt is spent.
    Retry {
        /// No attempt before this.
        not_before: Timestamp,
        /// Why it failed.
        error: String,
    },
    /// Try again at `not_before`; the attempt is not spent (throttled, no instance, shutdown).
    Postpone {
        /// No attempt before this.
        not_before: Timestamp,
        /// Why.
        reason: String,
    },
    /// Dead letter: an end state.
    Bury {
        /// Why: "3 attempts failed", "older than 6 h", and the last error.
        error: String,
    },
}

/// The end of an attempt, with what it leaves, committed in one transaction.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// Which event.
    pub id: EventId,
    /// The lease's epoch. A settlement with another epoch than the event's changes nothing.
    pub epoch: u64,
    /// What became of it.
    pub verdict: Verdict,
    /// The record of the attempt, if there was one.
    pub run: Option<Run>,
    /// When the attempt ended.
    pub at: Timestamp,
}

/// How many events of one target are where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventCounts {
    /// Waiting, due or not.
    pub waiting: u64,
    /// Under way.
    pub leased: u64,
    /// Ended well.
    pub succeeded: u64,
    /// Dead letters.
    pub dead: u64,
}

impl State {
    /// Accepts events; answers when they are on disk. An id that is there already is left alone.
    ///
    /// # Errors
    /// Of the store.
    pub async fn put_events(&self, events: Vec<NewEvent>) -> Result<()> {
        let _ = events;
        todo!()
    }

    /// Leases up to `limit` due events of `target`, oldest first. Expired leases count as due.
    ///
    /// # Errors
    /// Of the store.
    pub async fn lease_events(
        &self,
        target: &Target,
        limit: u32,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Leased>> {
        let _ = (target, limit, now, until);
        todo!()
    }

    /// Records the end of an attempt. Gives `false`, and changes nothing, if the lease was lost.
    ///
    /// # Errors
    /// Of the store.
    pub async fn settle_event(&self, settlement: Settlement) -> Result<bool> {
        let _ = settlement;
        todo!()
    }

    /// Targets with an event that is due at `now`, each with the time of its oldest due event.
    ///
    /// # Errors
    /// Of the store.
    pub async fn due_targets(&self, now: Timestamp) -> Result<Vec<(Target, Timestamp)>> {
        let _ = now;
        todo!()
    }

    /// When the next event becomes due that is not due at `now` (a retry's time, a lease's end).
    ///
    /// # Errors
    /// Of the store.
    pub async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let _ = now;
        todo!()
    }

    /// Resolves when events were accepted or made due since the last call; for one dispatcher.
    pub async fn events_changed(&self) {
        todo!()
    }

    /// One event with its runs.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_event(&self, id: EventId) -> Result<Event> {
        let _ = id;
        todo!()
    }

    /// Events that fit the filter, newest first, without their runs.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_events(&self, filter: EventFilter) -> Result<Vec<Event>> {
        let _ = filter;
        todo!()
    }

    /// How many events are where, for each target key.
    ///
    /// # Errors
    /// Of the store.
    pub async fn count_events(&self) -> Result<Vec<(String, EventCounts)>> {
        todo!()
    }

    /// Deletes up to `limit` events that ended before `before`, and their runs. Gives how many.
    ///
    /// # Errors
    /// Of the store.
    pub async fn purge_events(&self, before: Timestamp, limit: u32) -> Result<u64> {
        let _ = (before, limit);
        todo!()
    }
}
