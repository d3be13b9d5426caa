//! `replays`: all events that a query means, accepted once more.

use super::error::{Error, Result};
use super::owner::Owner;
use crate::body;
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use model::{EventQuery, Qualifier, Replay, ReplayId, ReplayOrder};
use serde::Deserialize;
use serde_json::{Value, json};

/// Largest order, in bytes of JSON.
const MAX_BODY: usize = 16 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Named by the caller, so that it can ask again after a broken connection.
    id: Option<ReplayId>,
    query: EventQuery,
    limit: Option<u64>,
    /// For this version of the function.
    version: Option<Qualifier>,
    /// Only count.
    #[serde(default)]
    dry_run: bool,
}

/// `POST replays`: begins one (202), or counts what it would replay (200).
pub(super) async fn create(
    _: Owner,
    State(doors): State<Doors>,
    request: Request,
) -> Result<Response> {
    let (parts, stream) = request.into_parts();
    let bytes = body::read(&parts.headers, stream, MAX_BODY).await?;
    let asked: Asked = serde_json::from_slice(&bytes)
        .map_err(|error| Error::invalid(format!("this is not a replay: {error}")))?;
    if asked.limit == Some(0) {
        return Err(Error::invalid("limit is 0 and must be 1 or more"));
    }
    let engine = doors.engine.clone();
    if asked.dry_run {
        let most = asked.limit.unwrap_or(u64::MAX);
        let count = engine.count_chosen(asked.query, most).await?;
        return Ok(Json(json!({"events": count})).into_response());
    }
    let order = ReplayOrder {
        query: asked.query,
        limit: asked.limit,
        version: asked.version,
    };
    let id = asked.id.unwrap_or_else(ReplayId::generate);
    let replay = whole(async move { engine.start_replay(id, order).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(replay)).into_response())
}

/// Replays that are listed: all that are remembered.
const LISTED: u32 = 1_000;

/// `GET replays`: those that are remembered, newest first.
pub(super) async fn list(_: Owner, State(doors): State<Doors>) -> Result<Json<Value>> {
    let replays = doors.engine.list_replays(LISTED).await?;
    Ok(Json(json!({"replays": replays})))
}

/// `GET replays/ID`: how far it came.
pub(super) async fn get(
    _: Owner,
    State(doors): State<Doors>,
    Path(id): Path<String>,
) -> Result<Json<Replay>> {
    Ok(Json(doors.engine.get_replay(id.parse()?).await?))
}

/// `DELETE replays/ID`: stops it.
pub(super) async fn cancel(
    _: Owner,
    State(doors): State<Doors>,
    Path(id): Path<String>,
) -> Result<Json<Replay>> {
    let id = id.parse()?;
    let engine = doors.engine.clone();
    let replay = whole(async move { engine.cancel_replay(id).await }).await?;
    Ok(Json(replay))
}
