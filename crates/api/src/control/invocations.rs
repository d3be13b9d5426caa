//! `functions/NAME/invocations`: a call that waits, or an event.
//!
//! A call that waits is answered 200 whatever the function did: `x-rouse-ending` says how it ended
//! (a word of [`model::Ending::word`]), and the body is its answer or, as in the Lambda API, its error.

use super::error::{Error, Result};
use super::owner::Owner;
use super::query::Query;
use crate::doors::Doors;
use crate::{body, idempotency};
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use engine::{Answer, Call};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use model::{
    Delivery, Ending, EventId, FunctionName, MAX_ASYNC_PAYLOAD, MAX_PAYLOAD, NewEvent, Outcome,
    Principal, Qualifier, RequestId, Target, Timestamp,
};
use serde::Deserialize;
use serde_json::json;

/// Most of the log that is sent back, in bytes.
const MAX_LOG_TAIL: usize = 4096;

/// The query.
#[derive(Debug, Deserialize)]
pub(super) struct How {
    #[serde(rename = "type", default)]
    way: Way,
    /// Which version of the function; without, where its calls go now.
    qualifier: Option<Qualifier>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    /// The answer is the function's.
    #[default]
    Wait,
    /// The answer comes when the event is on disk.
    Event,
}

/// `POST`: the body is the payload, JSON; without one it is `{}`.
pub(super) async fn create(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(how): Query<How>,
    request: Request,
) -> Result<Response> {
    let name: FunctionName = name.parse()?;
    let limit = match how.way {
        Way::Wait => MAX_PAYLOAD,
        Way::Event => MAX_ASYNC_PAYLOAD,
    };
    let id = request.extensions().get().cloned();
    let (parts, stream) = request.into_parts();
    let mut payload = body::read(&parts.headers, stream, limit).await?;
    if payload.is_empty() {
        payload = Bytes::from_static(b"{}");
    }
    if !engine::is_json(&payload) {
        return Err(Error::invalid("the payload is not JSON"));
    }
    match how.way {
        Way::Wait if idempotency::key(&parts.headers).is_some() => {
            Err(Error::invalid(idempotency::WAITS))
        }
        Way::Wait => {
            let id = id.unwrap_or_else(RequestId::generate);
            wait(&doors, &name, how.qualifier, id, payload).await
        }
        Way::Event => {
            // One that is not there is told now, not by a dead letter.
            if how.qualifier.is_some() {
                let engine = &doors.engine;
                engine.get_qualified(&name, how.qualifier.as_ref()).await?;
            }
            submit(&doors, name, how.qualifier, &parts.headers, payload).await
        }
    }
}

async fn submit(
    doors: &Doors,
    name: FunctionName,
    qualifier: Option<Qualifier>,
    headers: &HeaderMap,
    payload: Bytes,
) -> Result<Response> {
    let event = NewEvent {
        id: EventId::generate(),
        target: Target::Function { name },
        source: "invoke".to_owned(),
        kind: "invoke".to_owned(),
        subject: String::new(),
        payload,
        accepted: Timestamp::now(),
        cause: None,
        replay_of: None,
        delivery: Delivery {
            qualifier,
            ..Delivery::default()
        },
    };
    // One request of the store, which is done whole: it needs no task of its own. The control plane has
    // one principal.
    let id = match idempotency::key(headers) {
        Some(key) => {
            let sender = Principal::Root;
            doors.engine.submit_keyed(&sender, &key, event).await?
        }
        None => doors.engine.submit(event).await?,
    };
    let accepted = axum::Json(json!({"event_id": id}));
    Ok((StatusCode::ACCEPTED, accepted).into_response())
}

async fn wait(
    doors: &Doors,
    name: &FunctionName,
    qualifier: Option<Qualifier>,
    id: RequestId,
    payload: Bytes,
) -> Result<Response> {
    let call = Call {
        payload,
        qualifier,
        request_id: Some(id.clone()),
        ..Call::default()
    };
    let outcome = doors.engine.invoke(name, call).await?;
    Ok(render(outcome, &id))
}

