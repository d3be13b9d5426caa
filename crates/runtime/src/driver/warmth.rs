//! Files of functions are read into memory before they are needed: when a function is deployed, when the
//! server starts, and when one that has been idle for long is called again. Which parts, a start tells:
//! a moment after the first call of a new instance was answered, what is in memory of its files is what
//! it has read (`storage`'s `page_cache`).

use crate::environment::TASK_ROOT;
use launcher::Work;
use launcher::residency::resident;
use model::Code;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use storage::{Guess, Storage};
use tokio::sync::mpsc;

/// Most bytes that are read ahead for all functions together.
const ALL: u64 = 512 << 20;
/// A function that was not started for so long may have left memory.
const IDLE: Duration = Duration::from_secs(600);
/// From the first answer to when it is looked what was read: the calls that follow count too.
const SETTLE: Duration = Duration::from_secs(2);
/// So long what was remembered is true.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// Codes that are known, past which those that were idle for long are forgotten; and work that may wait,
/// past which it is left undone.
const KNOWN: usize = 4096;

/// See the module. A cheap handle.
#[derive(Clone)]
pub(super) struct Warmth {
    shared: Arc<Shared>,
    work: mpsc::Sender<Task>,
}

#[derive(Default)]
struct Shared {
    known: Mutex<HashMap<String, Known>>,
    /// The machine is short of memory: nothing is read ahead.
    scarce: AtomicBool,
}

struct Known {
    started: Instant,
    /// When it was last remembered what it reads, or is about to be.
    remembered: Option<Instant>,
    /// Bytes that were read ahead for it since it was idle last.
    bytes: u64,
}

enum Task {
    Warm(Code, Guess),
    Remember(Code),
}

impl Warmth {
    pub(super) fn new(storage: Storage) -> Self {
        let (work, tasks) = mpsc::channel(KNOWN);
        let shared = Arc::new(Shared::default());
        tokio::spawn(shared.clone().work(storage, tasks));
        Self { shared, work }
    }

    /// See [`crate::Runtime::set_scarce`].
    pub(super) fn set_scarce(&self, scarce: bool) {
        self.shared.scarce.store(scarce, Ordering::Relaxed);
    }

    /// Something with this code is started, or is going to be. If that was not so for long, its files
    /// are read ahead, which goes on beside the start.
    pub(super) fn starting(&self, code: &Code, work: &Work) {
        if self.shared.was_idle(code) {
            // Past the bound nothing is read ahead; the start reads what it needs.
            let _ = self.work.try_send(Task::Warm(code.clone(), guess(work)));
        }
    }

