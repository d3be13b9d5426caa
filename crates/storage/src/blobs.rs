//! Blobs: bytes by digest, such as the zip of a function.

use crate::{Result, Storage};
use bytes::Bytes;
use model::Digest;

/// A blob while it comes in.
pub struct BlobWriter {}

impl BlobWriter {
    /// Adds bytes; past the limit given at the beginning it is refused.
    ///
    /// # Errors
    /// `TooLarge`, or of the file system.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        let _ = chunk;
        todo!()
    }
}

impl Storage {
    /// A file for a blob of at most `limit` bytes. Dropped without a commit, it is deleted.
    ///
    /// # Errors
    /// Of the file system.
    pub async fn begin_blob(&self, limit: u64) -> Result<BlobWriter> {
        let _ = limit;
        todo!()
    }

    /// Keeps the written bytes, durably, if they are `expected` (any, if `None`). Gives address and
    /// size.
    ///
    /// # Errors
    /// `Mismatch`.
    pub async fn commit_blob(
        &self,
        writer: BlobWriter,
        expected: Option<&Digest>,
    ) -> Result<(Digest, u64)> {
        let _ = (writer, expected);
        todo!()
    }

    /// The size of a blob; `None` if it is not there.
    ///
    /// # Errors
    /// Of the file system.
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let _ = digest;
        todo!()
    }

    /// A blob's bytes.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn read_blob(&self, digest: &Digest) -> Result<crate::Body> {
        let _ = digest;
        todo!()
    }
}
