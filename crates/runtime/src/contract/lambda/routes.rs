//! The routes of the Runtime API, and the words in which it answers.

use super::body::{self, Posted};
use super::turn::{Refusal, Turn};
use crate::contract::{MAX_MESSAGE, cut, error_payload};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use model::{Ending, Invocation, MAX_PAYLOAD, Timestamp};
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;

type Answer = Response<Full<Bytes>>;

const PREFIX: &str = "/2018-06-01/runtime/";
/// Longest error type that is kept.
const MAX_ERROR_TYPE: usize = 256;
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";
/// Trailers of a streamed answer that failed on its way.
const ERROR_BODY: &str = "lambda-runtime-function-error-body";

/// Answers one request of the instance.
pub(super) async fn answer(
    turn: Arc<Turn>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let Some(path) = head.uri.path().strip_prefix(PREFIX) else {
        return Ok(not_found());
    };
    let segments: Vec<&str> = path.split('/').collect();
    let answer = match (&head.method, segments.as_slice()) {
        (&Method::GET, ["invocation", "next"]) => next(&turn).await,
        (&Method::POST, ["invocation", id, "response"]) => response(&turn, id, body).await,
        (&Method::POST, ["invocation", id, "error"]) => error(&turn, id, &head.headers, body).await,
        (&Method::POST, ["init", "error"]) => init_error(&turn, &head.headers, body).await,
        _ => not_found(),
    };
    Ok(answer)
}

async fn next(turn: &Turn) -> Answer {
    let (invocation, deadline) = turn.next().await;
    let mut answer = Response::new(Full::new(invocation.payload.clone()));
    let headers = answer.headers_mut();
    set(headers, "content-type", "application/json");
    describe(headers, &invocation, deadline);
    answer
}

/// The headers that tell the instance about its call.
fn describe(headers: &mut HeaderMap, invocation: &Invocation, deadline: Timestamp) {
    let id = invocation.request_id.as_str();
    set(headers, "lambda-runtime-aws-request-id", id);
    set(
        headers,
        "lambda-runtime-deadline-ms",
        &deadline.0.to_string(),
    );
    set(
        headers,
        "lambda-runtime-invoked-function-arn",
        &invocation.function_arn,
    );
    set(headers, "lambda-runtime-trace-id", &invocation.trace_id);
    if let Some(context) = invocation.client_context.as_deref().and_then(one_line) {
        set(headers, "lambda-runtime-client-context", &context);
    }
}

/// A value that cannot be a header's is left out.
fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

