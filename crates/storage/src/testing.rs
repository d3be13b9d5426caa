//! What the tests of this crate share.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod full_disk;
pub(crate) mod image;

use crate::{ObjectRow, Precondition, PutObject, Storage};
use bytes::Bytes;
use model::{BucketName, Principal};
use state::State;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A storage in a folder of its own.
pub(crate) struct Room {
    pub(crate) storage: Storage,
    pub(crate) folder: tempfile::TempDir,
}

impl Room {
    pub(crate) async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).await.unwrap();
        let storage = Storage::open(folder.path(), state).await.unwrap();
        Self { storage, folder }
    }

    /// Closes and opens again, as a restart of the server does.
    pub(crate) async fn reopen(self) -> Self {
        self.storage.state().close().await;
        drop(self.storage);
        let state = State::open(self.folder.path()).await.unwrap();
        let storage = Storage::open(self.folder.path(), state).await.unwrap();
        Self {
            storage,
            folder: self.folder,
        }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Sorted names in a folder below the data folder.
    pub(crate) fn names(&self, below: &str) -> Vec<String> {
        let mut names = crate::store::names_in(&self.path(below)).unwrap();
        names.sort();
        names
    }

    /// Every object file there is.
    pub(crate) fn object_files(&self) -> Vec<String> {
        let folders = self.names("objects");
        let mut files: Vec<String> = folders
            .iter()
            .flat_map(|folder| self.names(&format!("objects/{folder}")))
            .collect();
        files.sort();
        files
    }

    pub(crate) async fn put(&self, put: PutObject, bytes: &[u8]) -> crate::Result<ObjectRow> {
        let mut writer = self.storage.begin_object().await?;
        writer.write(Bytes::copy_from_slice(bytes)).await?;
        self.storage.commit_object(writer, put).await
    }
}

pub(crate) fn bucket(name: &str) -> BucketName {
    name.parse().unwrap()
}

pub(crate) fn put(bucket_name: &str, key: &str) -> PutObject {
    PutObject {
        bucket: bucket(bucket_name),
        key: key.to_owned(),
        headers: BTreeMap::new(),
        metadata: BTreeMap::new(),
        precondition: Precondition::None,
        event: "ObjectCreated:Put",
        principal: Principal::Root,
        cause: None,
    }
}
