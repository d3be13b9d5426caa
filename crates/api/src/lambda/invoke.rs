//! The resource `/functions/NAME/invocations`: Invoke.

use super::configuration::Qualified;
use super::error::{Error, Result};
use super::functions::{not_found_at, read_body};
use super::name::{FunctionRef, LATEST};
use crate::Origin;
use crate::auth::Verified;
use crate::doors::Doors;
use crate::idempotency;
use axum::extract::{Extension, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine::{Answer, Call};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use model::{
    Delivery, EventId, FunctionName, Kind, MAX_ASYNC_PAYLOAD, MAX_PAYLOAD, NewEvent, Principal,
    Qualifier, RequestId, Target, Timestamp,
};

const OPERATION: &str = "Invoke";

/// Longest client context in base64, in bytes (AWS's bound).
const MAX_CLIENT_CONTEXT: usize = 3583;

/// Longest trace id that is passed on, in bytes; a longer one is left out.
const MAX_TRACE_ID: usize = 256;

/// Most of the log that is sent back, in bytes (AWS's bound).
const MAX_LOG_TAIL: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Wait,
    Event,
    DryRun,
}

/// Invoke. Anybody who was verified may: the owner, functions and services.
pub(super) async fn invoke(
    who: Verified,
    State(doors): State<Doors>,
    Extension(origin): Extension<Origin>,
    Extension(id): Extension<RequestId>,
    Path(name): Path<String>,
    Query(query): Query<Qualified>,
    request: Request,
) -> Result<Response> {
    let asked = FunctionRef::parse(&name)?.qualified(query.qualifier.as_deref())?;
    let (name, qualifier) = asked;
    let headers = request.headers().clone();
    let way = way_of(&headers)?;
    let key = idempotency::key(&headers);
    if way == Way::Wait && key.is_some() {
        return Err(Error::invalid_parameter(idempotency::WAITS));
    }
    let limit = match way {
        Way::Event => MAX_ASYNC_PAYLOAD,
        Way::Wait | Way::DryRun => MAX_PAYLOAD,
    };
    // The answer carries our name for what is missing, as AWS does.
    let told = |error| match error {
        Failure::Engine(error) if error.kind() == Kind::NotFound => {
            not_found_at(&doors, &name, qualifier.as_ref())
        }
        Failure::Engine(error) => error.into(),
        Failure::Request(error) => error,
    };
    if let Origin::Instance { networks, .. } = &origin {
        let reach = doors
            .engine
            .check_function_reach(networks, &name, qualifier.as_ref());
        reach.map_err(|error| told(error.into()))?;
    }
    let payload = payload_of(read_body(request, limit, OPERATION).await?)?;
    let result = match way {
        Way::Wait => wait(&doors, &name, qualifier.clone(), &headers, id, payload).await,
        Way::Event => {
            let key = key.map(|key| (who.get().clone(), key));
            submit(&doors, &name, qualifier.clone(), &origin, key, payload).await
        }
        Way::DryRun => dry_run(&doors, &name, qualifier.as_ref()).await,
    };
    result.map_err(told)
}

/// What can stand in the way: the engine's word, or ours.
enum Failure {
    Engine(engine::Error),
    Request(Error),
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Request(error)
    }
}