/// JSON on one line of ASCII, so that every client reads it from a header alike; `None` if it is not
/// JSON.
fn one_line(json: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    let mut line = String::new();
    for c in value.to_string().chars() {
        if c.is_ascii() && !c.is_ascii_control() {
            line.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    Some(line)
}

async fn response(turn: &Turn, id: &str, body: Incoming) -> Answer {
    if let Err(refusal) = turn.expects(id) {
        body::discard(body).await;
        return refused(&refusal);
    }
    match body::read(body).await {
        Posted::Whole(payload, trailers) => {
            let ending = match text(&trailers, ERROR_TYPE) {
                Some(error_type) => streamed_error(&error_type, &trailers),
                None => Ending::Succeeded {
                    payload,
                    http: None,
                },
            };
            let settled = turn.settle(id, ending);
            // The caller is answered first: he waits, the instance only asks for more.
            tokio::task::yield_now().await;
            accept(settled)
        }
        Posted::TooLarge(rest) => too_large(turn, id, rest).await,
        Posted::Broken => broken(),
    }
}

/// A streamed answer whose trailers say that it failed on its way; their body is base64.
fn streamed_error(error_type: &str, trailers: &HeaderMap) -> Ending {
    use base64::Engine as _;
    let body = text(trailers, ERROR_BODY)
        .and_then(|body| base64::engine::general_purpose::STANDARD.decode(body).ok())
        .unwrap_or_default();
    Report::read(&body, Some(error_type.to_owned())).failed()
}

async fn error(turn: &Turn, id: &str, headers: &HeaderMap, body: Incoming) -> Answer {
    if let Err(refusal) = turn.expects(id) {
        body::discard(body).await;
        return refused(&refusal);
    }
    match body::read(body).await {
        Posted::Whole(payload, _) => {
            let report = Report::read(&payload, text(headers, ERROR_TYPE));
            accept(turn.settle(id, report.failed()))
        }
        Posted::TooLarge(rest) => too_large(turn, id, rest).await,
        Posted::Broken => broken(),
    }
}

async fn init_error(turn: &Turn, headers: &HeaderMap, body: Incoming) -> Answer {
    match body::read(body).await {
        Posted::Whole(payload, _) => {
            let report = Report::read(&payload, text(headers, ERROR_TYPE));
            accept(turn.fail_init(Ending::InitFailed {
                error_type: report.error_type,
                message: report.message,
            }))
        }
        Posted::TooLarge(rest) => {
            body::discard(rest).await;
            let refusal = format!("The error is more than {MAX_PAYLOAD} bytes");
            say(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLarge",
                &refusal,
            )
        }
        Posted::Broken => broken(),
    }
}

/// An error as a function tells it.
struct Report {
    error_type: String,
    message: String,
    payload: Bytes,
}

impl Report {
    /// From a body that should be JSON with `errorType` and `errorMessage`, and may be anything.
    fn read(body: &[u8], header: Option<String>) -> Self {
        #[derive(Deserialize, Default)]
        #[serde(default, rename_all = "camelCase")]
        struct Told {
            error_type: serde_json::Value,
            error_message: serde_json::Value,
        }
        let json: Option<Told> = serde_json::from_slice(body).ok();
        let plain = |value: serde_json::Value| match value {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(text),
            other => Some(other.to_string()),
        };
        let payload = json.is_some().then(|| Bytes::copy_from_slice(body));
        let told = json.unwrap_or_default();
        let error_type = plain(told.error_type)
            .filter(|text| !text.is_empty())
            .or(header)
            .unwrap_or_else(|| "Runtime.Unknown".to_owned());
        let message = plain(told.error_message)
            .or_else(|| {
                payload
                    .is_none()
                    .then(|| String::from_utf8_lossy(body).into_owned())
            })
            .unwrap_or_default();
        let error_type = cut(&error_type, MAX_ERROR_TYPE).to_owned();
        let message = cut(&message, MAX_MESSAGE).to_owned();
        Self {
            payload: payload.unwrap_or_else(|| error_payload(&error_type, &message)),
            error_type,
            message,
        }
    }

    fn failed(self) -> Ending {
        Ending::Failed {
            error_type: self.error_type,
            message: self.message,
            payload: self.payload,
        }
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

async fn too_large(turn: &Turn, id: &str, rest: Incoming) -> Answer {
    let limit = MAX_PAYLOAD as u64;
    let settled = turn.settle(id, Ending::ResponseTooLarge { limit });
    body::discard(rest).await;
    match settled {
        Ok(()) => {
            let message = format!("The answer is more than {MAX_PAYLOAD} bytes");
            say(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLarge",
                &message,
            )
        }
        Err(refusal) => refused(&refusal),
    }
}

fn accept(settled: Result<(), Refusal>) -> Answer {
    match settled {
        Ok(()) => json(StatusCode::ACCEPTED, r#"{"status":"OK"}"#.into()),
        Err(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &Refusal) -> Answer {
    match refusal {
        Refusal::WrongId => say(
            StatusCode::BAD_REQUEST,
            "InvalidRequestID",
            "Invalid request ID",
        ),
        Refusal::WrongTime => say(
            StatusCode::FORBIDDEN,
            "InvalidStateTransition",
            "There is nothing to answer now; ask for the next call",
        ),
    }
}

fn broken() -> Answer {
    say(
        StatusCode::BAD_REQUEST,
        "InvalidRequest",
        "The body ended early",
    )
}

fn not_found() -> Answer {
    say(
        StatusCode::NOT_FOUND,
        "NotFound",
        "The Runtime API has no such route",
    )
}

fn say(status: StatusCode, error_type: &str, message: &str) -> Answer {
    json(status, error_payload(error_type, message))
}

fn json(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    set(answer.headers_mut(), "content-type", "application/json");
    answer
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_client_context_becomes_one_ascii_line() {
        let line = one_line("{\n \"custom\": \"grün 🎉\"\n}").unwrap();
        assert_eq!(line, r#"{"custom":"gr\u00fcn \ud83c\udf89"}"#);
        assert_eq!(one_line("not json"), None);
    }

    #[test]
    fn an_error_without_json_keeps_its_text() {
        let report = Report::read(b"it broke", Some("Custom.Broken".into()));
        assert_eq!(report.error_type, "Custom.Broken");
        assert_eq!(report.message, "it broke");
        let payload: serde_json::Value = serde_json::from_slice(&report.payload).unwrap();
        assert_eq!(payload["errorMessage"], "it broke");
    }

    proptest! {
        #[test]
        fn any_posted_error_is_read_within_its_bounds(body: Vec<u8>, header: Option<String>) {
            let report = Report::read(&body, header);
            prop_assert!(report.error_type.len() <= MAX_ERROR_TYPE);
            prop_assert!(report.message.len() <= MAX_MESSAGE);
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&report.payload).is_ok());
        }

        #[test]
        fn any_json_context_is_the_same_json_in_a_header(text: String) {
            let json = serde_json::json!({ "custom": text });
            let line = one_line(&json.to_string()).unwrap();
            prop_assert!(HeaderValue::from_str(&line).is_ok());
            let back: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(back, json);
        }
    }
}
