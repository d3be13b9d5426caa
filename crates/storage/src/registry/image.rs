//! Images of the registry, made ready to run.

use crate::folders::{self, Discarded};
use crate::{Error, ImportProgress, Result, Storage, blocking};
use bytes::Bytes;
use model::{ContentDigest, ImageRecord, Kind, ManifestReference, RepositoryName, Tag, Timestamp};
use std::path::{Path, PathBuf};

/// Most manifests of one image that are laid out: indexes within indexes and their platforms.
const MAX_MANIFESTS: usize = 1_000;

/// The repository and the reference in it that an image's name means here. A registry named before it
/// (`localhost:4566/shop/thumb`) is this server if it is this machine; another's name means nothing. Which ports and
/// names of this machine are this server's, [`Storage::name_registry`] says.
pub(crate) fn local(name: &str) -> Option<(RepositoryName, ManifestReference)> {
    let rest = match name.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
            let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
            let is_local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
            is_local.then_some(rest)?
        }
        _ => name,
    };
    let (repository, reference) = match rest.split_once('@') {
        Some((named, digest)) => (
            named.split_once(':').map_or(named, |(name, _)| name),
            digest,
        ),
        None => rest.split_once(':').unwrap_or((rest, "latest")),
    };
    let reference = reference.parse().ok()?;
    if rest.contains('@') && !matches!(reference, ManifestReference::Digest(_)) {
        return None;
    }
    Some((repository.parse().ok()?, reference))
}

/// The repository and tag that an image's name means in this server's registry, if it has the form of
/// one: `localhost:4566/shop/thumbnail:prod`, `shop/thumbnail:prod`. A digest is no tag.
pub fn registry_tag(name: &str) -> Option<(RepositoryName, Tag)> {
    match local(name)? {
        (repository, ManifestReference::Tag(tag)) => Some((repository, tag)),
        (_, ManifestReference::Digest(_)) => None,
    }
}

impl Storage {
    /// What a tag of the registry is on now, and since when, by an image's name; `None` if there is no
    /// such tag.
    ///
    /// # Errors
    /// Of the store.
    pub async fn find_tag(&self, name: &str) -> Result<Option<(ContentDigest, Timestamp)>> {
        let Some((repository, tag)) = self.local_tag(name) else {
            return Ok(None);
        };
        Ok(self.state().find_tag(repository, tag).await?)
    }

    /// The digest of the manifest or index that an image's name means in the registry now; `None` if
    /// the registry has no such image.
    ///
    /// # Errors
    /// Of the store.
    pub async fn resolve_image(&self, name: &str) -> Result<Option<ContentDigest>> {
        let Some((repository, reference)) = self.local_image(name) else {
            return Ok(None);
        };
        match self.state().find_manifest(repository, reference).await {
            Ok(found) => Ok(Some(found.digest)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the image ready that a name means in the registry now, pinned to its digest; `None` if the
    /// registry has no such image. It is flattened at most once.
    ///
    /// # Errors
    /// As `import_image`.
    pub async fn ready_image(&self, name: &str) -> Result<Option<ImageRecord>> {
        let Some((repository, reference)) = self.local_image(name) else {
            return Ok(None);
        };
        // From the look at the manifest until the layout has names of its own for the blobs, none of them
        // may go.
        let kept = self.registry_turn().read_owned().await;
        let found = self.state().read_manifest(repository.clone(), reference);
        let (row, body) = match found.await {
            Ok(found) => found,
            Err(error) if error.kind() == Kind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let digest = row.digest.clone();
        let layout = self.folders().fresh_staging();
        let discarded = Discarded::new(layout.clone());
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":{}}}]}}"#,
            row.media_type, row.digest, row.size
        );
        self.lay_out(&repository, &layout, (row.digest, body))
            .await?;
        let at = layout.join("index.json");
        blocking::on_disk(move || write(&at, index.as_bytes())).await?;
        drop(kept);
        // By a name that never moves: what was deployed from a tag must be found after the tag went on.
        let pinned = format!("{repository}@{digest}");
        let imported = self.import_image(&layout, Some(&pinned), |_: ImportProgress| {});
        let image = imported.await?;
        drop(discarded);
        Ok(Some(image))
    }

    /// Puts a manifest and all that it names into a layout's folder. Blobs are linked, not copied.
    async fn lay_out(
        &self,
        repository: &RepositoryName,
        layout: &Path,
        root: (ContentDigest, Bytes),
    ) -> Result<()> {
        let mut waiting = vec![root];
        let mut laid_out = 0;
        while let Some((digest, body)) = waiting.pop() {
            laid_out += 1;
            if laid_out > MAX_MANIFESTS {
                let reason = format!("the image has more than {MAX_MANIFESTS} manifests");
                return Err(Error::Invalid(reason));
            }
            let state = self.state();
            let named = state.manifest_references(repository.clone(), digest.clone());
            let (manifests, blobs): (Vec<_>, Vec<_>) = named
                .await?
                .into_iter()
                .partition(|named| named.is_manifest);
            for manifest in manifests {
                let reference = ManifestReference::Digest(manifest.digest.clone());
                match state.read_manifest(repository.clone(), reference).await {
                    Ok((_, body)) => waiting.push((manifest.digest, body)),
                    // Of an index that was pulled through, only what somebody asked for is here.
                    Err(error) if error.kind() == Kind::NotFound => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let links: Vec<(PathBuf, PathBuf)> = blobs
                .iter()
                .map(|blob| {
                    (
                        self.folders().content(&blob.digest),
                        place(layout, &blob.digest),
                    )
                })
                .collect();
            let at = place(layout, &digest);
            blocking::on_disk(move || {
                write(&at, &body)?;
                links.iter().try_for_each(|(from, to)| link(from, to))
            })
            .await?;
        }
        Ok(())
    }
}

fn place(layout: &Path, digest: &ContentDigest) -> PathBuf {
    let folder = layout.join("blobs").join(digest.algorithm().as_str());
    folder.join(digest.hex())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    path.parent().map_or(Ok(()), folders::make_folder)?;
    std::fs::write(path, bytes).map_err(|error| Error::io("writing", path, error))
}

fn link(from: &Path, to: &Path) -> Result<()> {
    to.parent().map_or(Ok(()), folders::make_folder)?;
    match std::fs::hard_link(from, to) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::io("linking", from, error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_mean_its_registry() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (name, repository, reference) in [
            ("shop/thumb", "shop/thumb", "latest"),
            ("shop/thumb:prod", "shop/thumb", "prod"),
            ("localhost:4566/shop/thumb:prod", "shop/thumb", "prod"),
            ("127.0.0.1:4566/thumb", "thumb", "latest"),
            ("localhost/thumb", "thumb", "latest"),
            (
                &format!("shop/thumb@{digest}"),
                "shop/thumb",
                digest.as_str(),
            ),
            (
                &format!("shop/thumb:1@{digest}"),
                "shop/thumb",
                digest.as_str(),
            ),
        ] {
            let (found, meant) = local(name).unwrap();
            assert_eq!(
                (found.as_str(), meant.to_string().as_str()),
                (repository, reference)
            );
        }
        for other in [
            "example.com/shop/thumb:1",
            "docker.io/library/busybox",
            "UPPER",
            "",
            "a:b:c",
            "shop/thumb@prod",
        ] {
            assert!(local(other).is_none(), "{other}");
        }
    }
}
