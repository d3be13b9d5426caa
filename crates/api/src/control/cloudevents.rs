//! `POST events` and `POST buses/NAME/events`: CloudEvents 1.0 over HTTP, in binary, structured and
//! batch mode (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>).
//!
//! On the bus an event stands in the same envelope as those of EventBridge: `source` and `id` are its
//! own, `detail-type` is its type, `detail` its data, and `cloudevent` has the other attributes. What
//! was accepted with the same source and id within a day is answered and not accepted again.

mod attributes;

use super::error::{Error, Result};
use super::owner::Owner;
use crate::body;
use crate::doors::Doors;
use crate::envelope::Envelope;
use crate::whole::whole;
use attributes::Incoming;
use axum::Json;
use axum::extract::{Path, Request, State};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use model::{BusName, EventId, Kind, NewEvent, Target, Timestamp};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Largest request: a batch. Each event has the bound of every event, 1 MiB with its envelope.
const MAX_BODY: usize = 6 * 1024 * 1024;
/// Most events of one batch.
const MAX_BATCH: usize = 1000;

/// `POST events`: for the default bus.
pub(super) async fn put(
    owner: Owner,
    state: State<Doors>,
    request: Request,
) -> Result<(StatusCode, Json<Value>)> {
    let bus = Path(BusName::default_bus().to_string());
    put_on(owner, state, bus, request).await
}

