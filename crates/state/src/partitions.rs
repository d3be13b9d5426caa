//! Table `event_partition`: which partitions of events there are. An event is accepted into the newest
//! and stays where it is; retention drops a partition whole, once all of its events have ended.

use crate::counters::{Change, Counts, count_partition};
use crate::error::{Done, Failure};
use crate::job::Tx;
use crate::row::{all, count, event_id, first, int, run, to_json};
use crate::{Result, State};
use model::{EventId, Timestamp};
use rusqlite::{Connection, params};
use std::time::Duration;

/// A partition holds about this many bytes at least before the next one begins, unless it is time: for
/// a small bound not to make hundreds of them.
const LEAST: u64 = 16 * 1024 * 1024;
/// And at most, so that dropping one does not hold up writers.
const MOST: u64 = 64 * 1024 * 1024;
/// So many partitions hold what is kept.
const PARTS: u64 = 32;
/// By how much the clock may have been set back between an event's acceptance and the next partition.
const SLACK: i64 = 3_600_000;

/// How much of the past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Ended events for so long at least.
    pub age: Duration,
    /// And of so many bytes at most, about, the oldest are dropped first. Events that have not ended
    /// count but are never dropped, nor is a partition that has one.
    pub bytes: u64,
}

impl Retention {
    /// Bytes after which the next partition begins.
    fn part(self) -> u64 {
        (self.bytes / PARTS).clamp(LEAST.min(self.bytes / 2), MOST)
    }

    fn millis(self) -> i64 {
        i64::try_from(self.age.as_millis()).unwrap_or(i64::MAX)
    }
}

/// What one look after the partitions did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tended {
    /// The next partition was begun.
    pub begun: bool,
    /// So many partitions were found to have no event left that has not ended.
    pub settled: u32,
    /// So many were dropped: one at most.
    pub dropped: u32,
}

/// The newest partition.
pub(crate) fn newest(db: &Connection) -> Done<i64> {
    let sql = "SELECT max(number) FROM event_partition";
    let number: Option<i64> = first(db, sql, [], |row| Ok(row.get(0)?))?.flatten();
    number.ok_or_else(|| Failure::Corrupt("there is no partition of events".to_owned()))
}

/// All partitions, oldest first.
pub(crate) fn every(db: &Connection) -> Done<Vec<i64>> {
    let sql = "SELECT number FROM event_partition ORDER BY number";
    all(db, sql, [], |row| Ok(row.get(0)?))
}

/// Those that were closed at this time or later, or are not, oldest first.
fn closed_since(db: &Connection, time: Timestamp) -> Done<Vec<i64>> {
    let sql = "SELECT number FROM event_partition WHERE closed >= ?1 ORDER BY number";
    all(db, sql, [time.0], |row| Ok(row.get(0)?))
}

/// Those that may have an event that was accepted at this time or later, oldest first.
pub(crate) fn since(db: &Connection, since: Timestamp) -> Done<Vec<i64>> {
    closed_since(db, Timestamp(since.0.saturating_sub(SLACK)))
}

/// Those that may have an event that has not ended, oldest first.
pub(crate) fn unsettled(db: &Connection) -> Done<Vec<i64>> {
    let sql = "SELECT number FROM event_partition WHERE settled IS NULL ORDER BY number";
    all(db, sql, [], |row| Ok(row.get(0)?))
}

/// When the last of those that are closed was closed: no event that was made later is in one of them.
pub(crate) fn last_closed(db: &Connection) -> Done<Timestamp> {
    let sql = "SELECT max(closed) AS closed FROM event_partition WHERE closed < ?1";
    let last = first(db, sql, [i64::MAX], |row| {
        Ok(row.get::<_, Option<i64>>("closed")?)
    })?;
    Ok(Timestamp(last.flatten().unwrap_or(i64::MIN)))
}

/// Those that may have this event, the likeliest first: an id tells when it was made, and no event is
/// in a partition that was closed before.
pub(crate) fn holders(db: &Connection, id: EventId) -> Done<Vec<i64>> {
    match made(id) {
        Some(made) => closed_since(db, made),
        None => every(db),
    }
}

/// The latest id of each partition.
pub(crate) fn latest(db: &Connection) -> Done<Vec<EventId>> {
    let mut found = Vec::new();
    for part in every(db)? {
        let sql = format!("SELECT max(id) AS id FROM event_{part}");
        found.extend(first(db, &sql, [], |row| event_id(row, "id"))?.flatten());
    }
    Ok(found)
}

