//! A Python function's modules are compiled once, when it is deployed: its code is read-only inside, so each of its
//! starts would compile them again. That is done in a sandbox, like all that reads a function's code, and never in the
//! way of a start: one that comes before compiles by itself.

use super::plan::Plan;
use crate::environment::TASK_ROOT;
use crate::{InstanceSpec, bootstrap};
use launcher::{Assignment, Launcher, Shape, Work};
use model::{Code, Digest, Limits, RuntimeName};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use storage::Storage;
use tokio::sync::{mpsc, watch};

/// Codes that wait to be compiled; past that they are not, until they are asked for again.
const WAITING: usize = 1024;
/// Codes that are remembered to have been asked for; past that, those are forgotten that nobody uses.
const KNOWN: usize = 4096;
/// The compiler itself ends earlier, with what it has.
const PATIENCE: Duration = Duration::from_secs(60);
/// Status of a compiler that had no time for all.
const UNFINISHED: i32 = 75;
const MIB: u64 = 1024 * 1024;

/// See the module. A cheap handle.
#[derive(Clone)]
pub(super) struct Bytecode {
    known: Arc<Mutex<HashMap<Digest, Weak<()>>>>,
    work: mpsc::Sender<Job>,
    storage: Storage,
    /// The machine is short of memory: nothing is compiled.
    scarce: Arc<watch::Sender<bool>>,
}

struct Job {
    code: Digest,
    shape: Shape,
    assignment: Assignment,
    /// Gone when nothing is to be started with the code any more.
    used: Weak<()>,
}

/// What a turn of the compiler came to.
struct Laid {
    modules: usize,
    /// Nothing is left to be done.
    all: bool,
}

impl Bytecode {
    pub(super) fn new(launcher: Launcher, storage: Storage) -> Self {
        let place = storage.clone();
        Self::with(storage, move |job: &Job| {
            let (launcher, storage) = (launcher.clone(), place.clone());
            let (code, shape) = (job.code.clone(), job.shape.clone());
            let assignment = job.assignment.clone();
            async move { compile(&launcher, &storage, &code, shape, assignment).await }
        })
    }

