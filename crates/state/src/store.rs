//! The store: opening and closing, and how requests reach the writer and the readers.

use crate::checkpoint::Checkpoint;
use crate::counters::Counters;
use crate::error::Done;
use crate::job::{Job, Tx, job};
use crate::readers::Readers;
use crate::runs::RunBuffer;
use crate::writer::{BUSY_WAIT, QUEUE, Writer};
use crate::{Error, Result, cancellations, folder, leases, partitions, planted, replays, schema};
use model::{EventId, Timestamp};
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{Notify, mpsc, oneshot, watch};

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
    pub(crate) counters: Arc<Counters>,
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
        #[cfg(feature = "simulation")]
        if model::simulation::is_on() {
            return Self::open_blocking(&folder);
        }
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
        // The clock may have been set back since: what is new still comes after what is there.
        for latest in latest(&db).map_err(|failure| failure.during("reading the latest ids"))? {
            latest.follow();
        }
        leases::recover(&mut db, Timestamp::now())
            .map_err(|failure| failure.during("recovering leases"))?;
        let counters = Counters::load(&db).map_err(|failure| failure.during("counting events"))?;
        let counters = Arc::new(counters);

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
            counters: counters.clone(),
            lock,
            log: Checkpoint::default(),
        };
        start(writer, signal).map_err(|error| Error::Folder {
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
                counters,
            }),
        })
    }

    /// Completes what was handed in, then closes. Later calls answer [`crate::Error::Closed`].
    pub async fn close(&self) {
        let sender = lock(&self.inner.jobs).take();
        // The writer closes last: whoever does so puts the log away.
        self.inner.readers.close().await;
        drop(sender);
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
        let (job, answer) = job(doing, work);
        self.hand_in(job, answer).await
    }

    /// Hands a request to the writer and waits for the answer.
    pub(crate) async fn hand_in<T>(
        &self,
        job: Job,
        answer: oneshot::Receiver<Result<T>>,
    ) -> Result<T> {
        let sender = lock(&self.jobs).clone().ok_or(Error::Closed)?;
        sender.send(job).await.map_err(|_| Error::Closed)?;
        drop(sender);
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Whether the store was closed.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.jobs).is_none()
    }
}

/// The latest ids that are in use: of events, and those before which replays end.
fn latest(db: &Connection) -> Done<Vec<EventId>> {
    let mut found = partitions::latest(db)?;
    found.extend(
        replays::running(db)?
            .into_iter()
            .map(|replay| replay.before),
    );
    found.extend(cancellations::bounds(db)?);
    Ok(found)
}

/// Lets the writer serve, on a thread of its own. `signal` is dropped when it has ended.
fn start(writer: Writer, signal: watch::Sender<()>) -> std::io::Result<()> {
    #[cfg(feature = "simulation")]
    if model::simulation::is_on() {
        tokio::spawn(async move {
            crate::simulation::serve(writer).await;
            drop(signal);
        });
        return Ok(());
    }
    let thread = std::thread::Builder::new().name("state-writer".to_owned());
    let started = thread.spawn(move || {
        writer.serve();
        drop(signal);
    });
    started.map(drop)
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
        db.busy_timeout(BUSY_WAIT)?;
        db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        // Each commit is an fsync of the log.
        let synchronous = if planted::bug("synchronous-normal") {
            "NORMAL"
        } else {
            "FULL"
        };
        db.pragma_update(None, "synchronous", synchronous)?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{event, function, store};
    use model::{EventState, Kind};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn sqlite_is_free_of_the_bug_that_loses_commits_when_the_log_restarts() {
        assert!(
            rusqlite::version_number() >= 3_051_003,
            "{}",
            rusqlite::version()
        );
    }

    #[tokio::test]
    async fn commits_are_synced_and_keys_are_checked() {
        let (_folder, state) = store().await;
        let pragma = |name: &'static str| {
            let state = state.clone();
            async move {
                let sql = format!("PRAGMA {name}");
                let ask = move |tx: &Tx<'_>| {
                    Ok(tx.query_row(&sql, [], |row| row.get::<_, rusqlite::types::Value>(0))?)
                };
                state.write("asking", ask).await.unwrap()
            }
        };
        assert_eq!(pragma("journal_mode").await, "wal".to_owned().into());
        assert_eq!(pragma("synchronous").await, 2.into());
        assert_eq!(pragma("foreign_keys").await, 1.into());
    }

    #[tokio::test]
    async fn its_files_are_for_their_owner_only() {
        let (folder, state) = store().await;
        for name in ["state.db", "state.db-wal", "state.db-shm", "lock"] {
            let mode = std::fs::metadata(folder.path().join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        state.close().await;
    }

    #[tokio::test]
    async fn a_folder_in_use_is_refused() {
        let (folder, state) = store().await;
        let error = State::open(folder.path()).await.err().unwrap();
        assert!(
            error.to_string().contains("in use by another rouse"),
            "{error}"
        );
        state.close().await;
        State::open(folder.path()).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_of_another_program_or_of_the_future_is_refused_and_left_alone() {
        let foreign = "CREATE TABLE theirs (a)";
        let newer = "PRAGMA application_id = 0x726f7573; PRAGMA user_version = 2000";
        for (sql, said) in [(foreign, "another program"), (newer, "newer rouse")] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state.db");
            Connection::open(&path).unwrap().execute_batch(sql).unwrap();
            let before = std::fs::read(&path).unwrap();
            let error = State::open(folder.path()).await.err().unwrap();
            assert!(error.to_string().contains(said), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), before);
        }
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_and_a_folder_that_is_a_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        std::fs::write(
            &path,
            "no database at all, and longer than its header would be ".repeat(9),
        )
        .unwrap();
        let error = State::open(folder.path()).await.err().unwrap();
        assert!(error.to_string().contains("cannot be read"), "{error}");
        let error = State::open(&path).await.err().unwrap();
        assert!(error.to_string().contains("state.db"), "{error}");
        assert_eq!(error.kind(), Kind::Internal);
    }

    #[tokio::test]
    async fn what_was_leased_waits_again_after_a_restart() {
        let (folder, state) = store().await;
        let target = function("f");
        let (leased, waiting) = (event(&target, 1), event(&target, 8_000));
        state
            .put_events(vec![leased.clone(), waiting.clone()])
            .await
            .unwrap();
        let far = Timestamp(i64::MAX);
        state
            .lease_events(&target, 9, Timestamp(5_000), far)
            .await
            .unwrap();
        state.close().await;

        let before = Timestamp::now();
        let state = State::open(folder.path()).await.unwrap();
        let event = state.get_event(leased.id).await.unwrap();
        assert_eq!(
            (event.state, event.attempts, event.epoch),
            (EventState::Waiting, 0, 2)
        );
        assert!(event.not_before >= before);
        let event = state.get_event(waiting.id).await.unwrap();
        assert_eq!((event.epoch, event.not_before), (0, Timestamp(8_000)));
    }

    #[tokio::test]
    async fn a_dropped_store_lets_the_folder_go() {
        let (folder, state) = store().await;
        drop(state);
        State::open(folder.path()).await.unwrap();
    }
}