    /// A new instance with this code has answered its first call.
    pub(super) fn answered(&self, code: &Code) {
        if !self.shared.shall_remember(code) {
            return;
        }
        let (work, code) = (self.work.clone(), code.clone());
        tokio::spawn(async move {
            tokio::time::sleep(SETTLE).await;
            // As above; the server may also be ending.
            let _ = work.try_send(Task::Remember(code));
        });
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was not started for long, or never; it is now.
    fn was_idle(&self, code: &Code) -> bool {
        let now = Instant::now();
        let mut known = self.known();
        if known.len() >= KNOWN {
            known.retain(|_, one| now - one.started < IDLE);
        }
        let mut idle = false;
        let one = known.entry(key(code)).or_insert_with(|| {
            idle = true;
            Known {
                started: now,
                remembered: None,
                bytes: 0,
            }
        });
        idle |= now - one.started >= IDLE;
        one.started = now;
        idle
    }

    /// Whether what it reads is to be remembered again; then it counts as done.
    fn shall_remember(&self, code: &Code) -> bool {
        let mut known = self.known();
        let Some(one) = known.get_mut(&key(code)) else {
            return false;
        };
        let due = one.remembered.is_none_or(|at| at.elapsed() >= REMEMBERED);
        if due {
            one.remembered = Some(Instant::now());
        }
        due
    }

    /// Does what is asked for, one after the other, until nobody can ask any more.
    async fn work(self: Arc<Self>, storage: Storage, mut tasks: mpsc::Receiver<Task>) {
        while let Some(task) = tasks.recv().await {
            match task {
                Task::Warm(code, guess) => self.warm(&storage, &code, guess).await,
                Task::Remember(code) => match storage.remember_warm(&code, resident).await {
                    Ok(kept) => {
                        let (code, files) = (key(&code), kept.files);
                        tracing::debug!(code, files, kept.bytes, "what starts read is remembered");
                    }
                    Err(error) => tracing::debug!(%error, "what starts read is not remembered"),
                },
            }
        }
    }

    async fn warm(self: &Arc<Self>, storage: &Storage, code: &Code, guess: Guess) {
        let key = key(code);
        let left = {
            let mut known = self.known();
            // What others were read ahead for and is idle by now has most likely left memory.
            for one in known.values_mut() {
                if one.started.elapsed() >= IDLE {
                    one.bytes = 0;
                }
            }
            ALL.saturating_sub(known.values().map(|one| one.bytes).sum())
        };
        let shared = self.clone();
        let go_on = move || !shared.scarce.load(Ordering::Relaxed);
        match storage.warm(code, guess, left, go_on).await {
            Ok(warmed) => {
                if let Some(one) = self.known().get_mut(&key) {
                    one.bytes = warmed.bytes;
                }
                let (files, bytes) = (warmed.files, warmed.bytes);
                tracing::debug!(
                    code = key,
                    files,
                    bytes,
                    warmed.listed,
                    "files are read ahead"
                );
            }
            // It may have gone meanwhile.
            Err(error) => tracing::debug!(%error, "files are not read ahead"),
        }
    }
}

fn key(code: &Code) -> String {
    match code {
        Code::Zip { digest, .. } => format!("zip {digest}"),
        Code::Image { digest, .. } => format!("image {digest}"),
    }
}

/// Where the program may be, below the code's or image's root.
fn guess(work: &Work) -> Guess {
    let Work::Execute {
        argv, environment, ..
    } = work
    else {
        return Guess::default();
    };
    let Some(program) = argv.first().map(Path::new) else {
        return Guess::default();
    };
    let programs = match program.strip_prefix(TASK_ROOT) {
        // Of code that is unpacked there; in an image, it is the image's.
        Ok(own) => vec![program.to_owned(), own.to_owned()],
        Err(_) if program.components().count() > 1 => vec![program.to_owned()],
        Err(_) => {
            let path = environment.iter().find(|(name, _)| name == "PATH");
            let folders = path.map(|(_, path)| path.split(':')).into_iter().flatten();
            folders
                .map(|folder| Path::new(folder).join(program))
                .collect::<Vec<PathBuf>>()
        }
    };
    Guess { programs }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::spec::tests::spec;

    fn execute(program: &str) -> Work {
        Work::Execute {
            argv: vec![program.to_owned(), "argument".to_owned()],
            environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
            working_dir: "/".to_owned(),
        }
    }

    #[test]
    fn a_program_is_guessed_where_it_would_be_looked_for() {
        let of = |program| guess(&execute(program)).programs;
        assert_eq!(
            of("bash"),
            ["/usr/bin/bash", "/bin/bash"].map(PathBuf::from)
        );
        assert_eq!(of("/srv/app"), ["/srv/app"].map(PathBuf::from));
        let own = ["/var/task/bootstrap", "bootstrap"];
        assert_eq!(of("/var/task/bootstrap"), own.map(PathBuf::from));
        assert_eq!(guess(&Work::Tell(Vec::new())), Guess::default());
    }

    #[test]
    fn code_is_read_ahead_once_and_remembered_once() {
        let (shared, code) = (Shared::default(), spec().code);
        assert!(!shared.shall_remember(&code), "it was never started");
        assert!(shared.was_idle(&code) && !shared.was_idle(&code));
        assert!(shared.shall_remember(&code) && !shared.shall_remember(&code));
    }
}