/// When an id was made, if it is a UUID of version 7.
pub(crate) fn made(id: EventId) -> Option<Timestamp> {
    let time =
        id.0.get_timestamp()
            .filter(|_| id.0.get_version_num() == 7)?;
    let (seconds, nanos) = time.to_unix();
    let millis = seconds
        .checked_mul(1_000)?
        .checked_add(u64::from(nanos) / 1_000_000)?;
    Some(Timestamp(i64::try_from(millis).ok()?))
}

/// The statement that made a table or an index of one partition, for another. Names of partitions'
/// tables and indexes end with their number.
fn renumbered(sql: &str, from: i64, to: i64) -> String {
    let (from, to) = (format!("_{from}"), format!("_{to}"));
    let mut parts = sql.split(from.as_str());
    let mut made = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let within = part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        made.push_str(if within { &from } else { &to });
        made.push_str(part);
    }
    made
}

/// Bytes of the newest partition, about.
pub(crate) fn size(db: &Connection) -> Done<u64> {
    let part = newest(db)?;
    let sum = |table: &str, column: &str, row: u64| {
        let sql =
            format!("SELECT coalesce(sum(length({column}) + ?1), 0) AS n FROM {table}_{part}");
        Ok::<_, Failure>(first(db, &sql, [int(row)], |row| count(row, "n"))?.unwrap_or(0))
    };
    Ok(sum("payload", "body", crate::events::ROW)? + sum("run", "record", crate::runs::ROW)?)
}

/// Begins the next partition.
pub(crate) fn begin(db: &Connection, bytes: u64, now: Timestamp) -> Done<()> {
    let last = newest(db)?;
    let next = last + 1;
    let sql = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND tbl_name IN (?1, ?2, ?3)
               ORDER BY type DESC, name";
    let names = ["event", "payload", "run"].map(|table| format!("{table}_{last}"));
    for made in all(db, sql, names, |row| Ok(row.get::<_, String>(0)?))? {
        db.execute_batch(&renumbered(&made, last, next))?;
    }
    // No event of it was made later, though the clock may have been set back since.
    let sql = format!("SELECT max(id) AS id FROM event_{last}");
    let closed = match first(db, &sql, [], |row| event_id(row, "id"))?.flatten() {
        None => now,
        Some(latest) => made(latest).map_or(Timestamp(i64::MAX), |made| made.max(now)),
    };
    let sql = "UPDATE event_partition SET closed = ?2, bytes = ?3 WHERE number = ?1";
    run(db, sql, params![last, closed.0, int(bytes)])?;
    let sql = "INSERT INTO event_partition (number, opened) VALUES (?1, ?2)";
    run(db, sql, params![next, now.0])?;
    Ok(())
}

fn drop(db: &Connection, number: i64) -> Done<()> {
    db.execute_batch(&format!(
        "DROP TABLE payload_{number}; DROP TABLE run_{number}; DROP TABLE event_{number};"
    ))?;
    let sql = "DELETE FROM event_partition WHERE number = ?1";
    run(db, sql, [number])?;
    Ok(())
}

