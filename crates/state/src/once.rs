//! Table `accepted`: events whose sender names them, accepted once however often they are sent.

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

impl State {
    /// Accepts events, all in one step, some under names that their senders chose. Gives for each the
    /// id of the event that was accepted under its name within a day, which is its own if it is the
    /// first or has no name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn put_events_once(
        &self,
        events: Vec<(Option<String>, NewEvent)>,
    ) -> Result<Vec<EventId>> {
        self.write("accepting events once", move |tx| {
            let now = Timestamp::now();
            let forgotten = now.0 - i64::try_from(MEMORY.as_millis()).unwrap_or(i64::MAX);
            let sql = "DELETE FROM accepted WHERE key IN
                           (SELECT key FROM accepted WHERE at < ?1 ORDER BY at LIMIT ?2)";
            run(tx, sql, params![forgotten, SWEEP])?;
            let mut ids = Vec::new();
            for (key, event) in events {
                let Some(key) = key else {
                    ids.push(event.id);
                    insert(tx, &[event])?;
                    continue;
                };
                let sql = "SELECT first FROM accepted WHERE key = ?1 AND at >= ?2";
                let known = first(tx, sql, params![key, forgotten], |row| {
                    event_id(row, "first")
                })?;
                if let Some(id) = known.flatten() {
                    ids.push(id);
                    continue;
                }
                let sql = "REPLACE INTO accepted (key, at, first) VALUES (?1, ?2, ?3)";
                run(tx, sql, params![key, now.0, event.id.0.into_bytes()])?;
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

    #[tokio::test]
    async fn one_name_is_one_event_for_a_day() {
        let (folder, state) = store().await;
        let new = || event(&function("f"), 1);
        let (first, second) = (new(), new());
        let put = vec![
            (Some("a".to_owned()), first.clone()),
            (Some("a".to_owned()), second.clone()),
        ];
        assert_eq!(
            state.put_events_once(put).await.unwrap(),
            [first.id, first.id]
        );
        state.close().await;
        let state = State::open(folder.path()).await.unwrap();
        let put = vec![
            (Some("a".to_owned()), second.clone()),
            (Some("b".to_owned()), second.clone()),
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
        let put = vec![(Some("a".to_owned()), third.clone())];
        assert_eq!(state.put_events_once(put).await.unwrap(), [third.id]);
    }
}
