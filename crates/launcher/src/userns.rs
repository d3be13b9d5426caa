//! User namespaces, made ahead and used again: each running sandbox has host user ids of its own.

use crate::error::{Failure, Step};
use crate::kernel;
use rustix::fs::{Mode, OFlags, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Uid;
use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

/// First host id of the first range. 0x7000_0000 to 0x7fff_ffff is used by nobody else
/// (systemd's table "UIDs and GIDs").
const FIRST: u32 = 0x7000_0000;
/// Ids in one range.
pub(crate) const IDS: u32 = 0x1_0000;
/// Ranges: most sandboxes that can run at one time.
const RANGES: u32 = 0x1000;

/// A user namespace whose ids 0 to 65 535 are the host's `base` to `base + 65 535`.
#[derive(Clone)]
pub(crate) struct UserNamespace {
    pub(crate) fd: Rc<OwnedFd>,
    pub(crate) base: u32,
}

/// The namespaces that no sandbox uses now, and the ranges that were never used.
pub(crate) struct UserNamespaces {
    idle: Vec<UserNamespace>,
    /// Rotates the ranges, so that two servers seldom meet in one.
    offset: u32,
    made: u32,
}

impl UserNamespaces {
    /// `seed` spreads the servers of one machine over the ranges.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            idle: Vec::new(),
            offset: (seed % u64::from(RANGES)) as u32,
            made: 0,
        }
    }

    /// One for a sandbox. Give it back when its last process is dead.
    pub(crate) fn take(&mut self) -> Result<UserNamespace, Failure> {
        if let Some(idle) = self.idle.pop() {
            return Ok(idle);
        }
        if self.made == RANGES {
            let reason =
                format!("{RANGES} sandboxes are running, the most this version can keep apart");
            return Err(Failure::new("making a user namespace", reason));
        }
        let base = FIRST + (self.offset + self.made) % RANGES * IDS;
        let fd = create(base)?;
        self.made += 1;
        Ok(UserNamespace {
            fd: Rc::new(fd),
            base,
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
fn create(base: u32) -> Result<OwnedFd, Failure> {
    const STEP: &str = "making a user namespace";
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC).step(STEP)?;
    let (wait, release) = pipe_with(PipeFlags::CLOEXEC).step(STEP)?;
    let Some(child) = kernel::fork(0, None).step(STEP)? else {
        // The end of the pipe comes when the launcher lets go, or dies.
        drop(release);
        let code = enter_new(base)
            .err()
            .map_or(0, |error| error.raw_os_error().unwrap_or(libc::EINVAL));
        let _ = rustix::io::write(&tell, &code.to_ne_bytes());
        let _ = rustix::io::read(&wait, &mut [0_u8; 1]);
        kernel::exit_now(0);
    };
    drop(tell);
    let folder = format!("/proc/{}", child.pid.as_raw_nonzero());
    let map = format!("0 {base} {IDS}\n");
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
