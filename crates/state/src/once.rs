//! Table `accepted`: events whose sender names them, accepted once however often they are sent.

use crate::error::Failure;
use crate::events::insert;
use crate::row::{event_id, first, run};
use crate::{Result, State, crash};
use model::{EventId, NewEvent, Timestamp};
use rusqlite::params;
use std::time::Duration;

/// For how long a name is remembered: a day.
const MEMORY: Duration = Duration::from_secs(24 * 3600);

/// Names that are forgotten in one step at most.
const SWEEP: u32 = 1000;

/// A name that a sender chose for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderName {
    /// The name, unique among all senders.
    pub key: String,
    /// SHA-256 of what is sent under it; what comes under the same name must have the same. `None` if
    /// the name alone says that it is the same.
    pub digest: Option<[u8; 32]>,
}

impl State {
    /// Accepts events, all in one step, some under names that their senders chose. Gives for each the
    /// id of the event that was accepted under its name within a day, which is its own if it is the
    /// first or has no name.
    ///
    /// # Errors
    /// `Conflict` when something else was sent under a name; then none is accepted.
    pub async fn put_events_once(
        &self,
        events: Vec<(Option<SenderName>, NewEvent)>,
    ) -> Result<Vec<EventId>> {
        self.write("accepting events once", move |tx| {
            let now = Timestamp::now();
            let forgotten = now.0 - i64::try_from(MEMORY.as_millis()).unwrap_or(i64::MAX);
            let sql = "DELETE FROM accepted WHERE key IN
                           (SELECT key FROM accepted WHERE at < ?1 ORDER BY at LIMIT ?2)";
            run(tx, sql, params![forgotten, SWEEP])?;
            let mut ids = Vec::new();
            for (name, event) in events {
                let Some(SenderName { key, digest }) = name else {
                    ids.push(event.id);
                    insert(tx, &[event])?;
                    continue;
                };
                let sql = "SELECT first, digest FROM accepted WHERE key = ?1 AND at >= ?2";
                let known = first(tx, sql, params![key, forgotten], |row| {
                    Ok((
                        event_id(row, "first")?,
                        row.get::<_, Option<Vec<u8>>>("digest")?,
                    ))
                })?;
                if let Some((Some(id), before)) = known {
                    if before.as_deref() != digest.as_ref().map(<[u8; 32]>::as_slice) {
                        let reason = "stands for another event since less than a day ago";
                        return Err(Failure::conflict("name of an event", key, reason));
                    }
                    ids.push(id);
                    continue;
                }
                let sql = "REPLACE INTO accepted (key, at, first, digest) VALUES (?1, ?2, ?3, ?4)";
                let first = event.id.0.into_bytes();
                run(tx, sql, params![key, now.0, first, digest])?;
                crash::point("name-remembered");
                ids.push(event.id);
                insert(tx, &[event])?;
            }
            Ok(ids)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{event, function, store};

    fn named(key: &str, digest: Option<u8>) -> Option<SenderName> {
        Some(SenderName {
            key: key.to_owned(),
            digest: digest.map(|byte| [byte; 32]),
        })
    }

    #[tokio::test]
    async fn one_name_is_one_event_for_a_day() {
        let (folder, state) = store().await;
        let new = || event(&function("f"), 1);
        let (first, second) = (new(), new());
        let put = vec![
            (named("a", None), first.clone()),
            (named("a", None), second.clone()),
        ];
        assert_eq!(
            state.put_events_once(put).await.unwrap(),
            [first.id, first.id]
        );
        state.close().await;
        let state = State::open(folder.path()).await.unwrap();
        let put = vec![
            (named("a", None), second.clone()),
            (named("b", None), second.clone()),
        ];
        assert_eq!(
            state.put_events_once(put).await.unwrap(),
            [first.id, second.id]
        );
        let age = "UPDATE accepted SET at = at - 86400001 WHERE key = 'a'";
        state
            .write("ageing", move |tx| run(tx, age, []))
            .await
            .unwrap();
        let third = new();
        let put = vec![(named("a", None), third.clone())];
        assert_eq!(state.put_events_once(put).await.unwrap(), [third.id]);
    }

    #[tokio::test]
    async fn a_name_that_stands_for_something_else_is_refused_with_all_that_came_along() {
        let (_folder, state) = store().await;
        let new = || event(&function("f"), 1);
        let (first, second, other) = (new(), new(), new());
        let put = vec![(named("a", Some(1)), first.clone())];
        assert_eq!(state.put_events_once(put).await.unwrap(), [first.id]);
        let put = vec![(named("a", Some(1)), second.clone())];
        assert_eq!(state.put_events_once(put).await.unwrap(), [first.id]);
        for digest in [Some(2), None] {
            let put = vec![(None, other.clone()), (named("a", digest), second.clone())];
            let error = state.put_events_once(put).await.unwrap_err();
            assert_eq!(error.kind(), model::Kind::Conflict);
        }
        assert!(state.get_event(other.id).await.is_err());
        assert!(state.get_event(second.id).await.is_err());
    }
}
