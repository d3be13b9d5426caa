//! Where everything is below the data folder, and making folders and files that are only ours.

use crate::{Error, Result};
use model::{Algorithm, ContentDigest, Digest};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// How the names of lists of what starts read end.
pub(crate) const WARM: &str = ".warm";
/// How the names of what says that code was compiled end.
pub(crate) const BYTECODE: &str = ".bytecode";

/// The data folder.
#[derive(Debug)]
pub(crate) struct Folders {
    data: PathBuf,
}

impl Folders {
    /// Makes every folder that is not there, and empties `staging/`.
    pub(crate) fn open(data: &Path) -> Result<Self> {
        let folders = Self {
            data: data.to_owned(),
        };
        remove_tree(&folders.staging())?;
        for folder in [
            "objects",
            "blobs/sha256",
            "blobs/sha512",
            "uploads",
            "code",
            "images",
            "logs",
            "volumes",
            "staging",
        ] {
            make_folder(&data.join(folder))?;
        }
        for first in 0..=u8::MAX {
            make_folder(&folders.objects().join(format!("{first:02x}")))?;
        }
        sync_folder(&folders.objects())?;
        sync_folder(&data.join("blobs"))?;
        sync_folder(data)?;
        Ok(folders)
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.data.join("objects")
    }

    /// The file of an object's or part's bytes. `data` is 32 hex digits of ours.
    pub(crate) fn object(&self, data: &str) -> PathBuf {
        self.objects()
            .join(data.get(..2).unwrap_or("00"))
            .join(data)
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.data.join("blobs/sha256")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Blobs by their SHA-512.
    pub(crate) fn long_blobs(&self) -> PathBuf {
        self.data.join("blobs/sha512")
    }

    /// The file of a blob by a digest of either algorithm.
    pub(crate) fn content(&self, digest: &ContentDigest) -> PathBuf {
        let folder = match digest.algorithm() {
            Algorithm::Sha256 => self.blobs(),
            Algorithm::Sha512 => self.long_blobs(),
        };
        folder.join(digest.hex())
    }

    /// The files of uploads of blobs, which outlive a restart.
    pub(crate) fn uploads(&self) -> PathBuf {
        self.data.join("uploads")
    }

    pub(crate) fn code(&self) -> PathBuf {
        self.data.join("code")
    }

    /// The list of what starts of some code read, beside its folder.
    pub(crate) fn code_warm_list(&self, hex: &str) -> PathBuf {
        self.code().join(format!("{hex}{WARM}"))
    }

    /// Is there when what can be compiled of some code was, beside its folder.
    pub(crate) fn code_bytecode(&self, hex: &str) -> PathBuf {
        self.code().join(format!("{hex}{BYTECODE}"))
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    /// The folder of one image: `rootfs/`, `config.json`, and `warm`, the list of what its starts read.
    pub(crate) fn image(&self, digest: &Digest) -> PathBuf {
        self.images().join(digest.hex())
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }

    pub(crate) fn staging(&self) -> PathBuf {
        self.data.join("staging")
    }

    /// A name in `staging/` that nobody has.
    pub(crate) fn fresh_staging(&self) -> PathBuf {
        self.staging().join(fresh_name())
    }
}

/// 32 hex digits that nobody has.
pub(crate) fn fresh_name() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Makes a folder of mode 0700 with its parents; one that is there is left alone.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Error::io("making the folder", path, error))
}

/// Makes a file of mode 0600 that must not be there yet.
pub(crate) fn make_file(path: &Path) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| Error::io("making the file", path, error))
}

/// Makes names that were added to or taken from a folder durable.
pub(crate) fn sync_folder(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Error::io("syncing the folder", path, error))
}

/// Makes the name of a file durable.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), sync_folder)
}

/// Deletes a file. One that is not there is as good as deleted.
pub(crate) fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io("deleting", path, error))
        }
        _ => Ok(()),
    }
}

/// Deletes a folder and all in it, without following links.
pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io("deleting", path, error))
        }
        _ => Ok(()),
    }
}

/// A path that is deleted with all in it when this is dropped, unless it was kept.
pub(crate) struct Discarded {
    path: Option<PathBuf>,
}

impl Discarded {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path: Some(path) }
    }

    /// From now on the path stays. Gives it back.
    pub(crate) fn keep(mut self) -> PathBuf {
        self.path.take().unwrap_or_default()
    }
}

impl Drop for Discarded {
    fn drop(&mut self) {
        let Some(path) = self.path.take() else { return };
        let gone = match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => remove_tree(&path),
            _ => remove_file(&path),
        };
        if let Err(error) = gone {
            tracing::warn!(%error, "what was not finished stays until the next start");
        }
    }
}
