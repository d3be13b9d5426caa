//! The writer: one thread that owns the one connection that writes.
//!
//! It takes every request that waits, runs each in a savepoint of one transaction, commits, and only
//! then answers. So many requests share one fsync, one request that fails undoes only itself, and
//! an answer means that the change is on disk.

use crate::acceptance::together;
use crate::checkpoint::{Checkpoint, abort_if_unsafe};
use crate::counters::Counters;
use crate::crash;
use crate::job::{Answer, Job, Tx, Undone, Work};
use crate::planted;
use crate::runs::RunBuffer;
use rusqlite::{Connection, ffi};
use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Requests that may wait for the writer; past it those who ask wait.
pub(crate) const QUEUE: usize = 4096;

/// Requests that share one commit at most.
pub(crate) const BATCH: usize = 512;

/// How long another program, such as the `sqlite3` shell, that writes is waited for.
pub(crate) const BUSY_WAIT: Duration = Duration::from_secs(5);

pub(crate) struct Writer {
    pub(crate) db: Connection,
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) runs: Arc<RunBuffer>,
    pub(crate) changed: Arc<Notify>,
    pub(crate) counters: Arc<Counters>,
    /// Held as long as the database is open.
    pub(crate) lock: File,
    pub(crate) log: Checkpoint,
}

impl Writer {
    /// Serves until every sender is gone and everything that was handed in is answered.
    pub(crate) fn serve(mut self) {
        let mut taken = Vec::with_capacity(BATCH);
        loop {
            let open = self.jobs.blocking_recv_many(&mut taken, BATCH) > 0;
            self.work(&mut taken);
            if !open {
                break;
            }
        }
        self.end();
    }

    /// Does what was taken from the queue, and what gathered beside it.
    pub(crate) fn work(&self, taken: &mut Vec<Job>) {
        let mut accepts = Vec::new();
        let mut batch: VecDeque<Work> = VecDeque::with_capacity(taken.len());
        for job in taken.drain(..) {
            match job {
                Job::Accept(events) => accepts.push(events),
                Job::Work(work) => batch.push_back(work),
            }
        }
        batch.extend(together(accepts));
        batch.extend(self.runs.take());
        crash::point("batch-taken");
        while !batch.is_empty() {
            self.transact(&mut batch);
        }
        self.log.keep_short(&self.db);
    }

    /// Closes the database and lets the folder go.
    pub(crate) fn end(self) {
        if let Err((_, error)) = self.db.close() {
            tracing::warn!(%error, "the store did not close cleanly; it is whole, and recovers");
        }
        drop(self.lock);
    }

    /// Runs requests in one transaction, all if it lasts, and answers those that ran.
    fn transact(&self, batch: &mut VecDeque<Work>) {
        if let Err(error) = self.execute("BEGIN IMMEDIATE") {
            let undone = Undone(error);
            for job in batch.drain(..) {
                job(Err(&undone));
            }
            return;
        }
        let due = Cell::new(false);
        let tx = Tx::new(&self.db, &due);
        let mut answers = Vec::with_capacity(batch.len());
        let mut result = Ok(());
        while result.is_ok() {
            let Some(job) = batch.pop_front() else { break };
            result = self.step(&tx, job, &mut answers);
            crash::point("request-ran");
        }
        if planted::bug("early-acknowledgement") {
            answers.drain(..).for_each(|answer| answer(None));
        }
        let commit = |()| {
            crash::point("commit-before");
            self.execute("COMMIT")
                .inspect_err(|error| abort_if_unsafe(error, "committing"))
        };
        let result = result.and_then(commit);
        let undone = result.err().map(|error| self.undo(error));
        if undone.is_none() {
            self.counters.apply(tx.changes());
            if due.get() {
                self.changed.notify_one();
            }
        }
        crash::point("commit-after");
        for answer in answers {
            answer(undone.as_ref());
            crash::point("answer-given");
        }
    }

