//! What is done to an image's root once its layers are applied: the places that a sandbox mounts
//! something on must be there, as what they must be, for nothing can be made in a read-only root.

use crate::entry_path::{Dialect, EntryPath};
use crate::tree::{self, Links, Tree};
use rustix::fs::{AtFlags, FileType};
use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Folders that are always mounted over: whatever else stands there goes.
const MOUNTED: [&str; 4] = ["dev", "proc", "sys", "tmp"];
/// Folders in which something is mounted: what stands there must be a folder.
const HOLDERS: [&str; 4] = ["etc", "var", "var/task", "var/runtime"];
/// Files of `etc` that are always mounted over.
const FILES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// Makes the mount points and the working directory.
///
/// # Errors
/// When something else stands there that the image may need.
pub(crate) fn prepare(root: &Path, working_dir: &str) -> io::Result<()> {
    let tree = Tree::open(root, Links::Refused)?;
    let top = tree.folder(&path("")?)?;
    for name in MOUNTED {
        if tree::kind(&top, name.as_bytes())? != Some(FileType::Directory) {
            tree::remove(&top, name.as_bytes())?;
        }
        tree::make_folder(&top, name.as_bytes())?;
    }
    for name in HOLDERS {
        tree.make_folders(&path(name)?).map_err(|error| {
            io::Error::other(format!(
                "/{name} must be a folder, not a file or link: {error}"
            ))
        })?;
    }
    let etc = tree.folder(&path("etc")?)?;
    for name in FILES {
        make_empty(&etc, name.as_bytes())?;
    }
    let inside = Tree::open(root, Links::Followed)?;
    inside.make_folders(&path(working_dir)?).map_err(|error| {
        let shown = working_dir.escape_debug();
        io::Error::other(format!(
            "the working directory \"{shown}\" cannot be made: {error}"
        ))
    })?;
    Ok(())
}

fn path(text: &str) -> io::Result<EntryPath> {
    EntryPath::parse(text.as_bytes(), Dialect::Layer).map_err(io::Error::other)
}

fn make_empty(folder: &OwnedFd, name: &[u8]) -> io::Result<()> {
    if tree::kind(folder, name)? == Some(FileType::RegularFile) {
        return Ok(());
    }
    tree::remove(folder, name)?;
    tree::make_file(folder, name, &mut io::empty(), 0o644, None, &mut 0)
}

/// Bytes of all files of a root; one with several names counts once.
pub(crate) fn size(root: &Path) -> io::Result<u64> {
    let mut sum = Sum::default();
    let path = root.as_os_str().as_bytes();
    sum.folder(tree::listed(rustix::fs::CWD, path)?)?;
    Ok(sum.bytes)
}

/// A sum over files. It goes down by descriptors, since the paths of a million folders are gigabytes.
#[derive(Default)]
struct Sum {
    bytes: u64,
    /// Files with several names that were counted.
    linked: HashSet<u64>,
}

impl Sum {
    fn folder(&mut self, folder: OwnedFd) -> io::Result<()> {
        tree::each_name(folder, |folder, name| {
            let found = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(found.st_mode) {
                FileType::Directory => self.folder(tree::listed(folder, name)?)?,
                FileType::RegularFile
                    if found.st_nlink == 1 || self.linked.insert(found.st_ino) =>
                {
                    self.bytes += u64::try_from(found.st_size).unwrap_or_default();
                }
                _ => {}
            }
            Ok(())
        })
    }
}