/// `POST buses/NAME/events`.
pub(super) async fn put_on(
    _: Owner,
    State(doors): State<Doors>,
    Path(bus): Path<String>,
    request: Request,
) -> Result<(StatusCode, Json<Value>)> {
    let bus: BusName = bus.parse()?;
    let (parts, stream) = request.into_parts();
    let body = body::read(&parts.headers, stream, MAX_BODY).await?;
    let (incoming, batch) = read(&parts.headers, &body)?;
    let mut events = Vec::new();
    for (at, one) in incoming.into_iter().enumerate() {
        let event = accepted(one, &bus, &doors.options.region);
        events.push(event.map_err(|error| if batch { error.at(at) } else { error })?);
    }
    let engine = doors.engine.clone();
    let ids = whole(async move { engine.submit_all(events).await }).await?;
    let answer = match (batch, ids.first()) {
        (false, Some(id)) => json!({"event_id": id}),
        _ => json!({"event_ids": ids}),
    };
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// The events of a request, and whether they are a batch.
fn read(headers: &HeaderMap, body: &[u8]) -> Result<(Vec<Incoming>, bool)> {
    let kind = headers.get(CONTENT_TYPE).map_or(Ok(""), |v| v.to_str());
    let kind = kind.map_err(|_| Error::invalid("Content-Type is not ASCII"))?;
    let media = kind.split(';').next().unwrap_or("").trim();
    let media = media.to_ascii_lowercase();
    match media.as_str() {
        "application/cloudevents+json" => {
            let one: Box<RawValue> = serde_json::from_slice(body).map_err(not_json)?;
            Ok((vec![Incoming::structured(one.get())?], false))
        }
        "application/cloudevents-batch+json" => {
            let all: Vec<Box<RawValue>> = serde_json::from_slice(body).map_err(not_json)?;
            if all.len() > MAX_BATCH {
                return Err(Error::new(
                    Kind::TooLarge,
                    format!(
                        "a batch has at most {MAX_BATCH} events, and this one {}",
                        all.len()
                    ),
                ));
            }
            let events = all
                .iter()
                .enumerate()
                .map(|(at, one)| Incoming::structured(one.get()).map_err(|error| error.at(at)));
            Ok((events.collect::<Result<_>>()?, true))
        }
        other if other.starts_with("application/cloudevents") => Err(Error::invalid(format!(
            "\"{}\" is not served: structured CloudEvents are application/cloudevents+json or \
             application/cloudevents-batch+json",
            other.escape_debug()
        ))),
        _ => Ok((vec![Incoming::binary(headers, kind, &media, body)?], false)),
    }
}

fn not_json(error: serde_json::Error) -> Error {
    Error::invalid(format!("the body is not the JSON of CloudEvents: {error}"))
}

/// The event as it is accepted, under the name that its sender gave it.
fn accepted(one: Incoming, bus: &BusName, region: &str) -> Result<(Option<String>, NewEvent)> {
    let now = Timestamp::now();
    let shown = one.shown();
    let envelope = Envelope {
        id: &one.id,
        kind: &one.kind,
        source: &one.source,
        time: one.time.unwrap_or(now),
        region,
        resources: &[],
        detail: &one.data,
        cloudevent: Some(&shown),
    };
    let payload = envelope.bytes();
    let payload = payload.map_err(|reason| Error::new(Kind::TooLarge, reason))?;
    let name = name_of(bus, &one.source, &one.id);
    let event = NewEvent {
        id: EventId::generate(),
        target: Target::Bus { name: bus.clone() },
        source: one.source,
        kind: one.kind,
        subject: one.subject.unwrap_or_default(),
        payload,
        accepted: now,
        cause: None,
        replay_of: None,
        delivery: Default::default(),
    };
    Ok((Some(name), event))
}

/// Source and id name a CloudEvent; with their lengths, so that no two pairs are written the same.
fn name_of(bus: &BusName, source: &str, id: &str) -> String {
    let written = format!("{bus}\n{}\n{source}{id}", source.len());
    format!("ce:{}", hex::encode(Sha256::digest(written)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn payload(list: &[(&'static str, &str)], body: &str) -> Result<Value> {
        let (mut events, _) = read(&headers(list), body.as_bytes())?;
        let bus = BusName::default_bus();
        let (_, event) = accepted(events.remove(0), &bus, "eu-west-1")?;
        Ok(serde_json::from_slice(&event.payload).unwrap())
    }

    const BINARY: [(&str, &str); 4] = [
        ("ce-specversion", "1.0"),
        ("ce-id", "a-1"),
        ("ce-source", "/shop"),
        ("ce-type", "placed"),
    ];

    #[test]
    fn all_modes_give_the_same_event() {
        let more = [
            ("ce-subject", "Euro%20%E2%82%AC"),
            ("ce-time", "2018-04-05T17:31:00Z"),
            ("ce-tenant", "t"),
            ("content-type", "application/json; charset=utf-8"),
        ];
        let binary = payload(
            &[BINARY.as_slice(), more.as_slice()].concat(),
            r#"{"n": 1.50}"#,
        )
        .unwrap();
        assert_eq!(binary["id"], "a-1");
        assert_eq!(binary["detail-type"], "placed");
        assert_eq!(binary["time"], "2018-04-05T17:31:00Z");
        assert_eq!(binary["detail"], json!({"n": 1.5}));
        assert_eq!(binary["cloudevent"]["subject"], "Euro €");
        assert_eq!(binary["cloudevent"]["tenant"], "t");
        let text = r#"{"specversion": "1.0", "id": "a-1", "source": "/shop", "type": "placed",
            "subject": "Euro €", "time": "2018-04-05T17:31:00Z", "tenant": "t", "nothing": null,
            "datacontenttype": "application/json; charset=utf-8", "data": {"n": 1.50}}"#;
        let one = [(
            "content-type",
            "application/cloudevents+json; charset=UTF-8",
        )];
        assert_eq!(payload(&one, text).unwrap(), binary);
        let batch = [("content-type", "application/cloudevents-batch+json")];
        assert_eq!(payload(&batch, &format!("[{text}]")).unwrap(), binary);
    }

    #[test]
    fn data_of_every_sort_is_kept() {
        let of = |kind: &str, body: &[u8]| {
            let kind = ("content-type", kind);
            let list = [BINARY.as_slice(), [kind].as_slice()].concat();
            let (mut events, _) = read(&headers(&list), body).unwrap();
            let event = accepted(events.remove(0), &BusName::default_bus(), "r")
                .unwrap()
                .1;
            let told: Value = serde_json::from_slice(&event.payload).unwrap();
            (
                told["detail"].clone(),
                told["cloudevent"]["data_base64"].clone(),
            )
        };
        assert_eq!(of("text/plain", b"hello"), (json!("hello"), Value::Null));
        assert_eq!(of("image/png", b"\xff\x00"), (Value::Null, json!("/wA=")));
        assert_eq!(
            of("application/vnd.x+json", b"[1]"),
            (json!([1]), Value::Null)
        );
        assert_eq!(of("application/json", b""), (Value::Null, Value::Null));
        let one = [("content-type", "application/cloudevents+json")];
        let text = r#"{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data_base64": "/wA="}"#;
        let told = payload(&one, text).unwrap();
        assert_eq!(
            (&told["detail"], &told["cloudevent"]["data_base64"]),
            (&Value::Null, &json!("/wA="))
        );
    }

    #[test]
    fn what_breaks_the_specification_is_refused_by_name() {
        let structured = |text: &str| {
            payload(&[("content-type", "application/cloudevents+json")], text).unwrap_err()
        };
        for (text, part) in [
            (r#"{"id": "1", "source": "s", "type": "t"}"#, "specversion"),
            (
                r#"{"specversion": "0.3", "id": "1", "source": "s", "type": "t"}"#,
                "1.0",
            ),
            (
                r#"{"specversion": "1.0", "id": "", "source": "s", "type": "t"}"#,
                "id",
            ),
            (
                r#"{"specversion": "1.0", "id": "1", "source": "a b", "type": "t"}"#,
                "source",
            ),
            (
                r#"{"specversion": "1.0", "id": "1", "source": "s", "type": 5}"#,
                "type",
            ),
            (
                r#"{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "time": "now"}"#,
                "time",
            ),
            (
                r#"{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "dataschema": "x"}"#,
                "dataschema",
            ),
            (
                r#"{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "Ext": "x"}"#,
                "Ext",
            ),
            (
                r#"{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "ext": {}}"#,
                "ext",
            ),
            (
                r#"{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": 1, "data_base64": ""}"#,
                "both",
            ),
            (
                r#"{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data_base64": "!"}"#,
                "data_base64",
            ),
            ("[]", "CloudEvents"),
            ("{", "JSON"),
        ] {
            let error = structured(text).json().to_string();
            assert!(error.contains(part), "{error}");
        }
        let batch = [("content-type", "application/cloudevents-batch+json")];
        let error = payload(&batch, r#"[{"id": "1"}]"#)
            .unwrap_err()
            .json()
            .to_string();
        assert!(error.contains("event 0"), "{error}");
        assert!(payload(&[("content-type", "application/cloudevents+xml")], "").is_err());
        assert!(payload(&BINARY[1..], "").is_err());
        let broken = [("content-type", "application/json")];
        assert!(payload(&[BINARY.as_slice(), broken.as_slice()].concat(), "{").is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,100}", value in "[ -~]{0,30}", body: Vec<u8>) {
            let one = [("content-type", "application/cloudevents+json")];
            let _ = payload(&one, &text);
            let list = [BINARY.as_slice(), [("ce-ext", value.as_str())].as_slice()].concat();
            let _ = read(&headers(&list), &body);
        }

        #[test]
        fn no_two_pairs_have_one_name(a in "[a-c]{0,4}", b in "[a-c]{0,4}", c in "[a-c]{0,4}", d in "[a-c]{0,4}") {
            let bus = BusName::default_bus();
            let same = name_of(&bus, &a, &b) == name_of(&bus, &c, &d);
            prop_assert_eq!(same, (a, b) == (c, d));
        }
    }
}
