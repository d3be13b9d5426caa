//! The Python zygotes: started when a function first needs one, replaced after a while, so that not too
//! many instances share one layout of memory.

use super::kind::{self, Preload};
use super::pins::{Pins, Source};
use crate::bootstrap;
use launcher::{Launcher, Shape, Zygote};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Forks of one zygote; then there is a new one.
const FORKS: u32 = 1000;
/// After a failed start, before the next is tried.
const HOLD: Duration = Duration::from_secs(30);

/// The top names of what a zygote imported beyond its bootstrap, as it tells them.
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Imported {
    /// All.
    pub(super) modules: HashSet<String>,
    /// Those that are not Python's own.
    pub(super) packages: HashSet<String>,
    /// The files that all its modules were read from, by their folder, as it sees them.
    #[serde(default)]
    pub(super) files: HashMap<PathBuf, Vec<PathBuf>>,
}

/// What instances are forked from.
pub(super) struct Ready {
    zygote: Zygote,
    pub(super) imported: Imported,
    forks: AtomicU32,
}

impl Ready {
    /// What the launcher knows it by; counts as a fork.
    pub(super) fn fork(&self) -> u64 {
        self.forks.fetch_add(1, Ordering::Relaxed);
        self.zygote.number()
    }
}

type State = Of<Ready>;

/// What there is of a zygote.
enum Of<R> {
    Starting,
    Ready(Arc<R>),
    Failed(Instant),
}

impl<R> Of<R> {
    /// The one that is ready, and whether one is to be started. `forks`: of it.
    fn look(
        known: Option<&Self>,
        now: Instant,
        forks: impl Fn(&R) -> u32,
    ) -> (Option<Arc<R>>, bool) {
        match known {
            None => (None, true),
            Some(Self::Starting) => (None, false),
            Some(Self::Failed(when)) => (None, now.saturating_duration_since(*when) > HOLD),
            Some(Self::Ready(ready)) => (Some(ready.clone()), forks(ready) >= FORKS),
        }
    }
}

/// See the module. A cheap handle.
#[derive(Clone)]
pub(super) struct Zygotes {
    launcher: Launcher,
    /// The modules to import, as Python names them.
    preload: Arc<[String]>,
    states: Arc<Mutex<HashMap<(Shape, Preload), State>>>,
    /// One has become ready.
    ready: Arc<Notify>,
    pins: Pins,
}

impl Zygotes {
    pub(super) fn new(launcher: Launcher, preload: Vec<String>, pins: Pins) -> Self {
        Self {
            launcher,
            preload: preload.into(),
            states: Arc::default(),
            ready: Arc::default(),
            pins,
        }
    }

    fn states(&self) -> MutexGuard<'_, HashMap<(Shape, Preload), State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What [`Self::changed`] waits for; others may tell of theirs too.
    pub(super) fn notify(&self) -> Arc<Notify> {
        self.ready.clone()
    }

    /// Resolves when one has become ready since this was asked last; for one waiter.
    pub(super) async fn changed(&self) {
        self.ready.notified().await;
    }

    /// The one for instances of this shape, if it is ready.
    pub(super) fn current(&self, shape: &Shape, preload: Preload) -> Option<Arc<Ready>> {
        match self.states().get(&(kind::of_zygote(shape)?, preload)) {
            Some(State::Ready(ready)) => Some(ready.clone()),
            _ => None,
        }
    }

    /// The one for instances of this shape, if it is ready; else it is started, for the next time.
    pub(super) fn get(
        &self,
        shape: &Shape,
        preload: Preload,
        program: &Path,
        environment: impl FnOnce() -> Vec<(String, String)>,
    ) -> Option<Arc<Ready>> {
        let key = (kind::of_zygote(shape)?, preload);
        let mut states = self.states();
        let forks = |ready: &Ready| ready.forks.load(Ordering::Relaxed);
        let (found, start) = State::look(states.get(&key), Instant::now(), forks);
        if start {
            // One that is replaced serves until its successor is ready.
            if let Some(ready) = &found {
                ready.forks.store(0, Ordering::Relaxed);
            } else {
                states.insert(key.clone(), State::Starting);
            }
            drop(states);
            let argv = vec![
                program.display().to_string(),
                format!("{}/zygote.py", bootstrap::FOLDER),
            ];
            tokio::spawn(self.clone().start(key, argv, environment()));
        }
        found
    }

