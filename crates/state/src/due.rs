//! What is due when: how the dispatcher finds its work.

use crate::error::Done;
use crate::events::{read_target, targets};
use crate::row::{first, time};
use crate::{Result, State, partitions};
use model::{Target, Timestamp};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;

/// Finds the next target of a partition that has an event that has not ended.
fn oldest_sql(part: i64) -> String {
    format!(
        "SELECT target, path, due FROM event_{part} INDEXED BY event_due_{part}
         WHERE due IS NOT NULL AND target > ?1 ORDER BY target, due LIMIT 1"
    )
}

/// The oldest event of each target that has one that has not ended, by one seek each in each
/// partition that has such.
fn oldest(db: &Connection) -> Done<Vec<(Target, Timestamp)>> {
    let mut found: BTreeMap<Target, Timestamp> = BTreeMap::new();
    for part in partitions::unsettled(db)? {
        let sql = oldest_sql(part);
        let mut last = String::new();
        while let Some((target, due)) = first(db, &sql, [&last], |row| {
            Ok((read_target(row)?, time(row, "due")?))
        })? {
            last = target.key();
            let oldest = found.entry(target).or_insert(due);
            *oldest = due.min(*oldest);
        }
    }
    Ok(found.into_iter().collect())
}

impl State {
    /// Targets with an event that is due at `now`, each with the time of its oldest due event.
    ///
    /// # Errors
    /// Of the store.
    pub async fn due_targets(&self, now: Timestamp) -> Result<Vec<(Target, Timestamp)>> {
        self.read("looking for due events", move |db| {
            let mut due = oldest(db)?;
            due.retain(|(_, since)| *since <= now);
            Ok(due)
        })
        .await
    }

    /// When the oldest event was accepted that waits, of each target that has some: one seek each in each
    /// partition that has such.
    ///
    /// # Errors
    /// Of the store.
    pub async fn oldest_waiting(&self) -> Result<BTreeMap<String, Timestamp>> {
        self.read("looking for the oldest waiting events", |db| {
            let mut found = BTreeMap::new();
            for part in partitions::unsettled(db)? {
                let sql = format!(
                    "SELECT accepted FROM event_{part} INDEXED BY event_target_{part}
                     WHERE target = ?1 AND state = 'waiting' ORDER BY id LIMIT 1"
                );
                for key in targets(db, part)? {
                    let oldest = first(db, &sql, [&key], |row| time(row, "accepted"))?;
                    if let Some(accepted) = oldest {
                        let oldest = found.entry(key).or_insert(accepted);
                        *oldest = accepted.min(*oldest);
                    }
                }
            }
            Ok(found)
        })
        .await
    }

