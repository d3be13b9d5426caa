//! A sandbox's own `/dev`.

use crate::error::{Failure, Step};
use crate::mounts::{self, attach, place};
use rustix::fs::{CWD, FileType, Gid, Mode, Uid, makedev, mkdirat, mknodat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};
use std::os::fd::{AsFd, OwnedFd};

/// Name, major and minor number (the kernel's devices.txt).
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
/// Size of `/dev/shm`, as in Docker. It counts against the sandbox's memory, which may be less.
const SHM: u64 = 64 * 1024 * 1024;

const HARD: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Mounts it at `dev` in `root`, with an empty folder for [`mount_shared_memory`].
pub(crate) fn mount(root: &OwnedFd, owner: u32) -> Result<(), Failure> {
    const STEP: &str = "mounting /dev";
    let dev = mounts::tmpfs(64 * 1024, 64, "0755", owner, HARD).step(STEP)?;
    let mut refused = Vec::new();
    for (name, major, minor) in NODES {
        let step = || format!("making /dev/{name}");
        // The umask is 0, so the mode is exact.
        let mode = Mode::from_raw_mode(0o666);
        let device = makedev(major, minor);
        match mknodat(&dev, name, FileType::CharacterDevice, mode, device) {
            // In a user namespace nobody makes devices: then the host's are shown.
            Err(Errno::PERM) => {
                mknodat(&dev, name, FileType::RegularFile, mode, 0).step(step())?;
                refused.push(name);
            }
            made => made.step(step())?,
        }
        let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(&dev, name, Some(uid), Some(gid), flags).step(step())?;
    }
    for (name, to) in LINKS {
        symlinkat(to, &dev, name).step(format!("making /dev/{name}"))?;
    }
    mkdirat(&dev, "shm", Mode::from_raw_mode(0o755)).step("making /dev/shm")?;
    // A read-only mount can still be written to through its device nodes.
    crate::kernel::mount_setattr_one(dev.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY).step(STEP)?;
    attach(&dev, place(root, "dev").step(STEP)?).step(STEP)?;
    refused.into_iter().try_for_each(|name| show(&dev, name))
}

/// Mounts the host's own device on the file of that name. The host's `/dev` must be in sight.
fn show(dev: &OwnedFd, name: &str) -> Result<(), Failure> {
    let step = || format!("showing the host's /dev/{name}");
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let node = open_tree(CWD, format!("/dev/{name}"), flags).step(step())?;
    let attributes = HARD | MountAttrFlags::MOUNT_ATTR_RDONLY;
    crate::kernel::mount_setattr_one(node.as_fd(), attributes).step(step())?;
    attach(node, place(dev, name).step(step())?).step(step())
}

/// Mounts `/dev/shm` of `root`.
pub(crate) fn mount_shared_memory(root: &OwnedFd, owner: u32) -> Result<(), Failure> {
    const STEP: &str = "mounting /dev/shm";
    let inert = HARD | MountAttrFlags::MOUNT_ATTR_NODEV;
    let shm = mounts::tmpfs(SHM, SHM / 4096, "1777", owner, inert).step(STEP)?;
    attach(shm, place(root, "dev/shm").step(STEP)?).step(STEP)
}
