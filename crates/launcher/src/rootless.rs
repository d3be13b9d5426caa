//! Starting without root: the whole server moves into a user namespace of the user's own.
//!
//! There the launcher holds every capability *of that namespace*, over nothing of the host, and the server gives
//! up all of them as it does for root. It moves too, and does not stay outside: whoever made a user namespace
//! has all of its capabilities from outside, but none from within. Why: `docs/adr/0011-rootless.md`.

use crate::capabilities;
use crate::cgroup::Version;
use crate::error::{Error, Failure, Result, Step};
use crate::kernel;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, geteuid, getpid, waitid};
use std::fs;
use std::io;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// Least subordinate ids: what one sandbox has.
const LEAST: u32 = 128;
/// Lines of /etc/subuid of one user that are used. The kernel takes 340.
const LINES_MAX: usize = 16;
/// What the host's own user namespace maps.
const HOST_MAP: [&str; 3] = ["0", "0", "4294967295"];

/// What cannot be had without root, each with what that means.
pub(crate) const LOSSES: [&str; 3] = [
    "files on disk keep their owner, who is nobody inside: what only its owner may read in an image cannot \
     be read, and what one sandbox wrote into a volume another cannot change",
    "programs run as one of the users 0 to 111, 995 to 1006 and 65532 to 65535 only",
    "the driver docker is not there, and neither kernel nor limits let sandboxes be killed after the user's \
     other programs, or more files be pinned in memory than `ulimit -l` allows",
];

/// If this process may not make sandboxes, and is not root's: enters a user namespace with the user's
/// subordinate ids, and starts this program again there, as the same process with the same arguments. Then it does
/// not return. Call it before any thread exists.
///
/// # Errors
/// `Missing` says what keeps the user from it, and what root has to do.
pub fn enter() -> Result<()> {
    if geteuid().is_root() || capabilities::missing().is_empty() {
        return Ok(());
    }
    let ids = Subordinate::find().map_err(Error::Missing)?;
    if let Some(reason) = forbidden() {
        return Err(Error::Missing(reason));
    }
    move_in(&ids).map_err(|failure| {
        Error::Missing(format!(
            "starting without root: {}: {}",
            failure.step, failure.reason
        ))
    })?;
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let error = Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .exec();
    Err(Error::Step {
        step: "starting again in a user namespace".to_owned(),
        reason: error.to_string(),
    })
}

/// The ordinary user, by the host's number, who runs this or started it; none if that is root.
pub(crate) fn user() -> Option<u32> {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let own = geteuid().as_raw();
    let user = outside(&map, own).unwrap_or(own);
    (user != 0).then_some(user)
}

/// Whether this process is in the host's own user namespace.
pub(crate) fn is_host() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(HOST_MAP)
}

/// The id outside of the one that is `inside`.
fn outside(map: &str, inside: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace().map(|n| n.parse::<u32>().ok());
        let (first, host) = (numbers.next()??, numbers.next()??);
        let offset = inside.checked_sub(first)?;
        (offset < numbers.next()??).then(|| host.checked_add(offset))?
    })
}

/// What an ordinary user has for a start, in words.
///
/// # Errors
/// What is missing, and what to do.
pub(crate) fn means() -> std::result::Result<String, String> {
    let ids = Subordinate::find()?;
    for program in ["newuidmap", "newgidmap"] {
        if !in_path(program) {
            return Err(format!(
                "{program} is not found, by which a user gets subordinate ids; on Debian: apt-get install uidmap"
            ));
        }
    }
    match forbidden() {
        Some(reason) => Err(reason),
        None => Ok(format!(
            "enough for {} sandboxes at one time",
            ids.count() / LEAST
        )),
    }
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Why this host lets no ordinary user make user namespaces, where it tells.
fn forbidden() -> Option<String> {
    let reads =
        |path: &str, value: &str| fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    if reads("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        let told = "this host lets only root make user namespaces; as root: sysctl -w \
                    kernel.unprivileged_userns_clone=1";
        return Some(told.to_owned());
    }
    let own = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    let restricted = reads(
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
    );
    (restricted && own.trim() == "unconfined").then(|| {
        "AppArmor keeps user namespaces from programs without a profile; as root: give rouse one with \
         `userns,`, or sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
            .to_owned()
    })
}

/// What to do so that this user may limit sandboxes, for a hierarchy at `mount`; empty for root.
pub(crate) fn delegation(version: Version, mount: &Path) -> String {
    let Some(user) = user() else {
        return String::new();
    };
    match version {
        Version::V1 => {
            let folder = mount.join(delegated(user));
            let folder = folder.display();
            format!("; as root, after each boot: mkdir -p {folder} && chown -R {user} {folder}")
        }
        Version::V2 => {
            "; start it so: systemd-run --user --scope -p Delegate=yes rouse serve".to_owned()
        }
    }
}

/// The folder of version 1 that root gives to this user.
pub(crate) fn delegated(user: u32) -> String {
    format!("rouse-user-{user}")
}

/// The subordinate ids of this user: where they begin, and how many (subuid(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Subordinate {
    users: Vec<(u32, u32)>,
    groups: Vec<(u32, u32)>,
}

impl Subordinate {
    fn find() -> std::result::Result<Self, String> {
        let number = geteuid().as_raw();
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let names = names(number, &passwd, std::env::var("USER").ok());
        let read = |path: &str| ranges(&fs::read_to_string(path).unwrap_or_default(), &names);
        let found = Self {
            users: read("/etc/subuid"),
            groups: read("/etc/subgid"),
        };
        if found.count() >= LEAST {
            return Ok(found);
        }
        let name = names.last().cloned().unwrap_or_default();
        Err(format!(
            "user {name} has {} subordinate ids, and at least {LEAST} are needed; as root: usermod \
             --add-subuids 524288-589823 --add-subgids 524288-589823 {name} (a range that /etc/subuid does \
             not name yet), or start rouse as root",
            found.count()
        ))
    }

