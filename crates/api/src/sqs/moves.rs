//! Moves of dead letters back to where they came from.

use super::error::{Error, Result};
use super::name::queue_of_arn;
use super::operation::{Call, maybe_number};
use model::{Kind, MoveState, MoveTask, QueueName};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Start {
    source_arn: String,
    #[serde(default)]
    destination_arn: Option<String>,
    #[serde(default, deserialize_with = "maybe_number")]
    max_number_of_messages_per_second: Option<u32>,
}

fn parse_arn(parameter: &str, arn: &str) -> Result<QueueName> {
    queue_of_arn(arn).ok_or_else(|| Error::value(parameter, "it is no queue's ARN"))
}

/// A queue that is not there is a resource here, not a queue, as on AWS.
fn of_engine(error: engine::Error) -> Error {
    match error.kind() {
        Kind::NotFound => Error::no_resource(&error.to_string()),
        _ => error.into(),
    }
}

pub(super) async fn start(call: &Call, input: Start) -> Result<Value> {
    let source = parse_arn("SourceArn", &input.source_arn)?;
    let destination = input.destination_arn.filter(|arn| !arn.is_empty());
    let destination = destination
        .map(|arn| parse_arn("DestinationArn", &arn))
        .transpose()?;
    let rate = input.max_number_of_messages_per_second;
    if rate.is_some_and(|rate| !(1..=500).contains(&rate)) {
        return Err(Error::value(
            "MaxNumberOfMessagesPerSecond",
            "it is 1 to 500",
        ));
    }
    let started = call
        .doors
        .engine
        .start_move(source, destination, rate)
        .await;
    let task = started.map_err(of_engine)?;
    Ok(json!({"TaskHandle": task.id.to_string()}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct List {
    source_arn: String,
    #[serde(default, deserialize_with = "maybe_number")]
    max_results: Option<u32>,
}

pub(super) async fn list(call: &Call, input: List) -> Result<Value> {
    let source = parse_arn("SourceArn", &input.source_arn)?;
    let limit = input.max_results.unwrap_or(1);
    if !(1..=10).contains(&limit) {
        return Err(Error::value("MaxResults", "it is 1 to 10"));
    }
    let tasks = call
        .doors
        .engine
        .list_moves(&source, limit)
        .await
        .map_err(of_engine)?;
    let shown: Vec<Value> = tasks.iter().map(|task| show(call, task)).collect();
    Ok(json!({"Results": shown}))
}

fn show(call: &Call, task: &MoveTask) -> Value {
    let mut shown = json!({
        "Status": task.state.as_str(),
        "SourceArn": call.arn(&task.source),
        "ApproximateNumberOfMessagesMoved": task.moved,
        "ApproximateNumberOfMessagesToMove": task.to_move,
        "StartedTimestamp": task.started.0,
    });
    // Only a task that runs can be cancelled by its handle.
    if task.state == MoveState::Running {
        shown["TaskHandle"] = task.id.to_string().into();
    }
    if let Some(destination) = &task.destination {
        shown["DestinationArn"] = call.arn(destination).into();
    }
    if let Some(rate) = task.rate {
        shown["MaxNumberOfMessagesPerSecond"] = rate.into();
    }
    if let Some(failure) = &task.failure {
        shown["FailureReason"] = failure.as_str().into();
    }
    shown
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Cancel {
    task_handle: String,
}

pub(super) async fn cancel(call: &Call, input: Cancel) -> Result<Value> {
    let missing = || Error::no_resource("there is no such message move task that runs");
    let id = uuid::Uuid::try_parse(&input.task_handle).map_err(|_| missing())?;
    let cancelled = call.doors.engine.cancel_move(id).await;
    let moved = cancelled.map_err(of_engine)?;
    Ok(json!({"ApproximateNumberOfMessagesMoved": moved}))
}
