//! The resource `/tags/ARN`: TagResource, UntagResource and ListTagsForResource. Groups have tags;
//! schedules have none, as in AWS.

use super::error::{Error, Result};
use super::{Asked, owner};
use crate::auth::Verified;
use crate::doors::Doors;
use axum::Json;
use axum::extract::{Path, Request, State};
use model::ScheduleGroupName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most tags of one group (AWS's bound).
const MOST: usize = 200;

/// One tag.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    key: String,
    value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Tagging {
    tags: Vec<Tag>,
}

/// Tags by their keys, each within its bounds.
pub(super) fn collect(tags: Vec<Tag>) -> Result<BTreeMap<String, String>> {
    if tags.len() > MOST {
        return Err(Error::too_long("tags", MOST));
    }
    let mut collected = BTreeMap::new();
    for Tag { key, value } in tags {
        if !(1..=128).contains(&key.chars().count()) {
            return Err(Error::too_long("tags.member.key", 128));
        }
        if value.chars().count() > 256 {
            return Err(Error::too_long("tags.member.value", 256));
        }
        collected.insert(key, value);
    }
    Ok(collected)
}

/// The group that an ARN names. Region and account are not compared.
fn group_of(arn: &str) -> Result<ScheduleGroupName> {
    let refused = || {
        let pattern =
            "arn:aws[a-z-]*:scheduler:[a-z0-9\\-]+:\\d{12}:schedule-group\\/[0-9a-zA-Z-_.]+";
        Error::pattern("resourceArn", arn, pattern)
    };
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    match fields[..] {
        ["arn", partition, "scheduler", _, _, resource] if partition.starts_with("aws") => {
            let name = resource
                .strip_prefix("schedule-group/")
                .ok_or_else(refused)?;
            name.parse().map_err(|_| refused())
        }
        _ => Err(refused()),
    }
}

/// ListTagsForResource.
pub(super) async fn list(
    verified: Verified,
    State(doors): State<Doors>,
    Path(arn): Path<String>,
) -> Result<Json<Value>> {
    owner(&verified, "ListTagsForResource")?;
    let name = group_of(&arn)?;
    let found = doors.engine.get_schedule_group(name.clone()).await;
    let group = found.map_err(|error| Error::of_group(&error, &name))?;
    let tags = group.tags.into_iter();
    let tags: Vec<Tag> = tags.map(|(key, value)| Tag { key, value }).collect();
    Ok(Json(json!({"Tags": tags})))
}

/// TagResource.
pub(super) async fn add(
    verified: Verified,
    State(doors): State<Doors>,
    Path(arn): Path<String>,
    request: Request,
) -> Result<Json<Value>> {
    owner(&verified, "TagResource")?;
    let name = group_of(&arn)?;
    let tagging: Tagging = Asked::read(request).await?.json()?;
    let tags = collect(tagging.tags)?;
    let found = doors.engine.get_schedule_group(name.clone()).await;
    let before = found.map_err(|error| Error::of_group(&error, &name))?.tags;
    let new = tags.keys().filter(|key| !before.contains_key(*key)).count();
    if before.len() + new > MOST {
        return Err(Error::too_long("tags", MOST));
    }
    let change = move |kept: &mut BTreeMap<String, String>| kept.extend(tags);
    let changed = doors.engine.tag_schedule_group(name.clone(), change).await;
    changed.map_err(|error| Error::of_group(&error, &name))?;
    Ok(Json(json!({})))
}

/// UntagResource.
pub(super) async fn remove(
    verified: Verified,
    State(doors): State<Doors>,
    Path(arn): Path<String>,
    request: Request,
) -> Result<Json<Value>> {
    owner(&verified, "UntagResource")?;
    let name = group_of(&arn)?;
    // One pair for each key.
    let query: Vec<(String, String)> = Asked::read(request).await?.query()?;
    let keys = query.into_iter().filter(|(name, _)| name == "TagKeys");
    let keys: Vec<String> = keys.map(|(_, key)| key).collect();
    let change =
        move |kept: &mut BTreeMap<String, String>| kept.retain(|key, _| !keys.contains(key));
    let changed = doors.engine.tag_schedule_group(name.clone(), change).await;
    changed.map_err(|error| Error::of_group(&error, &name))?;
    Ok(Json(json!({})))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_groups_have_tags() {
        let group = group_of("arn:aws:scheduler:us-east-1:000000000000:schedule-group/a.b");
        assert_eq!(group.unwrap().as_str(), "a.b");
        for bad in [
            "",
            "a",
            "arn:aws:scheduler:us-east-1:000000000000:schedule/default/s",
            "arn:aws:lambda:us-east-1:000000000000:schedule-group/a",
            "arn:aws:scheduler:us-east-1:000000000000:schedule-group/a/b",
        ] {
            assert!(group_of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_have_bounds() {
        let tag = |key: usize, value: usize| Tag {
            key: "k".repeat(key),
            value: "v".repeat(value),
        };
        assert!(collect(vec![tag(128, 256)]).is_ok());
        for bad in [tag(0, 1), tag(129, 1), tag(1, 257)] {
            assert!(collect(vec![bad]).is_err());
        }
        assert!(collect((1..202).map(|length| tag(length.min(128), 1)).collect()).is_err());
    }
}
