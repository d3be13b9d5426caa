//! User namespaces, made ahead and used again: each running sandbox has host user ids of its own.

use crate::error::{Failure, Step};
use crate::kernel;
use crate::ranges::Ranges;
use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Uid;
use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// A user namespace whose ids are a range of the host's.
#[derive(Clone)]
pub(crate) struct UserNamespace {
    pub(crate) fd: Rc<OwnedFd>,
    /// The host id of its root, the first of its range.
    pub(crate) base: u32,
    pub(crate) ranges: Ranges,
}

impl UserNamespace {
    /// Does `work` with the effective user `inside`, if the ids are not the host's root's: version 1 of cgroups lets
    /// only root, or a file that was opened by the very user of a process, move that process.
    pub(crate) fn acting_as<T>(
        &self,
        inside: u32,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        const STEP: &str = "acting as a sandbox's user";
        if self.ranges.are_whole() {
            return work();
        }
        let own = rustix::process::geteuid();
        let held = rustix::thread::capabilities(None).step(STEP)?;
        rustix::thread::set_thread_res_uid(own, Uid::from_raw(self.host(inside)), own)
            .step(STEP)?;
        let done = rustix::thread::set_capabilities(None, held)
            .step(STEP)
            .and_then(|()| work());
        if rustix::thread::set_thread_res_uid(own, own, own).is_err() {
            // It would do everything else as that user from now on.
            eprintln!("launcher: returning from a sandbox's user failed");
            kernel::exit_now(1);
        }
        done
    }

    /// The host id of one that is inside; of one that is not, its root's.
    pub(crate) fn host(&self, inside: u32) -> u32 {
        self.ranges.host(self.base, inside).unwrap_or(self.base)
    }
}

/// The namespaces that no sandbox uses now, and the ranges that were never used.
pub(crate) struct UserNamespaces {
    idle: Vec<UserNamespace>,
    ranges: Ranges,
    seed: u64,
    made: u32,
}

impl UserNamespaces {
    /// `seed` spreads the servers of one machine over the ranges.
    pub(crate) fn new(ranges: Ranges, seed: u64) -> Self {
        Self {
            idle: Vec::new(),
            ranges,
            seed,
            made: 0,
        }
    }

    /// Whether there is none left that nobody has.
    pub(crate) fn are_used_up(&self) -> bool {
        self.idle.is_empty() && self.made == self.ranges.count()
    }

    /// One for a sandbox. Give it back when its last process is dead.
    pub(crate) fn take(&mut self) -> Result<UserNamespace, Failure> {
        if let Some(idle) = self.idle.pop() {
            return Ok(idle);
        }
        if self.are_used_up() {
            let reason = format!(
                "{} sandboxes are there, the most that this server's user ids can keep apart",
                self.ranges.count()
            );
            return Err(Failure::new("making a user namespace", reason));
        }
        let base = self.ranges.base(self.seed, self.made);
        let fd = create(self.ranges, base)?;
        self.made += 1;
        Ok(UserNamespace {
            fd: Rc::new(fd),
            base,
            ranges: self.ranges,
        })
    }

    pub(crate) fn give_back(&mut self, namespace: UserNamespace) {
        self.idle.push(namespace);
    }
}

/// Makes one by way of a child that lives in it just long enough for its maps to be written.
///
/// The child first becomes the range's first id, so that this id owns the namespace. The kernel
/// counts inotify instances, queued signals and message queues against the owner too: were it the
/// launcher's own user, one sandbox could use up what the host and every other sandbox has of them.
fn create(ranges: Ranges, base: u32) -> Result<OwnedFd, Failure> {
    const STEP: &str = "making a user namespace";
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC).step(STEP)?;
    let (wait, release) = pipe_with(PipeFlags::CLOEXEC).step(STEP)?;
    let Some(child) = kernel::fork(0, None).step(STEP)? else {
        // The end of the pipe comes when the launcher lets go, or dies.
        drop(release);
        let entered = enter_new(base);
        if entered.is_ok() && !ranges.are_whole() {
            bound_by_user();
        }
        let code = entered
            .err()
            .map_or(0, |error| error.raw_os_error().unwrap_or(libc::EINVAL));
        let _ = rustix::io::write(&tell, &code.to_ne_bytes());
        let _ = rustix::io::read(&wait, &mut [0_u8; 1]);
        kernel::exit_now(0);
    };
    drop(tell);
    let folder = format!("/proc/{}", child.pid.as_raw_nonzero());
    let map = ranges.map(base);
    let made = entered(&told).and_then(|()| {
        ["uid_map", "gid_map"]
            .iter()
            .try_for_each(|file| std::fs::write(format!("{folder}/{file}"), &map))?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(open(format!("{folder}/ns/user"), flags, Mode::empty())?)
    });
    drop(release);
    kernel::signal(&child.pidfd, Signal::KILL);
    use std::os::fd::AsFd as _;
    waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED).step(STEP)?;
    made.step(STEP)
}

/// In the child: what all ranges of an ordinary user share, since the kernel counts it against that user too, no
/// sandbox may use up. A kernel without such a bound has no such count.
fn bound_by_user() {
    for (what, most) in [("inotify_instances", "16"), ("inotify_watches", "4096")] {
        let _ = std::fs::write(format!("/proc/sys/user/max_{what}"), most);
    }
}

/// In the child: becomes `owner` and enters a new user namespace, which is `owner`'s then.
fn enter_new(owner: u32) -> io::Result<()> {
    // Hosts that keep user namespaces from ordinary users let capable ones make them.
    rustix::thread::set_keep_capabilities(true)?;
    let held = rustix::thread::capabilities(None)?;
    let uid = Uid::from_raw(owner);
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::thread::set_capabilities(None, held)?;
    kernel::unshare(libc::CLONE_NEWUSER)
}

/// Waits for what became of the child's [`enter_new`].
fn entered(told: &OwnedFd) -> io::Result<()> {
    let mut code = [0_u8; 4];
    match rustix::io::retry_on_intr(|| rustix::io::read(told, &mut code))? {
        4 => match i32::from_ne_bytes(code) {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(code)),
        },
        _ => Err(io::Error::other("the process that makes it has died")),
    }
}
