//! The readers: a few read-only connections, each lent to one query at a time.

use crate::error::Done;
use crate::{Error, Result};
use rusqlite::{Connection, OpenFlags};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How many queries run at a time; further ones wait.
const CONNECTIONS: usize = 4;

pub(crate) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    /// Opens the connections; the file must exist and be in WAL mode.
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Self> {
        let open = |_| -> rusqlite::Result<Connection> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let db = Connection::open_with_flags(path, flags)?;
            db.busy_timeout(Duration::from_secs(5))?;
            db.pragma_update(None, "query_only", true)?;
            db.pragma_update(None, "temp_store", "MEMORY")?;
            db.pragma_update(None, "trusted_schema", false)?;
            db.set_prepared_statement_cache_capacity(64);
            Ok(db)
        };
        let idle = (0..CONNECTIONS)
            .map(open)
            .collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(Self {
            idle: Arc::new(Mutex::new(idle)),
            permits: Arc::new(Semaphore::new(CONNECTIONS)),
        })
    }

    /// Runs `work` on one snapshot of the database.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        let permit = self
            .permits
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| Error::Closed)?;
        let idle = self.idle.clone();
        let query = move || {
            let db = lock(&idle).pop().ok_or(Error::Closed)?;
            let read = || {
                let snapshot = db.unchecked_transaction()?;
                work(&snapshot)
            };
            let result = catch_unwind(AssertUnwindSafe(read));
            lock(&idle).push(db);
            drop(permit);
            match result {
                Ok(result) => result.map_err(|failure| failure.during(doing)),
                Err(_) => Err(Error::Corrupt {
                    doing,
                    reason: "the query panicked".to_owned(),
                }),
            }
        };
        #[cfg(feature = "simulation")]
        if model::simulation::is_on() {
            crate::simulation::disk().await;
            let result = query();
            crate::simulation::disk().await;
            return result;
        }
        let task = tokio::task::spawn_blocking(query);
        // The only other error is that the async runtime is being torn down.
        task.await.unwrap_or(Err(Error::Closed))
    }

    /// Waits for the queries that run, then closes the connections.
    pub(crate) async fn close(&self) {
        let all = self.permits.acquire_many(CONNECTIONS as u32).await;
        self.permits.close();
        drop(all);
        lock(&self.idle).clear();
    }
}

fn lock(idle: &Mutex<Vec<Connection>>) -> std::sync::MutexGuard<'_, Vec<Connection>> {
    // Nothing panics while it holds this lock, and a pool is whole at every moment.
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
