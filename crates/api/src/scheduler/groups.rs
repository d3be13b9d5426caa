//! The resources `/schedule-groups` and `/schedule-groups/NAME`: CreateScheduleGroup,
//! GetScheduleGroup, DeleteScheduleGroup and ListScheduleGroups.

use super::error::{Error, Result};
use super::tags::Tag;
use super::{Asked, owner, page, parse_name, seconds, tags};
use crate::auth::Verified;
use crate::doors::Doors;
use axum::Json;
use axum::extract::{Path, Request, State};
use model::{ScheduleGroup, ScheduleGroupName};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Creation {
    tags: Vec<Tag>,
    client_token: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Deletion {
    client_token: Option<String>,
}

/// The query of ListScheduleGroups.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Listing {
    name_prefix: Option<String>,
    next_token: Option<String>,
    max_results: Option<String>,
}

/// CreateScheduleGroup.
pub(super) async fn create(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>> {
    owner(&verified, "CreateScheduleGroup")?;
    let asked = Asked::read(request).await?;
    let creation: Creation = asked.json()?;
    let once = asked.once(creation.client_token)?;
    let name: ScheduleGroupName = parse_name("name", &name)?;
    if name.is_default() {
        return Err(Error::default_group());
    }
    let tags = tags::collect(creation.tags)?;
    let made = doors.engine.create_schedule_group(name.clone(), tags, once);
    made.await.map_err(|error| Error::of_group(&error, &name))?;
    let arn = ScheduleGroup::arn(&name, &doors.options.region);
    Ok(Json(json!({"ScheduleGroupArn": arn})))
}

/// GetScheduleGroup.
pub(super) async fn get(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
) -> Result<Json<Value>> {
    owner(&verified, "GetScheduleGroup")?;
    let name: ScheduleGroupName = parse_name("name", &name)?;
    let found = doors.engine.get_schedule_group(name.clone()).await;
    let group = found.map_err(|error| Error::of_group(&error, &name))?;
    Ok(Json(render(&group, &doors.options.region)))
}

/// DeleteScheduleGroup, with all of its schedules. It is gone when this answers; AWS takes a while.
pub(super) async fn delete(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>> {
    owner(&verified, "DeleteScheduleGroup")?;
    let asked = Asked::read(request).await?;
    let deletion: Deletion = asked.query()?;
    let once = asked.once(deletion.client_token)?;
    let name: ScheduleGroupName = parse_name("name", &name)?;
    if name.is_default() {
        return Err(Error::default_group());
    }
    let deleted = doors.engine.delete_schedule_group(name.clone(), once).await;
    deleted.map_err(|error| Error::of_group(&error, &name))?;
    Ok(Json(json!({})))
}

/// ListScheduleGroups.
pub(super) async fn list(
    verified: Verified,
    State(doors): State<Doors>,
    request: Request,
) -> Result<Json<Value>> {
    owner(&verified, "ListScheduleGroups")?;
    let listing: Listing = Asked::read(request).await?.query()?;
    let size = page::size(listing.max_results.as_deref())?;
    let after = listing.next_token.as_deref().map(page::begin).transpose()?;
    let prefix = listing.name_prefix.unwrap_or_default();
    if !prefix.is_empty() {
        parse_name::<ScheduleGroupName>("namePrefix", &prefix)?;
    }
    let listed = doors
        .engine
        .list_schedule_groups(prefix, after.unwrap_or_default(), size + 1);
    let mut groups = listed.await?;
    let more = page::cut(&mut groups, size);
    let region = &doors.options.region;
    let shown: Vec<Value> = groups.iter().map(|group| render(group, region)).collect();
    let mut answer = json!({"ScheduleGroups": shown});
    if let Some(last) = groups.last().filter(|_| more) {
        answer["NextToken"] = page::token(last.name.as_str()).into();
    }
    Ok(Json(answer))
}

fn render(group: &ScheduleGroup, region: &str) -> Value {
    json!({
        "Arn": ScheduleGroup::arn(&group.name, region),
        "Name": group.name,
        "State": "ACTIVE",
        "CreationDate": seconds(group.created),
        "LastModificationDate": seconds(group.modified),
    })
}
