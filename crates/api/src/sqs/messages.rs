//! Sending, deleting and hiding one message. Batches of them are in `batch`.

use super::digest;
use super::error::{Error, Result};
use super::operation::{Call, OfQueue, maybe_number, number};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::{Accepted, Changed, Deleted};
use model::{
    AttributeValue, MessageAttribute, MessageId, NewMessage, QueueName, ReceiptHandle, Timestamp,
    sequence_number,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The one system attribute that a sender may set.
const TRACE: &str = "AWSTraceHeader";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GivenAttribute {
    data_type: String,
    #[serde(default)]
    string_value: Option<String>,
    #[serde(default)]
    binary_value: Option<String>,
}

impl GivenAttribute {
    fn take(self, name: &str) -> Result<MessageAttribute> {
        let refuse = |reason: &str| {
            let shown: String = name.chars().take(80).collect();
            Error::value(
                &format!("message attribute {}", shown.escape_debug()),
                reason,
            )
        };
        let value = match (self.string_value, self.binary_value) {
            (Some(text), None) => AttributeValue::Text(text),
            (None, Some(base64)) => {
                let bytes = STANDARD.decode(base64.trim());
                AttributeValue::Binary(
                    bytes
                        .map_err(|_| refuse("BinaryValue is not base64"))?
                        .into(),
                )
            }
            _ => return Err(refuse("it has either a StringValue or a BinaryValue")),
        };
        Ok(MessageAttribute {
            data_type: self.data_type,
            value,
        })
    }
}

/// What a message is made of, alone or in a batch.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Content {
    message_body: String,
    #[serde(default, deserialize_with = "maybe_number")]
    delay_seconds: Option<u32>,
    #[serde(default)]
    message_attributes: BTreeMap<String, GivenAttribute>,
    #[serde(default)]
    message_system_attributes: BTreeMap<String, GivenAttribute>,
    #[serde(default)]
    message_deduplication_id: Option<String>,
    #[serde(default)]
    message_group_id: Option<String>,
}

/// A message to be sent, and the digests that its sender compares.
pub(super) struct Outgoing {
    pub(super) message: NewMessage,
    digests: Digests,
}

/// The digests of a message.
pub(super) struct Digests {
    body: String,
    attributes: Option<String>,
    system: Option<String>,
}

impl Content {
    /// Makes a message of it.
    pub(super) fn take(self, call: &Call, fifo: bool) -> Result<Outgoing> {
        let taken = |given: BTreeMap<String, GivenAttribute>| -> Result<BTreeMap<_, _>> {
            given
                .into_iter()
                .map(|(name, attribute)| attribute.take(&name).map(|attribute| (name, attribute)))
                .collect()
        };
        let attributes = taken(self.message_attributes)?;
        let system = taken(self.message_system_attributes)?;
        let trace = match system.iter().next() {
            None => None,
            Some((name, attribute)) if system.len() == 1 && name == TRACE => match &attribute.value
            {
                AttributeValue::Text(text)
                    if attribute.data_type == "String" && text.len() <= 1_024 =>
                {
                    Some(text.clone())
                }
                _ => return Err(Error::value(TRACE, "it is a String of at most 1024 bytes")),
            },
            Some(_) => {
                let reason = "AWSTraceHeader is the only system attribute that can be set";
                return Err(Error::value("MessageSystemAttributes", reason));
            }
        };
        let own_id = self.message_deduplication_id.is_some();
        let outgoing = Outgoing {
            digests: Digests {
                body: digest::of_body(&self.message_body),
                attributes: digest::of_attributes(&attributes),
                system: digest::of_attributes(&system),
            },
            message: NewMessage {
                id: MessageId::generate(),
                digest: (fifo && !own_id).then(|| digest::for_deduplication(&self.message_body)),
                body: self.message_body,
                attributes,
                trace,
                sender: call.who.key(),
                group: self.message_group_id,
                deduplication: self.message_deduplication_id,
                delay: self.delay_seconds,
                sent: Timestamp::now(),
                chain: call.chain(),
            },
        };
        outgoing
            .message
            .check(fifo)
            .map_err(|invalid| Error::of_message(&invalid))?;
        Ok(outgoing)
    }
}

