//! The door of Amazon SQS, version 2012-11-05
//! (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html>).
//!
//! Two protocols, one set of operations: the JSON protocol names its operation in `X-Amz-Target`, the
//! query protocol in the parameter `Action` of a form or a query, and may name the queue by the path.
//! A query request is read into the shape that the JSON protocol has, and its answer is written as XML
//! from that shape. Functions and services use queues; only the owner of the server changes them.

mod attributes;
mod batch;
mod digest;
mod error;
mod messages;
mod moves;
mod name;
mod operation;
mod query;
mod queues;
mod receive;
mod xml;

use crate::auth::{Refused, Verified};
use crate::body;
use crate::doors::Doors;
use crate::server::Origin;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::response::Response;
use error::{Error, Result};
use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use model::RequestId;
use operation::Call;
use serde_json::Value;

pub(crate) use name::{arn, queue_of_arn};

/// Largest request body. A batch has 1 MiB at most, and escapes make more of it.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// Which of the two protocols a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Json,
    Query,
}

impl Dialect {
    /// Only the JSON protocol has a target.
    pub(crate) fn of(parts: &Parts) -> Self {
        if parts.headers.contains_key("x-amz-target") {
            Self::Json
        } else {
            Self::Query
        }
    }
}

/// The routes of this door: every path is taken, since a queue's URL is one.
pub(crate) fn router(doors: Doors) -> Router {
    Router::new()
        .fallback(serve)
        // The bound is this door's own, which is larger than axum's.
        .layer(DefaultBodyLimit::disable())
        .with_state(doors)
}

/// Says in the dialect of the request why it was not let in.
pub(crate) fn refuse(refused: &Refused, dialect: Dialect) -> Response {
    Error::of_refused(refused).render(dialect, &RequestId::generate())
}

async fn serve(verified: Verified, State(doors): State<Doors>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let dialect = Dialect::of(&parts);
    let known = parts.extensions.get::<RequestId>().cloned();
    let id = known.unwrap_or_else(RequestId::generate);
    let answered = async {
        let body = body::read(&parts.headers, body, MAX_BODY).await;
        let body = body.map_err(Error::of_body)?;
        let (action, input) = match dialect {
            Dialect::Json => read_json(&parts, &body)?,
            Dialect::Query => query::read(&parts, &body)?,
        };
        let call = Call {
            base: base_of(&parts),
            who: verified.get().clone(),
            origin: parts.extensions.get().cloned().unwrap_or(Origin::Client),
            doors,
        };
        let answer = operation::carry_out(&call, &action, input).await?;
        Ok((action, answer))
    };
    match answered.await {
        Ok((action, answer)) => render(dialect, &action, &answer, &id),
        Err(error) => Error::render(&error, dialect, &id),
    }
}

fn read_json(parts: &Parts, body: &[u8]) -> Result<(String, Value)> {
    let target = parts.headers.get("x-amz-target");
    let target = target.and_then(|value| value.to_str().ok()).unwrap_or("");
    let action = target
        .strip_prefix("AmazonSQS.")
        .ok_or_else(|| Error::invalid_action(target))?;
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    let input = serde_json::from_slice(body)
        .map_err(|error| Error::malformed(format!("the body is not JSON: {error}")))?;
    Ok((action.to_owned(), input))
}

/// What queue URLs begin with: as the client named the server.
fn base_of(parts: &Parts) -> String {
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    format!("http://{}", host.or(authority).unwrap_or("localhost"))
}

fn render(dialect: Dialect, action: &str, answer: &Value, id: &RequestId) -> Response {
    let (kind, body) = match dialect {
        Dialect::Json => ("application/x-amz-json-1.0", answer.to_string()),
        Dialect::Query => ("text/xml", xml::answer(action, answer, id)),
    };
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
