//! The attributes of a queue as SQS names them
//! (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html>).

use super::error::{Error, Result};
use super::name::{arn, queue_of_arn};
use model::{Queue, QueueAttributes, QueueCounts, QueueName, Redrive, RedriveAllow};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Every name that GetQueueAttributes knows.
const KNOWN: [&str; 22] = [
    "All",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "ContentBasedDeduplication",
    "CreatedTimestamp",
    "DeduplicationScope",
    "DelaySeconds",
    "FifoQueue",
    "FifoThroughputLimit",
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "LastModifiedTimestamp",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "Policy",
    "QueueArn",
    "ReceiveMessageWaitTimeSeconds",
    "RedriveAllowPolicy",
    "RedrivePolicy",
    "SqsManagedSseEnabled",
    "VisibilityTimeout",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RedrivePolicy {
    dead_letter_target_arn: String,
    #[serde(deserialize_with = "super::operation::number")]
    max_receive_count: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RedriveAllowPolicy {
    redrive_permission: String,
    #[serde(default)]
    source_queue_arns: Vec<String>,
}

/// Puts what a client gives over what there is.
///
/// # Errors
/// `InvalidAttributeName`, `InvalidAttributeValue`; `FifoQueue` must fit the name.
pub(super) fn apply(
    attributes: &mut QueueAttributes,
    name: &QueueName,
    given: &BTreeMap<String, String>,
) -> Result<()> {
    for (key, value) in given {
        let refuse = |reason: &str| Error::attribute_value(key, reason);
        let number = || {
            value
                .trim()
                .parse::<u32>()
                .map_err(|_| refuse("it must be a whole number"))
        };
        let truth = || match value.as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(refuse("it must be true or false")),
        };
        match key.as_str() {
            "DelaySeconds" => attributes.delay = number()?,
            "MaximumMessageSize" => attributes.max_message = number()?,
            "MessageRetentionPeriod" => attributes.retention = number()?,
            "ReceiveMessageWaitTimeSeconds" => attributes.wait = number()?,
            "VisibilityTimeout" => attributes.visibility = number()?,
            "RedrivePolicy" => attributes.redrive = redrive(value)?,
            "RedriveAllowPolicy" => attributes.redrive_allow = redrive_allow(value)?,
            "ContentBasedDeduplication" => attributes.content_deduplication = truth()?,
            "DeduplicationScope" => {
                attributes.deduplicate_by_group = one_of(key, value, "messageGroup", "queue")?;
            }
            "FifoThroughputLimit" => {
                attributes.limit_by_group = one_of(key, value, "perMessageGroupId", "perQueue")?;
            }
            "Policy" => attributes.policy = (!value.is_empty()).then(|| value.clone()),
            "FifoQueue" => {
                if truth()? != name.is_fifo() {
                    return Err(refuse(
                        "a FIFO queue's name ends with .fifo, and no other's",
                    ));
                }
            }
            "SqsManagedSseEnabled" if value == "false" => {}
            "KmsMasterKeyId" | "KmsDataKeyReusePeriodSeconds" if value.is_empty() => {}
            "SqsManagedSseEnabled" | "KmsMasterKeyId" | "KmsDataKeyReusePeriodSeconds" => {
                return Err(refuse(
                    "messages are not encrypted at rest by this server; leave it out",
                ));
            }
            _ => return Err(Error::unknown_attribute(key)),
        }
    }
    Ok(())
}

fn one_of(key: &str, value: &str, yes: &str, no: &str) -> Result<bool> {
    if value == yes || value == no {
        return Ok(value == yes);
    }
    Err(Error::attribute_value(key, &format!("it is {yes} or {no}")))
}

fn redrive(text: &str) -> Result<Option<Redrive>> {
    let refuse = |reason: &str| Error::attribute_value("RedrivePolicy", reason);
    if text.is_empty() {
        return Ok(None);
    }
    let policy: RedrivePolicy = serde_json::from_str(text).map_err(|error| {
        refuse(&format!(
            "it is JSON with deadLetterTargetArn and maxReceiveCount ({error})"
        ))
    })?;
    if policy.dead_letter_target_arn.is_empty() {
        return Ok(None);
    }
    let dead_letter = queue_of_arn(&policy.dead_letter_target_arn);
    Ok(Some(Redrive {
        dead_letter: dead_letter.ok_or_else(|| refuse("deadLetterTargetArn is no queue's ARN"))?,
        max_receives: policy.max_receive_count,
    }))
}

fn redrive_allow(text: &str) -> Result<RedriveAllow> {
    let refuse = |reason: &str| Error::attribute_value("RedriveAllowPolicy", reason);
    if text.is_empty() {
        return Ok(RedriveAllow::All);
    }
    let policy: RedriveAllowPolicy = serde_json::from_str(text)
        .map_err(|error| refuse(&format!("it is JSON with redrivePermission ({error})")))?;
    let queues: Option<Vec<QueueName>> = policy
        .source_queue_arns
        .iter()
        .map(|arn| queue_of_arn(arn))
        .collect();
    let queues = queues.ok_or_else(|| refuse("sourceQueueArns holds what is no queue's ARN"))?;
    match policy.redrive_permission.as_str() {
        "allowAll" if queues.is_empty() => Ok(RedriveAllow::All),
        "denyAll" if queues.is_empty() => Ok(RedriveAllow::Nobody),
        "byQueue" => Ok(RedriveAllow::Queues(queues)),
        _ => Err(refuse(
            "redrivePermission is allowAll, denyAll or byQueue with sourceQueueArns",
        )),
    }
}

/// Whether the names of a GetQueueAttributes are known.
///
/// # Errors
/// `InvalidAttributeName`.
pub(super) fn check_names(names: &[String]) -> Result<()> {
    match names.iter().find(|name| !KNOWN.contains(&name.as_str())) {
        Some(unknown) => Err(Error::unknown_attribute(unknown)),
        None => Ok(()),
    }
}

/// The attributes of a queue that are asked for by `names`, which may hold `All`.
pub(super) fn show(queue: &Queue, counts: QueueCounts, region: &str, names: &[String]) -> Value {
    let attributes = &queue.attributes;
    let fifo = queue.name.is_fifo();
    let mut shown = Map::new();
    let mut put = |name: &str, value: String| {
        if names.iter().any(|wanted| wanted == "All" || wanted == name) {
            shown.insert(name.to_owned(), value.into());
        }
    };
    put("ApproximateNumberOfMessages", counts.visible.to_string());
    put(
        "ApproximateNumberOfMessagesDelayed",
        counts.delayed.to_string(),
    );
    put(
        "ApproximateNumberOfMessagesNotVisible",
        counts.in_flight.to_string(),
    );
    put("CreatedTimestamp", (queue.created.0 / 1000).to_string());
    put("DelaySeconds", attributes.delay.to_string());
    put(
        "LastModifiedTimestamp",
        (queue.modified.0 / 1000).to_string(),
    );
    put("MaximumMessageSize", attributes.max_message.to_string());
    put("MessageRetentionPeriod", attributes.retention.to_string());
    put("QueueArn", arn(region, &queue.name));
    put("ReceiveMessageWaitTimeSeconds", attributes.wait.to_string());
    put("SqsManagedSseEnabled", "false".to_owned());
    put("VisibilityTimeout", attributes.visibility.to_string());
    if let Some(policy) = &attributes.policy {
        put("Policy", policy.clone());
    }
    if let Some(redrive) = &attributes.redrive {
        let target = arn(region, &redrive.dead_letter);
        let policy =
            json!({"deadLetterTargetArn": target, "maxReceiveCount": redrive.max_receives});
        put("RedrivePolicy", policy.to_string());
    }
    match &attributes.redrive_allow {
        RedriveAllow::All => {}
        RedriveAllow::Nobody => put(
            "RedriveAllowPolicy",
            json!({"redrivePermission": "denyAll"}).to_string(),
        ),
        RedriveAllow::Queues(queues) => {
            let arns: Vec<String> = queues.iter().map(|name| arn(region, name)).collect();
            let policy = json!({"redrivePermission": "byQueue", "sourceQueueArns": arns});
            put("RedriveAllowPolicy", policy.to_string());
        }
    }
    if fifo {
        let choose = |yes: bool, one: &str, other: &str| {
            if yes {
                one.to_owned()
            } else {
                other.to_owned()
            }
        };
        put("FifoQueue", "true".to_owned());
        put(
            "ContentBasedDeduplication",
            attributes.content_deduplication.to_string(),
        );
        put(
            "DeduplicationScope",
            choose(attributes.deduplicate_by_group, "messageGroup", "queue"),
        );
        put(
            "FifoThroughputLimit",
            choose(attributes.limit_by_group, "perMessageGroupId", "perQueue"),
        );
    }
    Value::Object(shown)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::Timestamp;

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn what_is_set_is_shown() {
        let pairs = given(&[
            ("VisibilityTimeout", "7"),
            ("FifoQueue", "true"),
            ("ContentBasedDeduplication", "true"),
            ("DeduplicationScope", "messageGroup"),
            ("FifoThroughputLimit", "perMessageGroupId"),
            (
                "RedrivePolicy",
                r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:d.fifo","maxReceiveCount":"3"}"#,
            ),
            ("RedriveAllowPolicy", r#"{"redrivePermission":"denyAll"}"#),
            ("Policy", "{}"),
        ]);
        let name: QueueName = "q.fifo".parse().unwrap();
        let mut attributes = QueueAttributes::default();
        apply(&mut attributes, &name, &pairs).unwrap();
        assert!(attributes.check(&name).is_ok());
        assert_eq!(attributes.redrive.as_ref().unwrap().max_receives, 3);
        let queue = Queue {
            name,
            created: Timestamp(5_000),
            modified: Timestamp(6_000),
            attributes,
            tags: BTreeMap::new(),
        };
        let shown = show(
            &queue,
            QueueCounts::default(),
            "us-east-1",
            &["All".to_owned()],
        );
        for (key, value) in &pairs {
            let shown = shown[key].as_str().unwrap();
            if key != "RedrivePolicy" {
                assert_eq!(shown, value, "{key}");
            }
        }
        assert_eq!(
            shown["QueueArn"],
            "arn:aws:sqs:us-east-1:000000000000:q.fifo"
        );
        assert_eq!(shown["CreatedTimestamp"], "5");
        let one = show(
            &queue,
            QueueCounts::default(),
            "us-east-1",
            &["QueueArn".to_owned()],
        );
        assert_eq!(one.as_object().unwrap().len(), 1);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_name() {
        let name: QueueName = "q".parse().unwrap();
        let code = |key: &str, value: &str| {
            let error = apply(
                &mut QueueAttributes::default(),
                &name,
                &given(&[(key, value)]),
            );
            error.unwrap_err().code()
        };
        assert_eq!(code("Colour", "red"), "InvalidAttributeName");
        assert_eq!(code("DelaySeconds", "soon"), "InvalidAttributeValue");
        assert_eq!(code("FifoQueue", "true"), "InvalidAttributeValue");
        assert_eq!(
            code("KmsMasterKeyId", "alias/aws/sqs"),
            "InvalidAttributeValue"
        );
        assert_eq!(code("RedrivePolicy", "{}"), "InvalidAttributeValue");
        assert!(check_names(&["All".to_owned(), "Colour".to_owned()]).is_err());
    }
}
