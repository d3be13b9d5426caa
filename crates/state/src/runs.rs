//! Tables `run_N`: the record of each attempt, in the partition of its event; of each waiting call, in
//! the one that was newest.
//!
//! Records of waiting calls share rows, since a row costs more than what is in it: those of one target that came
//! near each other are one row, a JSON list in place of one record ([`Pack`]).

use crate::counters::Change;
use crate::error::Done;
use crate::job::{Tx, Work, work};
use crate::leases::cut;
use crate::row::{all, json, run, to_json};
use crate::{Result, State, partitions};
use model::{EventId, Run, Timestamp};
use rusqlite::{Connection, params};
use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Records of waiting calls that may wait to be written; past it they are dropped.
const BUFFER: usize = 10_000;

/// How long a record of a waiting call waits for others to share its commit.
const DELAY: Duration = Duration::from_millis(50);

/// Records of waiting calls of which those with the same target share a row. To list one, all of its row are read.
const GROUP: usize = 64;

/// Runs in one listing at most.
const MAX_LIST: u32 = 1000;

/// Records of waiting calls on their way to the writer.
#[derive(Default)]
pub(crate) struct RunBuffer {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    runs: Vec<Run>,
    dropped: u64,
    warned: Option<Instant>,
}

impl RunBuffer {
    /// Adds a record. Gives whether it is the first, so that somebody must see to its writing.
    fn push(&self, run: Run) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.runs.len() < BUFFER {
            waiting.runs.push(run);
            return waiting.runs.len() == 1;
        }
        waiting.dropped += 1;
        let quiet = |warned: Instant| warned.elapsed() < Duration::from_secs(60);
        if !waiting.warned.is_some_and(quiet) {
            waiting.warned = Some(Instant::now());
            let dropped = waiting.dropped;
            tracing::warn!(
                dropped,
                "records of calls are dropped: the disk does not keep up"
            );
        }
        false
    }

    /// Takes all records, as a request of the writer.
    pub(crate) fn take(&self) -> Option<Work> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = std::mem::take(&mut waiting.runs);
        drop(waiting);
        if runs.is_empty() {
            return None;
        }
        // Nobody waits for the answer: what cannot be written here is said in the log.
        let write = move |tx: &Tx<'_>| {
            let written = partitions::newest(tx).and_then(|part| {
                let mut groups = runs.chunks(GROUP);
                groups.try_for_each(|group| insert_group(tx, part, group))
            });
            if let Err(failure) = &written {
                tracing::warn!(?failure, lost = runs.len(), "calls could not be recorded");
            }
            written
        };
        Some(work("recording calls", write, |_| ()))
    }
}

/// Bytes that a run takes besides its record, about.
pub(crate) const ROW: u64 = 120;

/// Records of one target that share a row: how many rows of their group are before this one, and each record with its
/// place in the group. A group is written in one transaction, so its rows follow each other.
type Pack<R> = (usize, Vec<(usize, R)>);

