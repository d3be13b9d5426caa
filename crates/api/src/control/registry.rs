//! `registry/collections`: what the registry does not need goes.

use super::error::{Error, Result};
use super::owner::Owner;
use super::query::Query;
use crate::doors::Doors;
use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Longest grace, in seconds: 100 years.
const MAX_GRACE: u64 = 3_153_600_000;

/// The query of a collection.
#[derive(Debug, Deserialize)]
pub(super) struct Grace {
    /// Seconds for which what was just pushed or asked for is kept.
    grace: u64,
}

impl Grace {
    fn duration(&self) -> Result<Duration> {
        if self.grace > MAX_GRACE {
            let reason = format!("grace is at most {MAX_GRACE} seconds");
            return Err(Error::invalid(reason));
        }
        Ok(Duration::from_secs(self.grace))
    }
}

/// `GET`: what a collection would take now; a thousand of the blobs by name.
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
    Ok(Json(json!({
        "blobs": surplus.blobs, "bytes": surplus.bytes, "uploads": surplus.uploads,
        "listed": listed, "images": images,
    })))
}

/// `POST`: collects now; answers how much went.
pub(super) async fn collect(
    _: Owner,
    State(doors): State<Doors>,
    Query(grace): Query<Grace>,
) -> Result<Json<Value>> {
    let collected = doors.engine.collect_registry(grace.duration()?).await?;
    Ok(Json(json!({
        "links": collected.links, "blobs": collected.blobs, "bytes": collected.bytes,
        "uploads": collected.uploads,
    })))
}
