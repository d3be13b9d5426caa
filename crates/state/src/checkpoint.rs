//! The checkpoint: keeping SQLite's write-ahead log short.

use crate::crash;
use crate::writer::BUSY_WAIT;
use rusqlite::{Connection, ffi};
use std::cell::Cell;
use std::time::Duration;

/// Pages in the write-ahead log (4 KiB each) past which they are copied into the database.
const CHECKPOINT: i64 = 1000;

/// Pages past which the log is emptied, though readers must be waited for (for milliseconds: no
/// query is long). Else readers that overlap for ever would let it grow for ever.
const TRUNCATE: i64 = 16 * CHECKPOINT;

/// How long readers are waited for then.
const TRUNCATE_WAIT: Duration = Duration::from_millis(100);

/// Keeps the log short.
#[derive(Default)]
pub(crate) struct Checkpoint {
    /// Length of the log, in pages, when it was last tried to copy it.
    tried: Cell<i64>,
}

impl Checkpoint {
    /// Copies the write-ahead log into the database when it is long. After the answers, so that
    /// nobody waits for it, and by hand, since SQLite's own way hides errors of fsync.
    pub(crate) fn keep_short(&self, db: &Connection) {
        if let Err(error) = self.checkpoint(db) {
            abort_if_unsafe(&error, "copying the write-ahead log");
            // Such as a full disk: nothing is lost, the log stays and is tried again.
            tracing::warn!(%error, "the write-ahead log could not be copied into the database");
        }
    }

    fn checkpoint(&self, db: &Connection) -> rusqlite::Result<()> {
        let pragma = |sql: &str| -> rusqlite::Result<(i64, i64)> {
            db.prepare_cached(sql)?
                .query_row([], |row| Ok((row.get(1)?, row.get(2)?)))
        };
        let (written, copied) = pragma("PRAGMA wal_checkpoint(NOOP)")?;
        if written < self.tried.get() {
            self.tried.set(0); // the log began again
        }
        // A reader that stays on an old snapshot keeps the rest from being copied. That is not
        // tried at each commit, but when the log has grown by as much again.
        if written - copied.max(self.tried.get()) < CHECKPOINT {
            return Ok(());
        }
        self.tried.set(written);
        crash::point("checkpoint-before");
        if written < TRUNCATE {
            pragma("PRAGMA wal_checkpoint(PASSIVE)")?;
            crash::point("checkpoint-after");
            return Ok(());
        }
        db.busy_timeout(TRUNCATE_WAIT)?;
        let result = pragma("PRAGMA wal_checkpoint(TRUNCATE)");
        db.busy_timeout(BUSY_WAIT)?;
        result.map(|_| ())
    }
}

/// After a failed fsync the kernel may have dropped what was written and report success next time.
/// The only safe way on is to end, and to start again from what is really on disk. After other
/// errors, such as of a write, what was not committed is undone and nothing else is in doubt.
pub(crate) fn abort_if_unsafe(error: &rusqlite::Error, doing: &str) {
    let code = error.sqlite_error().map(|error| error.extended_code);
    if let Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC) = code {
        tracing::error!(%error, doing, "the disk failed; ending the process to keep the store whole");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::State;
    use crate::fixture::store;
    use crate::row;
    use rusqlite::Connection;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    /// Writes so many bytes in one row, over those before.
    async fn fill(state: &State, bytes: u32) {
        let sql = "REPLACE INTO credential VALUES ('a', 'root', hex(randomblob(?1)))";
        state
            .write("filling", move |tx| row::run(tx, sql, [bytes / 2]))
            .await
            .unwrap();
    }

    /// The log's length in bytes. It is kept short after an answer; the next answer is after that.
    async fn log(state: &State, folder: &Path) -> u64 {
        state.write("waiting", |_| Ok(())).await.unwrap();
        std::fs::metadata(folder.join("state.db-wal"))
            .unwrap()
            .len()
    }

    #[tokio::test]
    async fn the_log_is_copied_and_emptied_while_readers_go_on() {
        let (folder, state) = store().await;
        let done = Arc::new(AtomicBool::new(false));
        let reader = tokio::spawn({
            let (state, done) = (state.clone(), done.clone());
            async move {
                while !done.load(Relaxed) {
                    state.list_buckets().await.unwrap();
                }
            }
        });
        for _ in 0..40 {
            fill(&state, 4_000_000).await;
        }
        done.store(true, Relaxed);
        reader.await.unwrap();
        // 160 MB were written; the log is emptied at 64 MiB, and again.
        let length = log(&state, folder.path()).await;
        assert!(length < 100_000_000, "{length}");
        state.close().await;
        assert!(
            !folder.path().join("state.db-wal").exists(),
            "closing leaves one file"
        );
    }

    #[tokio::test]
    async fn a_reader_that_stays_keeps_the_log_only_as_long_as_it_stays() {
        let (folder, state) = store().await;
        let other = Connection::open(folder.path().join("state.db")).unwrap();
        other
            .execute_batch("BEGIN; SELECT count(*) FROM bucket")
            .unwrap();
        for _ in 0..10 {
            fill(&state, 8_000_000).await;
        }
        let length = log(&state, folder.path()).await;
        assert!(length > 80_000_000, "{length}");
        other.execute_batch("COMMIT").unwrap();
        fill(&state, 8_000_000).await;
        let length = log(&state, folder.path()).await;
        assert!(length < 10_000_000, "{length}");
    }
}