/// Adds the records of waiting calls, oldest first, with one row for each target.
fn insert_group(tx: &Tx<'_>, part: i64, group: &[Run]) -> Done<()> {
    let mut packs: Vec<Vec<(usize, Cow<'_, Run>)>> = Vec::new();
    for (place, run) in group.iter().enumerate() {
        let same = |pack: &&mut Vec<(usize, Cow<'_, Run>)>| {
            pack.first()
                .is_some_and(|(_, first)| first.target == run.target)
        };
        match packs.iter_mut().find(same) {
            Some(pack) => pack.push((place, shortened(run))),
            None => packs.push(vec![(place, shortened(run))]),
        }
    }
    for (before, pack) in packs.into_iter().enumerate() {
        let Some((_, first)) = pack.first() else {
            continue;
        };
        let (target, started) = (first.target.clone(), first.started);
        let pack: Pack<_> = (before, pack);
        insert_row(tx, part, None, &target, started, &to_json(&pack)?)?;
    }
    Ok(())
}

/// Adds the record of an event's attempt to its partition.
pub(crate) fn insert(tx: &Tx<'_>, part: i64, record: &Run) -> Done<()> {
    let written = to_json(&shortened(record))?;
    insert_row(
        tx,
        part,
        record.event,
        &record.target,
        record.started,
        &written,
    )
}

fn insert_row(
    tx: &Tx<'_>,
    part: i64,
    event: Option<EventId>,
    target: &str,
    started: Timestamp,
    record: &str,
) -> Done<()> {
    let sql =
        format!("INSERT INTO run_{part} (event, target, started, record) VALUES (?1, ?2, ?3, ?4)");
    let event = event.map(|id| id.0.into_bytes());
    tx.count(Change::Grown(ROW + record.len() as u64));
    run(tx, &sql, params![event, target, started.0, record])?;
    Ok(())
}

/// The record with as much of its error as is kept.
fn shortened(record: &Run) -> Cow<'_, Run> {
    let kept = record.error.as_deref().map(cut);
    if kept == record.error.as_deref() {
        return Cow::Borrowed(record);
    }
    Cow::Owned(Run {
        error: kept.map(str::to_owned),
        ..record.clone()
    })
}

/// Puts runs of a partition behind those in `runs`, newest first, until there are `limit`.
fn list(
    db: &Connection,
    part: i64,
    target: Option<&str>,
    limit: usize,
    runs: &mut Vec<Run>,
) -> Done<()> {
    let only = if target.is_some() {
        "WHERE target = ?1"
    } else {
        "WHERE ?1 IS NULL"
    };
    let sql = format!("SELECT record FROM run_{part} {only} ORDER BY seq DESC");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query([target])?;
    // Of a group of which not every row was seen yet.
    let mut group: Vec<(usize, Run)> = Vec::new();
    while runs.len() < limit
        && let Some(row) = rows.next()?
    {
        let text = row
            .get_ref("record")?
            .as_str()
            .map_err(rusqlite::Error::from)?;
        if !text.starts_with('[') {
            runs.push(json(row, "record")?);
            continue;
        }
        let (before, pack): Pack<Run> = json(row, "record")?;
        group.extend(pack);
        // Who lists one target sees one row of each group.
        if before == 0 || target.is_some() {
            group.sort_unstable_by_key(|(place, _)| Reverse(*place));
            runs.extend(group.drain(..).map(|(_, run)| run));
        }
    }
    runs.truncate(limit);
    Ok(())
}

/// The runs of an event of a partition, oldest first.
pub(crate) fn of_event(db: &Connection, part: i64, id: EventId) -> Done<Vec<Run>> {
    let sql = format!("SELECT record FROM run_{part} WHERE event = ?1 ORDER BY seq");
    all(db, &sql, [id.0.into_bytes()], |row| json(row, "record"))
}

