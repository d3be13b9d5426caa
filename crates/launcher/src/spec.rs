//! What a sandbox shall be, and what became of it.

use model::Limits;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::{Component, Path, PathBuf};

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

/// A writable folder of the host. Ids on disk are those inside, whichever range of host ids the
/// sandbox has. A file system that cannot map ids (the launcher warns of it at start) keeps host ids:
/// then what one sandbox wrote, another can read and not change.
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
    /// Whether the program listens itself. Then `listen` does not take ports away from it: not even
    /// from a program that listens on every address (needs BPF `sk_lookup`, Linux 5.9; without it the
    /// ports are taken).
    pub serves: bool,
    /// Whether what it sends elsewhere is taken (see [`crate::Egress`]); without, only loopback can be
    /// reached. Ask only if [`crate::Launcher::can_egress`]: else the start fails. TCP and UDP port 53 of
    /// 127.0.0.53 are taken then.
    pub egress: bool,
    /// Enforced by cgroup and rlimit.
    pub limits: Limits,
}

/// Most bytes of arguments, and of names and values of the environment: 64 KiB each.
const TEXT_MAX: usize = 64 * 1024;
/// Most binds and volumes, each.
const MOUNTS_MAX: usize = 64;
/// Most listeners.
const LISTENERS_MAX: usize = 64;

impl SandboxSpec {
    /// Checks every bound. The launcher does so again: it trusts nobody.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.id.len() != 32 || !self.id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("the sandbox's id must be 32 hex digits".to_owned());
        }
        check_host(&self.hostname)?;
        self.limits.check().map_err(|error| error.to_string())?;
        if self.argv.first().is_none_or(String::is_empty) {
            return Err("no program is named".to_owned());
        }
        let size: usize = self.argv.iter().map(|text| text.len() + 1).sum();
        within("bytes of arguments", size, TEXT_MAX)?;
        let size = |(name, value): &(String, String)| name.len() + value.len() + 2;
        let size = self.environment.iter().map(size).sum();
        within("bytes of environment", size, TEXT_MAX)?;
        let legal = |name: &str| !name.is_empty() && !name.contains('=');
        if let Some((name, _)) = self.environment.iter().find(|(name, _)| !legal(name)) {
            let name = name.escape_debug();
            return Err(format!("\"{name}\" is no name of an environment variable"));
        }
        let environment = self
            .environment
            .iter()
            .flat_map(|(name, value)| [name, value]);
        if self
            .argv
            .iter()
            .chain(environment)
            .any(|text| text.contains('\0'))
        {
            return Err("an argument or environment variable has a zero byte".to_owned());
        }
        if !self.working_dir.starts_with('/') || self.working_dir.contains('\0') {
            return Err("the working directory must be an absolute path".to_owned());
        }
        within("addresses", self.hosts.len(), 256)?;
        self.hosts
            .iter()
            .try_for_each(|(name, _)| check_host(name))?;
        within("listeners", self.listen.len(), LISTENERS_MAX)?;
        if let Some(other) = self
            .listen
            .iter()
            .find(|address| !address.ip().is_loopback())
        {
            return Err(format!("{other} is not a loopback address"));
        }
        self.check_user()?;
        self.check_mounts()
    }

    fn check_user(&self) -> Result<(), String> {
        match &self.user {
            User::Ids { uid, gid } if *uid.max(gid) > 65_535 => {
                Err(format!("the user {uid}:{gid} is past 65535"))
            }
            User::Named(name) if name.len() > 256 => Err("the user's name is too long".to_owned()),
            _ => Ok(()),
        }
    }

    fn check_mounts(&self) -> Result<(), String> {
        let root: &[Bind] = match &self.root {
            Root::Host { binds } => binds,
            Root::Image { folder } => {
                check_path(folder)?;
                &[]
            }
        };
        within("parts of the host", root.len(), MOUNTS_MAX)?;
        within("binds", self.binds.len(), MOUNTS_MAX)?;
        within("volumes", self.volumes.len(), MOUNTS_MAX)?;
        for bind in root.iter().chain(&self.binds) {
            check_path(&bind.source)?;
            check_target(&bind.target)?;
        }
        for volume in &self.volumes {
            check_path(&volume.source)?;
            check_target(&volume.target)?;
        }
        Ok(())
    }
}

