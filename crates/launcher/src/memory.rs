//! A folder that lives in memory, for what must never be on a disk.

use crate::error::{Error, Result};
use crate::{kernel, mounts};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountAttrFlags, MountPropagationFlags};
use std::io;
use std::path::Path;

/// Files and folders that it may hold.
const INODES: u64 = 16 * 1024;

/// Makes `folder` a tmpfs of at most `size` bytes that only this process and what it starts can see: it is
/// mounted in a mount namespace of its own, and gone when the last of them is. It is never swapped out where
/// the kernel can promise that (Linux 6.4). Call it before [`crate::spawn`], so that the launcher sees it too, and
/// before any thread exists.
///
/// What is mounted on the host later is seen as before.
///
/// # Errors
/// `Missing` as [`crate::spawn`], before anything is made; or when the kernel refuses.
pub fn hold_in_memory(folder: &Path, size: u64) -> Result<()> {
    crate::entry::refuse_obstacles()?;
    hold(folder, size).map_err(|error| Error::Step {
        step: format!("keeping {} in memory", folder.display()),
        reason: error.to_string(),
    })
}

fn hold(folder: &Path, size: u64) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    kernel::unshare(libc::CLONE_NEWNS)?;
    let follow = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", follow)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOEXEC | mounts::INERT;
    let (size, inodes) = (size.to_string(), INODES.to_string());
    let options = [
        ("size", size.as_str()),
        ("nr_inodes", inodes.as_str()),
        ("mode", "0700"),
        ("noswap", ""),
    ];
    let memory = match mounts::filesystem("tmpfs", &options, attributes) {
        Ok(memory) => memory,
        Err(_) => mounts::filesystem("tmpfs", &options[..3], attributes)?,
    };
    let place = openat(CWD, folder, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    mounts::attach(&memory, &place)?;
    Ok(())
}
