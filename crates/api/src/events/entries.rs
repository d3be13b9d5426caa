//! PutEvents: each entry is accepted, or says why not; what is accepted is on disk.

use super::error::{Error, Result};
use super::{Asked, names};
use crate::envelope::{Envelope, MAX_KIND, MAX_SOURCE};
use crate::server::Origin;
use model::{BusName, EventId, NewEvent, Target, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Entries of one request (EventBridge's bound).
const MAX_ENTRIES: usize = 10;
/// All entries of one request together, in bytes as EventBridge counts them.
const MAX_TOTAL: usize = 1_000_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Put {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Entry {
    /// Seconds since 1970.
    time: Option<f64>,
    source: Option<String>,
    #[serde(default)]
    resources: Vec<String>,
    detail_type: Option<String>,
    detail: Option<String>,
    event_bus_name: Option<String>,
    /// Taken and not used: tracing is the server's own.
    #[serde(default, rename = "TraceHeader")]
    _trace_header: Option<String>,
}

/// Why an entry is not accepted.
struct Failed {
    code: &'static str,
    message: String,
}

impl Failed {
    fn argument(name: &str, reason: impl std::fmt::Display) -> Self {
        Self {
            code: "InvalidArgument",
            message: format!("Parameter {name} is not valid. Reason: {reason}"),
        }
    }
}

impl Entry {
    /// As AWS counts: 14 bytes for a time, and what the other parameters have in UTF-8.
    fn size(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let resources: usize = self.resources.iter().map(String::len).sum();
        let time = if self.time.is_some() { 14 } else { 0 };
        time + text(&self.source) + text(&self.detail_type) + text(&self.detail) + resources
    }

    fn event(
        self,
        region: &str,
        cause: Option<EventId>,
        has_bus: impl Fn(&BusName) -> bool,
    ) -> std::result::Result<NewEvent, Failed> {
        let required = |name: &str, value: Option<String>, most: usize| {
            let value = value.filter(|value| !value.is_empty());
            let missing = || Failed::argument(name, format_args!("{name} is a required argument."));
            let value = value.ok_or_else(missing)?;
            if value.len() > most {
                let reason = format!("{name} has more than {most} bytes.");
                return Err(Failed::argument(name, reason));
            }
            Ok(value)
        };
        let source = required("Source", self.source, MAX_SOURCE)?;
        let kind = required("DetailType", self.detail_type, MAX_KIND)?;
        let detail = required("Detail", self.detail, MAX_TOTAL)?;
        if source.starts_with("aws.") {
            return Err(Failed {
                code: "NotAuthorizedForSourceException",
                message: "Not authorized for the source.".to_owned(),
            });
        }
        let detail = match serde_json::from_str::<&RawValue>(&detail) {
            Ok(raw) if raw.get().starts_with('{') => raw,
            _ => {
                return Err(Failed {
                    code: "MalformedDetail",
                    message: "Detail is malformed.".to_owned(),
                });
            }
        };
        let accepted = Timestamp::now();
        let time = match self.time {
            // Within the years that a calendar has, so that it can be written.
            Some(time) if time.abs() < 1e11 => Timestamp((time * 1000.0) as i64),
            Some(_) => return Err(Failed::argument("Time", "it is no time")),
            None => accepted,
        };
        let bus = names::bus(self.event_bus_name.as_deref())
            .map_err(|error| Failed::argument("EventBusName", error.message()))?;
        // Accepted, it would be a dead letter.
        if !has_bus(&bus) {
            return Err(Failed {
                code: "ResourceNotFoundException",
                message: format!("Event bus {bus} does not exist."),
            });
        }
        let id = EventId::generate();
        let envelope = Envelope {
            id: &id.to_string(),
            kind: &kind,
            source: &source,
            time,
            region,
            resources: &self.resources,
            detail,
            cloudevent: None,
        };
        let payload = envelope
            .bytes()
            .map_err(|reason| Failed::argument("Detail", reason))?;
        Ok(NewEvent {
            id,
            target: Target::Bus { name: bus },
            source,
            kind,
            subject: String::new(),
            payload,
            accepted,
            cause,
            replay_of: None,
            delivery: Default::default(),
        })
    }
}

/// PutEvents.
pub(super) async fn put(asked: Asked) -> Result<Value> {
    let put: Put = asked.read()?;
    if !(1..=MAX_ENTRIES).contains(&put.entries.len()) {
        return Err(Error::validation(format!(
            "1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must \
             have length between 1 and {MAX_ENTRIES}"
        )));
    }
    let total: usize = put.entries.iter().map(Entry::size).sum();
    if total > MAX_TOTAL {
        let message = "Total size of the entries in the request is over the limit.";
        return Err(Error::validation(message));
    }
    let cause = match &asked.origin {
        Origin::Client => None,
        Origin::Instance { instance, .. } => asked.doors.engine.current_event(instance),
    };
    let region = &asked.doors.options.region;
    let mut answers = Vec::new();
    let mut accepted = Vec::new();
    for entry in put.entries {
        let has_bus = |name: &BusName| asked.doors.engine.has_bus(name);
        answers.push(entry.event(region, cause, has_bus).map(|event| {
            let id = event.id;
            accepted.push((None, event));
            id
        }));
    }
    if !accepted.is_empty() {
        asked.doors.engine.submit_all(accepted).await?;
    }
    let failed = answers.iter().filter(|answer| answer.is_err()).count();
    let entries: Vec<Value> = answers
        .into_iter()
        .map(|answer| match answer {
            Ok(id) => json!({"EventId": id}),
            Err(failed) => json!({"ErrorCode": failed.code, "ErrorMessage": failed.message}),
        })
        .collect();
    Ok(json!({"FailedEntryCount": failed, "Entries": entries}))
}
