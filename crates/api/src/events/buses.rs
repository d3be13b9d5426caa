//! Event buses.

use super::error::{Error, Result};
use super::page::Page;
use super::tags::{Tag, tags_of};
use super::{Asked, names, seconds, without_null};
use crate::arn;
use model::{Bus, Target};
use serde::Deserialize;
use serde_json::{Value, json};

/// Longest description (EventBridge's bound).
pub(super) const MAX_DESCRIPTION: usize = 512;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Create {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Named {
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct List {
    name_prefix: Option<String>,
    limit: Option<usize>,
    next_token: Option<String>,
}

/// Refuses a description that is too long.
pub(super) fn check_description(text: &str) -> Result<()> {
    match text.len() <= MAX_DESCRIPTION {
        true => Ok(()),
        false => Err(Error::validation("Description has more than 512 bytes")),
    }
}

fn arn_of(bus: &Bus, region: &str) -> String {
    let name = bus.name.clone();
    arn::of(&Target::Bus { name }, region)
}

fn shown(bus: &Bus, region: &str) -> Value {
    without_null(json!({
        "Name": bus.name,
        "Arn": arn_of(bus, region),
        "Description": (!bus.description.is_empty()).then_some(&bus.description),
        "CreationTime": seconds(bus.created),
        "LastModifiedTime": seconds(bus.modified),
    }))
}

/// CreateEventBus.
pub(super) async fn create(asked: Asked) -> Result<Value> {
    let create: Create = asked.read()?;
    check_description(&create.description)?;
    let (name, tags) = (create.name.parse()?, tags_of(create.tags)?);
    let engine = &asked.doors.engine;
    let bus = engine.create_bus(name, create.description, tags).await?;
    Ok(without_null(json!({
        "EventBusArn": arn_of(&bus, &asked.doors.options.region),
        "Description": (!bus.description.is_empty()).then_some(bus.description),
    })))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Update {
    name: Option<String>,
    #[serde(default)]
    description: String,
}

/// UpdateEventBus.
pub(super) async fn update(asked: Asked) -> Result<Value> {
    let update: Update = asked.read()?;
    check_description(&update.description)?;
    let name = names::bus(update.name.as_deref())?;
    let description = update.description;
    let change = move |bus: &mut Bus| bus.description = description;
    let bus = asked.doors.engine.update_bus(&name, change).await?;
    let region = &asked.doors.options.region;
    Ok(json!({"Name": bus.name, "Arn": arn_of(&bus, region), "Description": bus.description}))
}

/// DeleteEventBus: nothing happens if there is none, as in AWS.
pub(super) async fn delete(asked: Asked) -> Result<Value> {
    let named: Named = asked.read()?;
    let name = named
        .name
        .ok_or_else(|| Error::validation("Name is missing"))?;
    match asked
        .doors
        .engine
        .delete_bus(&names::bus(Some(&name))?)
        .await
    {
        Ok(()) => Ok(Value::Null),
        Err(error) if error.kind() == model::Kind::NotFound => Ok(Value::Null),
        // The one conflict is that it still has rules.
        Err(error) if error.kind() == model::Kind::Conflict => {
            Err(Error::validation(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// DescribeEventBus.
pub(super) async fn describe(asked: Asked) -> Result<Value> {
    let named: Named = asked.read()?;
    let name = names::bus(named.name.as_deref())?;
    let bus = asked.doors.engine.get_bus(&name).await?;
    Ok(shown(&bus, &asked.doors.options.region))
}

/// ListEventBuses.
pub(super) async fn list(asked: Asked) -> Result<Value> {
    let list: List = asked.read()?;
    let prefix = list.name_prefix.unwrap_or_default();
    let page = Page {
        limit: list.limit,
        token: list.next_token,
    };
    let buses = asked.doors.engine.list_buses().await?.into_iter();
    let buses = buses.filter(|bus| bus.name.as_str().starts_with(&prefix));
    let (buses, token) = page.of(buses, |bus| bus.name.to_string())?;
    let region = &asked.doors.options.region;
    let shown: Vec<Value> = buses.iter().map(|bus| shown(bus, region)).collect();
    Ok(without_null(
        json!({"EventBuses": shown, "NextToken": token}),
    ))
}
