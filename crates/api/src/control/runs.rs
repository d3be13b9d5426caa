//! `runs`: the record of attempts, newest first.

use super::error::{Error, Result};
use super::owner::Owner;
use super::query::{Query, within};
use crate::doors::Doors;
use axum::Json;
use axum::extract::State;
use model::Run;
use serde::Deserialize;

/// The query of a listing.
#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    /// A target key, such as `function:thumbnail`.
    target: Option<String>,
    /// 1 to 1 000; 100 without it.
    limit: Option<u64>,
}

/// `GET runs`.
pub(super) async fn list(
    _: Owner,
    State(doors): State<Doors>,
    Query(filter): Query<Filter>,
) -> Result<Json<Vec<Run>>> {
    let limit = within("limit", filter.limit, 100, 1, 1000)?;
    let limit = u32::try_from(limit).unwrap_or(1000);
    let state = doors.engine.storage().state();
    let runs = state.list_runs(filter.target, limit).await;
    Ok(Json(runs.map_err(|error| {
        Error::new(error.kind(), error.to_string())
    })?))
}
