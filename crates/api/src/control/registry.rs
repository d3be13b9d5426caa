//! `registry/collections`: what the registry does not need goes; `registry/repositories` and
//! `registry/manifests`: what it holds, tagged or not.

use super::error::{Error, Result};
use super::owner::Owner;
use super::query::{Query, within};
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::State;
use model::RepositoryName;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Longest grace and age, in seconds: 100 years.
const MAX_GRACE: u64 = 3_153_600_000;
/// Longest `last` that is looked at: longer than any name or digest.
const MAX_LAST: usize = 512;

/// The query of a collection.
#[derive(Debug, Deserialize)]
pub(super) struct Grace {
    /// Seconds for which what was just pushed or asked for is kept.
    grace: u64,
    /// Seconds after which what no tag is on goes too; without, none of it.
    untagged: Option<u64>,
}

impl Grace {
    fn duration(&self) -> Result<Duration> {
        seconds("grace", self.grace)
    }

    fn age(&self) -> Result<Option<Duration>> {
        self.untagged
            .map(|age| seconds("untagged", age))
            .transpose()
    }
}

fn seconds(name: &str, value: u64) -> Result<Duration> {
    if value > MAX_GRACE {
        let reason = format!("{name} is at most {MAX_GRACE} seconds");
        return Err(Error::invalid(reason));
    }
    Ok(Duration::from_secs(value))
}

/// `GET`: what a collection would take now; a thousand of the blobs and of the manifests by name. The
/// blobs of those manifests are not among them yet.
pub(super) async fn surplus(
    _: Owner,
    State(doors): State<Doors>,
    Query(grace): Query<Grace>,
) -> Result<Json<Value>> {
    let (surplus, images) = doors.engine.registry_surplus(grace.duration()?).await?;
    let listed = surplus.listed.iter();
    let listed: Vec<_> = listed
        .map(|(digest, size)| json!({"digest": digest, "size": size}))
        .collect();
    let mut shown = json!({
        "blobs": surplus.blobs, "bytes": surplus.bytes, "uploads": surplus.uploads,
        "listed": listed, "images": images,
    });
    if let Some(age) = grace.age()? {
        let untagged = doors.engine.untagged_manifests(age).await?;
        let listed = untagged.listed.iter();
        let listed: Vec<_> = listed
            .map(|one| {
                json!({"repository": one.repository, "digest": one.digest, "size": one.size,
                    "pushed": one.pushed})
            })
            .collect();
        shown["manifests"] = untagged.count.into();
        shown["untagged"] = listed.into();
    }
    Ok(Json(shown))
}

/// `POST`: collects now; answers how much went.
pub(super) async fn collect(
    _: Owner,
    State(doors): State<Doors>,
    Query(grace): Query<Grace>,
) -> Result<Json<Value>> {
    let (grace, age) = (grace.duration()?, grace.age()?);
    let engine = doors.engine.clone();
    let done = whole(async move {
        let manifests = match age {
            Some(age) => engine.collect_untagged(age).await?,
            None => 0,
        };
        Ok::<_, engine::Error>((manifests, engine.collect_registry(grace).await?))
    });
    let (manifests, collected) = done.await?;
    Ok(Json(json!({
        "manifests": manifests, "links": collected.links, "blobs": collected.blobs, "bytes": collected.bytes,
        "uploads": collected.uploads,
    })))
}

/// The query of a listing.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    /// Which repository, of manifests.
    repository: Option<RepositoryName>,
    /// The last of the page before.
    #[serde(default)]
    last: String,
    /// 1 to 1 000; 1 000 without it.
    limit: Option<u64>,
}

impl Page {
    fn bounds(&self) -> Result<(String, usize)> {
        if self.last.len() > MAX_LAST {
            return Err(Error::invalid("last is longer than any name"));
        }
        let most = within("limit", self.limit, 1000, 1, 1000)?;
        Ok((self.last.clone(), usize::try_from(most).unwrap_or(1000)))
    }
}

/// `GET registry/repositories`: by name; `more` says whether there is another page.
pub(super) async fn repositories(
    _: Owner,
    State(doors): State<Doors>,
    Query(page): Query<Page>,
) -> Result<Json<Value>> {
    let (last, most) = page.bounds()?;
    let state = doors.engine.storage().state();
    let listed = state.summarize_repositories(last, most).await;
    let (all, more) = listed.map_err(storage::Error::from)?;
    let shown: Vec<_> = all
        .iter()
        .map(|one| {
            json!({"name": one.name, "tags": one.tags, "manifests": one.manifests,
                "untagged": one.untagged, "size": one.size, "pushed": one.pushed})
        })
        .collect();
    Ok(Json(json!({"repositories": shown, "more": more})))
}

/// `GET registry/manifests?repository=`: tagged or not, by digest; `more` says whether there is another
/// page.
pub(super) async fn manifests(
    _: Owner,
    State(doors): State<Doors>,
    Query(page): Query<Page>,
) -> Result<Json<Value>> {
    let (last, most) = page.bounds()?;
    let repository = page.repository;
    let repository = repository.ok_or_else(|| Error::invalid("say which repository"))?;
    let state = doors.engine.storage().state();
    let listed = state.list_manifests(repository, last, most).await;
    let (all, more) = listed.map_err(storage::Error::from)?;
    let shown: Vec<_> = all
        .iter()
        .map(|one| {
            json!({"digest": one.digest, "media_type": one.media_type,
                "artifact_type": one.artifact_type, "subject": one.subject, "size": one.size,
                "pushed": one.pushed, "tags": one.tags})
        })
        .collect();
    Ok(Json(json!({"manifests": shown, "more": more})))
}
