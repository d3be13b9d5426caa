//! Events: accepted, listed, replayed.

use crate::{Engine, Result};
use model::{Event, EventFilter, EventId, NewEvent};

impl Engine {
    /// Accepts an event; when this answers, it is on disk. Its target must exist.
    ///
    /// # Errors
    /// `NotFound` (target), `Refused` (payload over 1 MiB), `Draining`.
    pub async fn submit(&self, event: NewEvent) -> Result<EventId> {
        let _ = event;
        todo!()
    }

    /// Accepts the same event once more, as a new one that names the old.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn replay_event(&self, id: EventId) -> Result<EventId> {
        let _ = id;
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

    /// Events that fit, newest first.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_events(&self, filter: EventFilter) -> Result<Vec<Event>> {
        let _ = filter;
        todo!()
    }
}
