//! The door of the Amazon EventBridge API, version 2015-10-07
//! (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_Operations.html>): AWS JSON 1.1,
//! the operation in `X-Amz-Target: AWSEvents.NAME`.
//!
//! Served: PutEvents; CreateEventBus, UpdateEventBus, DeleteEventBus, DescribeEventBus,
//! ListEventBuses; PutRule, DeleteRule, DescribeRule, ListRules, EnableRule, DisableRule; PutTargets,
//! RemoveTargets, ListTargetsByRule, ListRuleNamesByTarget; TestEventPattern; TagResource,
//! UntagResource, ListTagsForResource. Functions and services may put events and no more. A parameter
//! that is not known is refused, never passed over.

mod buses;
mod entries;
mod error;
mod names;
mod page;
mod patterns;
mod rules;
mod tags;
mod targets;

use crate::auth::{Refused, Verified};
use crate::body;
use crate::doors::Doors;
use crate::server::Origin;
use crate::whole::whole;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Extension, Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use error::{Error, JSON, Result};
use http::header::CONTENT_TYPE;
use model::Principal;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Largest request: ten entries of 1 MB in all, escaped.
const MAX_BODY: usize = 6 * 1024 * 1024;

/// Begins the name of every operation.
const PREFIX: &str = "AWSEvents.";

/// What an operation is given.
struct Asked {
    doors: Doors,
    origin: Origin,
    body: Bytes,
}

impl Asked {
    /// The parameters.
    fn read<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Error::validation(error.to_string()),
            _ => Error::serialization(error.to_string()),
        })
    }
}

/// The routes of this door: all of it is one POST.
pub(crate) fn router(doors: Doors) -> Router {
    Router::new()
        .fallback(operate)
        .layer(DefaultBodyLimit::disable())
        .with_state(doors)
}

/// Says in the dialect of this door why a request was not let in.
pub(crate) fn refuse(refused: &Refused) -> Response {
    Error::of_refused(refused).into_response()
}

async fn operate(
    verified: Verified,
    State(doors): State<Doors>,
    Extension(origin): Extension<Origin>,
    request: Request,
) -> Result<Response> {
    let (parts, stream) = request.into_parts();
    let target = parts.headers.get("x-amz-target");
    let target = target.and_then(|value| value.to_str().ok()).unwrap_or("");
    let name = target.strip_prefix(PREFIX).unwrap_or(target).to_owned();
    may(&verified, &name)?;
    let body = body::read(&parts.headers, stream, MAX_BODY).await?;
    let asked = Asked {
        doors,
        origin,
        body,
    };
    // Carried out whole, whatever becomes of the client.
    let answer = whole(async move { answer(&name, asked).await }).await?;
    let body = match answer {
        Value::Null => String::new(),
        answer => answer.to_string(),
    };
    Ok(([(CONTENT_TYPE, JSON)], body).into_response())
}

fn may(verified: &Verified, action: &str) -> Result<()> {
    match verified.get() {
        Principal::Root => Ok(()),
        _ if action == "PutEvents" => Ok(()),
        other => Err(Error::access_denied(&other.key(), action)),
    }
}

async fn answer(name: &str, asked: Asked) -> Result<Value> {
    match name {
        "PutEvents" => entries::put(asked).await,
        "TestEventPattern" => patterns::test(&asked),
        "CreateEventBus" => buses::create(asked).await,
        "UpdateEventBus" => buses::update(asked).await,
        "DeleteEventBus" => buses::delete(asked).await,
        "DescribeEventBus" => buses::describe(asked).await,
        "ListEventBuses" => buses::list(asked).await,
        "PutRule" => rules::put(asked).await,
        "DeleteRule" => rules::delete(asked).await,
        "DescribeRule" => rules::describe(asked).await,
        "ListRules" => rules::list(asked).await,
        "EnableRule" => rules::switch(asked, true).await,
        "DisableRule" => rules::switch(asked, false).await,
        "PutTargets" => targets::put(asked).await,
        "RemoveTargets" => targets::remove(asked).await,
        "ListTargetsByRule" => targets::list(asked).await,
        "ListRuleNamesByTarget" => targets::rules_of(asked).await,
        "TagResource" => tags::add(asked).await,
        "UntagResource" => tags::remove(asked).await,
        "ListTagsForResource" => tags::list(asked).await,
        other => Err(Error::unknown_operation(other)),
    }
}

/// An object without what is null: AWS leaves out what is not there.
fn without_null(mut value: Value) -> Value {
    if let Value::Object(object) = &mut value {
        object.retain(|_, value| !value.is_null());
    }
    value
}

/// A point in time as AWS JSON writes it: seconds.
fn seconds(time: model::Timestamp) -> Value {
    json!(time.0 as f64 / 1000.0)
}
