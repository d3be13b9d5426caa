//! A sandbox's own `/proc`, with what tells of or reaches the machine hidden.

use crate::error::{Failure, Step};
use crate::mounts::{READ_ONLY, attach, filesystem, place};
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

/// Puts what [`make`] made at `proc` in `root`, where `/dev/null` must be.
pub(crate) fn put(proc: &OwnedFd, root: &OwnedFd) -> Result<(), Failure> {
    attach(proc, place(root, "proc").step(STEP)?).step(STEP)?;
    for name in READ_ONLY_FOLDERS {
        let step = || format!("making /proc/{name} read-only");
        if let Some(at) = there(proc, name).step(step())? {
            let tree = copy(&at).step(step())?;
            crate::kernel::mount_setattr_one(tree.as_fd(), READ_ONLY).step(step())?;
            attach(tree, at).step(step())?;
        }
    }
    let null = place(root, "dev/null").step(STEP)?;
    for name in HIDDEN_FILES {
        let step = || format!("hiding /proc/{name}");
        if let Some(at) = there(proc, name).step(step())? {
            attach(copy(&null).step(step())?, at).step(step())?;
        }
    }
    for name in HIDDEN_FOLDERS {
        let step = || format!("hiding /proc/{name}");
        if let Some(at) = there(proc, name).step(step())? {
            let attributes = INERT | MountAttrFlags::MOUNT_ATTR_RDONLY;
            let empty = filesystem("tmpfs", &[("size", "4096"), ("mode", "0555")], attributes);
            attach(empty.step(step())?, at).step(step())?;
        }
    }
    Ok(())
}

fn copy(of: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(of, "", flags)
}

/// Not every kernel has every file.
fn there(proc: &OwnedFd, name: &str) -> rustix::io::Result<Option<OwnedFd>> {
    match place(proc, name) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}