/// What a sender is told of a message that was accepted.
pub(super) fn sent(digests: Digests, accepted: Accepted, fifo: bool) -> Value {
    let mut answer = json!({
        "MessageId": accepted.id.to_string(),
        "MD5OfMessageBody": digests.body,
    });
    if let Some(digest) = digests.attributes {
        answer["MD5OfMessageAttributes"] = digest.into();
    }
    if let Some(digest) = digests.system {
        answer["MD5OfMessageSystemAttributes"] = digest.into();
    }
    if fifo {
        answer["SequenceNumber"] = sequence_number(accepted.sequence).into();
    }
    answer
}

impl Outgoing {
    pub(super) fn split(self) -> (NewMessage, Digests) {
        (self.message, self.digests)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Send {
    #[serde(flatten)]
    queue: OfQueue,
    #[serde(flatten)]
    content: Content,
}

pub(super) async fn send(call: &Call, input: Send) -> Result<Value> {
    let name = input.queue.name()?;
    let fifo = name.is_fifo();
    let (message, digests) = input.content.take(call, fifo)?.split();
    let accepted = call
        .doors
        .engine
        .send_messages(&name, vec![message])
        .await?;
    match accepted.into_iter().next() {
        Some(Ok(accepted)) => Ok(sent(digests, accepted, fifo)),
        Some(Err(invalid)) => Err(Error::of_message(&invalid)),
        None => Err(Error::missing("MessageBody")),
    }
}

/// The receive that a handle is of.
pub(super) fn handle(text: &str) -> Result<ReceiptHandle> {
    text.parse()
        .map_err(|_| Error::receipt("it is not one that a receive has given"))
}

/// What a client is told of a message that was to be deleted.
pub(super) fn deleted(deleted: Deleted) -> Result<()> {
    match deleted {
        Deleted::Done => Ok(()),
        Deleted::Expired => Err(Error::value(
            "ReceiptHandle",
            "The receipt handle has expired",
        )),
    }
}

/// What a client is told of a message that was to be hidden.
pub(super) fn changed(changed: Changed) -> Result<()> {
    match changed {
        Changed::Done => Ok(()),
        Changed::NotInFlight => Err(Error::not_in_flight()),
        Changed::Gone => Err(Error::value(
            "ReceiptHandle",
            "Message does not exist or is not available for visibility timeout change",
        )),
    }
}

/// How long a message is to be hidden.
pub(super) fn seconds(timeout: u32) -> Result<u32> {
    if timeout > 43_200 {
        return Err(Error::value(
            "VisibilityTimeout",
            "Must be between 0 and 43200",
        ));
    }
    Ok(timeout)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Delete {
    #[serde(flatten)]
    queue: OfQueue,
    receipt_handle: String,
}

pub(super) async fn delete(call: &Call, input: Delete) -> Result<Value> {
    let (name, handle) = (input.queue.name()?, handle(&input.receipt_handle)?);
    for one in call
        .doors
        .engine
        .delete_messages(&name, vec![handle])
        .await?
    {
        deleted(one)?;
    }
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Hide {
    #[serde(flatten)]
    queue: OfQueue,
    receipt_handle: String,
    #[serde(deserialize_with = "number")]
    visibility_timeout: u32,
}

pub(super) async fn hide(call: &Call, input: Hide) -> Result<Value> {
    let name: QueueName = input.queue.name()?;
    let hidden = (
        handle(&input.receipt_handle)?,
        seconds(input.visibility_timeout)?,
    );
    for one in call.doors.engine.hide_messages(&name, vec![hidden]).await? {
        changed(one)?;
    }
    Ok(json!({}))
}
