//! What is due when: how the dispatcher finds its work.

use crate::error::Done;
use crate::events::read_target;
use crate::row::{first, time};
use crate::{Result, State};
use model::{Target, Timestamp};
use rusqlite::{Connection, params};

const OLDEST: &str = "SELECT target, path, due FROM event INDEXED BY event_due
     WHERE due IS NOT NULL AND target > ?1 ORDER BY target, due LIMIT 1";

/// The oldest event of each target that has one that has not ended, by one seek each.
fn oldest(db: &Connection) -> Done<Vec<(Target, Timestamp)>> {
    let mut found: Vec<(Target, Timestamp)> = Vec::new();
    let mut last = String::new();
    while let Some((target, due)) = first(db, OLDEST, [&last], |row| {
        Ok((read_target(row)?, time(row, "due")?))
    })? {
        last = target.key();
        found.push((target, due));
    }
    Ok(found)
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

    /// When the next event becomes due that is not due at `now` (a retry's time, a lease's end).
    ///
    /// # Errors
    /// Of the store.
    pub async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        self.read("looking for the next due event", move |db| {
            let sql = "SELECT due FROM event INDEXED BY event_due
                       WHERE target = ?1 AND due IS NOT NULL AND due > ?2 ORDER BY due LIMIT 1";
            let mut next = None;
            for (target, _) in oldest(db)? {
                let later = first(db, sql, params![target.key(), now.0], |row| {
                    time(row, "due")
                })?;
                next = [next, later].into_iter().flatten().min();
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
    use crate::leases::DUE;
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
            INSERT INTO event (id, target, source, kind, subject, accepted, state, not_before, due)
            SELECT randomblob(16), 'function:f' || (i % 3), '', '', '', i, 'waiting', i, i FROM n;
            INSERT INTO payload SELECT seq, '{}' FROM event WHERE true ON CONFLICT DO NOTHING";
        let seed = seed.replace("'{}'", "x'7b7d'");
        state
            .write("seeding", move |tx| Ok(tx.execute_batch(&seed)?))
            .await
            .unwrap();
        let work = |db: &Connection| {
            assert_eq!(oldest(db)?.len(), 4);
            let statement = db.prepare_cached(OLDEST)?;
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
                .prepare_cached(DUE)?
                .get_status(rusqlite::StatementStatus::VmStep))
        };
        let steps = state.write("looking", work).await.unwrap();
        assert!(
            (1..1000).contains(&steps),
            "{steps} steps of SQLite's machine"
        );
    }
}
