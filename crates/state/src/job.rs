//! A request of the writer: a closure, and the way back to who asked.

use crate::acceptance::Acceptance;
use crate::counters::Change;
use crate::error::Done;
use crate::{Error, Result};
use rusqlite::{Connection, ffi};
use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::oneshot;

/// The transaction, as a request sees it.
pub(crate) struct Tx<'a> {
    db: &'a Connection,
    due: &'a Cell<bool>,
    changes: RefCell<Vec<Change>>,
}

impl<'a> Tx<'a> {
    /// `due` is set when the dispatcher must be woken.
    pub(crate) fn new(db: &'a Connection, due: &'a Cell<bool>) -> Self {
        let changes = RefCell::default();
        Self { db, due, changes }
    }

    /// Says that an event became due or will; the dispatcher is woken after the commit.
    pub(crate) fn events_changed(&self) {
        self.due.set(true);
    }

    /// Notes what is counted once the transaction is on disk.
    pub(crate) fn count(&self, change: Change) {
        self.changes.borrow_mut().push(change);
    }

    /// How many changes were noted.
    pub(crate) fn counted(&self) -> usize {
        self.changes.borrow().len()
    }

    /// Forgets the changes of a request that is undone: those after the first `kept`.
    pub(crate) fn uncount(&self, kept: usize) {
        self.changes.borrow_mut().truncate(kept);
    }

    /// The changes of the transaction.
    pub(crate) fn changes(self) -> Vec<Change> {
        self.changes.into_inner()
    }
}

impl Deref for Tx<'_> {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        self.db
    }
}

/// Why a whole transaction was undone.
pub(crate) struct Undone(pub(crate) rusqlite::Error);

impl Undone {
    /// For the same reason as this error.
    pub(crate) fn because(error: &rusqlite::Error) -> Self {
        Self(copy(error))
    }

    /// The same error for one of several who asked (`rusqlite::Error` cannot be cloned).
    pub(crate) fn error(&self, doing: &'static str) -> Error {
        Error::Sql {
            doing,
            source: copy(&self.0),
        }
    }
}

fn copy(error: &rusqlite::Error) -> rusqlite::Error {
    let (code, message) = match error {
        rusqlite::Error::SqliteFailure(code, message) => (*code, message.clone()),
        other => (ffi::Error::new(ffi::SQLITE_ERROR), Some(other.to_string())),
    };
    rusqlite::Error::SqliteFailure(code, message)
}

/// Tells who asked how it ended; of a transaction that was undone, why.
pub(crate) type Answer = Box<dyn FnOnce(Option<&Undone>)>;

/// A request that ran, and what is left to do for it.
pub(crate) struct Ran {
    /// Whether its changes are to stay.
    pub(crate) keep: bool,
    /// What SQLite said, if that is why not.
    pub(crate) cause: Option<rusqlite::Error>,
    /// Answers who asked, once the end of the transaction is known.
    pub(crate) answer: Answer,
}

/// A closure to run. Instead of a transaction it is given the reason why there is none.
pub(crate) type Work = Box<dyn FnOnce(std::result::Result<&Tx<'_>, &Undone>) -> Option<Ran> + Send>;

/// A request.
pub(crate) enum Job {
    /// Events to accept; those that wait are accepted together.
    Accept(Acceptance),
    /// Anything else, in a savepoint of its own.
    Work(Work),
}

/// Makes a request of a closure.
pub(crate) fn job<T: Send + 'static>(
    doing: &'static str,
    change: impl FnOnce(&Tx<'_>) -> Done<T> + Send + 'static,
) -> (Job, oneshot::Receiver<Result<T>>) {
    let (sender, receiver) = oneshot::channel();
    let tell = move |result| {
        // Who asked may have gone; the answer is then nobody's.
        let _ = sender.send(result);
    };
    (Job::Work(work(doing, change, tell)), receiver)
}

/// Runs a closure and tells how that ended, once it is known. A panic in it is an answer too, and undoes
/// only this request.
pub(crate) fn work<T: Send + 'static>(
    doing: &'static str,
    change: impl FnOnce(&Tx<'_>) -> Done<T> + Send + 'static,
    tell: impl FnOnce(Result<T>) + Send + 'static,
) -> Work {
    Box::new(move |tx| {
        let tx = match tx {
            Ok(tx) => tx,
            Err(undone) => {
                tell(Err(undone.error(doing)));
                return None;
            }
        };
        let result = match catch_unwind(AssertUnwindSafe(|| change(tx))) {
            Ok(result) => result.map_err(|failure| failure.during(doing)),
            Err(_) => Err(Error::Corrupt {
                doing,
                reason: "the request panicked".to_owned(),
            }),
        };
        let keep = result.is_ok();
        let cause = match &result {
            Err(Error::Sql { source, .. }) => Some(copy(source)),
            _ => None,
        };
        let answer = move |undone: Option<&Undone>| {
            tell(match undone {
                Some(undone) if result.is_ok() => Err(undone.error(doing)),
                _ => result,
            });
        };
        Some(Ran {
            keep,
            cause,
            answer: Box::new(answer),
        })
    })
}
