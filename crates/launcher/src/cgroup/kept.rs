//! Small files of the kernel that are read or written for every sandbox, and so stay open.

use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Resource, getrlimit};
use std::cell::OnceCell;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::Path;

/// Descriptors from this number on are closed again at once: with so many sandboxes, their number
/// matters more than microseconds.
const KEPT_BELOW: RawFd = 4096;

/// Descriptors from there on are closed again. Where the launcher may have few, half of them are left for
/// everything else.
pub(crate) fn kept_below() -> RawFd {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    RawFd::try_from(files / 2).map_or(KEPT_BELOW, |half| half.min(KEPT_BELOW))
}

/// One such file, opened when it is first needed. The kernel answers a read at offset 0 with what holds now.
#[derive(Debug, Default)]
pub(crate) struct Kept(OnceCell<OwnedFd>);

impl Kept {
    /// Its text, which the kernel gives in one piece: 4 KiB at most.
    pub(crate) fn read(&self, path: &Path) -> io::Result<String> {
        self.with(path, OFlags::RDONLY, text)
    }

    /// Its text, if it is open.
    pub(crate) fn read_open(&self) -> Option<io::Result<String>> {
        self.0.get().map(text)
    }

    /// One write.
    pub(super) fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        self.with(path, OFlags::WRONLY, |file| {
            rustix::io::pwrite(file, text.as_bytes(), 0)?;
            Ok(())
        })
    }

    /// A descriptor of its own for somebody else, who can do with it what was done here before, or
    /// `flags` say.
    pub(super) fn share(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        self.with(path, flags, |file| {
            Ok(rustix::io::fcntl_dupfd_cloexec(file, 0)?)
        })
    }

    /// `flags`: the same each time.
    fn with<T>(
        &self,
        path: &Path,
        flags: OFlags,
        work: impl FnOnce(&OwnedFd) -> io::Result<T>,
    ) -> io::Result<T> {
        if let Some(file) = self.0.get() {
            return work(file);
        }
        let file = open(path, flags | OFlags::CLOEXEC, Mode::empty())?;
        if file.as_raw_fd() >= kept_below() {
            return work(&file);
        }
        work(self.0.get_or_init(|| file))
    }
}

fn text(file: &OwnedFd) -> io::Result<String> {
    let mut buffer = [0; 4096];
    let length = rustix::io::pread(file, &mut buffer, 0)?;
    let text = buffer.get(..length).unwrap_or_default();
    Ok(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_is_kept_is_read_as_it_is_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let kept = Kept::default();
        assert!(kept.read(&path).is_err());
        assert!(kept.read_open().is_none());
        std::fs::write(&path, "one").unwrap();
        assert_eq!(kept.read(&path).unwrap(), "one");
        // In place: the file stays the same one.
        std::fs::write(&path, "a second").unwrap();
        assert_eq!(kept.read(&path).unwrap(), "a second");
        assert_eq!(kept.read_open().unwrap().unwrap(), "a second");
        let shared = kept.share(&path, OFlags::RDONLY).unwrap();
        assert!(rustix::io::pwrite(&shared, b"x", 0).is_err());
    }
}