fn within(what: &str, value: usize, most: usize) -> Result<(), String> {
    if value > most {
        return Err(format!("{value} {what}; {most} are the most"));
    }
    Ok(())
}

fn check_host(name: &str) -> Result<(), String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    // 64 is the kernel's bound (HOST_NAME_MAX).
    if name.is_empty() || name.len() > 64 || !name.bytes().all(legal) {
        return Err(format!("\"{}\" is no host name", name.escape_debug()));
    }
    Ok(())
}

fn check_path(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let text = path
        .to_str()
        .ok_or_else(|| format!("{shown} is not UTF-8"))?;
    let plain = path
        .components()
        .all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || text.contains('\0') || text.len() > 4095 {
        return Err(format!(
            "{} is not a plain absolute path",
            text.escape_debug()
        ));
    }
    Ok(())
}

/// Nothing may cover what contains the sandbox.
fn check_target(path: &Path) -> Result<(), String> {
    check_path(path)?;
    let kept = ["/proc", "/dev", "/sys"]
        .iter()
        .any(|kept| path.starts_with(kept));
    if kept || path == Path::new("/") {
        return Err(format!("{} cannot be mounted on", path.display()));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn spec() -> SandboxSpec {
        SandboxSpec {
            id: "0".repeat(32),
            hostname: "box".to_owned(),
            root: Root::Host { binds: Vec::new() },
            binds: Vec::new(),
            volumes: Vec::new(),
            argv: vec!["sh".to_owned()],
            environment: vec![("A".to_owned(), "b=c".to_owned())],
            working_dir: "/".to_owned(),
            user: User::Ids {
                uid: 1000,
                gid: 1000,
            },
            hosts: vec![("catalog".to_owned(), IpAddr::from([127, 0, 1, 1]))],
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 9001))],
            serves: false,
            egress: false,
            limits: Limits::default(),
        }
    }

    /// A change to a legal spec, and a word of the refusal.
    type Case = (fn(&mut SandboxSpec), &'static str);

    #[test]
    fn each_bound_is_named() {
        assert_eq!(spec().check(), Ok(()));
        let cases: [Case; 15] = [
            (|s| s.id = "../../x".to_owned(), "32 hex"),
            (|s| s.hostname = "a b".to_owned(), "host name"),
            (|s| s.argv.clear(), "no program"),
            (|s| s.argv.push("x".repeat(TEXT_MAX)), "arguments"),
            (|s| s.argv.push("a\0b".to_owned()), "zero byte"),
            (
                |s| s.environment.push(("a=b".to_owned(), String::new())),
                "environment",
            ),
            (|s| s.environment[0].1 = "x".repeat(TEXT_MAX), "environment"),
            (|s| s.working_dir = "tmp".to_owned(), "absolute"),
            (|s| s.hosts[0].0 = "a\n1.2.3.4 b".to_owned(), "host name"),
            (|s| s.listen = vec![s.listen[0]; 65], "listeners"),
            (
                |s| s.listen[0] = SocketAddr::from(([0, 0, 0, 0], 1)),
                "loopback",
            ),
            (
                |s| {
                    s.user = User::Ids {
                        uid: 0,
                        gid: 65_536,
                    }
                },
                "65535",
            ),
            (|s| s.limits.memory = 1, "memory"),
            (|s| s.binds = vec![bind("/a/../b", "/c")], "plain absolute"),
            (|s| s.binds = vec![bind("/a", "/proc/self")], "mounted on"),
        ];
        for (change, word) in cases {
            let mut changed = spec();
            change(&mut changed);
            let refusal = changed.check().unwrap_err();
            assert!(refusal.contains(word), "{refusal:?} lacks {word:?}");
        }
    }

    fn bind(source: &str, target: &str) -> Bind {
        Bind {
            source: source.into(),
            target: target.into(),
        }
    }
}
