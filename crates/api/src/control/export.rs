//! `events/export`: events as NDJSON of CloudEvents 1.0, in their JSON format
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).

use super::error::Result;
use super::events::payload;
use super::owner::Owner;
use super::query::Query;
use crate::doors::Doors;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use engine::Engine;
use futures::Stream;
use http::header::CONTENT_TYPE;
use model::{Event, EventId, EventQuery, EventState, Timestamp};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Events that are read at a time.
const PAGE: usize = 100;

/// What no part of a URI may have (RFC 3986), besides all that is not ASCII; the percent sign, so that
/// what was encoded can be told from what was not.
const NO_URI: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// The query.
#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    target: Option<String>,
    source: Option<String>,
    state: Option<EventState>,
    /// Milliseconds since the epoch.
    since: Option<i64>,
    /// Milliseconds since the epoch; events of then are not meant any more.
    until: Option<i64>,
    limit: Option<u64>,
}

/// `GET events/export`: oldest first. What is accepted after it began is not in it. The answer breaks
/// off without its end when the store fails.
pub(super) async fn read(
    _: Owner,
    State(doors): State<Doors>,
    Query(filter): Query<Filter>,
) -> Result<Response> {
    let query = EventQuery {
        target: filter.target,
        source: filter.source,
        states: filter.state.into_iter().collect(),
        since: filter.since.map(Timestamp),
        until: filter.until.map(Timestamp),
    };
    query.check()?;
    let walk = Walk {
        engine: doors.engine,
        query,
        after: None,
        before: EventId::generate(),
        left: filter.limit.unwrap_or(u64::MAX),
    };
    let body = Body::from_stream(lines(walk));
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

struct Walk {
    engine: Engine,
    query: EventQuery,
    after: Option<EventId>,
    before: EventId,
    left: u64,
}

/// The lines, a page at a time, each read when the client has taken the one before.
fn lines(walk: Walk) -> impl Stream<Item = std::result::Result<Bytes, engine::Error>> {
    futures::stream::try_unfold(Some(walk), |walk| async move {
        let Some(mut walk) = walk.filter(|walk| walk.left > 0) else {
            return Ok(None);
        };
        let limit = usize::try_from(walk.left).unwrap_or(PAGE).min(PAGE);
        let query = walk.query.clone();
        let page = walk
            .engine
            .walk_events(query, walk.after, walk.before, limit);
        let (events, next) = page.await?;
        walk.left -= events.len() as u64;
        let mut text = String::new();
        for event in &events {
            text.push_str(&cloud_event(event).to_string());
            text.push('\n');
        }
        walk.after = next;
        let rest = next.is_some().then_some(walk);
        Ok(Some((Bytes::from(text), rest)))
    })
}

/// An event as a CloudEvent; what the specification has no attribute for is an extension.
fn cloud_event(event: &Event) -> Value {
    let accepted = &event.accepted;
    let mut shown = Map::new();
    let mut put = |name: &str, value: Value| {
        shown.insert(name.to_owned(), value);
    };
    // A source that is empty, and a type that is, would be no CloudEvent.
    let source = match accepted.source.as_str() {
        "" => "/".to_owned(),
        source => utf8_percent_encode(source, NO_URI).to_string(),
    };
    let kind = match accepted.kind.as_str() {
        "" => "event",
        kind => kind,
    };
    put("specversion", "1.0".into());
    put("id", accepted.id.to_string().into());
    put("source", source.into());
    put("type", kind.into());
    put("time", accepted.accepted.rfc3339().into());
    if !accepted.subject.is_empty() {
        put("subject", printable(&accepted.subject).into());
    }
    put("target", accepted.target.key().into());
    put("state", event.state.as_str().into());
    // The type Integer has 32 bits with a sign.
    let integer = |value: u32| Value::from(i32::try_from(value).unwrap_or(i32::MAX));
    put("attempts", integer(event.attempts));
    put("depth", integer(event.depth));
    let ids = [("cause", accepted.cause), ("replayof", accepted.replay_of)];
    for (name, id) in ids {
        if let Some(id) = id {
            put(name, id.to_string().into());
        }
    }
    if let Some(ended) = event.ended {
        put("ended", ended.rfc3339().into());
    }
    if let Some(error) = event
        .last_error
        .as_deref()
        .filter(|error| !error.is_empty())
    {
        put("lasterror", printable(error).into());
    }
    put("datacontenttype", "application/json".into());
    put("data", payload(event));
    Value::Object(shown)
}

/// Control characters must not be in a text (CloudEvents 1.0.2, type system).
fn printable(text: &str) -> String {
    let blank = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(blank).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::{NewEvent, Target};
    use serde_json::json;

    fn event() -> Event {
        let id = |last| EventId(uuid::Uuid::from_u128(last));
        Event {
            accepted: NewEvent {
                id: id(1),
                target: Target::Function {
                    name: "thumbnail".parse().unwrap(),
                },
                source: "s3:my photos".into(),
                kind: "s3:ObjectCreated:Put".into(),
                subject: "ä b.jpg".into(),
                payload: Bytes::from_static(b"{\"n\":1}"),
                accepted: Timestamp(1_500),
                cause: Some(id(2)),
                replay_of: Some(id(3)),
                delivery: model::Delivery::default(),
            },
            state: EventState::Dead,
            attempts: 3,
            epoch: 3,
            not_before: Timestamp(7),
            depth: 1,
            last_error: Some("Error: no\nat line 3".into()),
            ended: Some(Timestamp(2_000)),
            runs: Vec::new(),
        }
    }

    #[test]
    fn a_line_is_a_cloud_event_with_extensions() {
        let expected = json!({
            "specversion": "1.0",
            "id": "00000000-0000-0000-0000-000000000001",
            "source": "s3:my%20photos",
            "type": "s3:ObjectCreated:Put",
            "subject": "ä b.jpg",
            "time": "1970-01-01T00:00:01.500Z",
            "target": "function:thumbnail",
            "state": "dead",
            "attempts": 3,
            "depth": 1,
            "cause": "00000000-0000-0000-0000-000000000002",
            "replayof": "00000000-0000-0000-0000-000000000003",
            "ended": "1970-01-01T00:00:02.000Z",
            "lasterror": "Error: no at line 3",
            "datacontenttype": "application/json",
            "data": {"n": 1},
        });
        assert_eq!(cloud_event(&event()), expected);
    }

    #[test]
    fn names_of_attributes_are_lower_case_and_none_is_empty() {
        let mut event = event();
        event.accepted.source.clear();
        event.accepted.kind.clear();
        event.accepted.subject.clear();
        event.last_error = Some(String::new());
        let shown = cloud_event(&event);
        for (name, value) in shown.as_object().unwrap() {
            let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            assert!(name.chars().all(legal) && name.len() <= 20, "{name}");
            assert_ne!(value, "", "{name}");
        }
    }
}
