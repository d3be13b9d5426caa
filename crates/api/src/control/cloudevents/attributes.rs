//! The attributes and the data of a CloudEvent, checked as its specification says
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>).

use super::super::error::{Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue};
use model::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Longest `id`, `source` and `type`, in bytes.
const MAX_NAME: usize = 1024;
/// Longest of every other attribute, in bytes.
const MAX_VALUE: usize = 8 * 1024;
/// Most attributes of one event.
const MAX_ATTRIBUTES: usize = 100;

/// A CloudEvent that keeps the specification.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) id: String,
    pub(super) source: String,
    pub(super) kind: String,
    pub(super) subject: Option<String>,
    pub(super) time: Option<Timestamp>,
    /// The data where it is JSON or text, else `null`.
    pub(super) data: Box<RawValue>,
    /// The data where it is neither, in base64.
    binary: Option<String>,
    /// Every attribute but `id`, `source` and `type`.
    others: Map<String, Value>,
}

impl Incoming {
    /// From the JSON format.
    pub(super) fn structured(text: &str) -> Result<Self> {
        let mut members: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(text).map_err(|error| {
                Error::invalid(format!("this is no object of CloudEvents: {error}"))
            })?;
        let data = members.remove("data");
        let binary = members
            .remove("data_base64")
            .map(|raw| text_of("data_base64", &raw));
        let binary = binary.transpose()?;
        if data.is_some() && binary.is_some() {
            return Err(Error::invalid(
                "an event must not have both data and data_base64",
            ));
        }
        if binary
            .as_ref()
            .is_some_and(|text| STANDARD.decode(text).is_err())
        {
            return Err(Error::invalid("data_base64 is not base64"));
        }
        let mut attributes = Map::new();
        for (name, raw) in members {
            let value: Value = serde_json::from_str(raw.get())
                .map_err(|error| Error::invalid(format!("attribute {name}: {error}")))?;
            let known = value.is_string() || value.is_boolean() || value.is_i64();
            match value {
                // Null is the same as absent (JSON format, 2.2).
                Value::Null => {}
                value if known => {
                    attributes.insert(name, value);
                }
                _ => return Err(wrong(&name, "must be a text, an integer or a boolean")),
            }
        }
        Self::checked(attributes, data, binary)
    }

    /// From headers and a body. `media` is the media type of `content_type`, in lower case.
    pub(super) fn binary(
        headers: &HeaderMap,
        content_type: &str,
        media: &str,
        body: &[u8],
    ) -> Result<Self> {
        let mut attributes = Map::new();
        for (name, value) in headers {
            let Some(name) = name.as_str().strip_prefix("ce-") else {
                continue;
            };
            let value =
                decoded(value).ok_or_else(|| wrong(name, "is not percent-encoded UTF-8"))?;
            attributes.insert(name.to_owned(), value.into());
        }
        if attributes.is_empty() {
            return Err(Error::invalid(
                "this is no CloudEvent: it needs ce- headers, or the Content-Type \
                 application/cloudevents+json or application/cloudevents-batch+json",
            ));
        }
        if !content_type.is_empty() {
            attributes.insert("datacontenttype".to_owned(), content_type.into());
        }
        let is_json =
            media == "application/json" || media.ends_with("+json") || media == "text/json";
        let (data, binary) = match (body, std::str::from_utf8(body)) {
            ([], _) => (None, None),
            (_, Ok(text)) if is_json || media.is_empty() => {
                let raw = RawValue::from_string(text.to_owned()).map_err(|error| {
                    Error::invalid(format!(
                        "the data is not the JSON that it is said to be: {error}"
                    ))
                })?;
                (Some(raw), None)
            }
            (_, Ok(text)) => (Some(raw(&Value::from(text))?), None),
            (body, Err(_)) => (None, Some(STANDARD.encode(body))),
        };
        Self::checked(attributes, data, binary)
    }

