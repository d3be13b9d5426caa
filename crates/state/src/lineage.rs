//! What came of an event and what it came of.

use crate::error::{Done, Failure};
use crate::events::find;
use crate::row::{all, event_id};
use crate::{Result, State, partitions};
use model::{Event, EventId};
use rusqlite::{Connection, params};

/// Causes of causes that are told of one event, and events of each kind that came of it.
const MAX_TOLD: u32 = 100;

/// The relatives of an event, without runs and payloads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lineage {
    /// What caused it, what caused that, and so on: 100 at most. It ends where one is not kept any more.
    pub causes: Vec<Event>,
    /// What it caused, oldest first: the first 100.
    pub effects: Vec<Event>,
    /// What repeats it, oldest first: the first 100.
    pub replays: Vec<Event>,
}

fn bare(db: &Connection, id: EventId) -> Done<Option<Event>> {
    let mut event = find(db, id)?;
    if let Some(event) = &mut event {
        event.accepted.payload = bytes::Bytes::new();
    }
    Ok(event)
}

/// The first events whose `column` (`cause` or `replay_of`, by the index `index`) names this one. They
/// are in its partition or a later one.
fn naming(db: &Connection, column: &str, index: &str, id: EventId) -> Done<Vec<Event>> {
    let mut events = Vec::new();
    for part in partitions::holders(db, id)? {
        let sql = format!(
            "SELECT id FROM event_{part} INDEXED BY {index}_{part}
             WHERE {column} = ?1 AND {column} IS NOT NULL ORDER BY id LIMIT ?2"
        );
        let left = MAX_TOLD.saturating_sub(u32::try_from(events.len()).unwrap_or(MAX_TOLD));
        let ids = all(db, &sql, params![id.0.into_bytes(), left], |row| {
            event_id(row, "id")?.ok_or_else(|| Failure::Corrupt("column id is null".to_owned()))
        })?;
        for id in ids {
            events.extend(bare(db, id)?);
        }
    }
    Ok(events)
}

fn lineage(db: &Connection, id: EventId) -> Done<Lineage> {
    let mut causes: Vec<Event> = Vec::new();
    let mut next = find(db, id)?.and_then(|event| event.accepted.cause);
    while let (Some(cause), true) = (next, causes.len() < MAX_TOLD as usize) {
        let Some(event) = bare(db, cause)? else { break };
        next = event.accepted.cause;
        causes.push(event);
    }
    Ok(Lineage {
        causes,
        effects: naming(db, "cause", "event_cause", id)?,
        replays: naming(db, "replay_of", "event_replay", id)?,
    })
}

impl State {
    /// The relatives of an event; none for one that is not kept.
    ///
    /// # Errors
    /// Of the store.
    pub async fn event_lineage(&self, id: EventId) -> Result<Lineage> {
        self.read("reading what came of an event", move |db| lineage(db, id))
            .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{event, function, store};
    use model::NewEvent;

    #[tokio::test]
    async fn relatives_are_told_in_both_directions() {
        let (_folder, state) = store().await;
        let first = event(&function("f"), 1);
        let of = |cause: &NewEvent| NewEvent {
            cause: Some(cause.id),
            ..event(&function("g"), 2)
        };
        let second = of(&first);
        let (third, other) = (of(&second), of(&second));
        let again = NewEvent {
            replay_of: Some(second.id),
            ..of(&first)
        };
        let all = [&first, &second, &third, &other, &again];
        state
            .put_events(all.map(Clone::clone).to_vec())
            .await
            .unwrap();
        let ids = |events: &[Event]| -> Vec<EventId> {
            events.iter().map(|event| event.accepted.id).collect()
        };
        let of_second = state.event_lineage(second.id).await.unwrap();
        assert_eq!(ids(&of_second.causes), [first.id]);
        assert_eq!(ids(&of_second.effects), [third.id, other.id]);
        assert_eq!(ids(&of_second.replays), [again.id]);
        let of_third = state.event_lineage(third.id).await.unwrap();
        assert_eq!(ids(&of_third.causes), [second.id, first.id]);
        assert!(of_third.causes[0].accepted.payload.is_empty());
        let none = state.event_lineage(EventId::generate()).await.unwrap();
        assert_eq!(none, Lineage::default());
    }
}
