//! Pulling: what is not here, or may be old, is asked for upstream, checked and kept.

use super::client::Ask;
use super::fault::Fault;
use super::table::Place;
use crate::engine::Corridor;
use crate::{Engine, Error, Result};
use http::Method;
use http::header::{CONTENT_TYPE, HeaderName};
use model::{ContentDigest, ImageRecord, Kind, ManifestReference, RepositoryName, Tag, Timestamp};
use std::time::Duration;
use storage::{ImportProgress, Lack, MAX_MANIFEST};

/// How long a tag is believed to be where the upstream had it.
const FRESH: Duration = Duration::from_secs(60);
/// How long it is not asked again after it could not be.
const AGAIN: Duration = Duration::from_secs(10);
/// Most steps from an image's name to all that it needs: manifests within indexes, then blobs.
const MAX_STEPS: usize = 10;

const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                         application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.docker.distribution.manifest.v2+json, */*;q=0.1";

impl Engine {
    /// Brings a manifest of an upstream's repository here, and a tag to where the upstream has it; nothing is done
    /// in other repositories. A tag that was asked for within a minute is believed, and one of an upstream that
    /// does not answer.
    ///
    /// # Errors
    /// `Upstream`; of the store.
    pub async fn pull_manifest(
        &self,
        repository: &RepositoryName,
        reference: &ManifestReference,
    ) -> Result<()> {
        let Some(place) = self.corridor.upstreams.place(repository) else {
            return Ok(());
        };
        let (engine, reference) = (self.clone(), reference.clone());
        to_the_end(async move { engine.corridor.manifest(&place, &reference).await }).await?;
        Ok(())
    }

    /// Brings a blob of an upstream's repository here; nothing is done in other repositories.
    ///
    /// # Errors
    /// `Upstream`; of the storage.
    pub async fn pull_blob(
        &self,
        repository: &RepositoryName,
        digest: &ContentDigest,
    ) -> Result<()> {
        let Some(place) = self.corridor.upstreams.place(repository) else {
            return Ok(());
        };
        let (engine, digest) = (self.clone(), digest.clone());
        to_the_end(async move { engine.corridor.blob(&place, &digest, |_| ()).await }).await
    }

    /// What an image's name means now, and whether it is an upstream's: the digest in the registry, else of what was
    /// imported, else in an upstream.
    ///
    /// # Errors
    /// `NotFound`, `Upstream`.
    pub async fn resolve_image(&self, name: &str) -> Result<(String, bool)> {
        let corridor = &self.corridor;
        if let Some((place, reference)) = corridor.pulled_from(name).await? {
            let digest = corridor.manifest(&place, &reference).await?;
            return Ok((digest.to_string(), true));
        }
        let digest = match corridor.storage.resolve_image(name).await? {
            Some(digest) => digest.to_string(),
            None => corridor.storage.get_image(name).await?.digest.to_string(),
        };
        Ok((digest, false))
    }

    /// Makes the image ready that a name means now, pulled through if it is an upstream's.
    ///
    /// # Errors
    /// `NotFound`, `Upstream`, `Storage`.
    pub async fn ready_image(
        &self,
        name: &str,
        report: impl Fn(ImportProgress) + Send + Sync,
    ) -> Result<ImageRecord> {
        self.corridor.ready_image(name, &report).await
    }
}

/// Runs it to its end, whatever becomes of who asked: another may wait for the same.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Err(Error::Draining),
    })
}

impl Corridor {
    /// As [`Engine::ready_image`].
    pub(crate) async fn ready_image(
        &self,
        name: &str,
        report: &(impl Fn(ImportProgress) + Send + Sync),
    ) -> Result<ImageRecord> {
        let local = match self.pulled_from(name).await? {
            Some((place, reference)) => self.whole_image(&place, &reference, report).await?,
            None => name.to_owned(),
        };
        // What was pushed here last is meant, before what was imported under the same name.
        Ok(match self.storage.ready_image(&local).await? {
            Some(image) => image,
            None => self.storage.get_image(&local).await?,
        })
    }

    /// The upstream's repository that an image's name means: one that begins with an upstream's name, or, if nothing
    /// here has the name, one of the host that it names.
    async fn pulled_from(&self, name: &str) -> Result<Option<(Place, ManifestReference)>> {
        let local = self.storage.local_image(name);
        if let Some((repository, reference)) = &local
            && let Some(place) = self.upstreams.place(repository)
        {
            return Ok(Some((place, reference.clone())));
        }
        let Some((place, reference)) = self.upstreams.place_outside(name) else {
            return Ok(None);
        };
        if self.storage.resolve_image(name).await?.is_some() {
            return Ok(None);
        }
        match self.storage.get_image(name).await {
            Ok(_) => Ok(None),
            Err(error) if error.kind() == Kind::NotFound => Ok(Some((place, reference))),
            Err(error) => Err(error.into()),
        }
    }

    /// Brings all here that an image needs to be run, and gives its name here, by digest.
    async fn whole_image(
        &self,
        place: &Place,
        reference: &ManifestReference,
        report: &(impl Fn(ImportProgress) + Send + Sync),
    ) -> Result<String> {
        let digest = self.manifest(place, reference).await?;
        for _ in 0..MAX_STEPS {
            match self.storage.image_lack(&place.repository, &digest).await? {
                Lack::Nothing => return Ok(format!("{}@{digest}", place.repository)),
                Lack::Manifest(inner) => {
                    let inner = ManifestReference::Digest(inner);
                    self.manifest(place, &inner).await?;
                }
                Lack::Blobs(blobs) => {
                    let layers = blobs.len();
                    tracing::info!(
                        upstream = %place.upstream.spec().name, repository = place.remote, %reference,
                        blobs = layers, "pulling an image"
                    );
                    for (number, blob) in blobs.iter().enumerate() {
                        let progress = |bytes| {
                            report(ImportProgress {
                                layer: number + 1,
                                layers,
                                bytes,
                            });
                        };
                        self.blob(place, blob, progress).await?;
                    }
                }
            }
        }
        let fault = Fault::wrong("its pieces go as fast as they come: try again");
        Err(place.error(&format!("the image {reference}"), fault))
    }

    /// Brings a manifest here, a tag to where it is upstream, and gives the digest.
    async fn manifest(
        &self,
        place: &Place,
        reference: &ManifestReference,
    ) -> Result<ContentDigest> {
        match reference {
            ManifestReference::Digest(digest) => {
                self.manifest_by_digest(place, digest).await?;
                Ok(digest.clone())
            }
            ManifestReference::Tag(tag) => self.manifest_by_tag(place, tag).await,
        }
    }

    async fn manifest_by_digest(&self, place: &Place, digest: &ContentDigest) -> Result<()> {
        if self.touch(place, digest).await? {
            return Ok(());
        }
        let _turn = self.upstreams.turn(&place.repository, digest).await;
        if self.touch(place, digest).await? {
            return Ok(());
        }
        self.get_manifest(place, None, digest.as_str()).await?;
        Ok(())
    }

    async fn touch(&self, place: &Place, digest: &ContentDigest) -> Result<bool> {
        let (repository, now) = (place.repository.clone(), Timestamp::now());
        let touched = self
            .state
            .touch_pulled_manifest(repository, digest.clone(), now);
        Ok(touched.await?)
    }

    async fn manifest_by_tag(&self, place: &Place, tag: &Tag) -> Result<ContentDigest> {
        let _turn = self.upstreams.turn(&place.repository, tag).await;
        let here = self.state.find_tag(place.repository.clone(), tag.clone());
        let here = here.await?.map(|(digest, _)| digest);
        if let Some(digest) = &here
            && self.upstreams.is_fresh(&place.repository, tag)
        {
            self.touch(place, digest).await?;
            return Ok(digest.clone());
        }
        let (digest, fresh) = match (self.revalidate(place, tag, here.as_ref()).await, here) {
            (Ok(digest), _) => (digest, FRESH),
            (Err(error), Some(here)) if error.kind() != Kind::NotFound => {
                tracing::warn!(
                    repository = %place.repository, %tag, %error,
                    "the upstream cannot be asked for a tag: what is here is served"
                );
                (here, AGAIN)
            }
            (Err(error), _) => return Err(error),
        };
        if self.upstreams.is_current(place) {
            self.upstreams.set_fresh(&place.repository, tag, fresh);
        }
        Ok(digest)
    }

    /// Where the tag is upstream, by its digest alone if that is known here.
    async fn revalidate(
        &self,
        place: &Place,
        tag: &Tag,
        here: Option<&ContentDigest>,
    ) -> Result<ContentDigest> {
        let ask = manifest_of(place, Method::HEAD, tag.as_str());
        match place.client()?.ask(&ask).await {
            Ok(answer) => {
                let digest = answer.header(DIGEST).and_then(|text| text.parse().ok());
                if let Some(digest) = digest {
                    let is_here = match here == Some(&digest) {
                        true => self.touch(place, &digest).await?,
                        false => self.move_tag(place, tag, &digest).await?,
                    };
                    if is_here {
                        return Ok(digest);
                    }
                }
            }
            // It knows no HEAD.
            Err(fault) if fault.kind == Kind::Unsupported => {}
            Err(fault) => return Err(place.error(&format!("the manifest {tag}"), fault)),
        }
        let digest = self.get_manifest(place, Some(tag), tag.as_str()).await?;
        self.pushed.notify_one();
        Ok(digest)
    }

    /// What was asked for under other settings is not kept.
    pub(super) fn is_still(&self, place: &Place, what: &str) -> Result<()> {
        if self.upstreams.is_current(place) {
            return Ok(());
        }
        let fault = Fault::wrong("the upstream was changed or removed meanwhile: try again");
        Err(place.error(what, fault))
    }

    /// Puts the tag on a manifest that is here. Whether it is.
    async fn move_tag(&self, place: &Place, tag: &Tag, digest: &ContentDigest) -> Result<bool> {
        self.is_still(place, &format!("the manifest {tag}"))?;
        let (repository, now) = (place.repository.clone(), Timestamp::now());
        let moved = self
            .state
            .move_pulled_tag(repository, tag.clone(), digest.clone(), now);
        let moved = moved.await?;
        if moved {
            self.pushed.notify_one();
        }
        Ok(moved)
    }

    async fn get_manifest(
        &self,
        place: &Place,
        tag: Option<&Tag>,
        reference: &str,
    ) -> Result<ContentDigest> {
        let what = format!("the manifest {reference}");
        let ask = manifest_of(place, Method::GET, reference);
        let fetched = async {
            let answer = place.client()?.ask(&ask).await;
            let answer = answer.map_err(|fault| place.error(&what, fault))?;
            let said = match tag {
                Some(_) => answer.header(DIGEST).and_then(|text| text.parse().ok()),
                None => reference.parse().ok(),
            };
            let kind = answer.header(CONTENT_TYPE).and_then(media_type);
            let body = answer.whole(MAX_MANIFEST).await;
            let body = body.map_err(|fault| place.error(&what, fault))?;
            Ok::<_, Error>((said, kind, body))
        };
        let (said, kind, body): (Option<ContentDigest>, _, _) = fetched.await?;
        self.is_still(place, &what)?;
        let (repository, tag) = (&place.repository, tag.cloned());
        let storage = &self.storage;
        let kept = storage.keep_pulled_manifest(repository, tag, said.as_ref(), kind, body);
        kept.await.map_err(|error| match error.kind() {
            Kind::Invalid => place.error(&what, Fault::wrong(error.to_string())),
            _ => error.into(),
        })
    }
}

fn manifest_of<'a>(place: &'a Place, method: Method, reference: &str) -> Ask<'a> {
    Ask {
        method,
        repository: &place.remote,
        path: format!("manifests/{reference}"),
        accept: MANIFESTS,
        from: 0,
    }
}

/// The type of a manifest; others, such as `application/json`, say nothing.
fn media_type(header: &str) -> Option<String> {
    let kind = header.split(';').next().unwrap_or_default().trim();
    kind.starts_with("application/vnd.")
        .then(|| kind.to_owned())
}
