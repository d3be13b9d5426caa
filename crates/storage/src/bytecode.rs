//! Python modules of unpacked code, compiled once: laid beside their sources, where the interpreter looks.

use crate::folders::{self, Discarded, Folders};
use crate::tree::{self, Links, Tree};
use crate::{Error, Result, Storage, blocking, code};
use model::Digest;
use rustix::fs::{FileType, Mode, OFlags, openat, renameat};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

/// Most bytes of what is compiled of one code: 128 MiB.
const MAX_BYTECODE: u64 = 128 << 20;
/// Folders beneath each other, past which nothing is laid.
const MAX_DEPTH: usize = 32;
/// Where the interpreter looks, beside each source.
const CACHE: &[u8] = b"__pycache__";

impl Storage {
    /// Whether [`Self::keep_bytecode`] was said of this code since it was unpacked.
    pub fn has_bytecode(&self, code: &Digest) -> bool {
        self.folders().code_bytecode(code.hex()).exists()
    }

    /// Lays what is compiled beside its sources in code that is unpacked. `archive` gives a zip and then its
    /// end; of it counts what is in folders `__pycache__` and is called `*.pyc`, as far as the code has the
    /// folders around. Each file is there as a whole or not at all, whoever reads meanwhile. Gives how many.
    ///
    /// # Errors
    /// `Archive` when it is no zip, or more than 128 MiB; of the file system.
    pub async fn add_bytecode(&self, code: &Digest, archive: OwnedFd) -> Result<usize> {
        let (folders, code) = (Arc::clone(self.folders()), code.clone());
        blocking::on_disk(move || add(&folders, &code, File::from(archive))).await
    }

    /// Remembers that all that can be compiled of this code was.
    ///
    /// # Errors
    /// Of the file system.
    pub async fn keep_bytecode(&self, code: &Digest) -> Result<()> {
        let (folders, code) = (Arc::clone(self.folders()), code.clone());
        blocking::on_disk(move || {
            let told = folders.code_bytecode(code.hex());
            if !told.exists() {
                // What is laid is on the disk before it is said to be.
                let laid = folders.code().join(code.hex());
                let tree = Tree::open(&laid, Links::Refused);
                tree.and_then(|tree| tree.sync())
                    .map_err(|error| Error::io("syncing the folder", &laid, error))?;
                folders::make_file(&told)?;
                folders::sync_folder(&folders.code())?;
            }
            Ok(())
        })
        .await
    }
}

fn add(folders: &Folders, code: &Digest, archive: File) -> Result<usize> {
    let zip = folders.fresh_staging();
    let _zip = Discarded::new(zip.clone());
    let failed = |error| Error::io("keeping", &zip, error);
    let mut file = folders::make_file(&zip)?;
    let received = io::copy(&mut archive.take(MAX_BYTECODE + 1), &mut file).map_err(failed)?;
    if received > MAX_BYTECODE {
        let reason = format!("what is compiled is more than {MAX_BYTECODE} bytes");
        return Err(Error::Archive(reason));
    }
    let staged = folders.fresh_staging();
    let _staged = Discarded::new(staged.clone());
    folders::make_folder(&staged)?;
    let open = || File::open(&zip).map_err(failed);
    let Some(from) = lay_out(open()?, open()?, &staged)? else {
        return Ok(0);
    };
    let to = folders.code().join(code.hex());
    let failed = |error| Error::io("laying bytecode into", &to, error);
    lay(from, below(rustix::fs::CWD, &to).map_err(failed)?, 0).map_err(failed)
}

/// Unpacks the zip, durably, and gives its folder to be listed; `None` if nothing is in it.
fn lay_out(archive: File, contents: File, staged: &Path) -> Result<Option<OwnedFd>> {
    let failed = |error| Error::io("unpacking to", staged, error);
    let tree = Tree::open(staged, Links::Refused).map_err(failed)?;
    if code::lay_out(archive, contents, &tree, MAX_BYTECODE)? == 0 {
        return Ok(None);
    }
    tree.sync().map_err(failed)?;
    let listed = File::open(staged).map_err(failed)?;
    Ok(Some(OwnedFd::from(listed)))
}

