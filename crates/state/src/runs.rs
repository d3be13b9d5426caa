//! Table `run`: the record of each attempt.

use crate::{Result, State};
use model::{Run, Timestamp};

impl State {
    /// Records a waiting call. Does not wait for the disk; what is lost in a crash is the record of
    /// a call whose caller had the answer. At most 10 000 wait to be written; past it they are
    /// dropped and counted.
    pub fn record_run(&self, run: Run) {
        let _ = run;
        todo!()
    }

    /// The newest runs of a target key (all if `None`), newest first, at most `limit`.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_runs(&self, target: Option<String>, limit: u32) -> Result<Vec<Run>> {
        let _ = (target, limit);
        todo!()
    }

    /// Deletes up to `limit` runs of waiting calls that started before `before`. Gives how many.
    ///
    /// # Errors
    /// Of the store.
    pub async fn purge_runs(&self, before: Timestamp, limit: u32) -> Result<u64> {
        let _ = (before, limit);
        todo!()
    }
}
