//! Events: accepted, listed, replayed.

use crate::{Engine, Error, Result};
use model::{Event, EventFilter, EventId, MAX_ASYNC_PAYLOAD, NewEvent, Target, Timestamp};
use state::crash;

impl Engine {
    /// Accepts an event; when this answers, it is on disk. Its target must exist.
    ///
    /// # Errors
    /// `NotFound` (target), `Refused` (payload over 1 MiB). While the server shuts down events are
    /// still accepted, since functions that are at work may submit some: the next start goes on.
    pub async fn submit(&self, event: NewEvent) -> Result<EventId> {
        self.check_target(&event.target).await?;
        check_size(&event)?;
        let id = event.id;
        crash::point("submitted");
        self.corridor.state.put_events(vec![event]).await?;
        crash::point("accepted");
        Ok(id)
    }

    /// Accepts several events, all or none; when this answers, they are on disk. Where a sender's name
    /// for an event is given, and one of that name was accepted within a day, it is not accepted again.
    /// Gives the ids under which each was accepted.
    ///
    /// # Errors
    /// As [`Engine::submit`], and then none is accepted.
    pub async fn submit_all(
        &self,
        events: Vec<(Option<String>, NewEvent)>,
    ) -> Result<Vec<EventId>> {
        for (_, event) in &events {
            self.check_target(&event.target).await?;
            check_size(event)?;
        }
        Ok(self.corridor.state.put_events_once(events).await?)
    }

    /// Accepts the same event once more, as a new one that names the old.
    ///
    /// # Errors
    /// `NotFound`, the event or its target.
    pub async fn replay_event(&self, id: EventId) -> Result<EventId> {
        let old = self.corridor.state.get_event(id).await?.accepted;
        crash::point("replay-read");
        self.submit(NewEvent {
            id: EventId::generate(),
            accepted: Timestamp::now(),
            replay_of: Some(id),
            ..old
        })
        .await
    }

    /// One event with its runs.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_event(&self, id: EventId) -> Result<Event> {
        Ok(self.corridor.state.get_event(id).await?)
    }

    /// Events that fit, newest first.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_events(&self, filter: EventFilter) -> Result<Vec<Event>> {
        Ok(self.corridor.state.list_events(filter).await?)
    }

    /// Whether there is what a target names.
    pub(crate) async fn check_target(&self, target: &Target) -> Result<()> {
        match target {
            Target::Function { name } => self.corridor.functions.pool(name).map(drop),
            Target::Service { name, .. } => self.corridor.services.get(name).map(drop),
            Target::Queue { name } if name.is_fifo() => Err(Error::Refused(format!(
                "the queue \"{name}\" is a FIFO queue, and an event has no message group: name a \
                 standard queue"
            ))),
            Target::Queue { name } => Ok(self
                .corridor
                .state
                .get_queue(name.clone())
                .await
                .map(drop)?),
            Target::Webhook { name } => self.corridor.webhooks.get(name).map(drop),
            Target::Bus { name } => self.corridor.buses.rules(name).map(drop),
        }
    }
}

fn check_size(event: &NewEvent) -> Result<()> {
    let size = event.payload.len();
    if size <= MAX_ASYNC_PAYLOAD {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "the event's payload is {size} bytes, more than {MAX_ASYNC_PAYLOAD}"
    )))
}
