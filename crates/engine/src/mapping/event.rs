//! What a function is given of a batch, and what it may answer
//! (<https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>).

use super::queue_arn;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use md5::{Digest as _, Md5};
use model::{AttributeValue, MAX_PAYLOAD, Message, MessageAttribute, QueueName};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What is around the records.
const FRAME: usize = "{\"Records\":[]}".len();

/// The event of as many messages as fit into one call, and how many that are: at least one.
pub(super) fn event(queue: &QueueName, region: &str, messages: &[Message]) -> (Bytes, usize) {
    let mut out = b"{\"Records\":[".to_vec();
    let mut count = 0;
    for message in messages {
        let record = record(queue, region, message).to_string();
        if count > 0 && out.len() + record.len() + FRAME > MAX_PAYLOAD {
            break;
        }
        if count > 0 {
            out.push(b',');
        }
        out.extend_from_slice(record.as_bytes());
        count += 1;
    }
    out.extend_from_slice(b"]}");
    (out.into(), count)
}

/// One message as the function is given it, and as filters see it.
pub(super) fn record(queue: &QueueName, region: &str, message: &Message) -> Value {
    let sent = &message.sent;
    let system = message.system_attributes(|name| queue_arn(name, region));
    let system: Map<String, Value> = system
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let attributes: Map<String, Value> = sent
        .attributes
        .iter()
        .map(|(name, attribute)| (name.clone(), attribute_of(attribute)))
        .collect();
    json!({
        "messageId": sent.id.to_string(),
        "receiptHandle": message.handle.to_string(),
        "body": sent.body,
        "attributes": system,
        "messageAttributes": attributes,
        "md5OfBody": hex::encode(Md5::digest(&sent.body)),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn(queue, region),
        "awsRegion": region,
    })
}

fn attribute_of(attribute: &MessageAttribute) -> Value {
    let mut shown = json!({
        "dataType": attribute.data_type,
        "stringListValues": [],
        "binaryListValues": [],
    });
    match &attribute.value {
        AttributeValue::Text(text) => shown["stringValue"] = text.as_str().into(),
        AttributeValue::Binary(bytes) => shown["binaryValue"] = STANDARD.encode(bytes).into(),
    }
    shown
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    batch_item_failures: Option<Vec<Failure>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Failure {
    item_identifier: Option<String>,
}

/// Ids of the messages that a function says failed. `None` when all did: it named one that is not of
/// the batch, or answered what is not the form of such an answer.
pub(super) fn failures(answer: &[u8], messages: &[Message]) -> Option<BTreeSet<String>> {
    if answer.iter().all(u8::is_ascii_whitespace) {
        return Some(BTreeSet::new());
    }
    let answer: Option<Answer> = serde_json::from_slice(answer).ok()?;
    let failures = answer
        .and_then(|answer| answer.batch_item_failures)
        .unwrap_or_default();
    let ids: Option<BTreeSet<String>> = failures
        .into_iter()
        .map(|failure| failure.item_identifier)
        .collect();
    let known = |id: &String| {
        messages
            .iter()
            .any(|message| message.sent.id.to_string() == *id)
    };
    ids.filter(|ids| ids.iter().all(known))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::{MessageId, NewMessage, ReceiptHandle, Timestamp};
    use std::collections::BTreeMap;

    fn message(body: &str) -> Message {
        let id = MessageId::generate();
        Message {
            sent: NewMessage {
                id,
                body: body.to_owned(),
                attributes: BTreeMap::from([(
                    "raw".to_owned(),
                    MessageAttribute {
                        data_type: "Binary".to_owned(),
                        value: AttributeValue::Binary(Bytes::from_static(b"\xff")),
                    },
                )]),
                trace: None,
                sender: "root".to_owned(),
                group: None,
                deduplication: None,
                digest: None,
                delay: None,
                sent: Timestamp(5),
                chain: Default::default(),
            },
            sequence: 1,
            receives: 2,
            first_received: Timestamp(6),
            dead_letter_of: None,
            handle: ReceiptHandle {
                sequence: 1,
                id,
                epoch: 2,
            },
        }
    }

    #[test]
    fn a_record_has_awss_names() {
        let queue: QueueName = "orders".parse().unwrap();
        let message = message("a");
        let (event, count) = event(&queue, "eu-west-1", std::slice::from_ref(&message));
        let event: Value = serde_json::from_slice(&event).unwrap();
        let record = &event["Records"][0];
        assert_eq!(count, 1);
        assert_eq!(record["messageId"], message.sent.id.to_string());
        assert_eq!(record["body"], "a");
        assert_eq!(record["md5OfBody"], "0cc175b9c0f1b6a831c399e269772661");
        assert_eq!(
            record["eventSourceARN"],
            "arn:aws:sqs:eu-west-1:000000000000:orders"
        );
        assert_eq!(record["attributes"]["ApproximateReceiveCount"], "2");
        assert_eq!(record["attributes"]["SentTimestamp"], "5");
        assert_eq!(record["messageAttributes"]["raw"]["binaryValue"], "/w==");
    }

    #[test]
    fn an_event_is_one_call_and_what_does_not_fit_waits() {
        let queue: QueueName = "orders".parse().unwrap();
        let messages: Vec<Message> = (0..4)
            .map(|_| message(&"\u{7f}\"".repeat(1 << 20)))
            .collect();
        let (event, count) = event(&queue, "eu-west-1", &messages);
        assert_eq!(count, 1, "each is 3 MiB in JSON");
        assert!(event.len() <= MAX_PAYLOAD);
    }

    #[test]
    fn failures_are_read_and_nonsense_fails_all() {
        let messages = [message("a"), message("b")];
        let id = messages[0].sent.id.to_string();
        let some = format!(r#"{{"batchItemFailures":[{{"itemIdentifier":"{id}"}}]}}"#);
        assert_eq!(failures(some.as_bytes(), &messages).unwrap().len(), 1);
        for none in [
            "",
            "null",
            "{}",
            r#"{"batchItemFailures":null}"#,
            r#"{"batchItemFailures":[]}"#,
        ] {
            assert_eq!(
                failures(none.as_bytes(), &messages),
                Some(BTreeSet::new()),
                "{none}"
            );
        }
        for all in [
            "done",
            r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
            r#"{"batchItemFailures":[{"itemIdentifier":"other"}]}"#,
            r#"{"batchItemFailures":[{}]}"#,
        ] {
            assert_eq!(failures(all.as_bytes(), &messages), None, "{all}");
        }
    }
}
