//! Blobs of repositories.

use crate::{Body, ByteRange, Error, Result, Storage, body};
use model::{ContentDigest, RepositoryName, Timestamp};

fn unknown(digest: &ContentDigest) -> Error {
    Error::NotFound {
        what: "blob",
        name: digest.to_string(),
    }
}

impl Storage {
    /// The size of a blob of a repository. Who is told it may rely on it for as long as on a push.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn registry_blob_size(
        &self,
        repository: &RepositoryName,
        digest: &ContentDigest,
    ) -> Result<u64> {
        let state = self.state();
        let touched =
            state.touch_registry_blob(repository.clone(), digest.clone(), Timestamp::now());
        touched.await?.ok_or_else(|| unknown(digest))
    }

    /// The bytes of a blob that its repository was found to have, or a range of them.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when the range is not within it.
    pub async fn read_registry_blob(
        &self,
        digest: &ContentDigest,
        range: Option<ByteRange>,
    ) -> Result<Body> {
        let opened = body::open(self.folders().content(digest), range).await?;
        opened.ok_or_else(|| unknown(digest))
    }

    /// Puts a blob that one repository has into another. Whether `from` has it.
    ///
    /// # Errors
    /// Of the store.
    pub async fn mount_registry_blob(
        &self,
        from: &RepositoryName,
        into: &RepositoryName,
        digest: &ContentDigest,
    ) -> Result<bool> {
        let (from, into, digest) = (from.clone(), into.clone(), digest.clone());
        let state = self.state();
        let mounted = state.mount_registry_blob(from, into, digest, Timestamp::now());
        Ok(mounted.await?.is_some())
    }
}