/// A folder, by which others can be reached; a link is none.
fn below<P: rustix::path::Arg>(parent: impl AsFd, name: P) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// Lays the caches of a folder and of those in it.
fn lay(from: OwnedFd, to: OwnedFd, depth: usize) -> io::Result<usize> {
    let mut laid = 0;
    tree::each_name(from, |folder, name| {
        if tree::kind(folder, name)? != Some(FileType::Directory) || depth > MAX_DEPTH {
            return Ok(());
        }
        let into = if name == CACHE {
            tree::make_folder(&to, name)
        } else {
            below(&to, name)
        };
        let into = match into {
            Err(error) if is_other(&error) => return Ok(()),
            into => into?,
        };
        let listed = tree::listed(folder, name)?;
        laid += match name {
            CACHE => lay_files(listed, &into)?,
            _ => lay(listed, into, depth + 1)?,
        };
        Ok(())
    })?;
    Ok(laid)
}

/// Lays the files of one cache, in place of those of the same name.
fn lay_files(from: OwnedFd, to: &OwnedFd) -> io::Result<usize> {
    let mut laid = 0;
    tree::each_name(from, |folder, name| {
        let is_file = tree::kind(folder, name)? == Some(FileType::RegularFile);
        if !is_file || !name.ends_with(b".pyc") {
            return Ok(());
        }
        match renameat(folder, name, to, name).map_err(io::Error::from) {
            Ok(()) => laid += 1,
            Err(error) if is_other(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    })?;
    Ok(laid)
}

/// Whether the code has nothing there, or something else.
fn is_other(error: &io::Error) -> bool {
    let other = [Errno::NOENT, Errno::NOTDIR, Errno::ISDIR, Errno::LOOP];
    other
        .iter()
        .any(|other| error.raw_os_error() == Some(other.raw_os_error()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::code::tests::{Entry, store, zip};
    use crate::testing::Room;
    use std::path::PathBuf;

    /// Code of these files, and what became of bytecode that was offered for it.
    async fn offered(
        room: &Room,
        code: &[Entry<'_>],
        bytecode: Vec<u8>,
    ) -> (PathBuf, Result<usize>) {
        let digest = store(room, zip(code)).await;
        let folder = room.storage.ensure_code(&digest).await.unwrap();
        let archive = room.path("archive");
        std::fs::write(&archive, bytecode).unwrap();
        let archive = OwnedFd::from(File::open(archive).unwrap());
        let laid = room.storage.add_bytecode(&digest, archive).await;
        assert_eq!(room.names("staging"), Vec::<String>::new());
        (folder, laid)
    }

    fn text(folder: &Path, path: &str) -> Option<String> {
        std::fs::read_to_string(folder.join(path)).ok()
    }

    #[tokio::test]
    async fn bytecode_lies_beside_its_sources() {
        let room = Room::open().await;
        let code = [
            Entry::File("app.py", b"x", 0o644),
            Entry::File("pkg/sub/a.py", b"x", 0o644),
            Entry::File("pkg/__pycache__/old.cpython-311.pyc", b"old", 0o644),
        ];
        let bytecode = zip(&[
            Entry::File("__pycache__/app.cpython-311.pyc", b"1", 0o600),
            Entry::File("pkg/__pycache__/old.cpython-311.pyc", b"2", 0o600),
            Entry::File("pkg/sub/__pycache__/a.cpython-311.pyc", b"3", 0o600),
        ]);
        let (folder, laid) = offered(&room, &code, bytecode).await;
        assert_eq!(laid.unwrap(), 3);
        assert_eq!(
            text(&folder, "__pycache__/app.cpython-311.pyc").unwrap(),
            "1"
        );
        assert_eq!(
            text(&folder, "pkg/__pycache__/old.cpython-311.pyc").unwrap(),
            "2"
        );
        assert_eq!(
            text(&folder, "pkg/sub/__pycache__/a.cpython-311.pyc").unwrap(),
            "3"
        );
        // The sandboxes' users read it.
        let mode = |path: &str| {
            let about = std::fs::metadata(folder.join(path)).unwrap();
            std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o777
        };
        assert_eq!(
            (mode("__pycache__"), mode("__pycache__/app.cpython-311.pyc")),
            (0o755, 0o644)
        );
    }

    #[tokio::test]
    async fn nothing_else_is_laid_and_nothing_elsewhere() {
        let room = Room::open().await;
        let code = [
            Entry::File("app.py", b"mine", 0o644),
            Entry::File("way/x.py", b"x", 0o644),
            Entry::Link("link", "way"),
            Entry::File("plain/__pycache__", b"a file", 0o644),
            Entry::Folder("taken/__pycache__/a.pyc"),
            Entry::Folder("linked"),
            Entry::Link("linked/__pycache__", "../way"),
        ];
        let bytecode = zip(&[
            Entry::File("app.py", b"theirs", 0o644),
            Entry::File("__pycache__/app.py", b"no", 0o644),
            Entry::Link("__pycache__/l.pyc", "app.py"),
            Entry::File("none/__pycache__/a.pyc", b"no", 0o644),
            Entry::File("link/__pycache__/a.pyc", b"no", 0o644),
            Entry::File("plain/__pycache__/a.pyc", b"no", 0o644),
            Entry::File("taken/__pycache__/a.pyc", b"no", 0o644),
            Entry::File("linked/__pycache__/a.pyc", b"no", 0o644),
        ]);
        let (folder, laid) = offered(&room, &code, bytecode).await;
        assert_eq!(laid.unwrap(), 0);
        assert_eq!(text(&folder, "app.py").unwrap(), "mine");
        for absent in [
            "__pycache__/app.py",
            "__pycache__/l.pyc",
            "none",
            "way/__pycache__",
            "way/a.pyc",
        ] {
            assert!(!folder.join(absent).exists(), "{absent}");
        }
    }

    #[tokio::test]
    async fn what_is_no_zip_is_refused() {
        let room = Room::open().await;
        let code = [Entry::File("app.py", b"x", 0o644)];
        let whole = zip(&[Entry::File("__pycache__/app.pyc", b"1", 0o644)]);
        let cut = whole.get(..whole.len() - 8).unwrap().to_vec();
        let (folder, laid) = offered(&room, &code, cut).await;
        assert!(matches!(laid, Err(Error::Archive(_))), "{laid:?}");
        assert!(!folder.join("__pycache__").exists());
        let upwards = zip(&[Entry::File("../__pycache__/app.pyc", b"1", 0o644)]);
        let code = [Entry::File("app.py", b"other", 0o644)];
        assert!(offered(&room, &code, upwards).await.1.is_err());
    }

    #[tokio::test]
    async fn what_is_endless_is_refused() {
        let room = Room::open().await;
        let digest = store(&room, zip(&[Entry::File("app.py", b"x", 0o644)])).await;
        room.storage.ensure_code(&digest).await.unwrap();
        let endless = OwnedFd::from(File::open("/dev/zero").unwrap());
        let laid = room.storage.add_bytecode(&digest, endless).await;
        assert!(matches!(laid, Err(Error::Archive(reason)) if reason.contains("more than")));
    }

    #[tokio::test]
    async fn what_was_done_is_known_until_the_code_goes_or_is_unpacked_anew() {
        let room = Room::open().await;
        let digest = store(&room, zip(&[Entry::File("app.py", b"x", 0o644)])).await;
        let folder = room.storage.ensure_code(&digest).await.unwrap();
        let archive = room.path("empty");
        std::fs::write(&archive, zip(&[])).unwrap();
        let archive = OwnedFd::from(File::open(archive).unwrap());
        assert_eq!(
            room.storage.add_bytecode(&digest, archive).await.unwrap(),
            0
        );
        assert!(!room.storage.has_bytecode(&digest), "it was not all");
        for _ in 0..2 {
            room.storage.keep_bytecode(&digest).await.unwrap();
            assert!(room.storage.has_bytecode(&digest));
        }
        std::fs::remove_dir_all(folder).unwrap();
        room.storage.ensure_code(&digest).await.unwrap();
        assert!(!room.storage.has_bytecode(&digest));
        room.storage.keep_bytecode(&digest).await.unwrap();
        let keep = std::slice::from_ref(&digest);
        room.storage.sweep_code(keep).await.unwrap();
        assert!(room.storage.has_bytecode(&digest));
        room.storage.sweep_code(&[]).await.unwrap();
        assert_eq!(room.names("code"), Vec::<String>::new());
    }
}
