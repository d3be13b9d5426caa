//! The writer: one thread that owns the one connection that writes.
//!
//! It takes every request that waits, runs each in a savepoint of one transaction, commits, and only
//! then answers. So many requests share one fsync, one request that fails undoes only itself, and
//! an answer means that the change is on disk.

use crate::error::Done;
use crate::runs::RunBuffer;
use crate::{Error, Result};
use rusqlite::{Connection, ErrorCode, ffi};
use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc, oneshot};

/// Requests that may wait for the writer; past it those who ask wait.
pub(crate) const QUEUE: usize = 4096;

/// Requests that share one commit at most.
const BATCH: usize = 512;

/// Pages in the write-ahead log (4 KiB each) past which they are copied into the database.
const CHECKPOINT: i64 = 1000;

/// The transaction, as a request sees it.
pub(crate) struct Tx<'a> {
    db: &'a Connection,
    due: &'a Cell<bool>,
}

impl Tx<'_> {
    /// Says that an event became due or will; the dispatcher is woken after the commit.
    pub(crate) fn events_changed(&self) {
        self.due.set(true);
    }
}

impl Deref for Tx<'_> {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        self.db
    }
}

/// Why a whole transaction was undone.
pub(crate) struct Undone(rusqlite::Error);

impl Undone {
    /// The same error for one of several who asked (`rusqlite::Error` cannot be cloned).
    fn error(&self, doing: &'static str) -> Error {
        let source = match &self.0 {
            rusqlite::Error::SqliteFailure(code, message) => {
                rusqlite::Error::SqliteFailure(*code, message.clone())
            }
            other => rusqlite::Error::SqliteFailure(
                ffi::Error::new(ffi::SQLITE_ERROR),
                Some(other.to_string()),
            ),
        };
        Error::Sql { doing, source }
    }
}

/// A request that ran, and what is left to do for it.
pub(crate) struct Ran {
    /// Whether its changes are to stay.
    keep: bool,
    /// Answers who asked, once the end of the transaction is known.
    answer: Box<dyn FnOnce(Option<&Undone>)>,
}

