//! Multipart uploads.

use crate::{ObjectRow, ObjectWriter, PartRow, PutObject, Result, Storage, UploadRow};
use model::BucketName;

impl Storage {
    /// Begins an upload; of `put`, bucket, key, headers and metadata are kept.
    ///
    /// # Errors
    /// `NotFound` (bucket).
    pub async fn create_upload(&self, put: &PutObject) -> Result<UploadRow> {
        let _ = put;
        todo!()
    }

    /// Makes the written bytes a part, durably. Its number is 1 to 10 000.
    ///
    /// # Errors
    /// `NotFound` (upload), `Invalid` (number).
    pub async fn commit_part(
        &self,
        bucket: &BucketName,
        key: &str,
        upload: &str,
        number: u32,
        writer: ObjectWriter,
    ) -> Result<PartRow> {
        let _ = (bucket, key, upload, number, writer);
        todo!()
    }

    /// An upload and its parts by number.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_upload(
        &self,
        bucket: &BucketName,
        key: &str,
        upload: &str,
    ) -> Result<(UploadRow, Vec<PartRow>)> {
        let _ = (bucket, key, upload);
        todo!()
    }

    /// A bucket's uploads.
    ///
    /// # Errors
    /// `NotFound` (bucket).
    pub async fn list_uploads(&self, bucket: &BucketName, prefix: &str) -> Result<Vec<UploadRow>> {
        let _ = (bucket, prefix);
        todo!()
    }

    /// Joins the named parts (number and ETag, ascending) to an object, with its events. All but the
    /// last must have 5 MiB or more. `put` gives event, principal, cause and precondition.
    ///
    /// # Errors
    /// `NotFound` (upload), `Invalid` with a text beginning `InvalidPart`, `InvalidPartOrder` or
    /// `EntityTooSmall`, `Conflict`.
    pub async fn complete_upload(
        &self,
        upload: &str,
        parts: &[(u32, String)],
        put: PutObject,
    ) -> Result<ObjectRow> {
        let _ = (upload, parts, put);
        todo!()
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn abort_upload(&self, bucket: &BucketName, key: &str, upload: &str) -> Result<()> {
        let _ = (bucket, key, upload);
        todo!()
    }
}
