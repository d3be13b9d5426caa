//! Which operation is asked for, and who may ask for it.

use super::error::{Error, Result};
use super::name::{arn, queue_of_url, url};
use super::{batch, messages, moves, queues, receive};
use crate::doors::Doors;
use crate::server::Origin;
use model::{Chain, Principal, QueueName};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Who asks, and what is needed to answer.
pub(super) struct Call {
    pub(super) doors: Doors,
    pub(super) who: Principal,
    pub(super) origin: Origin,
    /// What queue URLs begin with.
    pub(super) base: String,
}

impl Call {
    pub(super) fn url(&self, name: &QueueName) -> String {
        url(&self.base, name)
    }

    /// What causes the messages that are sent by it.
    pub(super) fn chain(&self) -> Chain {
        match &self.origin {
            Origin::Client => Chain::default(),
            Origin::Instance { instance, .. } => {
                let working = self.doors.engine.current_chain(instance);
                working.map(Chain::next).unwrap_or_default()
            }
        }
    }

    pub(super) fn arn(&self, name: &QueueName) -> String {
        arn(&self.doors.options.region, name)
    }
}

/// The queue that an input names by its URL.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OfQueue {
    queue_url: String,
}

impl OfQueue {
    pub(super) fn name(&self) -> Result<QueueName> {
        queue_of_url(&self.queue_url)
    }
}

/// Reads an input. What is not there is told by its name.
pub(super) fn read<T: DeserializeOwned>(input: Value) -> Result<T> {
    serde_json::from_value(input).map_err(|error| {
        let text = error.to_string();
        let missing = text
            .strip_prefix("missing field `")
            .and_then(|rest| rest.split('`').next());
        match missing {
            Some(parameter) => Error::missing(parameter),
            None => Error::bad_input(&text),
        }
    })
}

/// A number, which the query protocol writes as text.
pub(super) fn number<'de, D: Deserializer<'de>, T: TryFrom<i64>>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = match &value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| D::Error::custom("a number is out of its bounds or is none"))
}

/// A number that need not be there.
pub(super) fn maybe_number<'de, D: Deserializer<'de>, T: TryFrom<i64>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    struct Wrapped<T: TryFrom<i64>>(#[serde(deserialize_with = "number")] T);
    Ok(Option::<Wrapped<T>>::deserialize(deserializer)?.map(|wrapped| wrapped.0))
}

/// Functions and services use queues; only the owner of the server changes them.
fn may(who: &Principal, action: &str) -> bool {
    match who {
        Principal::Root => true,
        Principal::Function { .. } | Principal::Service { .. } => matches!(
            action,
            "GetQueueUrl"
                | "GetQueueAttributes"
                | "ListQueues"
                | "SendMessage"
                | "SendMessageBatch"
                | "ReceiveMessage"
                | "DeleteMessage"
                | "DeleteMessageBatch"
                | "ChangeMessageVisibility"
                | "ChangeMessageVisibilityBatch"
        ),
    }
}

/// Does what an action asks for.
pub(super) async fn carry_out(call: &Call, action: &str, input: Value) -> Result<Value> {
    if !may(&call.who, action) {
        return Err(Error::access_denied(&call.who.key(), action));
    }
    match action {
        "CreateQueue" => queues::create(call, read(input)?).await,
        "GetQueueUrl" => queues::get_url(call, read(input)?).await,
        "ListQueues" => queues::list(call, read(input)?).await,
        "DeleteQueue" => queues::delete(call, read(input)?).await,
        "PurgeQueue" => queues::purge(call, read(input)?).await,
        "GetQueueAttributes" => queues::get_attributes(call, read(input)?).await,
        "SetQueueAttributes" => queues::set_attributes(call, read(input)?).await,
        "TagQueue" => queues::tag(call, read(input)?).await,
        "UntagQueue" => queues::untag(call, read(input)?).await,
        "ListQueueTags" => queues::list_tags(call, read(input)?).await,
        "ListDeadLetterSourceQueues" => queues::list_sources(call, read(input)?).await,
        "SendMessage" => messages::send(call, read(input)?).await,
        "SendMessageBatch" => batch::send(call, read(input)?).await,
        "ReceiveMessage" => receive::receive(call, read(input)?).await,
        "DeleteMessage" => messages::delete(call, read(input)?).await,
        "DeleteMessageBatch" => batch::delete(call, read(input)?).await,
        "ChangeMessageVisibility" => messages::hide(call, read(input)?).await,
        "ChangeMessageVisibilityBatch" => batch::hide(call, read(input)?).await,
        "StartMessageMoveTask" => moves::start(call, read(input)?).await,
        "ListMessageMoveTasks" => moves::list(call, read(input)?).await,
        "CancelMessageMoveTask" => moves::cancel(call, read(input)?).await,
        "AddPermission" | "RemovePermission" => Err(Error::unsupported(
            "Permissions are not served: the owner of this server may do everything, its functions \
             and services send, receive and delete messages.",
        )),
        other => Err(Error::invalid_action(other)),
    }
}