/// A request. Instead of a transaction it is given the reason why there is none.
pub(crate) type Job = Box<dyn FnOnce(std::result::Result<&Tx<'_>, &Undone>) -> Option<Ran> + Send>;

/// Makes a request of a closure. A panic in it is an answer too, and undoes only this request.
pub(crate) fn job<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce(&Tx<'_>) -> Done<T> + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T>>) {
    let (sender, receiver) = oneshot::channel();
    let job: Job = Box::new(move |tx| {
        let tx = match tx {
            Ok(tx) => tx,
            Err(undone) => {
                // Who asked may have gone; the answer is then nobody's.
                let _ = sender.send(Err(undone.error(doing)));
                return None;
            }
        };
        let result = match catch_unwind(AssertUnwindSafe(|| work(tx))) {
            Ok(result) => result.map_err(|failure| failure.during(doing)),
            Err(_) => Err(Error::Corrupt {
                doing,
                reason: "the request panicked".to_owned(),
            }),
        };
        let keep = result.is_ok();
        let answer = move |undone: Option<&Undone>| {
            let result = match undone {
                Some(undone) if result.is_ok() => Err(undone.error(doing)),
                _ => result,
            };
            let _ = sender.send(result);
        };
        Some(Ran {
            keep,
            answer: Box::new(answer),
        })
    });
    (job, receiver)
}

pub(crate) struct Writer {
    pub(crate) db: Connection,
    pub(crate) jobs: mpsc::Receiver<Job>,
    pub(crate) runs: Arc<RunBuffer>,
    pub(crate) changed: Arc<Notify>,
    /// Held as long as the database is open.
    pub(crate) lock: File,
}

impl Writer {
    /// Serves until every sender is gone and everything that was handed in is answered.
    pub(crate) fn serve(mut self) {
        let mut taken = Vec::with_capacity(BATCH);
        loop {
            let open = self.jobs.blocking_recv_many(&mut taken, BATCH) > 0;
            let mut batch: VecDeque<Job> = taken.drain(..).collect();
            batch.extend(self.runs.take());
            while !batch.is_empty() {
                self.transact(&mut batch);
            }
            self.checkpoint();
            if !open {
                break;
            }
        }
        if let Err((_, error)) = self.db.close() {
            tracing::warn!(%error, "the store did not close cleanly; it is whole, and recovers");
        }
        drop(self.lock);
    }

    /// Runs requests in one transaction, all if it lasts, and answers those that ran.
    fn transact(&self, batch: &mut VecDeque<Job>) {
        if let Err(error) = self.execute("BEGIN IMMEDIATE") {
            let undone = Undone(error);
            for job in batch.drain(..) {
                job(Err(&undone));
            }
            return;
        }
        let due = Cell::new(false);
        let tx = Tx {
            db: &self.db,
            due: &due,
        };
        let mut answers = Vec::with_capacity(batch.len());
        let mut result = Ok(());
        while let (Ok(()), Some(job)) = (&result, batch.pop_front()) {
            result = self.step(&tx, job, &mut answers);
        }
        let result = result.and_then(|()| self.execute("COMMIT"));
        let undone = result.err().map(|error| self.undo(error));
        if undone.is_none() && due.get() {
            self.changed.notify_one();
        }
        for answer in answers {
            answer(undone.as_ref());
        }
    }

    /// Runs one request in a savepoint. An error means that the transaction is lost.
    fn step(
        &self,
        tx: &Tx<'_>,
        job: Job,
        answers: &mut Vec<Box<dyn FnOnce(Option<&Undone>)>>,
    ) -> rusqlite::Result<()> {
        if let Err(error) = self.execute("SAVEPOINT job") {
            let undone = Undone(error);
            job(Err(&undone));
            return Err(undone.0);
        }
        let Some(ran) = job(Ok(tx)) else {
            return Ok(());
        };
        answers.push(ran.answer);
        // A full disk may have made SQLite roll back everything: then there is no savepoint, and
        // what follows fails and says so.
        if !ran.keep {
            self.execute("ROLLBACK TO job")?;
        }
        self.execute("RELEASE job")
    }

    /// Rolls back, unless the error is one after which nothing can be believed.
    fn undo(&self, error: rusqlite::Error) -> Undone {
        abort_if_unsafe(&error, "committing");
        if !self.db.is_autocommit() {
            if let Err(error) = self.execute("ROLLBACK") {
                // A transaction that can neither be ended nor undone would swallow all that follow.
                tracing::error!(%error, "the store cannot roll back; ending the process");
                std::process::abort();
            }
        }
        Undone(error)
    }

    /// Copies the write-ahead log into the database when it is long. After the answers, so that
    /// nobody waits for it, and by hand, since SQLite's own way hides errors of fsync.
    fn checkpoint(&self) {
        let pragma = |mode: &str| -> rusqlite::Result<(i64, i64)> {
            self.db
                .prepare_cached(mode)?
                .query_row([], |row| Ok((row.get(1)?, row.get(2)?)))
        };
        let result = pragma("PRAGMA wal_checkpoint(NOOP)").and_then(|(written, copied)| {
            if written - copied < CHECKPOINT {
                return Ok(());
            }
            pragma("PRAGMA wal_checkpoint(PASSIVE)").map(|_| ())
        });
        if let Err(error) = result {
            abort_if_unsafe(&error, "copying the write-ahead log");
            // Such as a full disk: nothing is lost, the log stays and is tried again.
            tracing::warn!(%error, "the write-ahead log could not be copied into the database");
        }
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.db.prepare_cached(sql)?.execute([]).map(|_| ())
    }
}

/// After a failed fsync the kernel may have dropped what was written and report success next time.
/// The only safe way on is to end, and to start again from what is really on disk.
fn abort_if_unsafe(error: &rusqlite::Error, doing: &str) {
    if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) {
        tracing::error!(%error, doing, "the disk failed; ending the process to keep the store whole");
        // The log may be lost with the process.
        eprintln!(
            "rouse: the disk failed while {doing} the store: {error}; check it, then start again"
        );
        std::process::abort();
    }
}
