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

/// `POST`: collects now; answers how much went.
pub(super) async fn collect(
    _: Owner,
    State(doors): State<Doors>,
    Query(Grace { grace }): Query<Grace>,
) -> Result<Json<Value>> {
    if grace > MAX_GRACE {
        return Err(Error::invalid(format!(
            "grace is at most {MAX_GRACE} seconds"
        )));
    }
    let collected = doors
        .engine
        .collect_registry(Duration::from_secs(grace))
        .await?;
    Ok(Json(json!({
        "links": collected.links, "blobs": collected.blobs, "bytes": collected.bytes,
        "uploads": collected.uploads,
    })))
}
