//! The record of an invocation, and the event that carries it.

use super::{ACCOUNT, End, SOURCE, caused, told};
use crate::answer::{Answer, answer};
use crate::retry::Why;
use bytes::Bytes;
use model::{
    Delivery, Destinations, Ending, EventId, FunctionName, MAX_ASYNC_PAYLOAD, NewEvent, RequestId,
    Target, Timestamp,
};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    version: &'a str,
    timestamp: String,
    request_context: RequestContext<'a>,
    request_payload: &'a Payload,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_context: Option<ResponseContext<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_payload: Option<&'a Payload>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    request_id: String,
    function_arn: &'a str,
    condition: &'a str,
    approximate_invoke_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext<'a> {
    status_code: u16,
    executed_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_error: Option<&'a str>,
}

/// An event of a bus, in AWS's envelope.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Envelope<'a> {
    version: &'a str,
    id: EventId,
    detail_type: &'a str,
    source: &'a str,
    account: &'a str,
    time: String,
    region: &'a str,
    resources: [&'a str; 2],
    /// As it is: however deep it is nested, nothing parses it.
    detail: &'a RawValue,
}

/// Texts, numbers and JSON that was checked: there is nothing in it that JSON cannot say.
fn to_json(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// A payload as JSON, or a note in its place.
#[derive(Serialize)]
#[serde(untagged)]
enum Payload {
    Json(Box<RawValue>),
    Text(String),
    LeftOut(Value),
}

impl Payload {
    fn of(bytes: &Bytes) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        match RawValue::from_string(text) {
            Ok(json) => Self::Json(json),
            Err(_) => Self::Text(String::from_utf8_lossy(bytes).into_owned()),
        }
    }

    fn left_out(bytes: usize) -> Self {
        let note = format!("{bytes} bytes, with which the record would exceed {MAX_ASYNC_PAYLOAD}");
        Self::LeftOut(json!({"rouse": {"leftOut": note}}))
    }
}

/// The event that tells a destination of an end; `None` without a destination.
pub(super) fn event(
    end: End<'_>,
    name: &FunctionName,
    destinations: &Destinations,
    region: &str,
) -> Option<NewEvent> {
    let target = told(destinations, end.failed.is_some())?.clone();
    let version = end.version();
    let arn = format!("arn:aws:lambda:{region}:{ACCOUNT}:function:{name}:{version}");
    let word = match end.failed {
        None => "Success",
        Some(_) => "Failure",
    };
    let id = EventId::generate();
    let kind = format!("Lambda Function Invocation Result - {word}");
    let wrap = |record: Box<RawValue>| match &target {
        Target::Bus { name } => to_json(&Envelope {
            version: "0",
            id,
            detail_type: &kind,
            source: SOURCE,
            account: ACCOUNT,
            time: end.at.rfc3339_seconds(),
            region,
            resources: [
                &arn,
                &format!("arn:aws:events:{region}:{ACCOUNT}:event-bus/{name}"),
            ],
            detail: &record,
        }),
        _ => record,
    };
    let payload = fitting(end, &arn, wrap);
    let delivery = Delivery {
        may_leave_out: matches!(target, Target::Queue { .. }),
        object: matches!(target, Target::Bucket { .. }).then(|| object_key(name, end.at, id)),
        ..Delivery::default()
    };
    Some(NewEvent {
        id,
        source: SOURCE.to_owned(),
        kind,
        subject: arn,
        payload,
        ..caused(end, target.clone(), delivery)
    })
}

/// The record, with as much of the payloads as an event may hold: without the answer if that is too
/// much, and then without what was asked.
fn fitting(end: End<'_>, arn: &str, wrap: impl Fn(Box<RawValue>) -> Box<RawValue>) -> Bytes {
    let asked = Payload::of(&end.event.accepted.payload);
    let id = RequestId(end.event.accepted.id.to_string());
    let answered = end.judged.response.clone().and_then(|ending| {
        // What never reached the function has no answer.
        let reached = !matches!(ending, Ending::Unavailable { .. });
        reached.then(|| answer(ending, &id))
    });
    let (answered, error) = match answered {
        Some(Answer::Result(bytes)) => (Some(bytes), None),
        Some(Answer::Error(bytes)) => (Some(bytes), Some("Unhandled")),
        Some(Answer::Unavailable(_)) | None => (None, None),
    };
    let asked_bytes = end.event.accepted.payload.len();
    let answered_bytes = answered.as_ref().map_or(0, Bytes::len);
    let context = answered.is_some();
    let version = end.version();
    let render = |asked: &Payload, answered: Option<&Payload>| {
        let record = Record {
            version: "1.0",
            timestamp: end.at.rfc3339(),
            request_context: RequestContext {
                request_id: id.0.clone(),
                function_arn: arn,
                condition: match end.failed {
                    None => "Success",
                    Some((Why::Age, _)) => "EventAgeExceeded",
                    Some(_) => "RetriesExhausted",
                },
                approximate_invoke_count: end.attempts(),
            },
            request_payload: asked,
            response_context: context.then_some(ResponseContext {
                status_code: 200,
                executed_version: &version,
                function_error: error,
            }),
            response_payload: answered,
        };
        Box::<str>::from(wrap(to_json(&record)))
    };
    let answered = answered.as_ref().map(Payload::of);
    let whole = render(&asked, answered.as_ref());
    if whole.len() <= MAX_ASYNC_PAYLOAD {
        return Bytes::from(String::from(whole));
    }
    let note = answered.as_ref().map(|_| Payload::left_out(answered_bytes));
    let less = render(&asked, note.as_ref());
    if less.len() <= MAX_ASYNC_PAYLOAD {
        return Bytes::from(String::from(less));
    }
    let least = render(&Payload::left_out(asked_bytes), note.as_ref());
    Bytes::from(String::from(least))
}

/// As AWS names the objects of an S3 destination; fixed, so that writing it twice is writing it once.
fn object_key(name: &FunctionName, at: Timestamp, id: EventId) -> String {
    let time = at.rfc3339();
    let (date, clock) = time.split_once('T').unwrap_or((&time, ""));
    let clock = clock.get(..8).unwrap_or(clock).replace(':', ".");
    let folder = date.replace('-', "/");
    format!("aws/lambda/async/{name}/{folder}/{date}T{clock}-{id}")
}
