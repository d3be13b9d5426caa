//! Tags of buses and rules.

use super::Asked;
use super::error::{Error, Result};
use super::names::{Tagged, tagged};
use model::MAX_TAGS;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A tag as requests and answers have it.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Tag {
    key: String,
    value: String,
}

/// Checks tags by AWS's bounds: 50 of them, keys of 1 to 128 characters, values of at most 256.
pub(super) fn tags_of(tags: Vec<Tag>) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for tag in tags {
        if tag.key.is_empty() || tag.key.chars().count() > 128 {
            return Err(Error::validation(
                "a tag's Key must have 1 to 128 characters",
            ));
        }
        if tag.value.chars().count() > 256 {
            return Err(Error::validation(
                "a tag's Value must have at most 256 characters",
            ));
        }
        found.insert(tag.key, tag.value);
    }
    check_count(&found)?;
    Ok(found)
}

fn check_count(tags: &BTreeMap<String, String>) -> Result<()> {
    match tags.len() <= MAX_TAGS {
        true => Ok(()),
        false => Err(Error::validation("there may be at most 50 tags")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    #[serde(rename = "ResourceARN")]
    arn: String,
    #[serde(rename = "Tags")]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    #[serde(rename = "ResourceARN")]
    arn: String,
    #[serde(rename = "TagKeys")]
    keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(rename = "ResourceARN")]
    arn: String,
}

async fn read(asked: &Asked, arn: &str) -> Result<BTreeMap<String, String>> {
    let engine = &asked.doors.engine;
    Ok(match tagged(arn)? {
        Tagged::Bus(name) => engine.get_bus(&name).await?.tags,
        Tagged::Rule(bus, name) => engine.get_rule(&bus, &name).await?.tags,
    })
}

async fn change(
    asked: &Asked,
    arn: &str,
    change: impl FnOnce(&mut BTreeMap<String, String>) + Send + 'static,
) -> Result<()> {
    let engine = &asked.doors.engine;
    match tagged(arn)? {
        Tagged::Bus(name) => {
            let done = engine.update_bus(&name, move |bus| change(&mut bus.tags));
            done.await.map(drop)?;
        }
        Tagged::Rule(bus, name) => {
            let done = engine.update_rule(&bus, &name, move |rule| change(&mut rule.tags));
            done.await?;
        }
    }
    Ok(())
}

/// TagResource.
pub(super) async fn add(asked: Asked) -> Result<Value> {
    let add: Add = asked.read()?;
    let new = tags_of(add.tags)?;
    let mut all = read(&asked, &add.arn).await?;
    all.extend(new.clone());
    check_count(&all)?;
    change(&asked, &add.arn, move |tags| tags.extend(new)).await?;
    Ok(json!({}))
}

/// UntagResource.
pub(super) async fn remove(asked: Asked) -> Result<Value> {
    let remove: Remove = asked.read()?;
    let keys = remove.keys;
    let without = move |tags: &mut BTreeMap<String, String>| {
        tags.retain(|key, _| !keys.contains(key));
    };
    change(&asked, &remove.arn, without).await?;
    Ok(json!({}))
}

/// ListTagsForResource.
pub(super) async fn list(asked: Asked) -> Result<Value> {
    let list: List = asked.read()?;
    let tags = read(&asked, &list.arn).await?.into_iter();
    let tags: Vec<Tag> = tags.map(|(key, value)| Tag { key, value }).collect();
    Ok(json!({"Tags": tags}))
}
