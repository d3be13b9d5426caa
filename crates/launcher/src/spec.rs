//! What a sandbox shall be, and what became of it.

use model::Limits;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::{Component, Path, PathBuf};

/// A folder or file of the host shown inside.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute path on the host; must exist.
    pub source: PathBuf,
    /// Absolute path inside; made if the root is ours (`Root::Host`).
    pub target: PathBuf,
}

/// What `/` is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Volume {
    /// Absolute path on the host; the launcher gives its top folder to the sandbox's user.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// As whom the program runs, in the sandbox's own user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// What can be made of a sandbox before it is known what shall run in it: its namespaces, what it sees
/// as `/`, and its listeners.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Host name inside; one is made up if this is empty.
    pub hostname: String,
    /// What `/` is.
    pub root: Root,
    /// Read-only binds on top of the root.
    pub binds: Vec<Bind>,
    /// Empty folders inside where the assignment may bind code; at most 64.
    pub places: Vec<PathBuf>,
    /// Writable folders.
    pub volumes: Vec<Volume>,
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
    /// Files that one process may have open. Part of the shape, since only a process itself can
    /// lower it.
    pub files: u32,
}

/// What waits in an armed sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stem {
    /// Nothing but the launcher's own process, which will execute whatever program is assigned.
    None,
    /// A program, started ahead. It has a socket (`SOCK_SEQPACKET`) as descriptor 3: it writes one
    /// byte when it is ready, and reads one packet, the assignment's message.
    Program {
        /// Program and arguments.
        argv: Vec<String>,
        /// Its whole environment.
        environment: Vec<(String, String)>,
    },
    /// A fork of this zygote ([`crate::Zygote::number`]), with the same socket.
    Fork {
        /// Which.
        zygote: u64,
    },
    /// A zygote of a function's own, which runs user code: a program that is executed in the sandbox
    /// beside the process that waits there, and that sandboxes are forked from. For
    /// [`crate::Launcher::snapshot`] only.
    Snapshot {
        /// Program and arguments.
        argv: Vec<String>,
        /// Its whole environment.
        environment: Vec<(String, String)>,
    },
    /// A fork of this snapshot ([`crate::Snapshot::number`]), with the same socket. The shape must be the
    /// snapshot's but for its listeners, and its code among the binds: nothing is mounted later.
    Restored {
        /// Which.
        snapshot: u64,
    },
}

/// What a sandbox is given when it is known what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Folders bound read-only at places of the shape.
    pub code: Vec<Bind>,
    /// What runs.
    pub work: Work,
    /// Enforced by cgroups; the number of files is the shape's.
    pub limits: Limits,
}

/// What runs in a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// A program is executed; for sandboxes without a stem.
    Execute {
        /// Program and arguments. The program is looked up in the environment's `PATH` inside.
        argv: Vec<String>,
        /// The whole environment.
        environment: Vec<(String, String)>,
        /// Working directory inside.
        working_dir: String,
    },
    /// The stem is told; at most 128 KiB.
    Tell(Vec<u8>),
}

/// Most bytes of arguments, and of names and values of the environment: 64 KiB each.
const TEXT_MAX: usize = 64 * 1024;
/// Most binds and volumes, each.
const MOUNTS_MAX: usize = 64;
/// Most listeners.
const LISTENERS_MAX: usize = 64;

/// Longest message to a stem in bytes.
const MESSAGE_MAX: usize = 128 * 1024;

impl Shape {
    /// Checks every bound. The launcher does so again: it trusts nobody.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.hostname.is_empty() {
            check_host(&self.hostname)?;
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

    /// Whether nothing of its file system can be shared with the next sandbox: something is mounted
    /// beneath `/tmp`, which is each sandbox's own.
    pub(crate) fn is_unique(&self) -> bool {
        let targets = self.binds.iter().map(|bind| &bind.target);
        let targets = targets.chain(self.volumes.iter().map(|volume| &volume.target));
        targets
            .chain(&self.places)
            .any(|target| target.starts_with("/tmp"))
    }

    /// Whether a sandbox of the other shape sees the same: all but the listeners is alike.
    pub(crate) fn looks_like(&self, other: &Self) -> bool {
        let alike = Self {
            listen: other.listen.clone(),
            serves: other.serves,
            ..self.clone()
        };
        alike == *other
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
        within("places", self.places.len(), MOUNTS_MAX)?;
        within("volumes", self.volumes.len(), MOUNTS_MAX)?;
        for bind in root.iter().chain(&self.binds) {
            check_path(&bind.source)?;
            check_target(&bind.target)?;
        }
        for volume in &self.volumes {
            check_path(&volume.source)?;
            check_target(&volume.target)?;
        }
        self.places.iter().try_for_each(|place| check_target(place))
    }
}

impl Stem {
    /// Checks every bound.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::None | Self::Fork { .. } | Self::Restored { .. } => Ok(()),
            Self::Program { argv, environment } | Self::Snapshot { argv, environment } => {
                check_program(argv, environment)
            }
        }
    }
}

