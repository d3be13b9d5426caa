//! `events`, `events/ID` and `events/ID/replay`.

use super::error::Result;
use super::owner::Owner;
use super::query::{Query, within};
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use model::{Event, EventFilter, EventId, Qualifier, Target, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use storage::LogQuery;

/// Attempts whose log lines are told, the last ones.
const LOGGED_RUNS: usize = 10;
/// Lines that are told of each.
const LOGGED_LINES: usize = 100;

/// The query of a listing.
#[derive(Debug, Deserialize)]
pub(super) struct Filter {
    /// A target key, or a bare `function:NAME` or `service:NAME`.
    target: Option<String>,
    /// A [`EventState`] in its word.
    state: Option<String>,
    /// Milliseconds since the epoch.
    since: Option<i64>,
    /// The id of the last event of the page before.
    before: Option<String>,
    /// 1 to 1 000; 100 without it.
    limit: Option<u64>,
}

impl Filter {
    fn checked(self) -> Result<EventFilter> {
        let limit = within("limit", self.limit, 100, 1, 1000)?;
        Ok(EventFilter {
            target: self.target,
            state: self.state.map(|text| text.parse()).transpose()?,
            since: self.since.map(Timestamp),
            before: self.before.map(|text| text.parse()).transpose()?,
            limit: u32::try_from(limit).unwrap_or(1000),
        })
    }
}

/// `GET events`: newest first; without payloads, which may be large, and without runs.
pub(super) async fn list(
    _: Owner,
    State(doors): State<Doors>,
    Query(filter): Query<Filter>,
) -> Result<Json<Value>> {
    let events = doors.engine.list_events(filter.checked()?).await?;
    let shown: Vec<Value> = events.iter().map(render).collect();
    Ok(Json(json!({"events": shown})))
}

/// How much is told of one event.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Depth {
    /// What it came of and what came of it, and the lines that its attempts logged.
    #[serde(default)]
    life: bool,
}

/// `GET events/ID`: one event with its payload and its runs; with `life=true` its whole life.
pub(super) async fn get(
    _: Owner,
    State(doors): State<Doors>,
    Path(id): Path<String>,
    Query(depth): Query<Depth>,
) -> Result<Json<Value>> {
    let id: EventId = id.parse()?;
    let event = doors.engine.get_event(id).await?;
    let mut shown = render(&event);
    shown["payload"] = payload(&event);
    shown["runs"] = json!(event.runs);
    if depth.life {
        let lineage = doors.engine.event_lineage(id).await?;
        let all = |events: &[Event]| -> Vec<Value> { events.iter().map(render).collect() };
        shown["causes"] = all(&lineage.causes).into();
        shown["effects"] = all(&lineage.effects).into();
        shown["replays"] = all(&lineage.replays).into();
        shown["logs"] = logs(&doors, &event).await?;
    }
    Ok(Json(shown))
}

/// What the last attempts logged, by the id of each request; what is not kept any more is empty.
/// Lines of a service belong to no request.
async fn logs(doors: &Doors, event: &Event) -> Result<Value> {
    let mut told = serde_json::Map::new();
    let Target::Function { .. } = event.accepted.target else {
        return Ok(told.into());
    };
    for run in event.runs.iter().rev().take(LOGGED_RUNS) {
        let query = LogQuery {
            key: run.target.clone(),
            since: Some(run.started),
            request: Some(run.request_id.clone()),
            tail: LOGGED_LINES,
        };
        let lines = doors.engine.storage().read_logs(query).await?;
        told.insert(run.request_id.to_string(), json!(lines));
    }
    Ok(told.into())
}

/// The query of a replay.
#[derive(Deserialize)]
pub(super) struct Again {
    /// For this version of its function.
    version: Option<Qualifier>,
}

/// `POST events/ID/replay?version=`: the same event once more.
pub(super) async fn replay(
    _: Owner,
    State(doors): State<Doors>,
    Path(id): Path<String>,
    Query(asked): Query<Again>,
) -> Result<(StatusCode, Json<Value>)> {
    let id: EventId = id.parse()?;
    let engine = doors.engine.clone();
    let again = whole(async move { engine.replay_event(id, asked.version).await }).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"event_id": again}))))
}

/// An event without payload and runs.
fn render(event: &Event) -> Value {
    let accepted = &event.accepted;
    json!({
        "id": accepted.id,
        "target": accepted.target.key(),
        "qualifier": accepted.delivery.qualifier,
        "source": accepted.source,
        "kind": accepted.kind,
        "subject": accepted.subject,
        "accepted": accepted.accepted,
        "state": event.state,
        "attempts": event.attempts,
        "epoch": event.epoch,
        "not_before": event.not_before,
        "depth": event.depth,
        "last_error": event.last_error,
        "ended": event.ended,
        "cause": accepted.cause,
        "replay_of": accepted.replay_of,
        "payload": null,
        "runs": [],
    })
}

/// The payload as JSON; one that cannot be read as such (it is nested deeper than 128) as text.
pub(super) fn payload(event: &Event) -> Value {
    let bytes = &event.accepted.payload;
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| String::from_utf8_lossy(bytes).into_owned().into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::{EventState, NewEvent, Target};

    fn event(payload: &'static [u8]) -> Event {
        Event {
            accepted: NewEvent {
                id: EventId(uuid::Uuid::nil()),
                target: Target::Service {
                    name: "catalog".parse().unwrap(),
                    path: "/events".into(),
                },
                source: "s3:thumbs".into(),
                kind: "s3:ObjectCreated:Put".into(),
                subject: "a.jpg".into(),
                payload: payload.into(),
                accepted: Timestamp(5),
                cause: None,
                replay_of: None,
                delivery: Default::default(),
            },
            state: EventState::Dead,
            attempts: 3,
            epoch: 3,
            not_before: Timestamp(7),
            depth: 2,
            last_error: Some("timed out".into()),
            ended: Some(Timestamp(9)),
            runs: Vec::new(),
        }
    }

    #[test]
    fn an_event_is_written_as_documented() {
        let expected = json!({
            "id": "00000000-0000-0000-0000-000000000000",
            "target": "service:catalog/events",
            "qualifier": null,
            "source": "s3:thumbs",
            "kind": "s3:ObjectCreated:Put",
            "subject": "a.jpg",
            "accepted": 5,
            "state": "dead",
            "attempts": 3,
            "epoch": 3,
            "not_before": 7,
            "depth": 2,
            "last_error": "timed out",
            "ended": 9,
            "cause": null,
            "replay_of": null,
            "payload": null,
            "runs": [],
        });
        assert_eq!(render(&event(b"{}")), expected);
    }

    #[test]
    fn a_payload_is_json_where_it_can_be() {
        assert_eq!(payload(&event(b"{\"a\":1}")), json!({"a": 1}));
        assert_eq!(payload(&event(b"\xffx")), json!("\u{fffd}x"));
    }

    #[test]
    fn a_filter_is_checked() {
        let filter = |state: Option<&str>, limit| Filter {
            target: None,
            state: state.map(str::to_owned),
            since: None,
            before: None,
            limit,
        };
        assert_eq!(filter(None, None).checked().unwrap().limit, 100);
        assert!(filter(Some("tired"), None).checked().is_err());
        assert!(filter(None, Some(5_000)).checked().is_err());
    }
}