    /// Runs one request in a savepoint. An error means that the transaction is lost.
    fn step(&self, tx: &Tx<'_>, job: Work, answers: &mut Vec<Answer>) -> rusqlite::Result<()> {
        if let Err(error) = self.execute("SAVEPOINT job") {
            let undone = Undone(error);
            job(Err(&undone));
            return Err(undone.0);
        }
        let counted = tx.counted();
        let Some(ran) = job(Ok(tx)) else {
            return Ok(());
        };
        if !ran.keep {
            tx.uncount(counted);
        }
        answers.push(ran.answer);
        if self.db.is_autocommit() {
            // A full disk makes SQLite roll back the whole transaction, the neighbours too.
            let unknown =
                || rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_ABORT), None);
            return Err(ran.cause.unwrap_or_else(unknown));
        }
        if !ran.keep {
            self.execute("ROLLBACK TO job")?;
        }
        self.execute("RELEASE job")
    }

    /// Rolls back what SQLite has not rolled back by itself.
    fn undo(&self, error: rusqlite::Error) -> Undone {
        tracing::error!(%error, "a transaction of the store was undone; who asked is told");
        if self.db.is_autocommit() {
            return Undone(error);
        }
        if let Err(error) = self.execute("ROLLBACK") {
            // A transaction that can neither be ended nor undone would swallow all that follow.
            tracing::error!(%error, "the store cannot roll back; ending the process");
            std::process::abort();
        }
        Undone(error)
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.db.prepare_cached(sql)?.execute([]).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::error::{Done, Failure};
    use crate::fixture::{run, store};
    use crate::row;
    use crate::{Error, Result, State};
    use model::Kind;
    use rusqlite::params;
    use tokio::sync::oneshot;

    /// Keeps the writer busy until the sender is used, so that what is asked meanwhile shares a
    /// transaction.
    async fn hold(state: &State) -> std::sync::mpsc::Sender<()> {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (started, running) = oneshot::channel();
        let state = state.clone();
        tokio::spawn(async move {
            let wait = move |_: &Tx<'_>| {
                let _ = started.send(());
                let _ = held.recv();
                Ok(())
            };
            state.write("waiting", wait).await
        });
        running.await.unwrap();
        release
    }

    /// Asks for a row of `bytes` in a scratch table, and then does `end`.
    async fn fill(
        state: State,
        name: &'static str,
        bytes: i64,
        end: impl FnOnce() -> Done<()> + Send + 'static,
    ) -> Result<()> {
        let sql = "INSERT INTO scratch (name, body) VALUES (?1, zeroblob(?2))";
        let work = move |tx: &Tx<'_>| {
            row::run(tx, sql, params![name, bytes])?;
            end()
        };
        state.write("filling", work).await
    }

    async fn scratch(state: &State) {
        let sql = "CREATE TABLE scratch (name TEXT PRIMARY KEY, body BLOB) STRICT";
        state
            .write("making", move |tx| Ok(tx.execute_batch(sql)?))
            .await
            .unwrap();
    }

    async fn names(state: &State) -> Vec<String> {
        let sql = "SELECT name FROM scratch ORDER BY name";
        state
            .read("looking", move |db| {
                row::all(db, sql, [], |row| Ok(row.get(0)?))
            })
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_request_that_fails_undoes_only_itself() {
        let (_folder, state) = store().await;
        scratch(&state).await;
        let release = hold(&state).await;
        let refuse = || Err(Failure::conflict("row", "b", "refused"));
        let together = async {
            tokio::join!(
                fill(state.clone(), "a", 9, || Ok(())),
                fill(state.clone(), "b", 9, refuse),
                fill(state.clone(), "c", 9, || panic!("of a test")),
                fill(state.clone(), "d", 9, || Ok(())),
                async { release.send(()).unwrap() },
            )
        };
        let (a, b, c, d, ()) = together.await;
        a.unwrap();
        d.unwrap();
        assert_eq!(b.unwrap_err().kind(), Kind::Conflict);
        assert_eq!(c.unwrap_err().kind(), Kind::Internal);
        assert_eq!(names(&state).await, ["a", "d"]);
    }

    #[tokio::test]
    async fn a_full_disk_is_told_to_all_of_the_transaction_and_passes() {
        let (_folder, state) = store().await;
        scratch(&state).await;
        let bound = |pages: i64| {
            let state = state.clone();
            async move {
                let set = move |tx: &Tx<'_>| {
                    let sql = format!("PRAGMA max_page_count = {pages}");
                    Ok(tx.query_row(&sql, [], |row| row.get::<_, i64>(0))?)
                };
                state.write("bounding", set).await.unwrap()
            }
        };
        bound(100).await;
        let release = hold(&state).await;
        let together = async {
            tokio::join!(
                fill(state.clone(), "before", 9, || Ok(())),
                fill(state.clone(), "big", 10_000_000, || Ok(())),
                fill(state.clone(), "after", 9, || Ok(())),
                async { release.send(()).unwrap() },
            )
        };
        let (before, big, after, ()) = together.await;
        assert_eq!(before.unwrap_err().kind(), Kind::StorageFull);
        assert_eq!(big.unwrap_err().kind(), Kind::StorageFull);
        after.unwrap();
        assert_eq!(names(&state).await, ["after"]);
        bound(1_000_000).await;
        fill(state.clone(), "before", 9, || Ok(())).await.unwrap();
        assert_eq!(names(&state).await, ["after", "before"]);
    }

    #[tokio::test]
    async fn a_request_whose_asker_left_is_done_all_the_same() {
        let (_folder, state) = store().await;
        scratch(&state).await;
        let release = hold(&state).await;
        let mut asked = Box::pin(fill(state.clone(), "a", 9, || Ok(())));
        // One poll hands it in.
        assert!(poll_once(asked.as_mut()).await.is_none());
        drop(asked);
        release.send(()).unwrap();
        fill(state.clone(), "b", 9, || Ok(())).await.unwrap();
        assert_eq!(names(&state).await, ["a", "b"]);
    }

    async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|context| match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => std::task::Poll::Ready(Some(output)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }

    #[tokio::test]
    async fn closing_completes_what_was_handed_in() {
        let (folder, state) = store().await;
        scratch(&state).await;
        let release = hold(&state).await;
        state.record_run(run(&crate::fixture::function("f"), None, 1));
        let (filled, (), ()) = tokio::join!(
            fill(state.clone(), "a", 9, || Ok(())),
            state.close(),
            async { release.send(()).unwrap() },
        );
        filled.unwrap();
        let late = fill(state.clone(), "b", 9, || Ok(())).await;
        assert!(matches!(late, Err(Error::Closed)));
        assert!(matches!(state.list_buckets().await, Err(Error::Closed)));
        let state = State::open(folder.path()).await.unwrap();
        assert_eq!(names(&state).await, ["a"]);
        assert_eq!(state.list_runs(None, 9).await.unwrap().len(), 1);
    }
}
