//! A Python function's modules are compiled once, when it is deployed: its code is read-only inside, so each of its
//! starts would compile them again. That is done in a sandbox, like all that reads a function's code, and never in the
//! way of a start: one that comes before compiles by itself.

use super::plan::Plan;
use crate::environment::TASK_ROOT;
use crate::{InstanceSpec, bootstrap};
use launcher::{Assignment, Launcher, Shape, Work};
use model::{Code, Digest, Limits, RuntimeName};
use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use storage::Storage;
use tokio::sync::{mpsc, watch};

/// Codes that wait to be compiled; past that they are not, until they are asked for again.
const WAITING: usize = 1024;
/// Codes that are remembered to have been asked for; past that all are forgotten, and looked at again.
const KNOWN: usize = 4096;
/// The compiler itself ends earlier, with what it has.
const PATIENCE: Duration = Duration::from_secs(60);
/// Status of a compiler that had no time for all.
const UNFINISHED: i32 = 75;
const MIB: u64 = 1024 * 1024;

/// See the module. A cheap handle.
#[derive(Clone)]
pub(super) struct Bytecode {
    known: Arc<Mutex<HashSet<Digest>>>,
    work: mpsc::Sender<Job>,
    storage: Storage,
    /// The machine is short of memory: nothing is compiled.
    scarce: Arc<watch::Sender<bool>>,
}

struct Job {
    code: Digest,
    shape: Shape,
    assignment: Assignment,
}

impl Bytecode {
    pub(super) fn new(launcher: Launcher, storage: Storage) -> Self {
        let (work, jobs) = mpsc::channel(WAITING);
        let (scarce, is_scarce) = watch::channel(false);
        tokio::spawn(compile_all(launcher, storage.clone(), jobs, is_scarce));
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

    fn known(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something with this code is going to be started, by this plan: it is compiled, if that was not done.
    pub(super) fn ensure(&self, spec: &InstanceSpec, plan: &Plan, interpreter: Option<&Path>) {
        let (RuntimeName::Python311, Code::Zip { digest, .. }, Some(interpreter)) =
            (spec.runtime, &spec.code, interpreter)
        else {
            return;
        };
        {
            let mut known = self.known();
            if known.len() >= KNOWN {
                known.clear();
            }
            if !known.insert(digest.clone()) || self.storage.has_bytecode(digest) {
                return;
            }
        }
        let job = Job {
            code: digest.clone(),
            shape: shape(&plan.shape),
            assignment: assignment(&plan.assignment, interpreter),
        };
        if self.work.try_send(job).is_err() {
            self.known().remove(digest);
        }
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

/// One after the other, until nobody can ask any more.
async fn compile_all(
    launcher: Launcher,
    storage: Storage,
    mut jobs: mpsc::Receiver<Job>,
    mut is_scarce: watch::Receiver<bool>,
) {
    while let Some(job) = jobs.recv().await {
        // It fails when nobody can tell any more, and so nobody asks either.
        let told = is_scarce.wait_for(|scarce| !scarce).await.is_ok();
        if !told || jobs.is_closed() {
            return;
        }
        let (code, begun) = (job.code.clone(), Instant::now());
        let compiled = tokio::time::timeout(PATIENCE, compile(&launcher, &storage, job)).await;
        match compiled.unwrap_or_else(|_| Err("it takes longer than a minute".to_owned())) {
            Ok(modules) => {
                tracing::debug!(%code, modules, elapsed = ?begun.elapsed(), "modules are compiled");
            }
            Err(reason) => {
                tracing::info!(%code, reason, "not all modules are compiled: starts do that");
            }
        }
    }
}

/// Gives how many modules. What fails is tried again by the next server.
async fn compile(launcher: &Launcher, storage: &Storage, job: Job) -> Result<usize, String> {
    let started = launcher.start(job.shape, job.assignment).await;
    // Dropped, it is killed, and so its output ends.
    let mut sandbox = started.map_err(|error| error.to_string())?;
    let output = sandbox.stdout.take().ok_or("it has no output")?;
    // Nobody reads it, and a full pipe would hold the compiler up.
    drop(sandbox.stderr.take());
    rustix::io::ioctl_fionbio(&output, false).map_err(|error| error.to_string())?;
    let laid = storage.add_bytecode(&job.code, output).await;
    if laid.is_err() {
        sandbox.kill();
    }
    let exit = sandbox.exited().await;
    let laid = laid.map_err(|error| format!("{error}; the compiler: {}", exit.describe()))?;
    match exit.code {
        Some(0) => {
            let kept = storage.keep_bytecode(&job.code).await;
            kept.map(|()| laid).map_err(|error| error.to_string())
        }
        Some(UNFINISHED) => Err(format!("the time was enough for {laid} only")),
        _ => Err(format!("{laid} are; the compiler: {}", exit.describe())),
    }
}
