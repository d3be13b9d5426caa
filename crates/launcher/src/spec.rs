//! What a sandbox shall be, and what became of it.

use model::Limits;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// A folder or file of the host shown inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute path on the host; must exist.
    pub source: PathBuf,
    /// Absolute path inside; made if the root is ours (`Root::Host`).
    pub target: PathBuf,
}

/// What `/` is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Root {
    /// A small read-only tmpfs with these parts of the host, all read-only, and a generated `/etc`.
    Host {
        /// Such as `/usr`; `/bin`, `/lib`, `/lib64`, `/sbin` follow as links or binds, as on the host.
        binds: Vec<Bind>,
    },
    /// A flattened image, read-only.
    Image {
        /// Its folder on the host.
        folder: PathBuf,
    },
}

/// A writable folder of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Absolute path on the host; the launcher gives its top folder to the sandbox's user.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// As whom the program runs, in the sandbox's own user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum User {
    /// These ids, 0 to 65 535.
    Ids {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
    /// A name, `name:group` or numbers as an image says it, looked up in its `/etc/passwd`.
    Named(String),
}

/// One sandbox: a pid, mount, net, ipc, uts, cgroup and user namespace, limits, and a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// 32 hex digits; names its cgroups.
    pub id: String,
    /// Host name inside.
    pub hostname: String,
    /// What `/` is.
    pub root: Root,
    /// Read-only binds on top of the root, such as the code at `/var/task`.
    pub binds: Vec<Bind>,
    /// Writable folders.
    pub volumes: Vec<Volume>,
    /// Program and arguments. The program is looked up in the environment's `PATH` inside.
    pub argv: Vec<String>,
    /// The whole environment.
    pub environment: Vec<(String, String)>,
    /// Working directory inside.
    pub working_dir: String,
    /// As whom.
    pub user: User,
    /// Lines of `/etc/hosts` besides localhost.
    pub hosts: Vec<(String, IpAddr)>,
    /// Listeners to make inside its network namespace (loopback addresses); at most 64.
    pub listen: Vec<SocketAddr>,
    /// Enforced by cgroup and rlimit.
    pub limits: Limits,
}

/// How a sandbox ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, if it exited by itself.
    pub code: Option<i32>,
    /// Signal number, if one killed it.
    pub signal: Option<i32>,
    /// Whether the kernel killed something in it for memory.
    pub out_of_memory: bool,
    /// What it used.
    pub usage: Usage,
}

impl Exit {
    /// Such as `exit status 1` or `signal 11 (SIGSEGV)`.
    pub fn describe(&self) -> String {
        match (self.code, self.signal) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => match signal_name(signal) {
                Some(name) => format!("signal {signal} ({name})"),
                None => format!("signal {signal}"),
            },
            (None, None) => "ended".to_owned(),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

/// What a sandbox used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Most memory in bytes; 0 if the kernel does not tell.
    pub memory_peak: u64,
    /// Microseconds of processor time; 0 if the kernel does not tell.
    pub cpu: u64,
}
