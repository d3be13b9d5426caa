//! Blobs: bytes by digest, such as the zip of a function.

use crate::incoming::{Digests, Incoming};
use crate::{Error, Result, Storage, blocking, body, folders};
use bytes::Bytes;
use model::Digest;
use std::io::ErrorKind;

/// A blob while it comes in.
pub struct BlobWriter {
    pub(crate) incoming: Incoming,
}

impl BlobWriter {
    /// Adds bytes; past the limit given at the beginning it is refused.
    ///
    /// # Errors
    /// `TooLarge`, or of the file system.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.incoming.write(chunk).await
    }
}

impl Storage {
    /// A file for a blob of at most `limit` bytes. Dropped without a commit, it is deleted.
    ///
    /// # Errors
    /// Of the file system.
    pub async fn begin_blob(&self, limit: u64) -> Result<BlobWriter> {
        let path = self.folders().fresh_staging();
        Ok(BlobWriter {
            incoming: Incoming::new(path, "blob", limit, Digests::Sha256),
        })
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
        let complete = writer.incoming.sync().await?;
        let digest = Digest::from_hex(&complete.sha256)
            .map_err(|error| Error::Invalid(error.to_string()))?;
        if let Some(expected) = expected
            && *expected != digest
        {
            return Err(Error::Mismatch(format!(
                "the bytes sent have the digest {digest}, not {expected}; send them again"
            )));
        }
        let folder = self.folders().blobs();
        let path = self.folders().blob(&digest);
        // The registry may be about to delete a blob of the same bytes.
        let kept = self.registry_turn().read_owned().await;
        blocking::on_disk(move || {
            std::fs::rename(complete.path(), &path)
                .map_err(|error| Error::io("renaming the blob to", &path, error))?;
            let size = complete.size;
            complete.keep();
            folders::sync_folder(&folder)?;
            drop(kept);
            Ok((digest, size))
        })
        .await
    }

    /// The size of a blob; `None` if it is not there.
    ///
    /// # Errors
    /// Of the file system.
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = self.folders().blob(digest);
        blocking::on_disk(move || match std::fs::metadata(&path) {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("looking at", &path, error)),
        })
        .await
    }

    /// A blob's bytes.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn read_blob(&self, digest: &Digest) -> Result<crate::Body> {
        let path = self.folders().blob(digest);
        let opened = body::open(path, None).await?;
        opened.ok_or_else(|| Error::NotFound {
            what: "blob",
            name: digest.to_string(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use crate::testing::Room;
    use crate::{Error, body};
    use bytes::Bytes;
    use model::{Digest, Kind};

    const HELLO: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[tokio::test]
    async fn a_blob_is_kept_under_its_digest() {
        let room = Room::open().await;
        let mut writer = room.storage.begin_blob(100).await.unwrap();
        writer.write(Bytes::from_static(b"hel")).await.unwrap();
        writer.write(Bytes::from_static(b"lo")).await.unwrap();
        let (digest, size) = room.storage.commit_blob(writer, None).await.unwrap();
        assert_eq!((digest.as_str(), size), (HELLO, 5));
        assert_eq!(room.storage.blob_size(&digest).await.unwrap(), Some(5));
        let read = room.storage.read_blob(&digest).await.unwrap();
        assert_eq!(body::collect(read).await.unwrap(), b"hello");
        assert_eq!(room.names("staging"), Vec::<String>::new());
    }

    #[tokio::test]
    async fn other_bytes_than_named_leave_nothing() {
        let room = Room::open().await;
        let expected = Digest::from_hex(&"0".repeat(64)).unwrap();
        let mut writer = room.storage.begin_blob(100).await.unwrap();
        writer.write(Bytes::from_static(b"hello")).await.unwrap();
        let refused = room.storage.commit_blob(writer, Some(&expected)).await;
        assert!(matches!(refused, Err(Error::Mismatch(_))));
        assert_eq!(room.names("staging"), Vec::<String>::new());
        assert_eq!(room.names("blobs/sha256"), Vec::<String>::new());
        assert_eq!(room.storage.blob_size(&expected).await.unwrap(), None);
        let missing = room.storage.read_blob(&expected).await.err().unwrap();
        assert_eq!(missing.kind(), Kind::NotFound);
    }

    #[tokio::test]
    async fn a_blob_past_its_limit_is_refused_and_deleted() {
        let room = Room::open().await;
        let mut writer = room.storage.begin_blob(600_000).await.unwrap();
        let chunk = Bytes::from(vec![7; 300_000]);
        writer.write(chunk.clone()).await.unwrap();
        writer.write(chunk.clone()).await.unwrap();
        let refused = writer.write(chunk).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::TooLarge);
        assert_eq!(room.names("staging").len(), 1);
        drop(writer);
        assert_eq!(room.names("staging"), Vec::<String>::new());
    }
}