/// The oldest settled partition, if it is too old, or all are too large.
fn superfluous(db: &Connection, keep: Retention, now: Timestamp, newest: u64) -> Done<Option<i64>> {
    let sql = "SELECT number, settled FROM event_partition WHERE settled IS NOT NULL
               ORDER BY number LIMIT 1";
    let oldest = first(db, sql, [], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
    let Some((number, settled)) = oldest else {
        return Ok(None);
    };
    let sql = "SELECT coalesce(sum(bytes), 0) AS bytes FROM event_partition";
    let closed: u64 = first(db, sql, [], |row| count(row, "bytes"))?.unwrap_or(0);
    let old = settled.saturating_add(keep.millis()) <= now.0;
    Ok((old || closed + newest > keep.bytes).then_some(number))
}

/// Closed partitions without an event that has not ended, and how many of which target ended how.
fn ended(db: &Connection) -> Done<Vec<(i64, Counts)>> {
    let mut found = Vec::new();
    let newest = newest(db)?;
    for part in unsettled(db)? {
        let sql = format!("SELECT 1 FROM event_{part} WHERE due IS NOT NULL LIMIT 1");
        if part != newest && first(db, &sql, [], |_| Ok(()))?.is_none() {
            found.push((part, count_partition(db, part)?));
        }
    }
    Ok(found)
}

/// Whether it is time for the next partition: the newest is large, or has something and is old.
fn is_full(db: &Connection, keep: Retention, now: Timestamp, bytes: u64) -> Done<bool> {
    let sql = "SELECT opened FROM event_partition WHERE number = ?1";
    let opened = first(db, sql, [newest(db)?], |row| Ok(row.get::<_, i64>(0)?))?.unwrap_or(0);
    let old = now.0.saturating_sub(opened) >= keep.millis() / 8;
    Ok(bytes >= keep.part() || (bytes > 0 && old))
}

/// Notes that nothing will change any more in these partitions. Gives in how many that was news.
fn settle(db: &Connection, ended: &[(i64, Counts)], now: Timestamp) -> Done<u32> {
    let sql = "UPDATE event_partition SET settled = ?2, counts = ?3
               WHERE number = ?1 AND settled IS NULL";
    let mut settled = 0;
    for (part, counts) in ended {
        settled += u32::from(run(db, sql, params![part, now.0, to_json(counts)?])? > 0);
    }
    Ok(settled)
}

impl State {
    /// Looks after the partitions: begins the next one when the newest is large or old enough, and
    /// drops the oldest when it need not be kept. To be called every few seconds, and again at once
    /// after something was dropped. Nothing is written when there is nothing to do.
    ///
    /// # Errors
    /// Of the store.
    pub async fn tend_partitions(&self, keep: Retention, now: Timestamp) -> Result<Tended> {
        let bytes = self.inner.counters.bytes();
        let look = move |db: &Connection| {
            let ended = ended(db)?;
            let idle = ended.is_empty()
                && !is_full(db, keep, now, bytes)?
                && superfluous(db, keep, now, bytes)?.is_none();
            Ok((ended, idle))
        };
        let (ended, idle) = self.read("looking at old events", look).await?;
        if idle {
            return Ok(Tended::default());
        }
        let inner = self.inner.clone();
        let work = move |tx: &Tx<'_>| {
            let settled = settle(tx, &ended, now)?;
            let bytes = inner.counters.bytes();
            let begun = is_full(tx, keep, now, bytes)?;
            if begun {
                begin(tx, bytes, now)?;
                tx.count(Change::Begun);
            }
            let bytes = if begun { 0 } else { bytes };
            let old = superfluous(tx, keep, now, bytes)?;
            if let Some(old) = old {
                tx.count(Change::Forgotten(count_kept(tx, old)?));
                drop(tx, old)?;
            }
            Ok(Tended {
                begun,
                settled,
                dropped: u32::from(old.is_some()),
            })
        };
        self.write("looking after old events", work).await
    }
}

