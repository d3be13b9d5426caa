//! The IPC, UTS and cgroup namespaces of a slot, which one sandbox after the other enters: to make and to destroy
//! them costs more than to look whether a program has left something in them.
//!
//! Nothing of the UTS and the cgroup namespace can be changed from inside, where nobody has a capability over
//! them. In an IPC namespace there can be objects of System V and message queues, and both can be listed.

use crate::Shape;
use crate::cgroup::kept_below;
use crate::error::{Failure, Step};
use crate::kernel;
use crate::mounts::{INERT, filesystem};
use crate::namespaces::go_home;
use crate::slot::Slot;
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom, open, openat, seek};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

/// What of a slot's namespaces a child makes and a later one enters, in this order.
const KINDS: [(&str, LinkNameSpaceType); 3] = [
    ("ipc", LinkNameSpaceType::InterProcessCommunication),
    ("uts", LinkNameSpaceType::HostNameAndNISDomainName),
    ("cgroup", LinkNameSpaceType::ControlGroup),
];
/// How many they are.
pub(crate) const COUNT: usize = KINDS.len();

/// Lists of System V objects: a line of names, and one for each object (proc(5)).
const LISTS: [&str; 3] = [
    "/proc/sysvipc/msg",
    "/proc/sysvipc/sem",
    "/proc/sysvipc/shm",
];

const STEP: &str = "entering the slot's namespaces";

/// See the module.
pub(crate) struct Spaces {
    namespaces: [OwnedFd; COUNT],
    /// The host name in there.
    hostname: String,
    /// What tells of objects in the IPC namespace, once that was asked.
    lists: Option<Lists>,
}

impl Spaces {
    pub(crate) fn new(namespaces: [OwnedFd; COUNT], hostname: String) -> Self {
        Self {
            namespaces,
            hostname,
            lists: None,
        }
    }

    /// Moves this process into them, if they are for this host name.
    pub(crate) fn enter(&self, hostname: &str) -> Result<bool, Failure> {
        if self.hostname != hostname {
            return Ok(false);
        }
        for (namespace, (_, kind)) in self.namespaces.iter().zip(KINDS) {
            move_into_link_name_space(namespace.as_fd(), Some(kind)).step(STEP)?;
        }
        Ok(true)
    }

    /// Whether the next sandbox may have them: nothing is left in them, and there are not so many that their
    /// descriptors are needed for sandboxes. `own`: the IPC namespace of this process, which must see the
    /// host's `/proc`.
    pub(crate) fn are_clean(&mut self, own: &OwnedFd) -> io::Result<bool> {
        let [ipc, ..] = &self.namespaces;
        let lists = match self.lists.take() {
            Some(lists) => lists,
            None => {
                let kind = LinkNameSpaceType::InterProcessCommunication;
                move_into_link_name_space(ipc.as_fd(), Some(kind))?;
                let lists = Lists::open();
                go_home(own, kind);
                lists?
            }
        };
        let clean = lists.queues.as_raw_fd() < kept_below() && lists.are_empty()?;
        self.lists = Some(lists);
        Ok(clean)
    }
}

/// What tells of objects in one IPC namespace, as it is when it is read.
struct Lists {
    system_v: [OwnedFd; LISTS.len()],
    /// The folder of POSIX message queues (mq_overview(7)).
    queues: OwnedFd,
}

