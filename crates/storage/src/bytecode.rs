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
    /// Whether [`Self::add_bytecode`] has done its work for this code.
    pub fn has_bytecode(&self, code: &Digest) -> bool {
        self.folders().code_bytecode(code.hex()).exists()
    }

    /// Lays what is compiled beside its sources in code that is unpacked, and remembers that it was
    /// done. `archive` gives a zip and then its end; of it counts what is in folders `__pycache__` and
    /// is called `*.pyc`, as far as the code has the folders around. Each file is there as a whole or not at
    /// all, whoever reads meanwhile. Gives how many.
    ///
    /// # Errors
    /// `Archive` when it is no zip, or more than 128 MiB; of the file system.
    pub async fn add_bytecode(&self, code: &Digest, archive: OwnedFd) -> Result<usize> {
        let (folders, code) = (Arc::clone(self.folders()), code.clone());
        blocking::on_disk(move || add(&folders, &code, File::from(archive))).await
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
    let from = lay_out(open()?, open()?, &staged)?;
    let to = folders.code().join(code.hex());
    let failed = |error| Error::io("laying bytecode into", &to, error);
    let laid = lay(from, open_folder(&to).map_err(failed)?, 0).map_err(failed)?;
    let done = folders.code_bytecode(code.hex());
    if !done.exists() {
        folders::make_file(&done)?;
        folders::sync_folder(&folders.code())?;
    }
    Ok(laid)
}

/// Unpacks the zip, durably, and gives its folder to be listed.
fn lay_out(archive: File, contents: File, staged: &Path) -> Result<OwnedFd> {
    let failed = |error| Error::io("unpacking to", staged, error);
    let tree = Tree::open(staged, Links::Refused).map_err(failed)?;
    code::lay_out(archive, contents, &tree, MAX_BYTECODE)?;
    tree.sync().map_err(failed)?;
    File::open(staged).map(OwnedFd::from).map_err(failed)
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    below(rustix::fs::CWD, path)
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
        assert!(!room.storage.has_bytecode(&digest));
        let archive = room.path("archive");
        std::fs::write(&archive, bytecode).unwrap();
        let archive = OwnedFd::from(File::open(archive).unwrap());
        let laid = room.storage.add_bytecode(&digest, archive).await;
        assert_eq!(room.storage.has_bytecode(&digest), laid.is_ok());
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
    async fn what_was_done_is_known_until_the_code_goes() {
        let room = Room::open().await;
        let digest = store(&room, zip(&[Entry::File("app.py", b"x", 0o644)])).await;
        room.storage.ensure_code(&digest).await.unwrap();
        let empty = room.path("empty");
        std::fs::write(&empty, zip(&[])).unwrap();
        let archive = OwnedFd::from(File::open(empty).unwrap());
        assert_eq!(
            room.storage.add_bytecode(&digest, archive).await.unwrap(),
            0
        );
        room.storage
            .sweep_code(std::slice::from_ref(&digest))
            .await
            .unwrap();
        assert!(room.storage.has_bytecode(&digest));
        room.storage.sweep_code(&[]).await.unwrap();
        assert!(!room.storage.has_bytecode(&digest));
        assert_eq!(room.names("code"), Vec::<String>::new());
    }
}