/// The counts of a settled partition.
pub(crate) fn count_kept(db: &Connection, part: i64) -> Done<Counts> {
    let sql = "SELECT counts FROM event_partition WHERE number = ?1 AND counts IS NOT NULL";
    let kept = first(db, sql, [part], |row| crate::row::json(row, "counts"))?;
    kept.map_or_else(|| count_partition(db, part), Ok)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{event, function, run as record, store};
    use crate::{Settlement, Verdict};
    use model::{EventFilter, Kind, NewEvent};

    const KEEP: Retention = Retention {
        age: Duration::from_secs(80),
        bytes: 1 << 40,
    };

    async fn tend(state: &State, now: i64) -> Tended {
        state.tend_partitions(KEEP, Timestamp(now)).await.unwrap()
    }

    /// Accepts an event and lets it end.
    async fn lived(state: &State, bytes: usize) -> EventId {
        let new = NewEvent {
            payload: vec![b'1'; bytes].into(),
            ..event(&function("f"), 1)
        };
        let id = new.id;
        state.put_events(vec![new]).await.unwrap();
        end(state, id).await;
        id
    }

    async fn end(state: &State, id: EventId) {
        let target = function("f");
        let lease = state.lease_events(&target, 9, Timestamp(1_000), Timestamp(i64::MAX));
        let leased = lease.await.unwrap();
        let leased = leased.iter().find(|leased| leased.event.accepted.id == id);
        let settlement = Settlement {
            id,
            epoch: leased.unwrap().event.epoch,
            verdict: Verdict::Ack,
            run: Some(record(&target, Some(id), 2)),
            at: Timestamp(2_000),
        };
        assert!(state.settle_event(settlement).await.unwrap());
    }

    #[tokio::test]
    async fn a_partition_goes_with_all_that_is_in_it() {
        let (folder, state) = store().await;
        let start = Timestamp::now().0;
        let first = lived(&state, 5).await;
        assert_eq!(tend(&state, start).await, Tended::default());
        assert!(tend(&state, start + 11_000).await.begun);
        let second = lived(&state, 5).await;
        // What ended is still found, by everything that reads.
        let found = state.get_event(first).await.unwrap();
        assert_eq!(found.runs.len(), 1);
        assert_eq!(state.list_runs(None, 9).await.unwrap().len(), 2);
        let filter = EventFilter {
            limit: 9,
            ..EventFilter::default()
        };
        let listed = state.list_events(filter).await.unwrap();
        let ids: Vec<EventId> = listed.iter().map(|event| event.accepted.id).collect();
        assert_eq!(ids, [second, first]);
        assert_eq!(tend(&state, start + 12_000).await.settled, 1);
        assert_eq!(tend(&state, start + 91_000).await.dropped, 0);
        state.close().await;
        let state = State::open(folder.path()).await.unwrap();
        let counts = state.count_events().await.unwrap();
        assert_eq!(counts[0].1.succeeded, 2);
        assert_eq!(tend(&state, start + 93_000).await.dropped, 1);
        let gone = state.get_event(first).await.unwrap_err();
        assert_eq!(gone.kind(), Kind::NotFound);
        assert_eq!(state.list_runs(None, 9).await.unwrap().len(), 1);
        assert_eq!(state.count_events().await.unwrap()[0].1.succeeded, 1);
        assert_eq!(state.get_event(second).await.unwrap().accepted.id, second);
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name LIKE '%\\_0' ESCAPE '\\'";
        let left = state.read("looking", move |db| {
            crate::row::first(db, sql, [], |row| Ok(row.get::<_, u32>(0)?))
        });
        assert_eq!(left.await.unwrap(), Some(0), "no table of the old one");
    }

    #[tokio::test]
    async fn what_waits_keeps_its_partition() {
        let (_folder, state) = store().await;
        let start = Timestamp::now().0;
        let waits = event(&function("f"), 1);
        let id = waits.id;
        state.put_events(vec![waits]).await.unwrap();
        assert!(tend(&state, start + 11_000).await.begun);
        let later = tend(&state, start + 99_000).await;
        assert_eq!((later.settled, later.dropped), (0, 0));
        end(&state, id).await;
        assert_eq!(tend(&state, start + 99_500).await.settled, 1);
        assert_eq!(tend(&state, start + 179_000).await.dropped, 0);
        assert_eq!(tend(&state, start + 180_000).await.dropped, 1);
    }

    #[tokio::test]
    async fn the_oldest_go_when_all_are_too_large() {
        let (_folder, state) = store().await;
        let keep = Retention {
            age: Duration::from_secs(1_000_000),
            bytes: 400_000,
        };
        let now = Timestamp::now();
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(lived(&state, 250_000).await);
            state.tend_partitions(keep, now).await.unwrap();
            state.tend_partitions(keep, now).await.unwrap();
        }
        for id in &ids[..2] {
            assert!(state.get_event(*id).await.is_err());
        }
        assert!(state.get_event(ids[3]).await.is_ok());
    }

    #[tokio::test]
    async fn an_id_is_of_one_event_in_all_partitions() {
        let (_folder, state) = store().await;
        let new = event(&function("f"), 1);
        let odd = NewEvent {
            id: EventId(uuid::Uuid::from_u128(7)),
            ..new.clone()
        };
        state
            .put_events(vec![new.clone(), odd.clone()])
            .await
            .unwrap();
        let now = Timestamp::now().0;
        assert!(tend(&state, now + 11_000).await.begun);
        let time = uuid::Timestamp::from_unix_time((now as u64 + 90_000_000) / 1_000, 0, 0, 0);
        let late = EventId(uuid::Uuid::new_v7(time));
        let (first, other) = (new.id, odd.id);
        let places = state.read("looking", move |db| {
            Ok((holders(db, first)?, holders(db, other)?, holders(db, late)?))
        });
        assert_eq!(places.await.unwrap(), (vec![0, 1], vec![0, 1], vec![1]));
        let child = NewEvent {
            cause: Some(odd.id),
            ..event(&function("g"), 3)
        };
        let again = vec![new.clone(), odd.clone(), child.clone()];
        state.put_events(again).await.unwrap();
        assert_eq!(state.count_events().await.unwrap()[0].1.waiting, 2);
        assert_eq!(state.get_event(child.id).await.unwrap().depth, 1);
        let lineage = state.event_lineage(odd.id).await.unwrap();
        assert_eq!(lineage.effects[0].accepted.id, child.id);
    }

    #[test]
    fn only_names_that_end_with_the_number_are_renumbered() {
        let made = "CREATE INDEX event_due_1 ON \"event_1\" (a_1b, a_12, due) WHERE x_1 IS NULL";
        let expected =
            "CREATE INDEX event_due_2 ON \"event_2\" (a_1b, a_12, due) WHERE x_2 IS NULL";
        assert_eq!(renumbered(made, 1, 2), expected);
    }

    #[test]
    fn an_id_tells_when_it_was_made() {
        let before = Timestamp::now().0;
        let time = made(EventId::generate()).unwrap().0;
        assert!((before - 1..=Timestamp::now().0 + 1_000).contains(&time));
        assert_eq!(made(EventId(uuid::Uuid::nil())), None);
    }
}
