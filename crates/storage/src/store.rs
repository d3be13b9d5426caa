//! The data folder: opening and sweeping.

use crate::code::Unpacking;
use crate::folders::{self, Folders};
use crate::logs::Logs;
use crate::registry::{Hashing, Names};
use crate::{Error, Result, blocking};
use state::{State, crash};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Names asked about in one question to the store.
const SWEEP_BATCH: usize = 1_000;

/// The storage. A cheap handle; every clone is the same storage.
#[derive(Clone)]
pub struct Storage {
    inner: Arc<Inner>,
}

struct Inner {
    folders: Arc<Folders>,
    state: State,
    region: Arc<str>,
    logs: Logs,
    unpacking: Unpacking,
    /// Images come and go one at a time: each takes much disk, and none must go while it comes.
    images: Arc<tokio::sync::Mutex<()>>,
    /// Read by who gives a file a blob's name until its row is there; written by who deletes blobs.
    registry: Arc<tokio::sync::RwLock<()>>,
    hashing: Hashing,
    /// By which its images are called.
    names: OnceLock<Names>,
}

impl Storage {
    /// Opens or makes the folders below `data`, empties `staging/`, and deletes object files that no
    /// row refers to (left by a crash between writing and committing).
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub async fn open(data: &Path, state: State) -> Result<Self> {
        Self::open_in(data, state, "us-east-1").await
    }

    /// As [`Storage::open`], with the region that events show.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub async fn open_in(data: &Path, state: State, region: &str) -> Result<Self> {
        let data = data.to_owned();
        let folders = Arc::new(blocking::on_disk(move || Folders::open(&data)).await?);
        let inner = Inner {
            logs: Logs::start(folders.logs())?,
            unpacking: Unpacking::default(),
            images: Arc::default(),
            registry: Arc::default(),
            hashing: Hashing::default(),
            names: OnceLock::new(),
            folders,
            state,
            region: region.into(),
        };
        let storage = Self {
            inner: Arc::new(inner),
        };
        crash::point("sweep-before");
        storage.sweep_objects().await?;
        storage.sweep_registry().await?;
        crash::point("sweep-after");
        Ok(storage)
    }

    /// The store below.
    pub fn state(&self) -> &State {
        &self.inner.state
    }

    pub(crate) fn own_names(&self) -> &OnceLock<Names> {
        &self.inner.names
    }

    /// The region that events show.
    pub(crate) fn region(&self) -> Arc<str> {
        Arc::clone(&self.inner.region)
    }

    pub(crate) fn folders(&self) -> &Arc<Folders> {
        &self.inner.folders
    }

    pub(crate) fn logs(&self) -> &Logs {
        &self.inner.logs
    }

    pub(crate) fn unpacking(&self) -> &Unpacking {
        &self.inner.unpacking
    }

    /// The turn to change the folder of images.
    pub(crate) async fn images_turn(&self) -> tokio::sync::OwnedMutexGuard<()> {
        Arc::clone(&self.inner.images).lock_owned().await
    }

    /// Whether blobs may be deleted: see [`Inner::registry`].
    pub(crate) fn registry_turn(&self) -> Arc<tokio::sync::RwLock<()>> {
        Arc::clone(&self.inner.registry)
    }

    pub(crate) fn hashing(&self) -> &Hashing {
        &self.inner.hashing
    }

    async fn sweep_objects(&self) -> Result<()> {
        for first in 0..=u8::MAX {
            let folder = self.folders().objects().join(format!("{first:02x}"));
            let names = blocking::on_disk(move || names_in(&folder)).await?;
            for batch in names.chunks(SWEEP_BATCH) {
                let unreferenced = self.state().unreferenced_data(batch.to_vec()).await?;
                self.delete_data(unreferenced).await;
            }
        }
        Ok(())
    }

    /// Deletes files that no row refers to any more. What cannot be deleted now is swept at the next
    /// start, so a failure is only logged.
    pub(crate) async fn delete_data(&self, data: Vec<String>) {
        if data.is_empty() {
            return;
        }
        crash::point("file-unneeded");
        let folders = Arc::clone(self.folders());
        let deleted = blocking::on_disk(move || {
            data.iter()
                .try_for_each(|data| folders::remove_file(&folders.object(data)))
        });
        if let Err(error) = deleted.await {
            tracing::warn!(%error, "an object's file stays until the next start");
        }
    }
}

/// The names in a folder.
pub(crate) fn names_in(folder: &Path) -> Result<Vec<String>> {
    let failed = |error| Error::io("reading the folder", folder, error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        names.push(name.to_string_lossy().into_owned());
    }
    Ok(names)
}
