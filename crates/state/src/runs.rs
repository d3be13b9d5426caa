//! Tables `run_N`: the record of each attempt, in the partition of its event; of each waiting call, in
//! the one that was newest.

use crate::counters::Change;
use crate::error::Done;
use crate::job::{Tx, Work, work};
use crate::leases::cut;
use crate::row::{all, json, run, to_json};
use crate::{Result, State, partitions};
use model::{EventId, Run};
use rusqlite::{Connection, Row, params};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Records of waiting calls that may wait to be written; past it they are dropped.
const BUFFER: usize = 10_000;

/// How long a record of a waiting call waits for others to share its commit.
const DELAY: Duration = Duration::from_millis(50);

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
            let written = partitions::newest(tx)
                .and_then(|part| runs.iter().try_for_each(|run| insert(tx, part, run)));
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

/// Adds a run to a partition.
pub(crate) fn insert(tx: &Tx<'_>, part: i64, record: &Run) -> Done<()> {
    let kept = record.error.as_deref().map(cut);
    let shortened;
    let record = if kept == record.error.as_deref() {
        record
    } else {
        shortened = Run {
            error: kept.map(str::to_owned),
            ..record.clone()
        };
        &shortened
    };
    let sql =
        format!("INSERT INTO run_{part} (event, target, started, record) VALUES (?1, ?2, ?3, ?4)");
    let event = record.event.map(|id| id.0.into_bytes());
    let written = to_json(record)?;
    tx.count(Change::Grown(ROW + written.len() as u64));
    let row = params![event, record.target, record.started.0, written];
    run(tx, &sql, row)?;
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
        let limit = limit.min(MAX_LIST);
        self.read("listing runs", move |db| {
            let mut runs: Vec<Run> = Vec::new();
            for part in partitions::every(db)?.into_iter().rev() {
                let left = limit.saturating_sub(u32::try_from(runs.len()).unwrap_or(limit));
                if left == 0 {
                    break;
                }
                let read = |row: &Row<'_>| json(row, "record");
                runs.extend(match &target {
                    Some(target) => {
                        let sql = format!(
                            "SELECT record FROM run_{part} WHERE target = ?1 ORDER BY seq DESC LIMIT ?2"
                        );
                        all(db, &sql, params![target, left], read)?
                    }
                    None => {
                        let sql =
                            format!("SELECT record FROM run_{part} ORDER BY seq DESC LIMIT ?1");
                        all(db, &sql, [left], read)?
                    }
                });
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
