//! How the launcher begins: as a second process of the server's own program.

use crate::descriptors::Reserved;
use crate::error::{Error, Result};
use crate::process::Process;
use crate::ranges::Ranges;
use crate::root::Stage;
use crate::sandbox::Workshop;
use crate::seccomp::{self, Profile};
use crate::slot::Slots;
use crate::userns::UserNamespaces;
use crate::wire::{self, Reply};
use crate::{bare, capabilities, cgroup, kernel, mounts, network, probe, rootless};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The name by which a process knows that it is the launcher, and by which `ps` shows it.
const NAME: &str = "rouse-launcher";
/// How long an earlier launcher of the same data folder may take to end its sandboxes.
const PATIENCE: Duration = Duration::from_secs(15);

/// A launcher that was started and is not yet in use.
pub struct Connection {
    pub(crate) socket: OwnedFd,
    pub(crate) process: Child,
    /// What this machine lacks that a start does not need.
    pub(crate) warnings: Vec<String>,
    /// Whether sandboxes can reach out.
    pub(crate) egress: bool,
}

/// First thing in `main`: if this process was started as the launcher, be it and never return.
pub fn run_if_launcher() {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let [name, data] = arguments.as_slice() else {
        return;
    };
    let kind = rustix::net::sockopt::socket_type(rustix::stdio::stdin());
    if name != NAME || kind != Ok(SocketType::SEQPACKET) {
        return;
    }
    let code = match serve(Path::new(data)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("launcher: {error}");
            1
        }
    };
    std::process::exit(code);
}

/// Starts the launcher. Call it before any thread exists. It removes what an earlier one left for
/// the same `data` folder: processes and cgroups.
///
/// # Errors
/// `Missing` when the machine or the user cannot make sandboxes; names each missing thing.
pub fn spawn(data: &Path) -> Result<Connection> {
    refuse_obstacles()?;
    let failed = |step: &'static str| {
        move |error: io::Error| Error::Step {
            step: step.to_owned(),
            reason: error.to_string(),
        }
    };
    let data = data
        .canonicalize()
        .map_err(failed("opening the data folder"))?;
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|error| failed("making a socket")(error.into()))?;
    // The environment stays here: it may hold secrets, and the launcher needs none of it.
    let process = Command::new("/proc/self/exe")
        .arg0(NAME)
        .arg(&data)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .map_err(failed("starting the launcher"))?;
    greet(ours, process)
}

/// Whether anything is missing, looked at before anything is made.
pub(crate) fn refuse_obstacles() -> Result<()> {
    let mut missing = probe::obstacles();
    // An ordinary user has what it takes, but only in a namespace of its own.
    if missing.is_empty() {
        missing = capabilities::missing();
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::Missing(format!(
        "sandboxes cannot be made here; missing: {}",
        missing.join("; ")
    )))
}

/// Waits for the launcher's first word.
fn greet(socket: OwnedFd, mut process: Child) -> Result<Connection> {
    let mut buffer = vec![0; wire::MESSAGE_MAX];
    let reason = match wire::receive(&socket, &mut buffer, RecvFlags::empty()) {
        Ok(Some((Reply::Ready { warnings, egress }, _))) => {
            return Ok(Connection {
                socket,
                process,
                warnings,
                egress,
            });
        }
        Ok(Some((Reply::Missing { reason }, _))) => {
            let _ = process.wait();
            return Err(Error::Missing(reason));
        }
        Ok(Some(_)) => "it did not begin as agreed".to_owned(),
        Ok(None) => "it ended at once; does main call run_if_launcher first?".to_owned(),
        Err(error) => error.to_string(),
    };
    let _ = process.kill();
    let _ = process.wait();
    Err(Error::Gone(reason))
}

/// Gives up every capability of this thread and sets `no_new_privs`. Call it after [`spawn`] and
/// before any other thread exists: threads made later inherit what is left, earlier ones keep theirs.
///
/// The process stays user id 0, so that it owns the same files of the data folder as before. It can
/// therefore still change what root owns; it cannot mount, trace, signal the launcher's sandboxes or
/// step past any file's mode.
///
/// # Errors
/// When the kernel refuses.
pub fn drop_privilege() -> Result<()> {
    let failed = |error: rustix::io::Errno| Error::Step {
        step: "giving up privilege".to_owned(),
        reason: io::Error::from(error).to_string(),
    };
    match capabilities::drop_bounding() {
        // An ordinary user may not change the bounding set, and has nothing to give up by it.
        Ok(()) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(failed(error)),
    }
    capabilities::drop_held().map_err(failed)
}

/// Is the launcher.
fn serve(data: &Path) -> io::Result<()> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    let reserved = Reserved::new(null)?;
    // For `ps` and `top`; the kernel would show "exe". A name that is not set harms nothing.
    let _ = rustix::thread::set_name(c"rouse-launcher");
    // A signal for the server's process group is not ours: we end when the server's socket closes,
    // after it has drained.
    let _ = rustix::process::setsid();
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::PIPE] {
        kernel::ignore(signal);
    }
    raise_limits();
    match own_network().and_then(|()| prepare(data, reserved)) {
        Ok((workshop, users, lock)) => {
            let mut warnings = workshop.cgroups.warnings.clone();
            let tried = network::try_egress();
            let egress = tried.is_ok();
            warnings.extend(
                tried.err().map(|reason| {
                    format!("functions and services get no outbound network: {reason}")
                }),
            );
            let process = Process::new(socket.try_clone()?, workshop, Slots::new(users)?)?;
            let ready = wire::encode(&Reply::Ready { warnings, egress })?;
            wire::send(&socket, &ready, &[])?;
            drop(socket);
            process.run();
            drop(lock);
        }
        Err(reason) => {
            wire::send(&socket, &wire::encode(&Reply::Missing { reason })?, &[])?;
        }
    }
    Ok(())
}

