//! A folder that is filled from an archive. Every path is resolved by the kernel from the folder's
//! own descriptor (`openat2`), so that no entry, whatever links came before it, reaches outside.

use crate::entry_path::{EntryPath, MAX_DEPTH};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Bytes copied at once.
const CHUNK: usize = 128 * 1024;

/// What a link in the middle of a path means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// Nothing: such a path is refused.
    Refused,
    /// What it would mean to a process whose root is the tree.
    Followed,
}

/// A folder that is being filled.
pub(crate) struct Tree {
    root: OwnedFd,
    resolve: ResolveFlags,
}

impl Tree {
    /// A tree in an empty folder.
    pub(crate) fn open(path: &Path, links: Links) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = match links {
            Links::Refused => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
            Links::Followed => ResolveFlags::IN_ROOT,
        };
        Ok(Self {
            root: fs::open(path, flags, Mode::empty())?,
            resolve: resolve | ResolveFlags::NO_MAGICLINKS,
        })
    }

    /// A folder of the tree.
    ///
    /// # Errors
    /// `NOENT` if it is not there, `NOTDIR` if it is something else.
    pub(crate) fn folder(&self, path: &EntryPath) -> io::Result<OwnedFd> {
        self.resolve(&path.bytes(), OFlags::DIRECTORY)
    }

    fn resolve(&self, path: &[u8], more: OFlags) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | more;
        Ok(fs::openat2(
            &self.root,
            path,
            flags,
            Mode::empty(),
            self.resolve,
        )?)
    }

    /// A folder of the tree, made with its parents (mode 0755) if it is not there.
    pub(crate) fn make_folders(&self, path: &EntryPath) -> io::Result<OwnedFd> {
        match self.folder(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let mut parent = self.resolve(b".", OFlags::DIRECTORY)?;
        for (depth, name) in path.names().iter().enumerate() {
            let folder = self.resolve(&path.prefix(depth + 1), OFlags::DIRECTORY);
            parent = match folder {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    make_folder(&parent, name)?
                }
                folder => folder?,
            };
        }
        Ok(parent)
    }

    /// Whether a link that was made leads out of the tree, by way of other links if need be. One
    /// that leads nowhere does not.
    pub(crate) fn leads_out(&self, link: &EntryPath) -> io::Result<bool> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match fs::openat2(&self.root, link.bytes(), flags, Mode::empty(), resolve) {
            Ok(_) => Ok(false),
            Err(Errno::XDEV) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Brings all of the file system that the tree is on to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(fs::syncfs(fs::openat(
            &self.root,
            ".",
            flags,
            Mode::empty(),
        )?)?)
    }
}

/// Makes a folder of mode 0755 in `parent`, or takes the one that is there.
pub(crate) fn make_folder(parent: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    match fs::mkdirat(parent.as_fd(), name, Mode::from_raw_mode(0o755)) {
        Ok(()) => {
            // The umask may have taken bits away.
            set_mode(parent.as_fd(), name, 0o755)?;
            if depth(parent.as_fd())? > MAX_DEPTH + 64 {
                return Err(io::Error::other("folders are nested deeper than 256"));
            }
        }
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(parent, name, flags, Mode::empty())?)
}

/// How deep a folder is, counted from the machine's root: links let short paths make deep trees,
/// and a tree must stay shallow enough to be deleted.
fn depth(folder: BorrowedFd<'_>) -> io::Result<usize> {
    let link = format!("/proc/self/fd/{}", folder.as_raw_fd());
    let path = fs::readlink(link, Vec::new())?;
    Ok(path.as_bytes().iter().filter(|&&byte| byte == b'/').count())
}

/// Sets the mode of a file or folder; not of a link.
pub(crate) fn set_mode(parent: impl AsFd, name: &[u8], mode: u32) -> io::Result<()> {
    Ok(fs::chmodat(
        parent,
        name,
        Mode::from_raw_mode(mode),
        AtFlags::empty(),
    )?)
}

/// Makes a file that must not be there, with what `content` gives; `allowed` is lessened by every
/// byte, and more than that is refused. `modified` is in seconds since 1970.
pub(crate) fn make_file(
    parent: impl AsFd,
    name: &[u8],
    content: &mut impl Read,
    mode: u32,
    modified: Option<u64>,
    allowed: &mut u64,
) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
    let mut buffer = vec![0; CHUNK];
    loop {
        let length = match content.read(&mut buffer) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            length => length?,
        };
        *allowed = allowed
            .checked_sub(length as u64)
            .ok_or_else(|| io::Error::other("the archive unpacks to more than is allowed"))?;
        io::Write::write_all(&mut file, &buffer[..length])?;
    }
    fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    if let Some(seconds) = modified.and_then(|seconds| i64::try_from(seconds).ok()) {
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        fs::futimens(&file, &times)?;
    }
    Ok(())
}

/// Makes a link that must not be there.
pub(crate) fn make_link(parent: impl AsFd, name: &[u8], target: &[u8]) -> io::Result<()> {
    Ok(fs::symlinkat(target, parent, name)?)
}

/// What stands under a name; `None` if nothing does. A link is itself, not what it leads to.
pub(crate) fn kind(parent: impl AsFd, name: &[u8]) -> io::Result<Option<FileType>> {
    match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// A folder to list; a link is not followed.
pub(crate) fn listed(parent: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(parent, name, flags, Mode::empty())?)
}

/// Visits each name in a folder that was opened to be listed, which may be deleted in the visit. One at a
/// time: a layer can put a million names of 255 bytes into one folder.
pub(crate) fn each_name(
    folder: OwnedFd,
    mut visit: impl FnMut(BorrowedFd<'_>, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut listing = fs::Dir::new(folder)?;
    while let Some(entry) = listing.read() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            visit(listing.fd()?, name)?;
        }
    }
    Ok(())
}

/// Deletes what stands under a name, if anything does, with all that is in it.
pub(crate) fn remove(parent: impl AsFd, name: &[u8]) -> io::Result<()> {
    match kind(parent.as_fd(), name)? {
        None => Ok(()),
        Some(FileType::Directory) => {
            let folder = listed(parent.as_fd(), name)?;
            each_name(folder, |folder, inner| remove(folder, inner))?;
            Ok(fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
        }
        Some(_) => Ok(fs::unlinkat(parent, name, AtFlags::empty())?),
    }
}
