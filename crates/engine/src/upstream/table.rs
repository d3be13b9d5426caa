//! The upstreams as they are now, which repositories are theirs, and who pulls what.

use super::client::Client;
use super::fault::Fault;
use crate::{Error, Result};
use model::{ManifestReference, RepositoryName, Secret, Tag, Upstream, UpstreamName, outside};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;
use tokio::sync::{OwnedMutexGuard, Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Most blobs that are pulled at a time; others wait.
const MAX_PULLS: usize = 8;
/// Most tags of which it is known when they were asked for, and most things of which it is known who pulls them.
const MAX_KNOWN: usize = 10_000;
/// An upstream with its client.
pub(crate) struct Registered {
    spec: Upstream,
    /// Or why its password cannot be read.
    client: std::result::Result<Client, String>,
}

impl Registered {
    pub(crate) fn spec(&self) -> &Upstream {
        &self.spec
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.client.is_ok()
    }
}

/// A repository here that is an upstream's.
pub(crate) struct Place {
    pub(crate) upstream: Arc<Registered>,
    /// Its name here.
    pub(crate) repository: RepositoryName,
    /// Its name there.
    pub(crate) remote: String,
}

impl Place {
    /// # Errors
    /// `Sealed`.
    pub(super) fn client(&self) -> Result<&Client> {
        let client = self.upstream.client.as_ref();
        client.map_err(|reason| Error::Sealed {
            what: "upstream",
            name: self.upstream.spec.name.to_string(),
            reason: reason.clone(),
        })
    }

    /// Why `what` did not come.
    pub(super) fn error(&self, what: &str, fault: Fault) -> Error {
        let Upstream { name, url, .. } = &self.upstream.spec;
        Error::Upstream {
            upstream: format!("\"{name}\" ({url})"),
            what: format!("{what} of {}", self.remote),
            reason: fault.reason,
            kind: fault.kind,
        }
    }
}

/// Follows the store: changed only after the store was.
pub(crate) struct Upstreams {
    all: RwLock<BTreeMap<UpstreamName, Arc<Registered>>>,
    /// Until when a tag is believed.
    fresh: Mutex<HashMap<String, Instant>>,
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    pulls: Semaphore,
}

impl Default for Upstreams {
    fn default() -> Self {
        Self {
            all: RwLock::default(),
            fresh: Mutex::default(),
            turns: Mutex::default(),
            pulls: Semaphore::new(MAX_PULLS),
        }
    }
}

impl Upstreams {
    pub(crate) fn list(&self) -> Vec<Arc<Registered>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.values().cloned().collect()
    }

    /// `password`: or why it cannot be read.
    pub(crate) fn put(
        &self,
        upstream: Upstream,
        password: std::result::Result<Option<Secret>, String>,
    ) {
        let name = upstream.name.clone();
        let registered = Registered {
            client: password.map(|password| Client::new(upstream.clone(), password)),
            spec: upstream,
        };
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(name, Arc::new(registered));
        // Another address or user may see other tags.
        self.fresh().clear();
    }

    pub(crate) fn remove(&self, name: &UpstreamName) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.remove(name);
    }

    /// The upstream of a repository here, by the first part of its name.
    pub(crate) fn place(&self, repository: &RepositoryName) -> Option<Place> {
        let (name, remote) = repository.as_str().split_once('/')?;
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let upstream = all.get(&name.parse().ok()?)?.clone();
        // On Docker Hub a name of one part means one of Docker's own.
        let short = !remote.contains('/') && upstream.spec.serves("docker.io");
        Some(Place {
            upstream,
            repository: repository.clone(),
            remote: match short {
                true => format!("library/{remote}"),
                false => remote.to_owned(),
            },
        })
    }

    /// Whether the upstream is still the one that it was, neither changed nor removed.
    pub(crate) fn is_current(&self, place: &Place) -> bool {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let now = all.get(&place.upstream.spec.name);
        now.is_some_and(|now| Arc::ptr_eq(now, &place.upstream))
    }

    /// The same of an image's name that says another host, or none, which is Docker Hub's.
    pub(crate) fn place_outside(&self, name: &str) -> Option<(Place, ManifestReference)> {
        let (host, remote) = outside(name)?;
        let all = self.list();
        let upstream = all.iter().find(|upstream| upstream.spec.serves(&host))?;
        let reference = match name.split_once('@') {
            Some((_, digest)) => digest.parse().ok()?,
            None => {
                let last = name.rsplit('/').next().unwrap_or_default();
                let tag = last.split_once(':').map_or("latest", |(_, tag)| tag);
                ManifestReference::Tag(tag.parse().ok()?)
            }
        };
        let place = Place {
            upstream: upstream.clone(),
            repository: upstream.spec.local(&remote)?,
            remote: remote.to_string(),
        };
        Some((place, reference))
    }

    fn fresh(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a tag was asked for so recently that it is believed.
    pub(crate) fn is_fresh(&self, repository: &RepositoryName, tag: &Tag) -> bool {
        let until = self.fresh().get(&format!("{repository}:{tag}")).copied();
        until.is_some_and(|until| until > Instant::now())
    }

    pub(crate) fn set_fresh(&self, repository: &RepositoryName, tag: &Tag, life: Duration) {
        let mut fresh = self.fresh();
        let now = Instant::now();
        if fresh.len() >= MAX_KNOWN {
            fresh.retain(|_, until| *until > now);
        }
        if fresh.len() >= MAX_KNOWN {
            fresh.clear();
        }
        fresh.insert(format!("{repository}:{tag}"), now + life);
    }

    /// The turn to pull one thing of a repository: one at a time.
    pub(crate) async fn turn(
        &self,
        repository: &RepositoryName,
        what: &impl Display,
    ) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            if turns.len() >= MAX_KNOWN {
                turns.retain(|_, turn| turn.strong_count() > 0);
            }
            let kept = turns.entry(format!("{repository} {what}")).or_default();
            kept.upgrade().unwrap_or_else(|| {
                let new = Arc::default();
                *kept = Arc::downgrade(&new);
                new
            })
        };
        turn.lock_owned().await
    }

    /// The right to pull one blob.
    pub(crate) async fn permit(&self) -> Option<SemaphorePermit<'_>> {
        self.pulls.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::Timestamp;

    fn upstreams() -> Upstreams {
        let all = Upstreams::default();
        for (name, url) in [
            ("hub", "https://registry-1.docker.io"),
            ("corp", "https://r.example:5000"),
        ] {
            let upstream = Upstream {
                name: name.parse().unwrap(),
                url: url.to_owned(),
                username: None,
                certificates: None,
                insecure: false,
                private: false,
                created: Timestamp(0),
                modified: Timestamp(0),
            };
            all.put(upstream, Ok(None));
        }
        all
    }

    #[test]
    fn repositories_and_names_lead_to_their_upstream() {
        let all = upstreams();
        for (here, there) in [
            ("hub/alpine", Some("library/alpine")),
            ("hub/library/alpine", Some("library/alpine")),
            ("corp/alpine", Some("alpine")),
            ("shop/alpine", None),
            ("hub", None),
            ("hubs/x", None),
        ] {
            let place = all.place(&here.parse().unwrap());
            assert_eq!(
                place.as_ref().map(|place| place.remote.as_str()),
                there,
                "{here}"
            );
        }
        for (name, here, reference) in [
            ("redis", "hub/library/redis", "latest"),
            ("redis:7", "hub/library/redis", "7"),
            ("docker.io/grafana/loki:3", "hub/grafana/loki", "3"),
            ("r.example:5000/a/b", "corp/a/b", "latest"),
        ] {
            let (place, found) = all.place_outside(name).unwrap();
            assert_eq!(place.repository.as_str(), here);
            assert_eq!(found.to_string(), reference);
        }
        let digest = format!("sha256:{}", "a".repeat(64));
        let (_, found) = all.place_outside(&format!("redis:7@{digest}")).unwrap();
        assert_eq!(found.to_string(), digest);
        for none in ["ghcr.io/a:1", "localhost:5000/a", "A:1"] {
            assert!(all.place_outside(none).is_none(), "{none}");
        }
    }

    #[tokio::test]
    async fn a_turn_is_one_at_a_time_and_a_tag_is_believed_for_a_time() {
        let all = upstreams();
        let (repository, tag): (RepositoryName, Tag) =
            ("hub/x".parse().unwrap(), "1".parse().unwrap());
        let held = all.turn(&repository, &tag).await;
        let mut second = std::pin::pin!(all.turn(&repository, &tag));
        assert!(futures::poll!(second.as_mut()).is_pending());
        drop(all.turn(&repository, &"other").await);
        drop(held);
        drop(second.await);
        assert!(!all.is_fresh(&repository, &tag));
        all.set_fresh(&repository, &tag, Duration::from_secs(600));
        assert!(all.is_fresh(&repository, &tag));
        all.set_fresh(&repository, &tag, Duration::ZERO);
        assert!(!all.is_fresh(&repository, &tag));
    }
}
