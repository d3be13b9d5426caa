//! What is pulled through from other registries: kept as it comes, piece by piece.

use super::manifest::{digest_of, parse};
use crate::layout::{MAX_NESTING, fits, platform};
use crate::{Error, Result, Storage};
use bytes::Bytes;
use model::{Algorithm, ContentDigest, Kind, ManifestReference, RepositoryName, Tag, Timestamp};
use oci_spec::image::ImageIndex;

/// What an image lacks to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// Nothing.
    Nothing,
    /// A manifest. What that names is known once it is here.
    Manifest(ContentDigest),
    /// Blobs.
    Blobs(Vec<ContentDigest>),
}

impl Storage {
    /// Keeps a manifest that was pulled through, though not all that it names is here, and puts a tag on it. `said`
    /// is the digest that it must have.
    ///
    /// # Errors
    /// `Mismatch`, `Invalid`; then nothing is kept.
    pub async fn keep_pulled_manifest(
        &self,
        repository: &RepositoryName,
        tag: Option<Tag>,
        said: Option<&ContentDigest>,
        media_type: Option<String>,
        body: Bytes,
    ) -> Result<ContentDigest> {
        let algorithm = said.map_or(Algorithm::Sha256, ContentDigest::algorithm);
        let digest = digest_of(&body, algorithm)?;
        if let Some(said) = said.filter(|said| **said != digest) {
            let reason = format!("the manifest has the digest {digest}, not {said}");
            return Err(Error::Mismatch(reason));
        }
        let new = parse(media_type, body, digest.clone())?;
        let state = self.state();
        let kept = state.put_pulled_manifest(repository.clone(), tag, new, Timestamp::now());
        kept.await?;
        Ok(digest)
    }

    /// What is to be pulled next so that an image can be run on this machine: of an index, only what is for its
    /// platform.
    ///
    /// # Errors
    /// `Archive` when the image is for other platforms only.
    pub async fn image_lack(
        &self,
        repository: &RepositoryName,
        digest: &ContentDigest,
    ) -> Result<Lack> {
        let (state, mut digest) = (self.state(), digest.clone());
        for _ in 0..=MAX_NESTING {
            let reference = ManifestReference::Digest(digest.clone());
            let (row, body) = match state.read_manifest(repository.clone(), reference).await {
                Ok(found) => found,
                Err(error) if error.kind() == Kind::NotFound => return Ok(Lack::Manifest(digest)),
                Err(error) => return Err(error.into()),
            };
            let kind = row.media_type.as_str();
            if !kind.contains("image.index") && !kind.contains("manifest.list") {
                let missing = state.missing_blobs(repository.clone(), digest).await?;
                return Ok(match missing.is_empty() {
                    true => Lack::Nothing,
                    false => Lack::Blobs(missing),
                });
            }
            digest = fitting(&body)?;
        }
        let reason = format!("the image's indexes are nested deeper than {MAX_NESTING}");
        Err(Error::Archive(reason))
    }
}

/// The manifest of an index that is for this machine.
fn fitting(index: &[u8]) -> Result<ContentDigest> {
    let index: ImageIndex = serde_json::from_slice(index)
        .map_err(|error| Error::Archive(format!("the image's index cannot be read: {error}")))?;
    let ours = index
        .manifests()
        .iter()
        .find(|descriptor| fits(descriptor))
        .ok_or_else(|| {
            let reason = format!("the image has nothing for {}", platform());
            Error::Archive(reason)
        })?;
    let digest = ours.digest().to_string().parse();
    digest.map_err(|error: model::Invalid| Error::Archive(format!("the image's index: {error}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::Room;

    fn repository() -> RepositoryName {
        "hub/library/x".parse().unwrap()
    }

    fn sha256(text: &str) -> ContentDigest {
        digest_of(text.as_bytes(), Algorithm::Sha256).unwrap()
    }

    async fn keep(room: &Room, text: &str) -> ContentDigest {
        let body = Bytes::copy_from_slice(text.as_bytes());
        let (storage, name) = (&room.storage, repository());
        let kept = storage.keep_pulled_manifest(&name, None, None, None, body);
        kept.await.unwrap()
    }

    fn entry(digest: &ContentDigest, architecture: &str) -> String {
        format!(
            r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":2,
                "platform":{{"os":"linux","architecture":"{architecture}"}}}}"#
        )
    }

    #[tokio::test]
    async fn only_what_this_machine_runs_is_wanted() {
        let room = Room::open().await;
        let here = oci_spec::image::Arch::default().to_string();
        let layer = sha256("layer");
        let image = format!(r#"{{"layers":[{{"digest":"{layer}"}}]}}"#);
        let (ours, other) = (sha256(&image), sha256("other"));
        let entries = [entry(&other, "s390x"), entry(&ours, &here)].join(",");
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
        let digest = keep(&room, &index).await;
        let lack = async |digest| room.storage.image_lack(&repository(), digest).await;
        assert_eq!(lack(&digest).await.unwrap(), Lack::Manifest(ours));
        keep(&room, &image).await;
        assert_eq!(lack(&digest).await.unwrap(), Lack::Blobs(vec![layer]));
        let foreign = entry(&other, "s390x");
        let foreign = format!(r#"{{"schemaVersion":2,"manifests":[{foreign}]}}"#);
        let foreign = keep(&room, &foreign).await;
        let error = lack(&foreign).await.unwrap_err();
        assert!(error.to_string().contains("nothing for linux/"), "{error}");
    }

    #[tokio::test]
    async fn another_digest_than_was_said_keeps_nothing() {
        let room = Room::open().await;
        let said = sha256("something else");
        let body = Bytes::from_static(b"{}");
        let (storage, name) = (&room.storage, repository());
        let kept = storage.keep_pulled_manifest(&name, None, Some(&said), None, body);
        assert!(matches!(kept.await, Err(Error::Mismatch(_))));
        let all = storage.state().list_repositories(String::new(), 9).await;
        assert!(all.unwrap().0.is_empty());
    }
}