    fn checked(
        mut attributes: Map<String, Value>,
        data: Option<Box<RawValue>>,
        binary: Option<String>,
    ) -> Result<Self> {
        if attributes.len() > MAX_ATTRIBUTES {
            return Err(Error::invalid(format!(
                "there are more than {MAX_ATTRIBUTES} attributes"
            )));
        }
        for (name, value) in &attributes {
            check(name, value)?;
        }
        match attributes.get("specversion").and_then(Value::as_str) {
            Some("1.0") => {}
            _ => return Err(wrong("specversion", "must be \"1.0\"")),
        }
        let mut required = |name: &str| match attributes.remove(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(wrong(name, "is required, as a text that is not empty")),
        };
        let (id, source, kind) = (required("id")?, required("source")?, required("type")?);
        let text = |name: &str| attributes.get(name).and_then(Value::as_str);
        let time = text("time").map(|time| time.parse::<jiff::Timestamp>());
        let time = time
            .transpose()
            .map_err(|_| wrong("time", "must be a time of RFC 3339"))?;
        Ok(Self {
            id,
            source,
            kind,
            subject: text("subject").map(str::to_owned),
            time: time.map(|time| Timestamp(time.as_millisecond())),
            data: match data {
                Some(data) => data,
                None => raw(&Value::Null)?,
            },
            binary,
            others: attributes,
        })
    }

    /// The attributes that the envelope has no place for, and data that is neither JSON nor text.
    pub(super) fn shown(&self) -> Value {
        let mut shown = self.others.clone();
        if let Some(binary) = &self.binary {
            shown.insert("data_base64".to_owned(), binary.as_str().into());
        }
        Value::Object(shown)
    }
}

/// Checks one attribute: its name, and its value by its name.
fn check(name: &str, value: &Value) -> Result<()> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(legal) {
        return Err(wrong(
            name,
            "is no name of an attribute: only a-z and 0-9 are",
        ));
    }
    let Some(text) = value.as_str() else {
        let known = ["datacontenttype", "dataschema", "subject", "time"];
        return match known.contains(&name) {
            true => Err(wrong(name, "must be a text")),
            false => Ok(()),
        };
    };
    let most = match name {
        "id" | "source" | "type" => MAX_NAME,
        _ => MAX_VALUE,
    };
    if text.len() > most {
        return Err(wrong(name, &format!("has more than {most} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(wrong(name, "must not have control characters"));
    }
    let absolute = |text: &str| {
        let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(legal)
    };
    match name {
        "id" | "source" | "type" | "subject" | "datacontenttype" if text.is_empty() => {
            Err(wrong(name, "must not be empty"))
        }
        "source" if !text.bytes().all(is_uri) => Err(wrong(
            name,
            "must be a URI reference: no spaces, and only ASCII",
        )),
        "dataschema" if !text.bytes().all(is_uri) || !absolute(text) => {
            Err(wrong(name, "must be an absolute URI"))
        }
        _ => Ok(()),
    }
}

/// The characters of RFC 3986.
fn is_uri(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

/// The value of a header: unquoted, then percent-decoded (HTTP binding, 3.1.3.2).
fn decoded(value: &HeaderValue) -> Option<String> {
    let text = value.to_str().ok()?.trim();
    let quoted = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
    let mut plain = String::new();
    let inner = if quoted {
        &text[1..text.len() - 1]
    } else {
        text
    };
    let mut escaped = false;
    for character in inner.chars() {
        if quoted && character == '\\' && !escaped {
            escaped = true;
            continue;
        }
        escaped = false;
        plain.push(character);
    }
    let decoded = percent_encoding::percent_decode_str(&plain).decode_utf8();
    decoded.ok().map(|text| text.into_owned())
}

fn raw(value: &Value) -> Result<Box<RawValue>> {
    RawValue::from_string(value.to_string()).map_err(|error| Error::invalid(error.to_string()))
}

fn text_of(name: &str, raw: &RawValue) -> Result<String> {
    serde_json::from_str(raw.get()).map_err(|_| wrong(name, "must be a text"))
}

fn wrong(name: &str, reason: &str) -> Error {
    let shown: String = name.chars().take(60).collect();
    Error::invalid(format!("attribute \"{}\" {reason}", shown.escape_debug()))
}