/// Both fail without CAP_SYS_RESOURCE, and what we have is enough then.
fn raise_limits() {
    let files = getrlimit(Resource::Nofile);
    let want = Some(1 << 20);
    let best = Rlimit {
        current: files.maximum,
        maximum: files.maximum,
    };
    let more = Rlimit {
        current: want,
        maximum: want,
    };
    let low = files.maximum.is_some_and(|hard| hard < 1 << 20);
    if !low || setrlimit(Resource::Nofile, more).is_err() {
        let _ = setrlimit(Resource::Nofile, best);
    }
    let _ = std::fs::write("/proc/self/oom_score_adj", "-900");
}

/// Whoever enters a sandbox's network must be able to return, and only the host's root may to the host's.
fn own_network() -> std::result::Result<(), String> {
    if rootless::is_host() {
        return Ok(());
    }
    kernel::unshare(libc::CLONE_NEWNET)
        .map_err(|error| format!("making a network namespace: {error}"))
}

/// What the ids of this user do not allow.
fn bounds_of(ranges: Ranges) -> Vec<String> {
    if ranges.are_whole() {
        return Vec::new();
    }
    let count = ranges.count();
    let mut told = vec![format!(
        "at most {count} sandboxes at one time, those that wait included, since this user has so many \
         subordinate ids: leave some of them to services and sandboxes that wait if you choose --max-instances"
    )];
    let losses = rootless::LOSSES
        .iter()
        .map(|loss| format!("without root, {loss}"));
    told.extend(losses);
    told
}

fn prepare(
    data: &Path,
    reserved: Reserved,
) -> std::result::Result<(Workshop, UserNamespaces, OwnedFd), String> {
    let folder = data.join("launcher");
    let told = |error: io::Error| format!("using {}: {error}", folder.display());
    std::fs::create_dir_all(&folder).map_err(told)?;
    let lock = lock(&folder.join("lock"))?;
    let stage = Stage::new(&folder).map_err(told)?;
    let hash = hash(data);
    let mut cgroups = cgroup::Cgroups::prepare(&format!("rouse-{hash:016x}"))?;
    let ranges = Ranges::find().map_err(told)?;
    cgroups.warnings.extend(bounds_of(ranges));
    let mut users = UserNamespaces::new(ranges, hash);
    let first = users.take().map_err(|failure| {
        format!(
            "{}: {}; are user namespaces allowed (sysctl user.max_user_namespaces)?",
            failure.step, failure.reason
        )
    })?;
    let mapped = mounts::bind(data, first.fd.as_fd(), mounts::INERT)
        .map_err(told)?
        .mapped;
    if !mapped && rootless::is_host() {
        cgroups.warnings.push(format!(
            "the file system of {} cannot map user ids (tmpfs before Linux 6.3, overlayfs and NFS \
             cannot), so files of an image that only its root may read cannot be read, and what one \
             sandbox wrote into a volume another cannot change; use ext4, xfs or btrfs",
            data.display()
        ));
    }
    users.give_back(first);
    let workshop = Workshop {
        stage,
        cgroups,
        filter: seccomp::compile(Profile::Sandbox),
        snapshot_filter: seccomp::compile(Profile::Snapshot),
        park: bare::park().map_err(|error| format!("making the program that waits: {error}"))?,
        pin: bare::pin().map_err(|error| format!("making the program that pins files: {error}"))?,
        mounts: std::fs::File::open("/proc/self/ns/mnt")
            .map_err(told)?
            .into(),
        pids: std::fs::File::open("/proc/self/ns/pid")
            .map_err(told)?
            .into(),
        reserved,
        returns: rootless::is_host(),
    };
    Ok((workshop, users, lock))
}

/// One launcher for one data folder. An earlier one whose server has just been killed is still
/// ending its sandboxes: that is waited for.
fn lock(path: &PathBuf) -> std::result::Result<OwnedFd, String> {
    let told = |error: rustix::io::Errno| format!("locking {}: {error}", path.display());
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::RUSR | Mode::WUSR).map_err(told)?;
    let start = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => {
                kernel::pause(Duration::from_millis(5));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(format!(
                    "another server uses this data folder ({} is locked); stop it, or choose \
                     another folder",
                    path.display()
                ));
            }
            Err(error) => return Err(told(error)),
        }
    }
}

/// FNV-1a: the same for the same path in every version and build.
fn hash(path: &Path) -> u64 {
    let bytes = path.as_os_str().as_bytes();
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(hash(Path::new("")), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(Path::new("a")), 0xaf63_dc4c_8601_ec8c);
    }
}