async fn dry_run(
    doors: &Doors,
    name: &FunctionName,
    qualifier: Option<&Qualifier>,
) -> std::result::Result<Response, Failure> {
    doors.engine.get_qualified(name, qualifier).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Accepts an event for the function; the request id of the answer is the event's id. With an
/// `Idempotency-Key`, that of the first event that came with it.
async fn submit(
    doors: &Doors,
    name: &FunctionName,
    qualifier: Option<Qualifier>,
    origin: &Origin,
    key: Option<(Principal, String)>,
    payload: Bytes,
) -> std::result::Result<Response, Failure> {
    if qualifier.is_some() {
        doors.engine.get_qualified(name, qualifier.as_ref()).await?;
    }
    let cause = match origin {
        Origin::Client => None,
        Origin::Instance { instance, .. } => doors.engine.current_event(instance),
    };
    let event = NewEvent {
        id: EventId::generate(),
        target: Target::Function { name: name.clone() },
        source: "invoke".to_owned(),
        kind: "invoke".to_owned(),
        subject: String::new(),
        payload,
        accepted: Timestamp::now(),
        cause,
        replay_of: None,
        delivery: Delivery {
            qualifier,
            ..Delivery::default()
        },
    };
    // One request of the store, which is done whole: it needs no task of its own.
    let id = match key {
        Some((sender, key)) => doors.engine.submit_keyed(&sender, &key, event).await?,
        None => doors.engine.submit(event).await?,
    };
    let mut response = StatusCode::ACCEPTED.into_response();
    insert(response.headers_mut(), "x-amzn-requestid", &id.to_string());
    Ok(response)
}

async fn wait(
    doors: &Doors,
    name: &FunctionName,
    qualifier: Option<Qualifier>,
    headers: &HeaderMap,
    id: RequestId,
    payload: Bytes,
) -> std::result::Result<Response, Failure> {
    let call = Call {
        payload,
        http: None,
        client_context: client_context(headers)?,
        trace_id: trace_id(headers),
        qualifier,
        request_id: Some(id.clone()),
    };
    let log_tail = wants_log_tail(headers)?;
    let outcome = doors.engine.invoke(name, call).await?;
    let (payload, failed) = match engine::answer(outcome.ending, &id) {
        Answer::Result(payload) => (payload, false),
        Answer::Error(payload) => (payload, true),
        Answer::Unavailable(reason) => return Err(Error::unavailable(reason).into()),
    };
    let mut response = payload.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let version = outcome.version.map(|number| number.to_string());
    let version = version.as_deref().unwrap_or(LATEST);
    insert(headers, "x-amz-executed-version", version);
    if failed {
        insert(headers, "x-amz-function-error", "Unhandled");
    }
    if log_tail {
        let begin = outcome.log_tail.len().saturating_sub(MAX_LOG_TAIL);
        let text = STANDARD.encode(&outcome.log_tail[begin..]);
        insert(headers, "x-amz-log-result", &text);
    }
    Ok(response)
}

/// Sets a header whose value we made ourselves, from ASCII.
fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn way_of(headers: &HeaderMap) -> Result<Way> {
    match headers
        .get("x-amz-invocation-type")
        .map(HeaderValue::as_bytes)
    {
        None | Some(b"RequestResponse") => Ok(Way::Wait),
        Some(b"Event") => Ok(Way::Event),
        Some(b"DryRun") => Ok(Way::DryRun),
        Some(_) => Err(Error::invalid_parameter(
            "InvocationType must be RequestResponse, Event or DryRun",
        )),
    }
}

fn wants_log_tail(headers: &HeaderMap) -> Result<bool> {
    match headers.get("x-amz-log-type").map(HeaderValue::as_bytes) {
        None | Some(b"None") => Ok(false),
        Some(b"Tail") => Ok(true),
        Some(_) => Err(Error::invalid_parameter("LogType must be None or Tail")),
    }
}

/// The payload, which must be JSON. Of an empty one AWS makes `{}`.
fn payload_of(body: Bytes) -> Result<Bytes> {
    if body.is_empty() {
        return Ok(Bytes::from_static(b"{}"));
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(&body) {
        Ok(_) => Ok(body),
        Err(error) => Err(Error::invalid_content(format!(
            "Could not parse request body into json: {error}"
        ))),
    }
}

fn client_context(headers: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = headers.get("x-amz-client-context") else {
        return Ok(None);
    };
    let refused = |reason: &str| {
        Err(Error::invalid_content(format!(
            "Client context must be a valid Base64-encoded JSON object: {reason}"
        )))
    };
    if value.len() > MAX_CLIENT_CONTEXT {
        return refused("it has more than 3583 bytes");
    }
    let Ok(decoded) = STANDARD.decode(value.as_bytes()) else {
        return refused("it is not base64");
    };
    match String::from_utf8(decoded) {
        Ok(text) if engine::is_json(text.as_bytes()) => Ok(Some(text)),
        _ => refused("it is not JSON"),
    }
}

fn trace_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("x-amzn-trace-id")?.to_str().ok()?;
    (text.len() <= MAX_TRACE_ID).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn an_empty_payload_is_an_empty_object_and_no_json_is_refused() {
        assert_eq!(&payload_of(Bytes::new()).unwrap()[..], b"{}");
        assert_eq!(&payload_of(Bytes::from_static(b" 1 ")).unwrap()[..], b" 1 ");
        let error = payload_of(Bytes::from_static(b"{x}")).unwrap_err();
        assert_eq!(error.name(), "InvalidRequestContentException");
    }

    #[test]
    fn the_three_ways_are_told_apart() {
        let of = |value| way_of(&headers("x-amz-invocation-type", value));
        assert_eq!(way_of(&HeaderMap::new()).unwrap(), Way::Wait);
        assert_eq!(of("Event").unwrap(), Way::Event);
        assert_eq!(of("DryRun").unwrap(), Way::DryRun);
        assert!(of("event").is_err());
    }

    #[test]
    fn a_client_context_is_decoded_and_bounded() {
        let of = |text: &str| client_context(&headers("x-amz-client-context", text));
        let encoded = STANDARD.encode(r#"{"custom":{"a":"b"}}"#);
        assert_eq!(of(&encoded).unwrap().unwrap(), r#"{"custom":{"a":"b"}}"#);
        assert!(of("%%%").is_err());
        assert!(of(&STANDARD.encode("no json")).is_err());
        assert!(of(&"A".repeat(3584)).is_err());
        assert!(client_context(&HeaderMap::new()).unwrap().is_none());
    }
}
