//! `schedules`, `schedules/GROUP/NAME` and what may be done to one.

use super::error::{Error, Result};
use super::owner::Owner;
use super::query::{Query, within};
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, State};
use engine::ScheduleFilter;
use http::StatusCode;
use model::{Schedule, ScheduleKey};
use serde::Deserialize;
use serde_json::{Value, json};

/// The query of a listing.
#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    /// Only of this group.
    group: Option<String>,
    /// `GROUP/NAME` of the last schedule of the page before.
    after: Option<String>,
    /// 1 to 1 000; 1 000 without it.
    limit: Option<u64>,
}

/// `GET schedules`: by group and name.
pub(super) async fn list(
    _: Owner,
    State(doors): State<Doors>,
    Query(filter): Query<Filter>,
) -> Result<Json<Vec<Schedule>>> {
    let limit = within("limit", filter.limit, 1000, 1, 1000)?;
    let filter = ScheduleFilter {
        group: filter.group.map(|name| name.parse()).transpose()?,
        after: filter.after.map(|key| key.parse()).transpose()?,
        limit: u32::try_from(limit).unwrap_or(1000),
        ..ScheduleFilter::default()
    };
    Ok(Json(doors.engine.list_schedules(filter).await?))
}

/// `GET schedules/GROUP/NAME`.
pub(super) async fn get(
    _: Owner,
    State(doors): State<Doors>,
    Path(place): Path<(String, String)>,
) -> Result<Json<Schedule>> {
    Ok(Json(doors.engine.get_schedule(key(&place)?).await?))
}

/// `POST schedules/GROUP/NAME/pause` and `…/resume`.
pub(super) async fn enable(
    _: Owner,
    State(doors): State<Doors>,
    Path((group, name, action)): Path<(String, String, String)>,
) -> Result<StatusCode> {
    let enabled = match action.as_str() {
        "pause" => false,
        "resume" => true,
        _ => {
            let message = "a schedule takes pause, resume and run";
            return Err(Error::new(model::Kind::NotFound, message));
        }
    };
    let key = key(&(group, name))?;
    let engine = doors.engine.clone();
    whole(async move { engine.enable_schedule(key, enabled).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST schedules/GROUP/NAME/run`: an event as if a tick were now.
pub(super) async fn run(
    _: Owner,
    State(doors): State<Doors>,
    Path(place): Path<(String, String)>,
) -> Result<(StatusCode, Json<Value>)> {
    let (engine, key) = (doors.engine.clone(), key(&place)?);
    let id = whole(async move { engine.run_schedule(key).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"event_id": id}))))
}

fn key((group, name): &(String, String)) -> Result<ScheduleKey> {
    Ok(ScheduleKey {
        group: group.parse()?,
        name: name.parse()?,
    })
}
