//! Tables `upload` and `part`: multipart uploads that are not finished.

use crate::{ObjectRow, Precondition, Result, State};
use model::{BucketName, NewEvent, Timestamp};
use std::collections::BTreeMap;

/// A multipart upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRow {
    /// Its identity: 32 hex digits, random.
    pub id: String,
    /// In which bucket.
    pub bucket: BucketName,
    /// The key that it will have.
    pub key: String,
    /// When it was begun.
    pub created: Timestamp,
    /// As in [`ObjectRow`].
    pub headers: BTreeMap<String, String>,
    /// As in [`ObjectRow`].
    pub metadata: BTreeMap<String, String>,
}

/// One part of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRow {
    /// 1 to 10 000.
    pub number: u32,
    /// Which file holds its bytes.
    pub data: String,
    /// Bytes.
    pub size: u64,
    /// Hex MD5.
    pub etag: String,
    /// When it was stored.
    pub modified: Timestamp,
}

impl State {
    /// Begins an upload.
    ///
    /// # Errors
    /// `NotFound` (bucket).
    pub async fn create_upload(&self, upload: UploadRow) -> Result<()> {
        let _ = upload;
        todo!()
    }

    /// One upload of this bucket and key, and its parts by number.
    ///
    /// # Errors
    /// `NotFound` (upload).
    pub async fn get_upload(
        &self,
        bucket: BucketName,
        key: &str,
        id: &str,
    ) -> Result<(UploadRow, Vec<PartRow>)> {
        let _ = (bucket, key, id);
        todo!()
    }

    /// A bucket's uploads by key, at most 1 000, keys beginning with `prefix`.
    ///
    /// # Errors
    /// `NotFound` (bucket).
    pub async fn list_uploads(&self, bucket: BucketName, prefix: &str) -> Result<Vec<UploadRow>> {
        let _ = (bucket, prefix);
        todo!()
    }

    /// Adds a part or replaces the one of the same number, whose `data` is given back.
    ///
    /// # Errors
    /// `NotFound` (upload).
    pub async fn put_part(&self, upload: String, part: PartRow) -> Result<Option<String>> {
        let _ = (upload, part);
        todo!()
    }

    /// Ends an upload by making its object: as [`State::put_object`], with the upload and its parts
    /// removed in the same transaction. Gives the row and every `data` that may now be deleted.
    ///
    /// # Errors
    /// `NotFound` (upload), `Conflict` (precondition).
    pub async fn complete_upload(
        &self,
        upload: String,
        row: ObjectRow,
        precondition: Precondition,
        events: impl FnOnce(&ObjectRow) -> Vec<NewEvent> + Send + 'static,
    ) -> Result<(ObjectRow, Vec<String>)> {
        let _ = (upload, row, precondition, events);
        todo!()
    }

    /// Ends an upload without an object. Gives every `data` that may now be deleted.
    ///
    /// # Errors
    /// `NotFound` (upload).
    pub async fn abort_upload(&self, upload: String) -> Result<Vec<String>> {
        let _ = upload;
        todo!()
    }
}
