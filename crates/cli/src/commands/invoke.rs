//! `rouse invoke`: one call of a function.

use crate::client::event::NewEventAnswer;
use crate::client::{self, Client, segment, with_query};
use crate::error::{Error, Result};
use crate::output;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{FunctionName, MAX_PAYLOAD, Qualifier, Timing};
use reqwest::{Method, Response};
use std::fmt;
use std::io::{IsTerminal, Read, Write};
use std::str::FromStr;

/// Call a function
///
/// Examples:
///   rouse invoke resize -p '{"key": "a.jpg"}'
///   rouse invoke resize -p @event.json --log
///   echo '{}' | rouse invoke resize -p -
///   rouse invoke resize -p @event.json --event     # durable: retried until it succeeds
///   rouse invoke resize:beta                       # the version that an alias names, or resize:3
///
/// Its answer goes to standard output. When the function fails, its error goes to standard error and
/// the exit code is 1.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// The function; NAME:VERSION or NAME:ALIAS for one version of it
    #[arg(value_name = "NAME[:QUALIFIER]")]
    name: Callee,
    /// What it is given: JSON, @FILE, or - for standard input
    #[arg(short, long, default_value = "{}", value_name = "PAYLOAD")]
    payload: String,
    /// Hand it over as a durable event and do not wait for the answer; prints the event's id
    #[arg(long, visible_alias = "async")]
    event: bool,
    /// With --event: the same key for the same function within a day is one event, however often it is
    /// sent
    #[arg(long, requires = "event", value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Show the last 4 KiB of what the call logged, on standard error
    #[arg(long, conflicts_with = "event")]
    log: bool,
    /// Print everything about the call as JSON: answer, timings, cold or warm, log
    #[arg(long)]
    json: bool,
}

/// A function, and which version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Callee {
    name: FunctionName,
    qualifier: Option<Qualifier>,
}

impl FromStr for Callee {
    type Err = model::Invalid;
    fn from_str(text: &str) -> std::result::Result<Self, model::Invalid> {
        let (name, qualifier) = match text.split_once(':') {
            Some((name, qualifier)) => (name, Some(qualifier.parse()?)),
            None => (text, None),
        };
        let name = name.parse()?;
        Ok(Self { name, qualifier })
    }
}

impl fmt::Display for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.qualifier {
            Some(qualifier) => write!(f, "{}:{qualifier}", self.name),
            None => self.name.fmt(f),
        }
    }
}

/// What a call's answer says in its headers.
#[derive(Debug)]
struct Call {
    ending: String,
    request_id: String,
    cold: bool,
    /// Which published version answered.
    version: Option<u64>,
    /// How its instance came to be, if it was new.
    start_kind: Option<String>,
    timing: Option<Timing>,
    log: String,
    /// The status that a function of the `http` contract answered.
    http_status: Option<u16>,
}

/// Runs the command.
pub(crate) async fn run(options: &Options, client: &Client) -> Result<()> {
    let payload = read_payload(&options.payload)?;
    let sort = if options.event { "event" } else { "wait" };
    let path = format!(
        "functions/{}/invocations",
        segment(options.name.name.as_str())
    );
    let mut query = vec![("type", sort.to_owned())];
    if let Some(qualifier) = &options.name.qualifier {
        query.push(("qualifier", qualifier.to_string()));
    }
    let path = with_query(&path, &query);
    let mut request = client
        .request(Method::POST, &path)
        .header("content-type", "application/json")
        .body(payload);
    if let Some(key) = &options.idempotency_key {
        request = request.header("idempotency-key", key);
    }
    let response = client.send(request).await?;
    if options.event {
        let answer: NewEventAnswer = client::parse(response, "POST invocations").await?;
        return match options.json {
            true => output::json(&answer),
            false => output::line(answer.event_id),
        };
    }
    let call = Call::of(&response)?;
    let payload = client::read(response, "POST invocations").await?;
    if options.json {
        print_json(&call, &payload)?;
        return if call.ending == "succeeded" {
            Ok(())
        } else {
            Err(Error::Reported)
        };
    }
    if options.log {
        output::note(output::clean(call.log.trim_end(), true));
        output::note(call.summary());
    }
    if call.ending == "succeeded" {
        return print_payload(&payload);
    }
    Err(Error::Failed(format!(
        "{} {}: {}",
        options.name,
        call.ending.replace('_', " "),
        describe(&payload)
    )))
}

/// The payload as the command line names it; 6 MiB at most, the bound of a call.
fn read_payload(text: &str) -> Result<Vec<u8>> {
    let mut payload = Vec::new();
    let limit = MAX_PAYLOAD as u64 + 1;
    if text == "-" {
        std::io::stdin()
            .lock()
            .take(limit)
            .read_to_end(&mut payload)
            .map_err(Error::io("reading standard input"))?;
    } else if let Some(path) = text.strip_prefix('@') {
        std::fs::File::open(path)
            .and_then(|file| file.take(limit).read_to_end(&mut payload))
            .map_err(Error::io(format!("reading {path}")))?;
    } else {
        payload.extend_from_slice(text.as_bytes());
    }
    if payload.len() > MAX_PAYLOAD {
        return Err(Error::Usage(format!(
            "the payload is longer than {MAX_PAYLOAD} bytes, the bound of a call: store it in a \
             bucket and give its key"
        )));
    }
    Ok(payload)
}

