//! A sandbox's own `/proc`, with what tells of or reaches the machine hidden.

use crate::error::{Failure, Step};
use crate::kernel::mount_setattr_one;
use crate::mounts::{READ_ONLY, attach, attach_at, filesystem, place};
use rustix::fs::{Access, AtFlags, accessat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, OwnedFd};

/// Read as empty, and taking writes to nowhere: files that tell of the machine, or steer it.
const HIDDEN_FILES: [&str; 8] = [
    "kallsyms",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "sysrq-trigger",
    "timer_list",
    "interrupts",
];
const HIDDEN_FOLDERS: [&str; 4] = ["acpi", "asound", "scsi", "firmware"];
const READ_ONLY_FOLDERS: [&str; 4] = ["bus", "fs", "irq", "sys"];

const STEP: &str = "mounting /proc";
const INERT: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Makes it, detached, for the pid namespace of this process. The kernel refuses that in a mount namespace
/// which belongs to a sandbox's users. `own_only`: whoever looks sees only processes that it may trace.
pub(crate) fn make(own_only: bool) -> Result<OwnedFd, Failure> {
    let options: &[(&str, &str)] = if own_only { &[("hidepid", "2")] } else { &[] };
    filesystem("proc", options, INERT).step(STEP)
}

/// Puts what [`make`] made at `proc` in `root`, where `/dev/null` must be, and an empty `/dev/shm`. The names
/// in it are the kernel's own, and nobody else has seen it: they need not be opened before they are mounted on.
pub(crate) fn put(proc: &OwnedFd, root: &OwnedFd) -> Result<(), Failure> {
    attach(proc, place(root, "proc").step(STEP)?).step(STEP)?;
    for name in READ_ONLY_FOLDERS {
        let step = || format!("making /proc/{name} read-only");
        if let Some(tree) = there(copy(proc, name)).step(step())? {
            mount_setattr_one(tree.as_fd(), READ_ONLY).step(step())?;
            attach_at(&tree, proc, name).step(step())?;
        }
    }
    let null = place(root, "dev/null").step(STEP)?;
    let file = || copy(&null, "").step(STEP);
    hide(proc, &HIDDEN_FILES, file)?;
    // An empty folder that nobody can write to: a file system for each would cost as much as all the rest.
    let shm = place(root, "dev/shm").step(STEP)?;
    let folder = || {
        let tree = copy(&shm, "").step(STEP)?;
        mount_setattr_one(tree.as_fd(), READ_ONLY.union(INERT)).step(STEP)?;
        Ok(tree)
    };
    hide(proc, &HIDDEN_FOLDERS, folder)
}

/// Puts a mask over each of these that is there. A mask is made only for what is: to let go of one that was
/// attached nowhere makes the kernel wait until every processor has seen that.
fn hide(
    proc: &OwnedFd,
    names: &[&str],
    mask: impl Fn() -> Result<OwnedFd, Failure>,
) -> Result<(), Failure> {
    for name in names {
        let step = || format!("hiding /proc/{name}");
        let found = accessat(proc, *name, Access::EXISTS, AtFlags::empty());
        if there(found).step(step())?.is_some() {
            attach_at(&mask()?, proc, name).step(step())?;
        }
    }
    Ok(())
}

/// A detached copy of the mount at `name` in `of`, or at `of` itself if that is empty.
fn copy(of: &OwnedFd, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(of, name, flags)
}

/// Not every kernel has every file.
fn there<T>(done: rustix::io::Result<T>) -> rustix::io::Result<Option<T>> {
    match done {
        Err(Errno::NOENT) => Ok(None),
        done => done.map(Some),
    }
}
