//! The server's side: starting the launcher and asking it for sandboxes.

use crate::{Exit, Result, SandboxSpec, Usage};
use std::os::fd::OwnedFd;
use std::path::Path;

/// A launcher that was started and is not yet in use.
pub struct Connection {}

/// First thing in `main`: if this process was started as the launcher, be it and never return.
pub fn run_if_launcher() {
    todo!()
}

/// Starts the launcher. Call it before any thread exists. It removes what an earlier one left for
/// the same `data` folder: processes and cgroups.
///
/// # Errors
/// `Missing` when the machine or the user cannot make sandboxes; names each missing thing.
pub fn spawn(data: &Path) -> Result<Connection> {
    let _ = data;
    todo!()
}

/// Gives up every capability of this process and sets `no_new_privs`. Call it after [`spawn`] and
/// before any thread exists.
///
/// # Errors
/// When the kernel refuses.
pub fn drop_privilege() -> Result<()> {
    todo!()
}

/// Asks the launcher. A cheap handle.
#[derive(Clone)]
pub struct Launcher {}

impl Launcher {
    /// Takes the connection into the running tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be registered.
    pub fn new(connection: Connection) -> Result<Self> {
        let _ = connection;
        todo!()
    }

    /// Makes a sandbox and starts its program.
    ///
    /// # Errors
    /// `Step` names the step that failed; nothing of the sandbox is left then.
    pub async fn start(&self, spec: SandboxSpec) -> Result<Sandbox> {
        let _ = spec;
        todo!()
    }

    /// Resolves when the launcher has ended, which it never should.
    pub async fn gone(&self) -> String {
        todo!()
    }
}

/// A running sandbox. Dropped, it is killed.
pub struct Sandbox {
    /// Process id of its first process as the host sees it.
    pub pid: u32,
    /// The listeners that were asked for, in order; take them.
    pub listeners: Vec<std::net::TcpListener>,
    /// Its standard output; take it.
    pub stdout: Option<OwnedFd>,
    /// Its standard error; take it.
    pub stderr: Option<OwnedFd>,
}

impl Sandbox {
    /// An unconnected TCP socket inside its network namespace, close-on-exec and non-blocking.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn socket(&self) -> Result<OwnedFd> {
        todo!()
    }

    /// Asks its first process to end (SIGTERM).
    pub fn terminate(&self) {
        todo!()
    }

    /// Kills all of it.
    pub fn kill(&self) {
        todo!()
    }

    /// Resolves when its first process has ended and nothing of it is left; any number of waiters.
    pub async fn exited(&self) -> Exit {
        todo!()
    }

    /// What it used so far.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn usage(&self) -> Result<Usage> {
        todo!()
    }
}
