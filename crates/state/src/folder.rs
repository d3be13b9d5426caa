//! The data folder: its lock and its files' modes.

use crate::{Error, Result};
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the lock is tried, 50 ms apart: a server that is just ending is waited for.
const TRIES: u32 = 40;

/// Makes the folder if need be and locks `folder/lock` until the file is dropped.
#[expect(
    clippy::disallowed_methods,
    reason = "runs on a thread for blocking work"
)]
pub(crate) fn lock(folder: &Path) -> Result<File> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| refuse(folder, &error))?;
    let path = folder.join("lock");
    let file = open(&path)?;
    for _ in 0..TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(50)),
            Err(TryLockError::Error(error)) => return Err(refuse(&path, &error)),
        }
    }
    Err(Error::Folder {
        path: folder.display().to_string(),
        reason: "is in use by another rouse; stop that one, or give this one another folder"
            .to_owned(),
    })
}

/// Makes `folder/state.db` if need be, for its owner only, and gives its path. SQLite gives its
/// other files (`-wal`, `-shm`) the same mode.
pub(crate) fn make_database(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("state.db");
    let file = open(&path)?;
    file.set_permissions(Permissions::from_mode(0o600))
        .map_err(|error| refuse(&path, &error))?;
    // The names themselves must survive a loss of power as well: the file's, and the folder's, which may
    // be new. A parent that this user may not read is not one that this user made the folder in.
    let whole = folder
        .canonicalize()
        .map_err(|error| refuse(folder, &error))?;
    let sync = |folder: File| folder.sync_all();
    File::open(&whole)
        .and_then(sync)
        .map_err(|error| refuse(folder, &error))?;
    if let Some(Ok(parent)) = whole.parent().map(File::open) {
        sync(parent).map_err(|error| refuse(folder, &error))?;
    }
    Ok(path)
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    options.open(path).map_err(|error| refuse(path, &error))
}

fn refuse(path: &Path, error: &io::Error) -> Error {
    Error::Folder {
        path: path.display().to_string(),
        reason: format!("{error}; give a data folder that this user may write"),
    }
}