impl Call {
    fn of(response: &Response) -> Result<Self> {
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok()
        };
        let Some(ending) = header("x-rouse-ending") else {
            return Err(Error::Answer {
                request: "POST invocations".to_owned(),
                reason: "it does not say how the call ended".to_owned(),
            });
        };
        let log = header("x-rouse-log-tail").and_then(|text| STANDARD.decode(text).ok());
        Ok(Self {
            ending: output::cell(ending, 40),
            request_id: output::cell(header("x-rouse-request-id").unwrap_or(""), 64),
            cold: header("x-rouse-cold") == Some("true"),
            version: header("x-rouse-version").and_then(|text| text.parse().ok()),
            start_kind: header("x-rouse-start-kind").map(|kind| output::cell(kind, 20)),
            timing: header("x-rouse-timing").and_then(|text| serde_json::from_str(text).ok()),
            http_status: header("x-rouse-http-status").and_then(|text| text.parse().ok()),
            log: String::from_utf8_lossy(&log.unwrap_or_default()).into_owned(),
        })
    }

    fn summary(&self) -> String {
        let how = match (self.cold, &self.start_kind) {
            (true, Some(kind)) => kind,
            (true, None) => "cold",
            (false, _) => "warm",
        };
        let mut text = format!("request {} {how}", self.request_id);
        if let Some(version) = self.version {
            text.push_str(&format!(", version {version}"));
        }
        if let Some(status) = self.http_status {
            text.push_str(&format!(", HTTP status {status}"));
        }
        if let Some(timing) = self.timing {
            text.push_str(&format!(
                ", queued {}, start {}, init {}, run {}",
                output::micros(timing.queued),
                output::micros(timing.start),
                output::micros(timing.init),
                output::micros(timing.run)
            ));
        }
        text
    }
}

fn print_json(call: &Call, payload: &[u8]) -> Result<()> {
    let payload = match serde_json::from_slice::<serde_json::Value>(payload) {
        Ok(value) => value,
        Err(_) => String::from_utf8_lossy(payload).into(),
    };
    output::json(&serde_json::json!({
        "ending": call.ending,
        "request_id": call.request_id,
        "cold": call.cold,
        "version": call.version,
        "start_kind": call.start_kind,
        "timing": call.timing,
        "payload": payload,
        "log": call.log,
        "http_status": call.http_status,
    }))
}

/// As it is for programs; without control characters for people.
fn print_payload(payload: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let terminal = out.is_terminal();
    let shown = if terminal {
        let text = output::clean(&String::from_utf8_lossy(payload), true);
        out.write_all(text.as_bytes())
    } else {
        out.write_all(payload)
    };
    let ended = payload.ends_with(b"\n") || payload.is_empty();
    shown
        .and_then(|()| if ended { Ok(()) } else { out.write_all(b"\n") })
        .and_then(|()| out.flush())
        .map_err(Error::io("writing to standard output"))
}

/// An error object of Lambda's form in words; anything else as it is.
fn describe(payload: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(payload).unwrap_or_default();
    let part = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
    let text = match (part("errorType"), part("errorMessage")) {
        (Some(sort), Some(message)) => {
            let trace = value.get("stackTrace").or_else(|| value.get("trace"));
            let lines = trace.and_then(serde_json::Value::as_array);
            let lines = lines
                .into_iter()
                .flatten()
                .filter_map(serde_json::Value::as_str);
            let lines = lines.map(|line| format!("\n  {}", line.trim_end()));
            format!("{sort}: {message}{}", lines.collect::<String>())
        }
        (None, Some(message)) => message.to_owned(),
        _ => String::from_utf8_lossy(payload).into_owned(),
    };
    output::clean(&text, true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn errors_of_lambdas_form_are_told_in_words() {
        let payload =
            br#"{"errorType":"TypeError","errorMessage":"x\u001b[31m is no y","trace":["at a"]}"#;
        assert_eq!(describe(payload), "TypeError: x is no y\n  at a");
        assert_eq!(describe(b"plain"), "plain");
    }

    #[test]
    fn a_callee_is_a_function_or_a_version_of_it() {
        let callee = |text: &str| text.parse::<Callee>();
        assert_eq!(callee("resize").unwrap().qualifier, None);
        for text in ["resize:3", "resize:beta", "resize:$LATEST"] {
            let read = callee(text).unwrap();
            assert_eq!(
                (read.name.as_str(), read.to_string().as_str()),
                ("resize", text)
            );
        }
        for bad in ["", ":3", "resize:", "resize:0", "resize:a:b", "re size"] {
            assert!(callee(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn payloads_come_from_text_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("event.json");
        std::fs::write(&path, "{\"a\":1}").unwrap();
        assert_eq!(read_payload("{}").unwrap(), b"{}");
        assert_eq!(
            read_payload(&format!("@{}", path.display())).unwrap(),
            b"{\"a\":1}"
        );
        std::fs::write(&path, vec![b' '; MAX_PAYLOAD + 1]).unwrap();
        assert!(read_payload(&format!("@{}", path.display())).is_err());
        assert!(read_payload("@/does/not/exist").is_err());
    }
}
