//! The page cache of images and unpacked code: letting go of what was only written, remembering what
//! starts had in memory, and reading that in again.

use crate::folders::{self, Folders};
use crate::warm_list::{self, MAX_SIZE, Warm};
use crate::{Error, Result, Storage, blocking, elf};
use model::Code;
use rustix::fs::{Advice, FileType, Mode, OFlags, ResolveFlags, fadvise, fstat, openat2};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most bytes that are read in again for one image or code: 128 MiB.
const MAX_BYTES: u64 = 128 << 20;
/// Most files that are looked at.
const MAX_LOOKED_AT: usize = 100_000;
/// Most bytes of paths that are gathered for a list: 16 MiB, of which the list keeps 1 MiB.
const MAX_PATHS: usize = 16 << 20;
/// What unpacks to no more than this stays in memory: all of it is likely to be read.
const SMALL: u64 = 8 << 20;

/// What was read in, or asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Warmed {
    /// How many files.
    pub files: usize,
    /// Bytes of their parts.
    pub bytes: u64,
    /// Whether a list told which; else they are a guess.
    pub listed: bool,
}

/// What is likely to be executed, for code that has never run: the paths that are tried, inside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guess {
    /// Absolute, or relative to the root.
    pub programs: Vec<PathBuf>,
}

impl Storage {
    /// Remembers which parts of the code's files are in memory now, as `resident` tells (bytes,
    /// ascending): the smallest first, 128 MiB at most. Called when something of it has just started
    /// and answered, that is what starts read. Replaces what was remembered before.
    ///
    /// # Errors
    /// Of the file system.
    pub async fn remember_warm(
        &self,
        code: &Code,
        resident: fn(&File) -> io::Result<Vec<Range<u64>>>,
    ) -> Result<Warmed> {
        let (folders, place) = (Arc::clone(self.folders()), Place::of(self.folders(), code));
        blocking::on_disk(move || remember(&folders, &place, resident)).await
    }

    /// Reads in what is remembered, or else what is guessed, without waiting for the disk to deliver it.
    /// At most `most` bytes, and only while `go_on` says so. Files that are gone are left out.
    ///
    /// # Errors
    /// Of the file system, when the code is not there.
    pub async fn warm(
        &self,
        code: &Code,
        guess: Guess,
        most: u64,
        go_on: impl Fn() -> bool + Send + 'static,
    ) -> Result<Warmed> {
        let place = Place::of(self.folders(), code);
        blocking::on_disk(move || {
            let failed = |error| Error::io("opening", &place.root, error);
            let root = open_root(&place.root).map_err(failed)?;
            let list = read_list(&place.list);
            let listed = list.is_some();
            let files = list.unwrap_or_else(|| elf::needed(&root, &guess.programs));
            let (files, bytes) = read_ahead(&root, &files, most.min(MAX_BYTES), &go_on);
            Ok(Warmed {
                files,
                bytes,
                listed,
            })
        })
        .await
    }
}

/// Where code and its list are.
struct Place {
    root: PathBuf,
    list: PathBuf,
}

impl Place {
    fn of(folders: &Folders, code: &Code) -> Self {
        match code {
            Code::Zip { digest, .. } => Self {
                root: folders.code().join(digest.hex()),
                list: folders.code_warm_list(digest.hex()),
            },
            Code::Image { digest, .. } => Self {
                root: folders.image(digest).join("rootfs"),
                list: folders.image(digest).join("warm"),
            },
        }
    }
}

fn read_list(path: &Path) -> Option<Vec<Warm>> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(MAX_SIZE as u64 + 1)
        .read_to_end(&mut bytes)
        .ok()?;
    warm_list::parse(&bytes)
}