    fn with<C>(storage: Storage, compile: impl Fn(&Job) -> C + Send + 'static) -> Self
    where
        C: Future<Output = Result<Laid, String>> + Send + 'static,
    {
        let (work, jobs) = mpsc::channel(WAITING);
        let (scarce, is_scarce) = watch::channel(false);
        tokio::spawn(compile_all(compile, jobs, is_scarce));
        Self {
            known: Arc::default(),
            work,
            storage,
            scarce: Arc::new(scarce),
        }
    }

    /// See [`crate::Runtime::set_scarce`].
    pub(super) fn set_scarce(&self, scarce: bool) {
        self.scarce.send_replace(scarce);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, Weak<()>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something with this code is going to be started, by this plan: it is compiled, if that was not done, unless
    /// what this gives is dropped before.
    pub(super) fn ensure(
        &self,
        spec: &InstanceSpec,
        plan: &Plan,
        interpreter: Option<&Path>,
    ) -> Option<Arc<()>> {
        let (RuntimeName::Python311, Code::Zip { digest, .. }, Some(interpreter)) =
            (spec.runtime, &spec.code, interpreter)
        else {
            return None;
        };
        if self.storage.has_bytecode(digest) {
            return None;
        }
        let mut known = self.known();
        if let Some(used) = known.get(digest).and_then(Weak::upgrade) {
            return Some(used);
        }
        let used = Arc::new(());
        let job = Job {
            code: digest.clone(),
            shape: shape(&plan.shape),
            assignment: assignment(&plan.assignment, interpreter),
            used: Arc::downgrade(&used),
        };
        if self.work.try_send(job).is_err() {
            tracing::info!(code = %digest, "too many wait to be compiled: starts do that");
            return None;
        }
        if known.len() >= KNOWN {
            known.retain(|_, used| used.strong_count() > 0);
        }
        known.insert(digest.clone(), Arc::downgrade(&used));
        Some(used)
    }
}

/// The instance's, without any way out or in.
fn shape(of: &Shape) -> Shape {
    Shape {
        volumes: Vec::new(),
        hosts: Vec::new(),
        listen: Vec::new(),
        serves: false,
        egress: false,
        ..of.clone()
    }
}

fn assignment(of: &Assignment, interpreter: &Path) -> Assignment {
    let compiler = format!("{}/compile.py", bootstrap::FOLDER);
    let argv = [
        &interpreter.display().to_string(),
        "-I",
        &compiler,
        TASK_ROOT,
    ];
    Assignment {
        code: of.code.clone(),
        work: Work::Execute {
            argv: argv.map(str::to_owned).to_vec(),
            environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
            working_dir: "/".to_owned(),
        },
        // Half a processor: calls come first.
        limits: Limits {
            memory: 512 * MIB,
            cpu: 500,
            pids: 8,
            tmp: 64 * MIB,
            ..Limits::default()
        },
    }
}

/// One after the other, in turns, until nobody can ask any more.
async fn compile_all<C>(
    compile: impl Fn(&Job) -> C,
    mut jobs: mpsc::Receiver<Job>,
    mut is_scarce: watch::Receiver<bool>,
) where
    C: Future<Output = Result<Laid, String>>,
{
    let mut turns = VecDeque::new();
    loop {
        if turns.is_empty() {
            let Some(job) = jobs.recv().await else {
                return;
            };
            turns.push_back(job);
        }
        while turns.len() < WAITING
            && let Ok(job) = jobs.try_recv()
        {
            turns.push_back(job);
        }
        // It fails when nobody can tell any more, and so nobody asks either.
        let told = is_scarce.wait_for(|scarce| !scarce).await.is_ok();
        if !told || jobs.is_closed() {
            return;
        }
        let Some(job) = turns.pop_front() else {
            continue;
        };
        if job.used.strong_count() == 0 {
            continue;
        }
        let short = async { is_scarce.wait_for(|scarce| *scarce).await.is_ok() };
        let again = tokio::select! {
            // Memory is wanted elsewhere: what was done meanwhile is given up.
            _ = short => true,
            again = turn(&job, compile(&job)) => again,
        };
        if again {
            turns.push_back(job);
        }
    }
}

/// Whether it is to have another.
async fn turn(job: &Job, compile: impl Future<Output = Result<Laid, String>>) -> bool {
    let (code, begun) = (&job.code, Instant::now());
    let compiled = tokio::time::timeout(PATIENCE, compile).await;
    let reason = match compiled.unwrap_or_else(|_| Err("it takes longer than a minute".to_owned()))
    {
        Ok(Laid { modules, all }) => {
            tracing::debug!(%code, modules, all, elapsed = ?begun.elapsed(), "modules are compiled");
            // What comes no further is not tried again and again.
            if all || modules > 0 {
                return !all;
            }
            "it comes no further".to_owned()
        }
        Err(reason) => reason,
    };
    tracing::info!(%code, reason, "not all modules are compiled: starts do that");
    false
}

/// What fails is tried again by the next server.
async fn compile(
    launcher: &Launcher,
    storage: &Storage,
    code: &Digest,
    shape: Shape,
    assignment: Assignment,
) -> Result<Laid, String> {
    let started = launcher.start(shape, assignment).await;
    // Dropped, it is killed, and so its output ends.
    let mut sandbox = started.map_err(|error| error.to_string())?;
    let output = sandbox.stdout.take().ok_or("it has no output")?;
    // Nobody reads it, and a full pipe would hold the compiler up.
    drop(sandbox.stderr.take());
    rustix::io::ioctl_fionbio(&output, false).map_err(|error| error.to_string())?;
    let laid = storage.add_bytecode(code, output).await;
    if laid.is_err() {
        sandbox.kill();
    }
    let exit = sandbox.exited().await;
    let modules = laid.map_err(|error| format!("{error}; the compiler: {}", exit.describe()))?;
    match exit.code {
        Some(0) => {
            let kept = storage.keep_bytecode(code).await;
            let all = Laid { modules, all: true };
            kept.map(|()| all).map_err(|error| error.to_string())
        }
        Some(UNFINISHED) => Ok(Laid {
            modules,
            all: false,
        }),
        _ => Err(format!("{modules} are; the compiler: {}", exit.describe())),
    }
}

#[cfg(test)]
mod tests;
