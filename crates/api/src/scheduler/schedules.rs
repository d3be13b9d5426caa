//! The resources `/schedules` and `/schedules/NAME`: CreateSchedule, UpdateSchedule, GetSchedule,
//! DeleteSchedule and ListSchedules.

use super::definition::{Definition, check_times};
use super::error::{Error, Result};
use super::view::{render, summary};
use super::{Asked, owner, page, parse_name};
use crate::auth::Verified;
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, Request, State};
use engine::ScheduleFilter;
use model::{ScheduleGroupName, ScheduleKey, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

/// The query of operations on one schedule.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Place {
    group_name: Option<String>,
    client_token: Option<String>,
}

/// The query of ListSchedules.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Listing {
    schedule_group: Option<String>,
    name_prefix: Option<String>,
    state: Option<String>,
    next_token: Option<String>,
    max_results: Option<String>,
}

fn key(name: &str, group: Option<&str>) -> Result<ScheduleKey> {
    let group = group.map(|group| parse_name("groupName", group));
    Ok(ScheduleKey {
        name: parse_name("name", name)?,
        group: group.transpose()?.unwrap_or_default(),
    })
}

/// CreateSchedule.
pub(super) async fn create(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>> {
    owner(&verified, "CreateSchedule")?;
    let asked = Asked::read(request).await?;
    let mut definition: Definition = asked.json()?;
    let once = asked.once(definition.client_token.take())?;
    let key = key(&name, definition.group_name.as_deref())?;
    let spec = definition.spec(key.clone())?;
    check_times(&spec.timetable, Timestamp::now())?;
    let engine = doors.engine.clone();
    let made = whole(async move { engine.create_schedule(spec, once).await }).await;
    made.map_err(|error| Error::of_creation(&error, &key))?;
    Ok(Json(json!({"ScheduleArn": key.arn(&doors.options.region)})))
}

/// UpdateSchedule. All of the schedule is replaced by what is said, or by defaults, as in AWS.
pub(super) async fn update(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>> {
    owner(&verified, "UpdateSchedule")?;
    let asked = Asked::read(request).await?;
    let mut definition: Definition = asked.json()?;
    let once = asked.once(definition.client_token.take())?;
    let key = key(&name, definition.group_name.as_deref())?;
    let spec = definition.spec(key.clone())?;
    let of_schedule = |error| Error::of_schedule(&error, &key);
    let before = doors.engine.get_schedule(key.clone()).await;
    // What is as it was may be over or have begun long ago.
    if before.map_err(of_schedule)?.spec.timetable != spec.timetable {
        check_times(&spec.timetable, Timestamp::now())?;
    }
    let engine = doors.engine.clone();
    let changed = whole(async move { engine.update_schedule(spec, once).await }).await;
    changed.map_err(of_schedule)?;
    Ok(Json(json!({"ScheduleArn": key.arn(&doors.options.region)})))
}

/// GetSchedule.
pub(super) async fn get(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>> {
    owner(&verified, "GetSchedule")?;
    let place: Place = Asked::read(request).await?.query()?;
    let key = key(&name, place.group_name.as_deref())?;
    let found = doors.engine.get_schedule(key.clone()).await;
    let schedule = found.map_err(|error| Error::of_schedule(&error, &key))?;
    Ok(Json(render(&schedule, &doors.options.region)))
}

/// DeleteSchedule.
pub(super) async fn delete(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>> {
    owner(&verified, "DeleteSchedule")?;
    let asked = Asked::read(request).await?;
    let place: Place = asked.query()?;
    let once = asked.once(place.client_token)?;
    let key = key(&name, place.group_name.as_deref())?;
    let deleted = doors.engine.delete_schedule(key.clone(), once).await;
    deleted.map_err(|error| Error::of_schedule(&error, &key))?;
    Ok(Json(json!({})))
}

/// ListSchedules.
pub(super) async fn list(
    verified: Verified,
    State(doors): State<Doors>,
    request: Request,
) -> Result<Json<Value>> {
    owner(&verified, "ListSchedules")?;
    let listing: Listing = Asked::read(request).await?.query()?;
    let size = page::size(listing.max_results.as_deref())?;
    let filter = listing.filter(size)?;
    let group = filter.group.clone();
    let mut schedules =
        doors
            .engine
            .list_schedules(filter)
            .await
            .map_err(|error| match &group {
                Some(group) => Error::of_group(&error, group),
                None => error.into(),
            })?;
    let more = page::cut(&mut schedules, size);
    let region = &doors.options.region;
    let shown: Vec<Value> = schedules
        .iter()
        .map(|schedule| summary(schedule, region))
        .collect();
    let mut answer = json!({"Schedules": shown});
    if let Some(last) = schedules.last().filter(|_| more) {
        let ScheduleKey { group, name } = &last.spec.key;
        answer["NextToken"] = page::token(&format!("{group}/{name}")).into();
    }
    Ok(Json(answer))
}

impl Listing {
    /// One more than a page, to see whether there are more.
    fn filter(&self, size: u32) -> Result<ScheduleFilter> {
        let group = self.schedule_group.as_deref();
        let group: Option<ScheduleGroupName> = group
            .map(|name| parse_name("groupName", name))
            .transpose()?;
        if let Some(prefix) = &self.name_prefix {
            parse_name::<ScheduleGroupName>("namePrefix", prefix)?;
        }
        let enabled = match self.state.as_deref() {
            None => None,
            Some("ENABLED") => Some(true),
            Some("DISABLED") => Some(false),
            Some(other) => return Err(Error::word("state", other, "ENABLED, DISABLED")),
        };
        let after = match self.next_token.as_deref().map(page::begin).transpose()? {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| page::invalid_token())?),
        };
        Ok(ScheduleFilter {
            group,
            prefix: self.name_prefix.clone().unwrap_or_default(),
            enabled,
            after,
            limit: size + 1,
        })
    }
}
