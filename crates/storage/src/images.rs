//! Images: an OCI layout or a `docker save` tar, flattened once to one read-only folder by digest.

use crate::{Result, Storage};
use model::{Digest, ImageRecord};
use std::path::{Path, PathBuf};

/// How far an import is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportProgress {
    /// Layer being applied, from 1.
    pub layer: usize,
    /// Layers in all.
    pub layers: usize,
    /// Bytes written so far.
    pub bytes: u64,
}

impl Storage {
    /// Imports a tar (OCI layout or `docker save`, plain, gzip or zstd) that is at `archive`, or an
    /// OCI layout folder. `reference` names it; without one the archive's own name is taken. Digests
    /// and diff ids are checked; whiteouts applied; paths resolved below the root only; devices are
    /// left out; setuid and setgid bits are taken off. At most 10 GiB unpacked, 1 000 000 entries, 200 layers. Nothing
    /// half-made stays. All layers are checked and applied in `staging/`, then renamed.
    ///
    /// # Errors
    /// `Archive` with the layer, the entry and the rule; `Invalid` (reference).
    pub async fn import_image(
        &self,
        archive: &Path,
        reference: Option<&str>,
        progress: impl Fn(ImportProgress) + Send + Sync + 'static,
    ) -> Result<ImageRecord> {
        let _ = (archive, reference, progress);
        todo!()
    }

    /// A file in `staging/` for an archive that comes in over the network; deleted when dropped.
    ///
    /// # Errors
    /// Of the file system.
    pub async fn begin_archive(&self, limit: u64) -> Result<crate::BlobWriter> {
        let _ = limit;
        todo!()
    }

    /// As `import_image`, from bytes that were written with `begin_archive`.
    ///
    /// # Errors
    /// As `import_image`.
    pub async fn import_archive(
        &self,
        archive: crate::BlobWriter,
        reference: Option<&str>,
        progress: impl Fn(ImportProgress) + Send + Sync + 'static,
    ) -> Result<ImageRecord> {
        let _ = (archive, reference, progress);
        todo!()
    }

    /// The flattened root of an image.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn image_root(&self, digest: &Digest) -> Result<PathBuf> {
        let _ = digest;
        todo!()
    }

    /// The image that a reference means now.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_image(&self, reference: &str) -> Result<ImageRecord> {
        let _ = reference;
        todo!()
    }

    /// All images.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_images(&self) -> Result<Vec<ImageRecord>> {
        todo!()
    }

    /// Removes a reference, and the root if no other reference and none of `in_use` means it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_image(&self, reference: &str, in_use: &[Digest]) -> Result<()> {
        let _ = (reference, in_use);
        todo!()
    }
}
