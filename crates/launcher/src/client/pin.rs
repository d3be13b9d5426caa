//! Files that the launcher keeps in memory.

use super::{Armed, Launcher, Zygote};
use crate::error::{Error, Result};
use crate::wire::{Reply, Request};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What is kept in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// How many files.
    pub files: u64,
    /// Their bytes together.
    pub bytes: u64,
    /// Why the kernel refused one, if it did.
    pub refused: Option<String>,
}

impl Launcher {
    /// From now on keeps the regular files among `files` in memory, the first first, as far as they are
    /// no more than `bytes` together and than a quarter of the memory that is available, and no others.
    /// At most 2048 files, whose paths are 150 KiB together; more are left out. Resolves once they are
    /// read. Pages that an instance has read first stay charged to its group.
    ///
    /// # Errors
    /// When the process that holds them cannot be started; what was pinned before stays.
    pub async fn pin(&self, files: Vec<PathBuf>, bytes: u64) -> Result<Pinned> {
        let request = self.number();
        let mut room = PATHS_MAX;
        let fits = |path: &PathBuf| {
            // With what the message needs besides.
            let length = path.as_os_str().len() + 8;
            let left = room.checked_sub(length);
            room = left.unwrap_or(0);
            left.is_some()
        };
        let files = files.into_iter().take_while(fits).collect();
        let asked = Request::Pin {
            request,
            files,
            bytes,
        };
        match self.ask(request, &asked, None).await? {
            (Reply::Pinned { pinned, .. }, _) => Ok(pinned),
            _ => Err(Error::Gone("it answered something else".to_owned())),
        }
    }

    async fn mapped(&self, sandbox: u64) -> Result<Vec<PathBuf>> {
        let request = self.number();
        let asked = Request::Mapped { request, sandbox };
        match self.ask(request, &asked, None).await? {
            (Reply::Mapped { files, .. }, _) => Ok(files),
            _ => Err(Error::Gone("it answered something else".to_owned())),
        }
    }
}

impl Armed {
    /// The files that its stem has mapped: its program and the libraries of that.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn mapped(&self) -> Result<Vec<PathBuf>> {
        self.sandbox.launcher.mapped(self.sandbox.number).await
    }
}

impl Zygote {
    /// The files that it has mapped: its program, and the libraries of that and of its modules.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn mapped(&self) -> Result<Vec<PathBuf>> {
        self.process.launcher.mapped(self.process.number).await
    }
}

/// Bytes of all paths of one request.
const PATHS_MAX: usize = 150 * 1024;