impl State {
    /// Records a waiting call. Does not wait for the disk; what is lost in a crash is the record of
    /// a call whose caller had the answer. At most 10 000 wait to be written; past it they are
    /// dropped and counted.
    pub fn record_run(&self, run: Run) {
        if self.inner.is_closed() || !self.inner.runs.push(run) {
            return;
        }
        let store = self.downgrade();
        let flush = async move {
            tokio::time::sleep(DELAY).await;
            if let Some(store) = store.upgrade() {
                // Any request makes the writer take what waits. A closed store has done so.
                let _ = store.write("recording calls", |_| Ok(())).await;
            }
        };
        // Outside an async runtime the next request, or closing, takes it along.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(flush);
        }
    }

    /// The newest runs of a target key (all if `None`), newest first, at most `limit` (1 000 at
    /// most). What was recorded before is among them.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_runs(&self, target: Option<String>, limit: u32) -> Result<Vec<Run>> {
        // The writer has then taken what waited.
        self.write("recording calls", |_| Ok(())).await?;
        let limit = limit.min(MAX_LIST) as usize;
        self.read("listing runs", move |db| {
            let mut runs: Vec<Run> = Vec::new();
            for part in partitions::every(db)?.into_iter().rev() {
                list(db, part, target.as_deref(), limit, &mut runs)?;
                if runs.len() >= limit {
                    break;
                }
            }
            Ok(runs)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{function, run, store};
    use model::Target;

    #[tokio::test]
    async fn runs_of_calls_are_listed_newest_first() {
        let (_folder, state) = store().await;
        let (f, g) = (function("f"), function("g"));
        let long = Run {
            error: Some("ä".repeat(8_000)),
            ..run(&f, None, 3)
        };
        let runs = [run(&f, None, 1), run(&g, None, 2), long];
        for run in &runs {
            state.record_run(run.clone());
        }
        let all = state.list_runs(None, 9).await.unwrap();
        let started: Vec<_> = all.iter().map(|run| run.started.0).collect();
        assert_eq!(started, [3, 2, 1]);
        assert_eq!(all[2], runs[0]);
        assert_eq!(all[0].error, Some("ä".repeat(4_096)), "8 KiB are kept");
        let of_f = state.list_runs(Some(f.key()), 1).await.unwrap();
        assert_eq!(of_f, all[..1]);
    }

    #[tokio::test]
    async fn calls_of_several_targets_that_share_rows_are_listed_in_their_order() {
        let (_folder, state) = store().await;
        let targets = ["f", "g", "h"].map(function);
        // More than two groups, the targets in no regular turn.
        let all: Vec<Run> = (0..150)
            .map(|n| run(&targets[n * n % 7 % 3], None, n as i64))
            .collect();
        for run in &all {
            state.record_run(run.clone());
        }
        let newest = |target: Option<&Target>, limit: usize| -> Vec<Run> {
            let of = |run: &&Run| target.is_none_or(|target| run.target == target.key());
            all.iter().rev().filter(of).take(limit).cloned().collect()
        };
        for limit in [1, 5, 63, 64, 65, 149, 150, 151] {
            let listed = state.list_runs(None, limit).await.unwrap();
            assert_eq!(listed, newest(None, limit as usize), "{limit}");
            for target in &targets {
                let listed = state.list_runs(Some(target.key()), limit).await.unwrap();
                assert_eq!(listed, newest(Some(target), limit as usize), "{limit}");
            }
        }
        let rows = "SELECT count(*) FROM run_0";
        let count = move |db: &Connection| Ok(db.query_row(rows, [], |row| row.get::<_, i64>(0))?);
        assert!(state.read("counting", count).await.unwrap() <= 9);
    }

    #[tokio::test]
    async fn a_record_of_its_own_row_is_listed_among_those_that_share() {
        let (_folder, state) = store().await;
        let f = function("f");
        let alone = run(&f, None, 1);
        let old = alone.clone();
        state
            .write("as before", move |tx| insert(tx, 0, &old))
            .await
            .unwrap();
        let shared = [run(&f, None, 2), run(&f, None, 3)];
        for run in &shared {
            state.record_run(run.clone());
        }
        let listed = state.list_runs(None, 9).await.unwrap();
        assert_eq!(listed, [shared[1].clone(), shared[0].clone(), alone]);
    }

    #[tokio::test]
    async fn a_record_is_written_though_nobody_asks() {
        let (folder, state) = store().await;
        state.record_run(run(&function("f"), None, 1));
        let path = folder.path().join("state.db");
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let other = Connection::open_with_flags(path, flags).unwrap();
        let count =
            || other.query_row("SELECT count(*) FROM run_0", [], |row| row.get::<_, i64>(0));
        while count().unwrap() == 0 {
            tokio::time::sleep(DELAY).await;
        }
        state.close().await;
    }

    #[test]
    fn past_its_bound_the_buffer_drops() {
        let buffer = RunBuffer::default();
        let run = run(&function("f"), None, 1);
        let first = (0..BUFFER + 5).filter(|_| buffer.push(run.clone())).count();
        assert_eq!(first, 1);
        let waiting = buffer.waiting.into_inner().unwrap();
        assert_eq!((waiting.runs.len(), waiting.dropped), (BUFFER, 5));
    }
}
