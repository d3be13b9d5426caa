//! ReceiveMessage.

use super::digest;
use super::error::{Error, Result};
use super::messages::seconds;
use super::operation::{Call, OfQueue, maybe_number};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::Receive;
use model::{AttributeValue, MAX_BATCH, Message, MessageAttribute, legal_token};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Bytes of messages after which one answer is full, but for one message.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Every system attribute that can be asked for.
const SYSTEM: [&str; 10] = [
    "All",
    "SenderId",
    "SentTimestamp",
    "ApproximateReceiveCount",
    "ApproximateFirstReceiveTimestamp",
    "SequenceNumber",
    "MessageDeduplicationId",
    "MessageGroupId",
    "AWSTraceHeader",
    "DeadLetterQueueSourceArn",
];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Asked {
    #[serde(flatten)]
    queue: OfQueue,
    /// The older name of the next one; either is taken.
    #[serde(default)]
    attribute_names: Vec<String>,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
    #[serde(default)]
    message_attribute_names: Vec<String>,
    #[serde(default, deserialize_with = "maybe_number")]
    max_number_of_messages: Option<usize>,
    #[serde(default, deserialize_with = "maybe_number")]
    visibility_timeout: Option<u32>,
    #[serde(default, deserialize_with = "maybe_number")]
    wait_time_seconds: Option<u32>,
    #[serde(default)]
    receive_request_attempt_id: Option<String>,
}

pub(super) async fn receive(call: &Call, input: Asked) -> Result<Value> {
    let limit = input.max_number_of_messages.unwrap_or(1);
    if !(1..=MAX_BATCH).contains(&limit) {
        return Err(Error::value(
            "MaxNumberOfMessages",
            "Must be between 1 and 10, if provided",
        ));
    }
    if input.wait_time_seconds.is_some_and(|wait| wait > 20) {
        return Err(Error::value(
            "WaitTimeSeconds",
            "Must be >= 0 and <= 20, if provided",
        ));
    }
    if input
        .receive_request_attempt_id
        .is_some_and(|id| !legal_token(&id))
    {
        let reason = "it has 1 to 128 letters, digits and ASCII punctuation";
        return Err(Error::value("ReceiveRequestAttemptId", reason));
    }
    let mut wanted = input.attribute_names;
    wanted.extend(input.message_system_attribute_names);
    if let Some(unknown) = wanted.iter().find(|name| !SYSTEM.contains(&name.as_str())) {
        return Err(Error::unknown_attribute(unknown));
    }
    let asked = Receive {
        queue: input.queue.name()?,
        limit,
        bytes: MAX_ANSWER,
        visibility: input.visibility_timeout.map(seconds).transpose()?,
    };
    let wait = input
        .wait_time_seconds
        .map(|wait| Duration::from_secs(wait.into()));
    let received = call.doors.engine.receive_messages(asked, wait).await?;
    if received.full {
        return Err(Error::over_limit());
    }
    let shown = received
        .messages
        .iter()
        .map(|message| show(call, message, &wanted, &input.message_attribute_names));
    let shown: Vec<Value> = shown.collect();
    if shown.is_empty() {
        return Ok(json!({}));
    }
    Ok(json!({"Messages": shown}))
}

fn show(call: &Call, message: &Message, wanted: &[String], names: &[String]) -> Value {
    let sent = &message.sent;
    let mut shown = json!({
        "MessageId": sent.id.to_string(),
        "ReceiptHandle": message.handle.to_string(),
        "MD5OfBody": digest::of_body(&sent.body),
        "Body": sent.body,
    });
    let system = system(call, message, wanted);
    if !system.is_empty() {
        shown["Attributes"] = system.into();
    }
    let attributes = sent
        .attributes
        .iter()
        .filter(|(name, _)| is_wanted(name, names));
    let attributes: Vec<(&String, &MessageAttribute)> = attributes.collect();
    if let Some(digest) = digest::of_attributes(attributes.iter().copied()) {
        shown["MD5OfMessageAttributes"] = digest.into();
        let values = attributes
            .into_iter()
            .map(|(name, attribute)| (name.clone(), show_attribute(attribute)));
        shown["MessageAttributes"] = values.collect::<Map<_, _>>().into();
    }
    shown
}

fn show_attribute(attribute: &MessageAttribute) -> Value {
    let mut shown = json!({"DataType": attribute.data_type});
    match &attribute.value {
        AttributeValue::Text(text) => shown["StringValue"] = text.as_str().into(),
        AttributeValue::Binary(bytes) => shown["BinaryValue"] = STANDARD.encode(bytes).into(),
    }
    shown
}

/// `All`, a name, or a prefix that ends with `.*`.
fn is_wanted(name: &str, names: &[String]) -> bool {
    names.iter().any(|wanted| {
        wanted == "All"
            || wanted == name
            || wanted.strip_suffix('*').is_some_and(|prefix| {
                prefix == "." || (prefix.ends_with('.') && name.starts_with(prefix))
            })
    })
}

fn system(call: &Call, message: &Message, wanted: &[String]) -> Map<String, Value> {
    let all = message.system_attributes(|name| call.arn(name)).into_iter();
    all.filter(|(name, _)| {
        wanted
            .iter()
            .any(|wanted| wanted == "All" || wanted == name)
    })
    .map(|(name, value)| (name.to_owned(), value.into()))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_wanted_by_name_prefix_or_all() {
        let names = |text: &str| vec![text.to_owned()];
        for wanted in ["All", ".*", "a.b", "a.*"] {
            assert!(is_wanted("a.b", &names(wanted)), "{wanted}");
        }
        for other in ["a", "b.*", "a.b.*", "a*"] {
            assert!(!is_wanted("a.b", &names(other)), "{other}");
        }
        assert!(!is_wanted("a.b", &[]));
    }
}
