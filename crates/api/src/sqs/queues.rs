//! Operations on queues.

use super::attributes::{self, apply};
use super::error::{Error, Result};
use super::operation::{Call, OfQueue, maybe_number};
use model::{Kind, MAX_TAGS, QueueAttributes, QueueName};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Most queues in one answer.
const PAGE: u32 = 1_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    queue_name: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default, rename = "tags")]
    tags: BTreeMap<String, String>,
}

fn parse_name(text: &str) -> Result<QueueName> {
    text.parse().map_err(|_| {
        Error::value(
            "QueueName",
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        )
    })
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<()> {
    let legal = |(key, value): (&String, &String)| {
        (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256
    };
    if tags.len() <= MAX_TAGS && tags.iter().all(legal) {
        return Ok(());
    }
    Err(Error::value(
        "Tags",
        "a queue has at most 50 tags; a key has 1 to 128 characters, a value at most 256",
    ))
}

pub(super) async fn create(call: &Call, input: Create) -> Result<Value> {
    let name = parse_name(&input.queue_name)?;
    if name.is_fifo() && input.attributes.get("FifoQueue").map(String::as_str) != Some("true") {
        let reason = "a name that ends with .fifo needs the attribute FifoQueue true";
        return Err(Error::value("QueueName", reason));
    }
    check_tags(&input.tags)?;
    let mut wanted = QueueAttributes::default();
    apply(&mut wanted, &name, &input.attributes)?;
    wanted
        .check(&name)
        .map_err(|invalid| Error::attribute_value(&invalid.field, &invalid.reason))?;
    let created = call
        .doors
        .engine
        .create_queue(name.clone(), wanted, input.tags)
        .await;
    let (queue, made) = created?;
    if !made {
        // What is not said is not compared.
        let mut same = queue.attributes.clone();
        apply(&mut same, &name, &input.attributes)?;
        if same != queue.attributes {
            return Err(Error::queue_exists(name.as_str()));
        }
    }
    Ok(json!({"QueueUrl": call.url(&name)}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetUrl {
    queue_name: String,
}

pub(super) async fn get_url(call: &Call, input: GetUrl) -> Result<Value> {
    let name = parse_name(&input.queue_name)?;
    call.doors.engine.get_queue(&name).await?;
    Ok(json!({"QueueUrl": call.url(&name)}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct List {
    #[serde(default)]
    queue_name_prefix: String,
    #[serde(default)]
    next_token: Option<String>,
    #[serde(default, deserialize_with = "maybe_number")]
    max_results: Option<u32>,
}

fn page_of(max_results: Option<u32>) -> Result<u32> {
    match max_results {
        Some(count) if !(1..=PAGE).contains(&count) => {
            Err(Error::value("MaxResults", "it is 1 to 1000"))
        }
        count => Ok(count.unwrap_or(PAGE)),
    }
}

/// A page of names as URLs. The token is the page's last name, given only where a page was asked for.
fn page(call: &Call, member: &str, names: &[QueueName], limit: u32, paged: bool) -> Value {
    let urls: Vec<String> = names.iter().map(|name| call.url(name)).collect();
    let mut answer = json!({member: urls});
    let full = names.len() == usize::try_from(limit).unwrap_or(usize::MAX);
    if let (true, true, Some(last)) = (paged, full, names.last()) {
        answer["NextToken"] = last.as_str().into();
    }
    answer
}

pub(super) async fn list(call: &Call, input: List) -> Result<Value> {
    let limit = page_of(input.max_results)?;
    let after = input.next_token.unwrap_or_default();
    let queues = call
        .doors
        .engine
        .list_queues(input.queue_name_prefix, after, limit)
        .await?;
    let names: Vec<QueueName> = queues.into_iter().map(|queue| queue.name).collect();
    Ok(page(
        call,
        "QueueUrls",
        &names,
        limit,
        input.max_results.is_some(),
    ))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListSources {
    #[serde(flatten)]
    queue: OfQueue,
    #[serde(default)]
    next_token: Option<String>,
    #[serde(default, deserialize_with = "maybe_number")]
    max_results: Option<u32>,
}

pub(super) async fn list_sources(call: &Call, input: ListSources) -> Result<Value> {
    let limit = page_of(input.max_results)?;
    let after = input.next_token.unwrap_or_default();
    let of = input.queue.name()?;
    let names = call
        .doors
        .engine
        .dead_letter_sources(&of, after, limit)
        .await?;
    Ok(page(
        call,
        "queueUrls",
        &names,
        limit,
        input.max_results.is_some(),
    ))
}

pub(super) async fn delete(call: &Call, input: OfQueue) -> Result<Value> {
    match call.doors.engine.delete_queue(&input.name()?).await {
        // As on AWS, deleting what is not there is no error.
        Err(error) if error.kind() == Kind::NotFound => Ok(json!({})),
        done => Ok(done.map(|()| json!({}))?),
    }
}

pub(super) async fn purge(call: &Call, input: OfQueue) -> Result<Value> {
    call.doors.engine.purge_queue(&input.name()?).await?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetAttributes {
    #[serde(flatten)]
    queue: OfQueue,
    #[serde(default)]
    attribute_names: Vec<String>,
}

pub(super) async fn get_attributes(call: &Call, input: GetAttributes) -> Result<Value> {
    let name = input.queue.name()?;
    attributes::check_names(&input.attribute_names)?;
    let engine = &call.doors.engine;
    let queue = engine.get_queue(&name).await?;
    let counts = engine.queue_counts(&name).await?;
    let region = &call.doors.options.region;
    let shown = attributes::show(&queue, counts, region, &input.attribute_names);
    if shown.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(json!({}));
    }
    Ok(json!({"Attributes": shown}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetAttributes {
    #[serde(flatten)]
    queue: OfQueue,
    attributes: BTreeMap<String, String>,
}

pub(super) async fn set_attributes(call: &Call, input: SetAttributes) -> Result<Value> {
    let name = input.queue.name()?;
    if input.attributes.contains_key("FifoQueue") {
        return Err(Error::unknown_attribute("FifoQueue"));
    }
    // Said here in full; the store applies the same to what is there then.
    apply(&mut QueueAttributes::default(), &name, &input.attributes)?;
    let own = name.clone();
    let change = move |attributes: &mut QueueAttributes| {
        apply(attributes, &own, &input.attributes)
            .map_err(|error| model::Invalid::new("Attributes", error.message()))
    };
    match call.doors.engine.change_queue(&name, change).await {
        Ok(_) => Ok(json!({})),
        Err(engine::Error::Invalid(invalid)) => {
            Err(Error::attribute_value(&invalid.field, &invalid.reason))
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    #[serde(flatten)]
    queue: OfQueue,
    tags: BTreeMap<String, String>,
}

pub(super) async fn tag(call: &Call, input: Tag) -> Result<Value> {
    check_tags(&input.tags)?;
    let name = input.queue.name()?;
    call.doors
        .engine
        .tag_queue(&name, input.tags, Vec::new())
        .await?;
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Untag {
    #[serde(flatten)]
    queue: OfQueue,
    tag_keys: Vec<String>,
}

pub(super) async fn untag(call: &Call, input: Untag) -> Result<Value> {
    let name = input.queue.name()?;
    call.doors
        .engine
        .tag_queue(&name, BTreeMap::new(), input.tag_keys)
        .await?;
    Ok(json!({}))
}

pub(super) async fn list_tags(call: &Call, input: OfQueue) -> Result<Value> {
    let tags = call.doors.engine.get_queue(&input.name()?).await?.tags;
    if tags.is_empty() {
        return Ok(json!({}));
    }
    Ok(json!({"Tags": tags}))
}