    /// When the next event becomes due that is not due at `now` (a retry's time, a lease's end).
    ///
    /// # Errors
    /// Of the store.
    pub async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.read("looking for the next due event", move |db| {
            let mut next = None;
            let targets = oldest(db)?;
            for part in partitions::unsettled(db)? {
                let sql = format!(
                    "SELECT due FROM event_{part} INDEXED BY event_due_{part}
                     WHERE target = ?1 AND due IS NOT NULL AND due > ?2 ORDER BY due LIMIT 1"
                );
                for (target, _) in &targets {
                    let later = first(db, &sql, params![target.key(), now.0], |row| {
                        time(row, "due")
                    })?;
                    next = [next, later].into_iter().flatten().min();
                }
            }
            Ok(next)
        })
        .await
    }

    /// Resolves when events were accepted or made due since the last call; for one dispatcher.
    pub async fn events_changed(&self) {
        self.inner.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{event, function, service, store};
    use crate::job::Tx;
    use crate::leases::due_sql;
    use crate::{Settlement, Verdict};

    const NOW: Timestamp = Timestamp(1_000);
    const UNTIL: Timestamp = Timestamp(2_000);

    #[tokio::test]
    async fn tells_what_is_due_and_what_is_next() {
        let (_folder, state) = store().await;
        let (f, g, s) = (function("f"), function("g"), service("s", "/e"));
        assert_eq!(state.next_due(NOW).await.unwrap(), None);
        let events = vec![
            event(&f, 20),
            event(&f, 10),
            event(&g, 1_500),
            event(&s, 3),
            event(&s, 1_400),
        ];
        state.put_events(events).await.unwrap();
        let due = state.due_targets(NOW).await.unwrap();
        assert_eq!(due, [(f.clone(), Timestamp(10)), (s.clone(), Timestamp(3))]);
        assert_eq!(state.next_due(NOW).await.unwrap(), Some(Timestamp(1_400)));
        assert_eq!(
            state.next_due(Timestamp(1_400)).await.unwrap(),
            Some(Timestamp(1_500))
        );
        state
            .lease_events(&f, 9, NOW, Timestamp(1_100))
            .await
            .unwrap();
        assert_eq!(
            state.next_due(NOW).await.unwrap(),
            Some(Timestamp(1_100)),
            "a lease's end"
        );
        let due = state.due_targets(Timestamp(1_100)).await.unwrap();
        assert_eq!(due[0], (f, Timestamp(1_100)));
    }

    #[tokio::test]
    async fn no_wake_up_is_lost() {
        let (_folder, state) = store().await;
        let wait = async |state: &State| {
            let limit = std::time::Duration::from_secs(30);
            tokio::time::timeout(limit, state.events_changed())
                .await
                .unwrap();
        };
        wait(&state).await; // the opening itself
        let target = function("f");
        state.put_events(vec![event(&target, 1)]).await.unwrap();
        wait(&state).await;
        let leased = state
            .lease_events(&target, 1, NOW, UNTIL)
            .await
            .unwrap()
            .remove(0);
        let verdict = Verdict::Retry {
            not_before: UNTIL,
            error: "e".into(),
        };
        let settlement = Settlement {
            id: leased.event.accepted.id,
            epoch: leased.event.epoch,
            verdict,
            run: None,
            at: NOW,
        };
        assert!(state.settle_event(settlement).await.unwrap());
        wait(&state).await;
    }

    #[tokio::test]
    async fn a_long_queue_costs_a_seek_for_each_target() {
        let (_folder, state) = store().await;
        state
            .put_events(vec![event(&function("f"), 1)])
            .await
            .unwrap();
        let seed = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 49999)
            INSERT INTO event_0 (id, target, source, kind, subject, accepted, state, not_before, due)
            SELECT randomblob(16), 'function:f' || (i % 3), '', '', '', i, 'waiting', i, i FROM n;
            INSERT INTO payload_0 SELECT seq, '{}' FROM event_0 WHERE true ON CONFLICT DO NOTHING";
        let seed = seed.replace("'{}'", "x'7b7d'");
        state
            .write("seeding", move |tx| Ok(tx.execute_batch(&seed)?))
            .await
            .unwrap();
        let work = |db: &Connection| {
            assert_eq!(oldest(db)?.len(), 4);
            let statement = db.prepare_cached(&oldest_sql(0))?;
            Ok(statement.get_status(rusqlite::StatementStatus::VmStep))
        };
        let steps = state.read("looking", work).await.unwrap();
        assert!(
            (1..1000).contains(&steps),
            "{steps} steps of SQLite's machine"
        );

        let target = function("f1");
        let leased = state.lease_events(&target, 10, Timestamp(90_000), UNTIL);
        assert_eq!(leased.await.unwrap().len(), 10);
        let work = |tx: &Tx<'_>| {
            Ok(tx
                .prepare_cached(&due_sql(0))?
                .get_status(rusqlite::StatementStatus::VmStep))
        };
        let steps = state.write("looking", work).await.unwrap();
        assert!(
            (1..1000).contains(&steps),
            "{steps} steps of SQLite's machine"
        );
    }
}