fn render(outcome: Outcome, id: &RequestId) -> Response {
    let mut headers = HeaderMap::new();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    let begin = outcome.log_tail.len().saturating_sub(MAX_LOG_TAIL);
    let timing = json!(outcome.timing).to_string();
    set("x-rouse-ending", outcome.ending.word());
    set("x-rouse-request-id", id.as_str());
    set("x-rouse-cold", if outcome.cold { "true" } else { "false" });
    if let Some(version) = outcome.version {
        set("x-rouse-version", &version.to_string());
    }
    if let Some(kind) = outcome.start_kind {
        set("x-rouse-start-kind", kind.as_str());
    }
    set("x-rouse-timing", &timing);
    set(
        "x-rouse-log-tail",
        &STANDARD.encode(&outcome.log_tail[begin..]),
    );
    set(CONTENT_TYPE.as_str(), "application/json");
    let body = match outcome.ending {
        Ending::Succeeded {
            payload,
            http: Some(response),
        } => {
            // The `http` contract: the body as it came, with its own type.
            set("x-rouse-http-status", &response.status.to_string());
            let own = response.headers.get(CONTENT_TYPE).cloned();
            let unknown = HeaderValue::from_static("application/octet-stream");
            headers.insert(CONTENT_TYPE, own.unwrap_or(unknown));
            payload
        }
        ending => match engine::answer(ending, id) {
            Answer::Result(payload) | Answer::Error(payload) => payload,
            Answer::Unavailable(reason) => {
                let error = json!({"errorType": "Sandbox.Unavailable", "errorMessage": reason});
                error.to_string().into()
            }
        },
    };
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::{HttpResponse, StartKind, Timing};

    fn outcome(ending: Ending) -> Outcome {
        Outcome {
            ending,
            timing: Timing {
                queued: 1,
                start: 2,
                init: 3,
                run: 4,
            },
            cold: true,
            start_kind: Some(StartKind::Armed),
            version: Some(3),
            instance: None,
            memory_peak: 0,
            log_tail: vec![b'x'; 5_000].into(),
        }
    }

    async fn rendered(ending: Ending) -> (HeaderMap, Bytes) {
        let response = render(outcome(ending), &RequestId("id-1".into()));
        assert_eq!(response.status(), 200);
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        (parts.headers, bytes)
    }

    #[tokio::test]
    async fn everything_worth_knowing_is_in_the_headers() {
        let payload = Bytes::from_static(b"[1]");
        let (headers, body) = rendered(Ending::Succeeded {
            payload,
            http: None,
        })
        .await;
        assert_eq!(&body[..], b"[1]");
        assert_eq!(headers["x-rouse-ending"], "succeeded");
        assert_eq!(headers["x-rouse-request-id"], "id-1");
        assert_eq!(headers["x-rouse-cold"], "true");
        assert_eq!(headers["x-rouse-version"], "3");
        assert_eq!(
            headers["x-rouse-timing"],
            r#"{"init":3,"queued":1,"run":4,"start":2}"#
        );
        let tail = STANDARD.decode(&headers["x-rouse-log-tail"]).unwrap();
        assert_eq!(tail.len(), MAX_LOG_TAIL);
    }

    #[tokio::test]
    async fn a_bad_end_is_an_answer_too() {
        let (headers, body) = rendered(Ending::TimedOut { after: 1_000 }).await;
        assert_eq!(headers["x-rouse-ending"], "timed_out");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["errorType"], "Sandbox.Timedout");
    }

    #[tokio::test]
    async fn a_body_of_the_http_contract_is_passed_on_as_it_is() {
        let (headers, body) = rendered(Ending::Succeeded {
            payload: Bytes::from_static(b"<p>"),
            http: Some(Box::new(HttpResponse {
                status: 404,
                headers: HeaderMap::from_iter([(
                    http::header::CONTENT_TYPE,
                    http::HeaderValue::from_static("text/html"),
                )]),
            })),
        })
        .await;
        assert_eq!(&body[..], b"<p>");
        assert_eq!(headers["content-type"], "text/html");
        assert_eq!(headers["x-rouse-http-status"], "404");
    }
}
