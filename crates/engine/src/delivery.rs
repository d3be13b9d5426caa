//! Events for services: CloudEvents 1.0 over HTTP in binary mode
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>).

use crate::Result;
use crate::attempt::{Attempted, Record, micros, record};
use crate::engine::Corridor;
use crate::exchange::exchange;
use crate::pool::unavailable;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use model::{Ending, Event, InstanceId, NewEvent, RequestId, ServiceName, Target, Timestamp};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long a service may take to answer one event.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest that a delivery takes: waiting for a replica, connecting and the answer.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);
/// Most bytes that are read of an answer.
const MAX_ANSWER: usize = 64 * 1024;
/// Most characters of an answer that are kept as the error's text.
const MAX_TEXT: usize = 1_000;
/// What the binding (section 3.1.3.2) says is encoded, besides all that is not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Which replica a connection leads to, and the connection.
pub(crate) type Connected = (InstanceId, TcpStream);

/// Posts an event to a service. An answer of 2xx settles it; anything else is an attempt that failed.
/// Without a replica to connect to, it was no attempt.
///
/// # Errors
/// `NotFound`.
pub(crate) async fn deliver(
    corridor: &Corridor,
    name: &ServiceName,
    path: &str,
    event: Event,
) -> Result<Attempted> {
    let started = Timestamp::now();
    let asked = Instant::now();
    let resident = corridor.services.get(name)?;
    let connected = resident.connect(None).await;
    let queued = micros(asked.elapsed());
    let called = Instant::now();
    let (ending, instance) = match connected {
        Ok((instance, stream)) => {
            let killed = corridor.node.kill.cancelled();
            let ending = tokio::select! {
                ending = post(stream, name, path, &event.accepted) => ending,
                () = killed => Ending::Unavailable {
                    reason: "the server was shut down during the delivery".to_owned(),
                },
            };
            (ending, Some(instance))
        }
        Err(error) => {
            let reason = error.to_string();
            (Ending::Unavailable { reason }, None)
        }
    };
    let mut outcome = unavailable(String::new());
    outcome.ending = ending;
    outcome.timing.queued = queued;
    outcome.timing.run = micros(called.elapsed());
    outcome.instance = instance;
    let target = Target::Service {
        name: name.clone(),
        path: path.to_owned(),
    };
    let run = record(
        &outcome,
        Record {
            request_id: RequestId::generate(),
            target: target.key(),
            event: Some(event.accepted.id),
            attempt: event.attempts + 1,
            started,
        },
    );
    Ok(Attempted { outcome, run })
}

async fn post(stream: TcpStream, name: &ServiceName, path: &str, event: &NewEvent) -> Ending {
    match cloud_event(name, path, event) {
        Ok(request) => send(stream, request).await,
        Err(error) => failed("Http.Request", error.to_string()),
    }
}

/// Sends a request and judges the answer, which must come in time. Redirects are not followed.
pub(crate) async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> Ending {
    match tokio::time::timeout(TIMEOUT, exchange(stream, request, MAX_ANSWER)).await {
        Ok(Ok((status, body))) => judge(status, &body),
        Ok(Err(error)) => failed("Http.Connection", error.to_string()),
        Err(_) => Ending::TimedOut {
            after: u64::try_from(TIMEOUT.as_millis()).unwrap_or(u64::MAX),
        },
    }
}

fn cloud_event(
    name: &ServiceName,
    path: &str,
    event: &NewEvent,
) -> http::Result<Request<Full<Bytes>>> {
    let encode = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
    Request::post(path)
        .header("host", name.as_str())
        .header("content-type", "application/json")
        .header("ce-specversion", "1.0")
        .header("ce-id", event.id.to_string())
        .header("ce-source", encode(&event.source))
        .header("ce-type", encode(&event.kind))
        .header("ce-subject", encode(&event.subject))
        .header("ce-time", event.accepted.rfc3339())
        .body(Full::new(event.payload.clone()))
}

fn judge(status: StatusCode, body: &Bytes) -> Ending {
    if status.is_success() {
        return Ending::Succeeded {
            payload: Bytes::new(),
            http: None,
        };
    }
    let text: String = String::from_utf8_lossy(body)
        .chars()
        .take(MAX_TEXT)
        .collect();
    let said = match text.trim() {
        "" => status.canonical_reason().unwrap_or("no reason given"),
        text => text,
    };
    failed(&format!("Http.{}", status.as_u16()), said.to_owned())
}

pub(crate) fn failed(error_type: &str, message: String) -> Ending {
    Ending::Failed {
        error_type: error_type.to_owned(),
        message,
        payload: Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::EventId;
    use proptest::prelude::*;

    fn event(subject: &str) -> NewEvent {
        NewEvent {
            id: EventId::generate(),
            target: Target::Service {
                name: "catalog".parse().unwrap(),
                path: "/events".into(),
            },
            source: "s3:photos".into(),
            kind: "s3:ObjectCreated:Put".into(),
            subject: subject.into(),
            payload: Bytes::from_static(b"{}"),
            accepted: Timestamp(1_500),
            cause: None,
            replay_of: None,
            delivery: Default::default(),
        }
    }

    #[test]
    fn the_headers_are_those_of_the_binding() {
        let event = event("Euro € 😀 100%.jpg");
        let request = cloud_event(&"catalog".parse().unwrap(), "/events", &event).unwrap();
        let header = |name: &str| request.headers()[name].to_str().unwrap();
        assert_eq!(header("ce-id"), event.id.to_string());
        assert_eq!(header("ce-source"), "s3:photos");
        assert_eq!(header("ce-type"), "s3:ObjectCreated:Put");
        assert_eq!(header("ce-specversion"), "1.0");
        assert_eq!(header("ce-time"), "1970-01-01T00:00:01.500Z");
        // The binding's own example, and the percent sign.
        let encoded = "Euro%20%E2%82%AC%20%F0%9F%98%80%20100%25.jpg";
        assert_eq!(header("ce-subject"), encoded);
        assert_eq!(request.uri(), "/events");
    }

    #[test]
    fn only_2xx_settles() {
        assert!(judge(StatusCode::ACCEPTED, &Bytes::new()).succeeded());
        for status in [302, 400, 404, 429, 500, 503] {
            let status = StatusCode::from_u16(status).unwrap();
            let ending = judge(status, &Bytes::from_static(b"because"));
            let error = ending.error().unwrap();
            assert_eq!(error, format!("Http.{}: because", status.as_u16()));
        }
    }

    proptest! {
        #[test]
        fn any_subject_makes_a_legal_request(subject in any::<String>()) {
            let event = event(&subject);
            let request = cloud_event(&"x".parse().unwrap(), "/", &event).unwrap();
            let value = request.headers()["ce-subject"].to_str().unwrap();
            let back = percent_encoding::percent_decode_str(value).decode_utf8().unwrap();
            prop_assert_eq!(back, subject);
        }
    }
}
