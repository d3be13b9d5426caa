//! `events/cancel` and `events/ID/cancel`: events that wait and are not wanted any more.

use super::error::{Error, Result};
use super::owner::Owner;
use crate::body;
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, Request, State};
use http::StatusCode;
use model::{EventId, EventQuery};
use serde::Deserialize;
use serde_json::{Value, json};

/// Largest order, in bytes of JSON.
const MAX_BODY: usize = 16 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    query: EventQuery,
    /// At most so many.
    limit: Option<u64>,
    /// `next` and `before` of the answer before, to go on.
    after: Option<EventId>,
    before: Option<EventId>,
}

/// `POST events/cancel`: ends the next of the events that are meant, in one step. `next` of the answer is null
/// after the last.
pub(super) async fn chosen(
    Owner(who): Owner,
    State(doors): State<Doors>,
    request: Request,
) -> Result<Json<Value>> {
    let (parts, stream) = request.into_parts();
    let bytes = body::read(&parts.headers, stream, MAX_BODY).await?;
    let asked: Asked = serde_json::from_slice(&bytes)
        .map_err(|error| Error::invalid(format!("this does not say what to cancel: {error}")))?;
    if asked.limit == Some(0) {
        return Err(Error::invalid("limit is 0 and must be 1 or more"));
    }
    // What is accepted while it goes on is not meant.
    let before = asked.before.unwrap_or_else(EventId::generate);
    let limit = asked.limit.unwrap_or(u64::MAX);
    let engine = doors.engine.clone();
    let step = async move {
        engine
            .cancel_chosen(asked.query, asked.after, before, limit, &who)
            .await
    };
    let step = whole(step).await?;
    Ok(Json(json!({
        "cancelled": step.cancelled,
        "next": step.next,
        "before": before,
    })))
}

/// `POST events/ID/cancel`: ends one that waits.
pub(super) async fn one(
    Owner(who): Owner,
    State(doors): State<Doors>,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    let id: EventId = id.parse()?;
    let engine = doors.engine.clone();
    whole(async move { engine.cancel_event(id, &who).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