    fn count(&self) -> u32 {
        let sum =
            |ranges: &[(u32, u32)]| ranges.iter().fold(0_u32, |sum, r| sum.saturating_add(r.1));
        sum(&self.users).min(sum(&self.groups))
    }
}

/// What /etc/subuid may call this user: its number, its name.
fn names(number: u32, passwd: &str, told: Option<String>) -> Vec<String> {
    let number = number.to_string();
    let known = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(&number)).then(|| name.to_owned())
    });
    // A user of a directory service is not in the file. newuidmap looks itself whose they are.
    let name = known.or(told);
    [Some(number), name].into_iter().flatten().collect()
}

fn ranges(text: &str, names: &[String]) -> Vec<(u32, u32)> {
    let found = text.lines().filter_map(|line| {
        let mut fields = line.trim().splitn(3, ':');
        let name = fields.next()?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (names.iter().any(|known| known == name) && range.1 > 0).then_some(range)
    });
    found.take(LINES_MAX).collect()
}

/// The arguments of newuidmap(1): the user's own id is root inside, what follows are its subordinate ones.
fn arguments(process: i32, own: u32, ranges: &[(u32, u32)]) -> Vec<String> {
    let mut told = vec![process.to_string()];
    let mut inside = 0_u32;
    for (first, length) in std::iter::once((own, 1)).chain(ranges.iter().copied()) {
        told.extend([inside, first, length].map(|number| number.to_string()));
        inside = inside.saturating_add(length);
    }
    told
}

/// Enters a new user namespace, whose ids a child maps that stays outside, and a mount namespace that belongs to it.
fn move_in(ids: &Subordinate) -> std::result::Result<(), Failure> {
    const STEP: &str = "making a user namespace";
    let (entered, tell_entered) = pipe_with(PipeFlags::CLOEXEC).step(STEP)?;
    let (mapped, tell_mapped) = pipe_with(PipeFlags::CLOEXEC).step(STEP)?;
    let own = (geteuid().as_raw(), rustix::process::getegid().as_raw());
    let process = getpid().as_raw_nonzero().get();
    let Some(child) = kernel::fork(0, None).step(STEP)? else {
        drop(tell_entered);
        // Without a byte the other one is not there any more, or did not get in.
        if matches!(rustix::io::read(&entered, &mut [0_u8; 1]), Ok(1)) {
            let told = run("newuidmap", &arguments(process, own.0, &ids.users))
                .and_then(|()| run("newgidmap", &arguments(process, own.1, &ids.groups)));
            let word = told.err().unwrap_or_default();
            let _ = rustix::io::write(&tell_mapped, word.as_bytes());
        }
        kernel::exit_now(0);
    };
    drop((entered, tell_mapped));
    let moved = kernel::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)
        .and_then(|()| Ok(rustix::io::write(&tell_entered, b"!").map(drop)?))
        .step(STEP);
    drop(tell_entered);
    let mut reason = String::new();
    let told = fs::File::from(mapped).read_to_string(&mut reason);
    waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED).step(STEP)?;
    moved?;
    told.step("mapping user ids")?;
    if !reason.is_empty() {
        return Err(Failure::new("mapping user ids", reason));
    }
    // What the user may do as a member of groups, the server does not need.
    rustix::thread::set_thread_groups(&[]).step("leaving the user's groups")
}

fn run(program: &str, arguments: &[String]) -> std::result::Result<(), String> {
    match Command::new(program).args(arguments).output() {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
            Err(format!("{program}: {said} ({})", done.status))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(format!(
            "{program} is not found; on Debian: apt-get install uidmap"
        )),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn subordinate_ids_are_found_by_name_and_number() {
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
        let names = names(1000, passwd, Some("other".to_owned()));
        assert_eq!(names, ["1000", "ann"]);
        let text =
            "ann:100000:65536\nbob:165536:65536\n1000:500000:10\nann:x:1\nanna:1:1\nann:7:0\n";
        assert_eq!(ranges(text, &names), [(100_000, 65_536), (500_000, 10)]);
        assert_eq!(
            super::names(7, passwd, Some("ldap".to_owned())),
            ["7", "ldap"]
        );
    }

    #[test]
    fn the_user_is_root_inside() {
        let told = arguments(42, 1000, &[(100_000, 65_536), (500_000, 10)]);
        let words = "42 0 1000 1 1 100000 65536 65537 500000 10";
        assert_eq!(told.join(" "), words);
    }

    #[test]
    fn who_started_it_is_read_from_the_map() {
        let map = "         0       1000          1\n         1     100000      65536\n";
        assert_eq!(outside(map, 0), Some(1000));
        assert_eq!(outside(map, 65_536), Some(165_535));
        assert_eq!(outside(map, 65_537), None);
        assert_eq!(outside("0 0 4294967295\n", 0), Some(0));
        assert_eq!(outside("broken\n", 0), None);
    }

    proptest::proptest! {
        #[test]
        fn files_of_ids_never_stop_it(text in "[a-z0-9:\n ]{0,200}", passwd in "[a-z0-9:\n]{0,200}") {
            let names = names(7, &passwd, None);
            proptest::prop_assert!(ranges(&text, &names).len() <= LINES_MAX);
            outside(&text, 0);
        }
    }
}
