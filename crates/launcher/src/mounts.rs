//! Mounts as file descriptors: made detached, given their attributes, then attached to an opened
//! place. No path is resolved twice.

use crate::kernel;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{Errno, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
    fspick, move_mount, open_tree,
};
use rustix::path::Arg;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Neither setuid programs nor devices work there.
pub(crate) const INERT: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);
/// `INERT`, and nothing can be written.
pub(crate) const READ_ONLY: MountAttrFlags = INERT.union(MountAttrFlags::MOUNT_ATTR_RDONLY);

/// A new, detached file system. An option without a value is a flag.
pub(crate) fn filesystem(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        if value.is_empty() {
            fsconfig_set_flag(context.as_fd(), *key)?;
        } else {
            fsconfig_set_string(context.as_fd(), *key, *value)?;
        }
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// A new, detached tmpfs that belongs to host id `owner`.
pub(crate) fn tmpfs(
    size: u64,
    inodes: u64,
    mode: &str,
    owner: u32,
    attributes: MountAttrFlags,
) -> Result<OwnedFd> {
    let (size, inodes, owner) = (size.to_string(), inodes.to_string(), owner.to_string());
    let options = [
        ("size", size.as_str()),
        ("nr_inodes", &inodes),
        ("mode", mode),
        ("uid", &owner),
        ("gid", &owner),
    ];
    filesystem("tmpfs", &options, attributes)
}

/// Changes how much the tmpfs at `path` may hold.
pub(crate) fn resize(path: &str, size: u64, inodes: u64) -> Result<()> {
    let context = fspick(CWD, path, FsPickFlags::FSPICK_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "size", size.to_string())?;
    fsconfig_set_string(context.as_fd(), "nr_inodes", inodes.to_string())?;
    fsconfig_reconfigure(context.as_fd())
}

/// A detached copy of the mount at `source`.
pub(crate) struct Tree {
    pub(crate) fd: OwnedFd,
    /// Whether ids on disk are those of the sandbox.
    pub(crate) mapped: bool,
}

/// Copies the mount at `source` and what is mounted beneath it. Where the file system can, ids on
/// disk are mapped as `users` does; where it cannot, files keep the host's owners.
pub(crate) fn bind(
    source: &Path,
    users: BorrowedFd<'_>,
    attributes: MountAttrFlags,
) -> io::Result<Tree> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let fd = open_tree(CWD, source, flags)?;
    let all = u64::from(attributes.bits());
    if kernel::mount_setattr(fd.as_fd(), all | kernel::MOUNT_ATTR_IDMAP, Some(users)).is_ok() {
        return Ok(Tree { fd, mapped: true });
    }
    kernel::mount_setattr(fd.as_fd(), all, None)?;
    Ok(Tree { fd, mapped: false })
}

/// Copies the mount at `source`, a file, with the host's owners.
pub(crate) fn copy(source: &Path, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let fd = open_tree(CWD, source, flags)?;
    kernel::mount_setattr_one(fd.as_fd(), attributes)?;
    Ok(fd)
}

/// Attaches a detached mount at an opened place.
pub(crate) fn attach(tree: impl AsFd, place: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree.as_fd(), "", place.as_fd(), "", flags)
}

/// Attaches a detached mount at `name` in an opened folder, where there are no links.
pub(crate) fn attach_at(tree: &OwnedFd, folder: &OwnedFd, name: &str) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree, "", folder, name, flags)
}

/// Times that a path is resolved again because mounts changed meanwhile.
const RETRIES: u32 = 1000;

/// Opens what `path` names inside `root`, as a process whose `/` were `root` would.
pub(crate) fn open_in(root: impl AsFd, path: impl Arg, flags: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path = path.as_cow_c_str()?;
    let mut tries = 0;
    loop {
        let flags = flags | OFlags::CLOEXEC;
        match openat2(root.as_fd(), &*path, flags, Mode::empty(), resolve) {
            // A mount or rename anywhere while it went through "..": openat2(2), "ERRORS".
            Err(Errno::AGAIN) if tries < RETRIES => tries += 1,
            opened => return opened,
        }
    }
}

/// Opens the place `path` inside `root`, to mount on.
pub(crate) fn place(root: impl AsFd, path: &str) -> Result<OwnedFd> {
    open_in(root, path, OFlags::PATH)
}