fn remember(
    folders: &Folders,
    place: &Place,
    resident: fn(&File) -> io::Result<Vec<Range<u64>>>,
) -> Result<Warmed> {
    let (mut warm, mut room) = (Vec::new(), MAX_PATHS);
    each_file(&place.root, &mut |path, file| {
        let below = path.strip_prefix(&place.root).unwrap_or(path);
        let below = below.as_os_str().as_bytes();
        if let Some(left) = room.checked_sub(below.len()) {
            room = left;
            warm.extend(Warm::new(below.to_vec(), &resident(file)?));
        }
        Ok(())
    })
    .map_err(|error| Error::io("looking at", &place.root, error))?;
    warm.sort_by(|a, b| (a.bytes(), &a.path).cmp(&(b.bytes(), &b.path)));
    let mut bytes = 0;
    warm.retain(|file| {
        let fits = bytes + file.bytes() <= MAX_BYTES;
        bytes += if fits { file.bytes() } else { 0 };
        fits
    });
    // In one step; not synced, for a damaged one is none.
    let staged = folders.fresh_staging();
    let discarded = folders::Discarded::new(staged.clone());
    let failed = |error| Error::io("writing", &place.list, error);
    std::fs::write(&staged, warm_list::encode(&warm)).map_err(failed)?;
    std::fs::rename(&staged, &place.list).map_err(failed)?;
    discarded.keep();
    Ok(Warmed {
        files: warm.len(),
        bytes,
        listed: true,
    })
}

/// Takes what an archive was unpacked to out of memory again, unless that is little: it was written, not
/// read. It must be on the disk already; what is not stays.
///
/// # Errors
/// Of listing the folder.
pub(crate) fn let_go(root: &Path, unpacked: u64) -> io::Result<()> {
    if unpacked <= SMALL {
        return Ok(());
    }
    each_file(root, &mut |_, file| {
        // Advice: it may be ignored.
        let _ = fadvise(file, 0, None, Advice::DontNeed);
        Ok(())
    })
}

/// Visits each regular file that can be opened, one with several names once.
fn each_file(
    root: &Path,
    visit: &mut impl FnMut(&Path, &File) -> io::Result<()>,
) -> io::Result<()> {
    // One listing for each depth, not a path for each folder: those could be gigabytes.
    let mut listings = vec![std::fs::read_dir(root)?];
    let mut linked = HashSet::new();
    let mut looked_at = 0;
    while let Some(listing) = listings.last_mut() {
        let Some(entry) = listing.next() else {
            listings.pop();
            continue;
        };
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            listings.push(std::fs::read_dir(entry.path())?);
        }
        looked_at += 1;
        if looked_at > MAX_LOOKED_AT {
            return Ok(());
        }
        if !kind.is_file() {
            continue;
        }
        // What the server may not read, no start is helped with.
        let Ok(file) = File::open(entry.path()) else {
            continue;
        };
        let found = file.metadata()?;
        if found.nlink() == 1 || linked.insert(found.ino()) {
            visit(&entry.path(), &file)?;
        }
    }
    Ok(())
}

fn open_root(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// A regular file below a root; links in its path are followed as inside.
pub(crate) fn open_below(root: &OwnedFd, path: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(root, path, flags, Mode::empty(), resolve)?;
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file),
        _ => Err(io::Error::other("no regular file")),
    }
}

/// How many files, and how many of their bytes, the kernel was asked to read.
fn read_ahead(root: &OwnedFd, files: &[Warm], most: u64, go_on: &dyn Fn() -> bool) -> (usize, u64) {
    let (mut count, mut bytes) = (0, 0);
    for warm in files {
        if !go_on() || bytes + warm.bytes() > most {
            break;
        }
        let Ok(file) = open_below(root, &warm.path) else {
            continue;
        };
        for part in warm.parts() {
            let length = NonZeroU64::new(part.end - part.start);
            if length.is_some() {
                // Advice: it may be ignored.
                let _ = fadvise(&file, part.start, length, Advice::WillNeed);
            }
        }
        count += 1;
        bytes += warm.bytes();
    }
    (count, bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