impl Lists {
    /// Those of this process's namespace.
    fn open() -> io::Result<Self> {
        let read = |path: &str| open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let [messages, semaphores, memory] = LISTS;
        let mount = filesystem("mqueue", &[], INERT)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            system_v: [read(messages)?, read(semaphores)?, read(memory)?],
            queues: openat(mount, ".", flags, Mode::empty())?,
        })
    }

    fn are_empty(&self) -> io::Result<bool> {
        for list in &self.system_v {
            let mut text = [0; 512];
            let length = rustix::io::pread(list, &mut text, 0)?;
            let lines = text.get(..length).unwrap_or_default();
            if lines.iter().filter(|byte| **byte == b'\n').count() != 1 {
                return Ok(false);
            }
        }
        seek(&self.queues, SeekFrom::Start(0))?;
        let mut space = [MaybeUninit::uninit(); 512];
        let mut entries = RawDir::new(&self.queues, &mut space);
        while let Some(entry) = entries.next() {
            if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Moves this process into the slot's namespaces, if it has such for this host name.
pub(crate) fn enter(slot: &Slot, shape: &Shape, hostname: &str) -> Result<bool, Failure> {
    match &slot.spaces {
        Some(spaces) if can_be_kept(slot, shape) => spaces.enter(hostname),
        _ => Ok(false),
    }
}

/// Groups of version 2 are made anew each time, and what a snapshot's fork has serves it alone. By a socket in a
/// folder that both can write to, a sandbox may give an open message queue that has no name to another one: while
/// that holds it, it counts, and no list has it.
fn can_be_kept(slot: &Slot, shape: &Shape) -> bool {
    let alone = shape.volumes.iter().all(|volume| volume.read_only);
    alone && slot.lender.is_none() && !slot.group.is_unified()
}

/// Gives this process new ones, so that the cgroup namespace's root is the group that it is in, and gives them to
/// be kept, if the slot can use them again. The host's `/proc` must be in sight.
pub(crate) fn make(slot: &Slot, shape: &Shape, hostname: &str) -> Result<Vec<OwnedFd>, Failure> {
    const STEP: &str = "making namespaces";
    kernel::unshare(libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP).step(STEP)?;
    rustix::system::sethostname(hostname.as_bytes()).step("setting the host name")?;
    if !can_be_kept(slot, shape) {
        return Ok(Vec::new());
    }
    let made = KINDS.map(|(name, _)| crate::child::namespace(name));
    let made: rustix::io::Result<Vec<_>> = made.into_iter().collect();
    made.step(STEP)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use libc::{IPC_CREAT, IPC_PRIVATE, IPC_RMID};

    /// Makes an object in this process's IPC namespace; what removes it.
    type Make = fn() -> Box<dyn FnOnce() -> i32>;

    const OBJECTS: [Make; 4] = [
        || {
            // SAFETY: numbers only.
            let id = unsafe { libc::msgget(IPC_PRIVATE, IPC_CREAT | 0o600) };
            assert!(id >= 0);
            // SAFETY: removing takes no buffer.
            Box::new(move || unsafe { libc::msgctl(id, IPC_RMID, std::ptr::null_mut()) })
        },
        || {
            // SAFETY: numbers only.
            let id = unsafe { libc::semget(IPC_PRIVATE, 1, IPC_CREAT | 0o600) };
            assert!(id >= 0);
            // SAFETY: numbers only.
            Box::new(move || unsafe { libc::semctl(id, 0, IPC_RMID) })
        },
        || {
            // SAFETY: numbers only.
            let id = unsafe { libc::shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0o600) };
            assert!(id >= 0);
            // SAFETY: removing takes no buffer.
            Box::new(move || unsafe { libc::shmctl(id, IPC_RMID, std::ptr::null_mut()) })
        },
        || {
            let none = std::ptr::null::<libc::mq_attr>();
            let flags = libc::O_CREAT | libc::O_RDWR;
            // SAFETY: the name is a C string, and no attributes are given.
            let queue = unsafe { libc::mq_open(c"/left".as_ptr(), flags, 0o600, none) };
            // SAFETY: the descriptor is ours alone.
            assert!(queue >= 0 && unsafe { libc::mq_close(queue) } == 0);
            // SAFETY: the name is a C string.
            Box::new(|| unsafe { libc::mq_unlink(c"/left".as_ptr()) })
        },
    ];

    fn thread(kind: &str) -> OwnedFd {
        let path = format!("/proc/thread-self/ns/{kind}");
        std::fs::File::open(path).unwrap().into()
    }

    #[test]
    fn an_object_of_each_kind_is_found_until_it_is_removed() {
        // The namespaces go with the thread.
        let look = || {
            let kind = LinkNameSpaceType::InterProcessCommunication;
            let own = thread("ipc");
            kernel::unshare(libc::CLONE_NEWIPC).unwrap();
            let inside = thread("ipc");
            let namespaces = [thread("ipc"), thread("uts"), thread("cgroup")];
            let mut spaces = Spaces::new(namespaces, "box".to_owned());
            go_home(&own, kind);
            assert!(spaces.are_clean(&own).unwrap());
            for make in OBJECTS {
                go_home(&inside, kind);
                let remove = make();
                go_home(&own, kind);
                assert!(!spaces.are_clean(&own).unwrap());
                go_home(&inside, kind);
                assert_eq!(remove(), 0);
                go_home(&own, kind);
                assert!(spaces.are_clean(&own).unwrap());
            }
        };
        std::thread::spawn(look).join().unwrap();
    }
}
