//! Events: accepted, listed, replayed.

use crate::{Engine, Error, Result};
use model::{
    Event, EventFilter, EventId, Invalid, MAX_ASYNC_PAYLOAD, NewEvent, Principal, Qualifier,
    Target, Timestamp,
};
use sha2_next::{Digest as _, Sha256};
use state::{SenderName, crash};

/// Longest idempotency key, in bytes.
const MAX_KEY: usize = 255;

impl Engine {
    /// Accepts an event; when this answers, it is on disk. Its target must exist.
    ///
    /// # Errors
    /// `NotFound` (target), `Refused` (payload over 1 MiB). While the server shuts down events are
    /// still accepted, since functions that are at work may submit some: the next start goes on.
    pub async fn submit(&self, event: NewEvent) -> Result<EventId> {
        self.check_event(&event).await?;
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
            self.check_event(event).await?;
        }
        let by_name = |key| SenderName { key, digest: None };
        let events = events.into_iter();
        let events = events
            .map(|(key, event)| (key.map(by_name), event))
            .collect();
        Ok(self.corridor.state.put_events_once(events).await?)
    }

    /// Accepts an event for a function under a key that its sender chose: the same key of the same sender for the same
    /// function within a day is one event. A function that was deleted and made again is another one. Gives the id of
    /// the event that was accepted under it.
    ///
    /// # Errors
    /// As [`Engine::submit`]; `Invalid` (key); `State` (`Conflict`: the key came with another payload).
    pub async fn submit_keyed(
        &self,
        sender: &Principal,
        key: &str,
        event: NewEvent,
    ) -> Result<EventId> {
        let legal = |b: u8| b.is_ascii_graphic() || b == b' ';
        if key.is_empty() || key.len() > MAX_KEY || !key.bytes().all(legal) {
            let reason = format!("must be 1 to {MAX_KEY} printable ASCII characters");
            return Err(Invalid::new("idempotency key", reason).into());
        }
        self.check_event(&event).await?;
        let id = event.id;
        let made = match &event.target {
            Target::Function { name } => self.get_function(name).await?.created.0,
            _ => {
                return Err(Error::Refused(
                    "only events for functions have keys".to_owned(),
                ));
            }
        };
        // The same payload for another version is something else.
        let mut digest = Sha256::new().chain_update(&event.payload);
        if let Some(version) = &event.delivery.qualifier {
            digest.update(format!("\0{version}"));
        }
        let name = SenderName {
            key: format!("key:{} {} {made} {key}", sender.key(), event.target),
            digest: Some(digest.finalize().into()),
        };
        let accepted = self
            .corridor
            .state
            .put_events_once(vec![(Some(name), event)]);
        let accepted = accepted.await.map_err(|error| match error {
            state::Error::Conflict { .. } => state::Error::Conflict {
                what: "idempotency key",
                name: key.to_owned(),
                reason: "came with another payload or version less than a day ago; take a new key for a new \
                         event"
                    .to_owned(),
            },
            error => error,
        })?;
        Ok(accepted.first().copied().unwrap_or(id))
    }

    async fn check_event(&self, event: &NewEvent) -> Result<()> {
        event.delivery.check(&event.target)?;
        self.check_target(&event.target).await?;
        check_size(event)
    }

    /// Accepts the same event once more, as a new one that names the old: for this version of its
    /// function, or without one where the old one went.
    ///
    /// # Errors
    /// `NotFound`, the event, its target or the version; `Invalid` for a version of what is no function.
    pub async fn replay_event(&self, id: EventId, version: Option<Qualifier>) -> Result<EventId> {
        let mut old = self.corridor.state.get_event(id).await?.accepted;
        if let Some(version) = version {
            self.check_version(&old.target.key(), &version).await?;
            old.delivery.qualifier = Some(version);
        }
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
            Target::Queue { name } => Ok(self
                .corridor
                .state
                .get_queue(name.clone())
                .await
                .map(drop)?),
            Target::Bucket { name } => {
                Ok(self.corridor.storage.get_bucket(name).await.map(drop)?)
            }
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
