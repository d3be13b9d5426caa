//! Images: an OCI layout or a `docker save` tar, flattened once to one read-only folder by digest.

use crate::code::retire;
use crate::folders::{self, Discarded, Folders};
use crate::incoming::{Digests, Incoming};
use crate::layer::{self, Budget, Refusal};
use crate::layout::{Chosen, Layout};
use crate::reference;
use crate::tree::{Links, Tree};
use crate::{BlobWriter, Error, Result, Storage, archive, blocking, page_cache, rootfs};
use model::{Digest, ImageRecord, Timestamp};
use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most bytes of one image, unpacked: 10 GiB. Its archive may be as large again.
const MAX_BYTES: u64 = 10 << 30;
/// Most entries of one image, all layers together.
const MAX_ENTRIES: u64 = 1_000_000;
/// Progress is told after so many bytes.
const PROGRESS: u64 = 4 << 20;

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
    /// left out; setuid and setgid bits are taken off. At most 10 GiB unpacked, 1 000 000 entries,
    /// 200 layers. Of an index with several platforms, Linux on this machine's processor is taken.
    /// Nothing half-made stays. All layers are checked and applied in `staging/`, then renamed.
    ///
    /// An image that an old `docker save` wrote has no manifest: its digest is its configuration's
    /// (docker's image id).
    ///
    /// # Errors
    /// `Archive` with the layer, the entry and the rule; `Mismatch`; `Invalid` (reference).
    pub async fn import_image(
        &self,
        archive: &Path,
        reference: Option<&str>,
        progress: impl Fn(ImportProgress) + Send + Sync + 'static,
    ) -> Result<ImageRecord> {
        self.import(archive.to_owned(), None, reference, progress)
            .await
    }

    /// A file in `staging/` for an archive that comes in over the network; deleted when dropped.
    ///
    /// # Errors
    /// Of the file system.
    pub async fn begin_archive(&self, limit: u64) -> Result<BlobWriter> {
        let path = self.folders().fresh_staging();
        Ok(BlobWriter {
            incoming: Incoming::new(path, "image archive", limit, Digests::None),
        })
    }

    /// As `import_image`, from bytes that were written with `begin_archive`.
    ///
    /// # Errors
    /// As `import_image`.
    pub async fn import_archive(
        &self,
        archive: BlobWriter,
        reference: Option<&str>,
        progress: impl Fn(ImportProgress) + Send + Sync + 'static,
    ) -> Result<ImageRecord> {
        let complete = archive.incoming.close().await?;
        let path = complete.path().to_owned();
        let discarded = Some(complete.into_discarded());
        self.import(path, discarded, reference, progress).await
    }

    async fn import(
        &self,
        archive: PathBuf,
        discarded: Option<Discarded>,
        reference: Option<&str>,
        progress: impl Fn(ImportProgress) + Send + Sync + 'static,
    ) -> Result<ImageRecord> {
        let reference = reference.map(reference::parse).transpose()?;
        let storage = self.clone();
        blocking::to_the_end(async move {
            let _turn = storage.images_turn().await;
            let folders = Arc::clone(storage.folders());
            let record = blocking::on_disk(move || {
                let record = import(&folders, &archive, reference, &progress);
                drop(discarded);
                record
            })
            .await?;
            storage.state().put_image(record.clone()).await?;
            Ok(record)
        })
        .await
    }

    /// The flattened root of an image.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn image_root(&self, digest: &Digest) -> Result<PathBuf> {
        let root = self.folders().image(digest).join("rootfs");
        if root.is_dir() {
            return Ok(root);
        }
        Err(Error::NotFound {
            what: "image",
            name: digest.to_string(),
        })
    }

    /// The image that a reference means now. A reference without a tag means `:latest`; a manifest's
    /// digest (`sha256:…`) means itself.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`.
    pub async fn get_image(&self, reference: &str) -> Result<ImageRecord> {
        if let Ok(digest) = reference.parse::<Digest>() {
            return Ok(self.state().get_image_by_digest(digest).await?);
        }
        Ok(self
            .state()
            .get_image(&reference::parse(reference)?)
            .await?)
    }

    /// All images.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_images(&self) -> Result<Vec<ImageRecord>> {
        Ok(self.state().list_images().await?)
    }

    /// Removes a reference, and the root if no other reference and none of `in_use` means it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_image(&self, reference: &str, in_use: &[Digest]) -> Result<()> {
        let record = self.get_image(reference).await?;
        let (storage, in_use) = (self.clone(), in_use.to_vec());
        blocking::to_the_end(async move {
            let _turn = storage.images_turn().await;
            storage.state().delete_image(&record.reference).await?;
            let others = storage.state().list_images().await?;
            let needed = others.iter().any(|other| other.digest == record.digest);
            if needed || in_use.contains(&record.digest) {
                return Ok(());
            }
            let folders = Arc::clone(storage.folders());
            let image = folders.image(&record.digest);
            blocking::on_disk(move || {
                if image.is_dir() {
                    retire(&folders, &image)?;
                }
                Ok(())
            })
            .await
        })
        .await
    }
}