    async fn start(
        self,
        key: (Shape, Preload),
        argv: Vec<String>,
        mut environment: Vec<(String, String)>,
    ) {
        let mut set = |name: &str, value: String| environment.push((name.to_owned(), value));
        if key.1 == Preload::Modules {
            set("ROUSE_PRELOAD", self.preload.join(","));
        }
        // Threads do not survive a fork.
        set("OPENBLAS_NUM_THREADS", "1".to_owned());
        set("OMP_NUM_THREADS", "1".to_owned());
        let begun = Instant::now();
        let started = self.launcher.zygote(key.0.clone(), argv, environment).await;
        let state = match started {
            Ok(zygote) => {
                let imported = serde_json::from_slice(zygote.greeting()).unwrap_or_default();
                tracing::info!(pid = zygote.pid(), elapsed = ?begun.elapsed(), "a Python zygote is ready");
                let ready = Arc::new(Ready {
                    zygote,
                    imported,
                    forks: AtomicU32::new(0),
                });
                tokio::spawn(self.clone().watch(key.clone(), ready.clone()));
                tokio::spawn(pin(self.pins.clone(), Source::Python(key.1), ready.clone()));
                State::Ready(ready)
            }
            Err(error) => {
                tracing::warn!(%error, "a Python zygote did not start: interpreters start afresh");
                State::Failed(Instant::now())
            }
        };
        self.states().insert(key, state);
        self.ready.notify_one();
    }

    /// Forgets one that has ended by itself.
    async fn watch(self, key: (Shape, Preload), ready: Arc<Ready>) {
        let weak = Arc::downgrade(&ready);
        let exit = ready.zygote.exit();
        drop(ready);
        let exit = exit.await;
        let mut states = self.states();
        if let (Some(State::Ready(current)), Some(ended)) = (states.get(&key), weak.upgrade())
            && Arc::ptr_eq(current, &ended)
        {
            tracing::warn!("a Python zygote ended: {}", exit.describe());
            states.insert(key, State::Failed(Instant::now()));
        }
    }
}

/// What a zygote has read is kept in memory: the next one, and programs that start afresh, read it again.
async fn pin(pins: Pins, source: Source, ready: Arc<Ready>) {
    match ready.zygote.mapped().await {
        Ok(mut files) => {
            let folders = ready.imported.files.iter();
            files.extend(folders.flat_map(|(folder, names)| names.iter().map(|n| folder.join(n))));
            pins.learn(source, files);
        }
        // It has ended; the next one is asked again.
        Err(error) => tracing::debug!(%error, "a zygote did not tell which files it has read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether one is found, and one is to be started, with so many forks.
    fn look(known: Option<&Of<u32>>, now: Instant) -> (bool, bool) {
        let (found, start) = Of::look(known, now, |forks| *forks);
        (found.is_some(), start)
    }

    #[test]
    fn a_zygote_is_replaced_after_so_many_forks_and_serves_meanwhile() {
        let now = Instant::now();
        let after = |forks| look(Some(&Of::Ready(Arc::new(forks))), now);
        assert_eq!(look(None, now), (false, true));
        assert_eq!(look(Some(&Of::Starting), now), (false, false));
        assert_eq!((after(0), after(FORKS - 1)), ((true, false), (true, false)));
        assert_eq!(after(FORKS), (true, true));
    }

    #[test]
    fn after_a_failure_none_is_started_for_a_while() {
        let failed = Instant::now();
        let at = |now| look(Some(&Of::Failed(failed)), now);
        assert_eq!(
            (at(failed), at(failed + HOLD)),
            ((false, false), (false, false))
        );
        assert_eq!(at(failed + HOLD + Duration::from_millis(1)), (false, true));
    }
}
