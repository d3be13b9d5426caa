//! The tmpfs that carries every mount point and generated file: itself the root of a sandbox, or the
//! top layer over an image.

use crate::mounts::{self, open_in};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, chownat, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Bytes of generated files and links: a few KiB are used.
const SIZE: u64 = 2 * 1024 * 1024;
const INODES: u64 = 2048;

/// See the module.
pub(crate) struct Skeleton {
    /// The tmpfs; only this process's descriptor leads there until it is attached.
    pub(crate) root: OwnedFd,
    /// What lies beneath it: the image's folder.
    image: Option<Image>,
    /// Host id of the sandbox's root, who owns all of it.
    owner: u32,
}

/// The image beneath, attached somewhere.
pub(crate) struct Image {
    pub(crate) root: OwnedFd,
    /// Where it is attached, to tell what a resolved path is inside of it.
    pub(crate) attached: String,
}

impl Skeleton {
    pub(crate) fn new(owner: u32, image: Option<Image>) -> io::Result<Self> {
        let attributes = rustix::mount::MountAttrFlags::MOUNT_ATTR_NOSUID;
        let root = mounts::tmpfs(SIZE, INODES, "0755", owner, attributes)?;
        Ok(Self { root, image, owner })
    }

    /// A tmpfs that is there already, to be filled in the same way.
    pub(crate) fn of(root: OwnedFd, owner: u32) -> Self {
        Self {
            root,
            image: None,
            owner,
        }
    }

    /// Whether the image has something at `path`.
    pub(crate) fn in_image(&self, path: &str) -> bool {
        let image = self.image.as_ref();
        image.is_some_and(|image| open_in(&image.root, path, OFlags::PATH).is_ok())
    }

    /// Makes sure that `path` is a folder.
    pub(crate) fn folder(&self, path: &str) -> io::Result<()> {
        if let Some(image) = &self.image
            && open_in(&image.root, path, OFlags::PATH | OFlags::DIRECTORY).is_ok()
        {
            return Ok(());
        }
        self.make_folder(&self.real(path)?)
    }

    /// Makes sure that `path` is a file to mount on.
    pub(crate) fn file_place(&self, path: &str) -> io::Result<()> {
        if let Some(image) = &self.image
            && let Ok(there) = open_in(&image.root, path, OFlags::PATH)
        {
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&there)?.st_mode);
            if kind != FileType::Directory {
                return Ok(());
            }
        }
        self.file(path, "")
    }

    /// A file with this text, over whatever the image has there.
    pub(crate) fn file(&self, path: &str, text: &str) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o644);
        let file = openat(&folder, name.as_str(), flags | OFlags::CLOEXEC, mode)?;
        rustix::io::write(&file, text.as_bytes())?;
        self.own(&folder, &name)
    }

    /// A symbolic link.
    pub(crate) fn link(&self, path: &str, to: &Path) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        symlinkat(to, &folder, name.as_str())?;
        self.own(&folder, &name)
    }

    fn own(&self, folder: &OwnedFd, name: &str) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.owner), Gid::from_raw(self.owner));
        chownat(
            folder,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
        Ok(())
    }

    /// The folder of `path`, made and opened, and its last name.
    fn parent(&self, path: &str) -> io::Result<(OwnedFd, String)> {
        let path = path.trim_matches('/');
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = self.real(folder)?;
        self.make_folder(&folder)?;
        let opened = open_in(&self.root, at(&folder), OFlags::PATH | OFlags::DIRECTORY)?;
        Ok((opened, name.to_owned()))
    }

    /// Where `path` leads once the image's own links are followed, without the first slash.
    fn real(&self, path: &str) -> io::Result<String> {
        let path = path.trim_matches('/');
        let Some(image) = &self.image else {
            return Ok(path.to_owned());
        };
        let mut known = path;
        loop {
            match open_in(&image.root, at(known), OFlags::PATH) {
                Ok(there) => {
                    let link = format!("/proc/self/fd/{}", fd_number(&there));
                    let real = std::fs::read_link(link)?;
                    let inside = real
                        .strip_prefix(&image.attached)
                        .map_err(|_| io::Error::other("the image leads outside of itself"))?;
                    let rest = path.get(known.len()..).unwrap_or_default();
                    let joined = format!("{}{}{rest}", inside.display(), separator(known, rest));
                    return Ok(joined.trim_matches('/').to_owned());
                }
                Err(Errno::NOENT | Errno::NOTDIR) if !known.is_empty() => {
                    known = known.rsplit_once('/').map_or("", |(folder, _)| folder);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes each folder of a real path; one that the image has keeps its mode.
    fn make_folder(&self, path: &str) -> io::Result<()> {
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let folder = path.get(..end).unwrap_or_default();
            if folder.is_empty() {
                continue;
            }
            let (parent, name) = folder.rsplit_once('/').unwrap_or(("", folder));
            let parent = open_in(&self.root, at(parent), OFlags::PATH | OFlags::DIRECTORY)?;
            match mkdirat(&parent, name, self.mode_of(folder)) {
                Ok(()) => self.own(&parent, name)?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn mode_of(&self, folder: &str) -> Mode {
        let there = self.image.as_ref().and_then(|image| {
            let opened = open_in(&image.root, folder, OFlags::PATH | OFlags::DIRECTORY).ok()?;
            rustix::fs::fstat(opened).ok()
        });
        Mode::from_raw_mode(there.map_or(0o755, |stat| stat.st_mode & 0o7777))
    }
}

fn separator(known: &str, rest: &str) -> &'static str {
    if known.is_empty() && !rest.is_empty() {
        "/"
    } else {
        ""
    }
}

/// openat2 refuses an empty path.
fn at(path: &str) -> String {
    if path.is_empty() {
        ".".to_owned()
    } else {
        path.to_owned()
    }
}

fn fd_number(fd: impl AsFd) -> i32 {
    use std::os::fd::AsRawFd as _;
    fd.as_fd().as_raw_fd()
}