fn import(
    folders: &Folders,
    archive: &Path,
    reference: Option<String>,
    progress: &dyn Fn(ImportProgress),
) -> Result<ImageRecord> {
    let found = std::fs::metadata(archive);
    let found = found.map_err(|error| Error::io("opening the image", archive, error))?;
    let staged = folders.fresh_staging();
    let discarded = Discarded::new(staged.clone());
    let layout = if found.is_dir() {
        Layout::open(archive)?
    } else {
        let laid_out = staged.join("layout");
        folders::make_folder(&laid_out)?;
        let opened = File::open(archive);
        let opened = opened.map_err(|error| Error::io("opening the image", archive, error))?;
        archive::lay_out(opened, &laid_out, MAX_BYTES)?;
        Layout::open(&laid_out)?
    };
    let chosen = layout.choose(reference.as_deref())?;
    let name = match (reference, &chosen.name) {
        (Some(reference), _) => reference,
        (None, Some(name)) => reference::parse(name)?,
        (None, None) => {
            let reason =
                "the image's archive gives it no name; give a reference such as shop/thumb:1";
            return Err(Error::Invalid(reason.to_owned()));
        }
    };
    let image = folders.image(&chosen.digest);
    if !image.is_dir() {
        let flattened = staged.join("image");
        flatten(&layout, &chosen, &flattened, progress)?;
        std::fs::rename(&flattened, &image)
            .map_err(|error| Error::io("renaming the image to", &image, error))?;
        folders::sync_folder(&folders.images())?;
    }
    drop(discarded);
    let root = image.join("rootfs");
    Ok(ImageRecord {
        reference: name,
        digest: chosen.digest,
        size: rootfs::size(&root).map_err(|error| Error::io("measuring", &root, error))?,
        config: chosen.config,
        imported: Timestamp::now(),
    })
}

/// Applies all layers into a new folder, durably.
fn flatten(
    layout: &Layout,
    chosen: &Chosen,
    into: &Path,
    progress: &dyn Fn(ImportProgress),
) -> Result<()> {
    let root = into.join("rootfs");
    let failed = |error: io::Error| Error::io("unpacking the image to", &root, error);
    folders::make_folder(&root)?;
    std::fs::set_permissions(&root, PermissionsExt::from_mode(0o755)).map_err(failed)?;
    let tree = Tree::open(&root, Links::Followed).map_err(failed)?;
    let mut budget = Budget {
        bytes: MAX_BYTES,
        entries: MAX_ENTRIES,
    };
    for (number, layer) in chosen.layers.iter().enumerate() {
        let tell = |bytes| {
            progress(ImportProgress {
                layer: number + 1,
                layers: chosen.layers.len(),
                bytes,
            });
        };
        let mut told = MAX_BYTES - budget.bytes;
        tell(told);
        let found = layer::apply(&tree, layout.layer(layer)?, &mut budget, |budget| {
            let bytes = MAX_BYTES - budget.bytes;
            if bytes - told >= PROGRESS {
                told = bytes;
                tell(bytes);
            }
        });
        let found = found.map_err(|refusal| layer_error(number + 1, refusal))?;
        if found != layer.diff_id {
            let (number, expected) = (number + 1, &layer.diff_id);
            return Err(Error::Mismatch(format!(
                "layer {number} unpacks to sha256:{found}, not to the image's diff id \
                 sha256:{expected}; save it again"
            )));
        }
    }
    rootfs::prepare(&root, &chosen.config.working_dir)
        .map_err(|error| Error::of_entry("the image's root".to_owned(), error))?;
    let config = into.join("config.json");
    std::fs::write(&config, &chosen.config_json)
        .map_err(|error| Error::io("writing", &config, error))?;
    tree.sync().map_err(failed)?;
    page_cache::let_go(&root, MAX_BYTES - budget.bytes).map_err(failed)
}

fn layer_error(number: usize, refusal: Refusal) -> Error {
    let place = match refusal.entry {
        Some(entry) => format!("layer {number}, entry \"{entry}\""),
        None => format!("layer {number}"),
    };
    Error::of_entry(place, refusal.error)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