impl Assignment {
    /// Checks every bound.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.limits.check().map_err(|error| error.to_string())?;
        within("folders of code", self.code.len(), MOUNTS_MAX)?;
        for bind in &self.code {
            check_path(&bind.source)?;
            check_target(&bind.target)?;
        }
        match &self.work {
            Work::Tell(message) => within("bytes of message", message.len(), MESSAGE_MAX),
            Work::Execute {
                argv,
                environment,
                working_dir,
            } => {
                if !working_dir.starts_with('/') || working_dir.contains('\0') {
                    return Err("the working directory must be an absolute path".to_owned());
                }
                check_program(argv, environment)
            }
        }
    }
}

/// Arguments and environment as execve(2) can take them, within our bounds.
pub(crate) fn check_program(
    argv: &[String],
    environment: &[(String, String)],
) -> Result<(), String> {
    if argv.first().is_none_or(String::is_empty) {
        return Err("no program is named".to_owned());
    }
    let size: usize = argv.iter().map(|text| text.len() + 1).sum();
    within("bytes of arguments", size, TEXT_MAX)?;
    let size = |(name, value): &(String, String)| name.len() + value.len() + 2;
    let size = environment.iter().map(size).sum();
    within("bytes of environment", size, TEXT_MAX)?;
    let legal = |name: &str| !name.is_empty() && !name.contains('=');
    if let Some((name, _)) = environment.iter().find(|(name, _)| !legal(name)) {
        let name = name.escape_debug();
        return Err(format!("\"{name}\" is no name of an environment variable"));
    }
    let pairs = environment.iter().flat_map(|(name, value)| [name, value]);
    if argv.iter().chain(pairs).any(|text| text.contains('\0')) {
        return Err("an argument or environment variable has a zero byte".to_owned());
    }
    Ok(())
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

    fn shape() -> Shape {
        Shape {
            hostname: "box".to_owned(),
            root: Root::Host { binds: Vec::new() },
            binds: Vec::new(),
            places: Vec::new(),
            volumes: Vec::new(),
            user: User::Ids {
                uid: 1000,
                gid: 1000,
            },
            hosts: vec![("catalog".to_owned(), IpAddr::from([127, 0, 1, 1]))],
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 9001))],
            serves: false,
            egress: false,
            files: 1024,
        }
    }

    /// What makes it wrong, and the word that the refusal has.
    type Change<T> = (fn(&mut T), &'static str);

    fn refused<T>(
        mut changed: T,
        change: fn(&mut T),
        check: fn(&T) -> Result<(), String>,
        word: &str,
    ) {
        assert_eq!(check(&changed), Ok(()));
        change(&mut changed);
        let refusal = check(&changed).unwrap_err();
        assert!(refusal.contains(word), "{refusal:?} lacks {word:?}");
    }

    #[test]
    fn each_bound_of_a_shape_is_named() {
        let cases: [Change<Shape>; 8] = [
            (|s| s.hostname = "a b".to_owned(), "host name"),
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
            (|s| s.binds = vec![bind("/a/../b", "/c")], "plain absolute"),
            (|s| s.binds = vec![bind("/a", "/proc/self")], "mounted on"),
            (|s| s.places = vec!["/dev/x".into()], "mounted on"),
        ];
        for (change, word) in cases {
            refused(shape(), change, Shape::check, word);
        }
    }

    #[test]
    fn each_bound_of_a_program_is_named() {
        type Program = (Vec<String>, Vec<(String, String)>);
        let cases: [Change<Program>; 5] = [
            (|(argv, _)| argv.clear(), "no program"),
            (|(argv, _)| argv.push("x".repeat(TEXT_MAX)), "arguments"),
            (|(argv, _)| argv.push("a\0b".to_owned()), "zero byte"),
            (
                |(_, pairs)| pairs.push(("a=b".to_owned(), String::new())),
                "environment",
            ),
            (
                |(_, pairs)| pairs[0].1 = "x".repeat(TEXT_MAX),
                "environment",
            ),
        ];
        for (change, word) in cases {
            let program = (
                vec!["sh".to_owned()],
                vec![("A".to_owned(), "b=c".to_owned())],
            );
            let check = |(argv, pairs): &Program| check_program(argv, pairs);
            refused(program, change, check, word);
        }
    }

    #[test]
    fn each_bound_of_an_assignment_is_named() {
        let cases: [Change<Assignment>; 3] = [
            (|a| a.limits.memory = 1, "memory"),
            (|a| a.code = vec![bind("/a", "/")], "mounted on"),
            (|a| a.work = Work::Tell(vec![0; MESSAGE_MAX + 1]), "message"),
        ];
        for (change, word) in cases {
            let assignment = Assignment {
                code: Vec::new(),
                work: Work::Tell(Vec::new()),
                limits: Limits::default(),
            };
            refused(assignment, change, Assignment::check, word);
        }
    }

    #[test]
    fn what_lies_beneath_tmp_makes_a_shape_unique() {
        let mut shape = shape();
        assert!(!shape.is_unique());
        shape.places.push("/tmp/code".into());
        assert!(shape.is_unique());
    }

    fn bind(source: &str, target: &str) -> Bind {
        Bind {
            source: source.into(),
            target: target.into(),
        }
    }
}
