//! The store: opening and closing, and how requests reach the writer and the readers.

use crate::error::Done;
use crate::readers::Readers;
use crate::runs::RunBuffer;
use crate::writer::{Job, QUEUE, Tx, Writer, job};
use crate::{Error, Result, folder, leases, schema};
use model::Timestamp;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

/// The store. A cheap handle; every clone is the same store.
///
/// A write whose future is dropped after it was handed in is done all the same.
#[derive(Clone)]
pub struct State {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// `None` once closed.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    /// Its sender is dropped when the writer has ended.
    ended: watch::Receiver<()>,
    readers: Readers,
    pub(crate) changed: Arc<Notify>,
    pub(crate) runs: Arc<RunBuffer>,
}

impl State {
    /// Opens or makes the database `folder/state.db` (mode 0600) and brings its schema up to date.
    /// Events that were leased when the server died wait again, with their attempts unspent.
    ///
    /// Only one process may have it open: `folder/lock` is locked until the store is closed.
    ///
    /// # Errors
    /// When the folder cannot be written, is in use, the file is not ours, or it is newer than this
    /// binary.
    pub async fn open(folder: &Path) -> Result<Self> {
        let folder = folder.to_owned();
        let task = tokio::task::spawn_blocking(move || Self::open_blocking(&folder));
        task.await.unwrap_or(Err(Error::Closed))
    }

    fn open_blocking(folder: &Path) -> Result<Self> {
        let lock = folder::lock(folder)?;
        let path = folder::make_database(folder)?;
        let mut db = connect(&path)?;
        schema::migrate(&mut db)?;
        let failed = |source| Error::Sql {
            doing: "opening it",
            source,
        };
        // Read-only connections need the files that the first one has made.
        let readers = Readers::open(&path).map_err(failed)?;
        leases::recover(&mut db, Timestamp::now())
            .map_err(|failure| failure.during("recovering leases"))?;

        let (sender, jobs) = mpsc::channel(QUEUE);
        let (signal, ended) = watch::channel(());
        let changed = Arc::new(Notify::new());
        // What waits from before is news to the dispatcher.
        changed.notify_one();
        let runs = Arc::new(RunBuffer::default());
        let writer = Writer {
            db,
            jobs,
            runs: runs.clone(),
            changed: changed.clone(),
            lock,
        };
        let thread = std::thread::Builder::new().name("state-writer".to_owned());
        let started = thread.spawn(move || {
            writer.serve();
            drop(signal);
        });
        started.map_err(|error| Error::Folder {
            path: path.display().to_string(),
            reason: format!("no thread could be started to write it ({error}); raise the limit"),
        })?;
        let jobs = Mutex::new(Some(sender));
        Ok(Self {
            inner: Arc::new(Inner {
                jobs,
                ended,
                readers,
                changed,
                runs,
            }),
        })
    }

    /// Completes what was handed in, then closes. Later calls answer [`crate::Error::Closed`].
    pub async fn close(&self) {
        let sender = lock(&self.inner.jobs).take();
        drop(sender);
        self.inner.readers.close().await;
        let mut ended = self.inner.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    /// Runs `work` in the writer's next transaction and answers when that is on disk.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Tx<'_>) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        self.inner.write(doing, work).await
    }

    /// Runs `work` on a read-only snapshot.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        self.inner.readers.run(doing, work).await
    }

    /// For what outlives a call but must not keep the store open.
    pub(crate) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.inner)
    }
}

impl Inner {
    /// As [`State::write`].
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Tx<'_>) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        let sender = lock(&self.jobs).clone().ok_or(Error::Closed)?;
        let (job, answer) = job(doing, work);
        sender.send(job).await.map_err(|_| Error::Closed)?;
        drop(sender);
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Whether the store was closed.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.jobs).is_none()
    }
}

type Sender = Option<mpsc::Sender<Job>>;

fn lock(jobs: &Mutex<Sender>) -> std::sync::MutexGuard<'_, Sender> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writing connection.
fn connect(path: &PathBuf) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |source| Error::Sql {
        doing: "opening it",
        source,
    };
    let db = Connection::open_with_flags(path, flags).map_err(failed)?;
    schema::check(&db, path)?;
    let configure = || -> rusqlite::Result<()> {
        db.busy_timeout(Duration::from_secs(5))?;
        db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // FULL: each commit is an fsync of the log.
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "foreign_keys", true)?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        db.pragma_update(None, "trusted_schema", false)?;
        db.pragma_update(None, "cache_size", -16_384)?; // KiB
        // The writer does it itself, where it can see errors.
        db.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
        // A log that grew in a rush is cut when it starts again from its beginning.
        db.pragma_update_and_check(None, "journal_size_limit", 64 * 1024 * 1024, |_| Ok(()))?;
        db.set_prepared_statement_cache_capacity(128);
        Ok(())
    };
    configure().map_err(failed)?;
    Ok(db)
}
