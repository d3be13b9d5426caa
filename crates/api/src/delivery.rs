//! What EventBridge and EventBridge Scheduler are told of a target's delivery, in the same words:
//! `RetryPolicy`, `DeadLetterConfig` and `SqsParameters`
//! (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_Target.html>).

use crate::sqs;
use model::{DeadLetter, Delivery};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Most retries (AWS's bound).
const MAX_RETRIES: u32 = 185;
/// Bounds of an event's age, in seconds (AWS's).
const AGES: (u32, u32) = (60, 86_400);

/// The parameters; others of a target are refused by name.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct Wanted {
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_policy: Option<RetryPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter_config: Option<DeadLetterConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sqs_parameters: Option<SqsParameters>,
    #[serde(flatten, skip_serializing)]
    others: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct RetryPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum_retry_attempts: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum_event_age_in_seconds: Option<i64>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct DeadLetterConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    arn: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, rename_all = "PascalCase")]
struct SqsParameters {
    #[serde(skip_serializing_if = "Option::is_none")]
    message_group_id: Option<String>,
}

impl Wanted {
    /// What is wanted. Whether it fits its target is checked where it is kept.
    ///
    /// # Errors
    /// Says which parameter is not served or out of its bounds.
    pub(crate) fn checked(self) -> Result<Delivery, String> {
        if let Some(name) = self.others.keys().next() {
            let shown: String = name.chars().take(60).collect();
            return Err(format!(
                "{} is not served for targets: leave it out",
                shown.escape_debug()
            ));
        }
        let within = |name: &str, value: Option<i64>, (least, most): (u32, u32)| {
            let Some(value) = value else { return Ok(None) };
            let fits = u32::try_from(value).ok();
            let fits = fits.filter(|value| (least..=most).contains(value));
            fits.map(Some).ok_or_else(|| {
                format!("RetryPolicy.{name} is {value} and must be {least} to {most}")
            })
        };
        let retry = self.retry_policy.unwrap_or_default();
        let retries = retry.maximum_retry_attempts;
        let retries = within("MaximumRetryAttempts", retries, (0, MAX_RETRIES))?;
        let age = retry.maximum_event_age_in_seconds;
        let age = within("MaximumEventAgeInSeconds", age, AGES)?;
        let letters = self.dead_letter_config.and_then(|config| config.arn);
        let letters = letters.map(|arn| match sqs::queue_of_arn(&arn) {
            Some(queue) if !queue.is_fifo() => Ok(DeadLetter {
                queue,
                attributes: BTreeMap::new(),
            }),
            _ => Err("DeadLetterConfig.Arn must be a standard queue's: \
                      arn:aws:sqs:REGION:ACCOUNT:NAME"),
        });
        Ok(Delivery {
            max_attempts: retries.map(|retries| retries + 1),
            max_age: age.map(|seconds| u64::from(seconds) * 1000),
            group: self.sqs_parameters.and_then(|sqs| sqs.message_group_id),
            dead_letter: letters.transpose()?,
            ..Delivery::default()
        })
    }

    /// The parameters as they were given.
    pub(crate) fn of(delivery: &Delivery, region: &str) -> Self {
        let retries = delivery.max_attempts.map(|most| i64::from(most) - 1);
        let age = delivery.max_age.map(|age| age / 1000);
        let retry = RetryPolicy {
            maximum_retry_attempts: retries,
            maximum_event_age_in_seconds: age.and_then(|age| i64::try_from(age).ok()),
        };
        let letters = delivery.dead_letter.as_ref();
        Self {
            retry_policy: (retries.is_some() || age.is_some()).then_some(retry),
            dead_letter_config: letters.map(|letters| DeadLetterConfig {
                arn: Some(sqs::arn(region, &letters.queue)),
            }),
            sqs_parameters: delivery.group.clone().map(|group| SqsParameters {
                message_group_id: Some(group),
            }),
            others: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn checked(given: Value) -> Result<Delivery, String> {
        serde_json::from_value::<Wanted>(given).unwrap().checked()
    }

    #[test]
    fn what_is_wanted_is_given_back() {
        let given = json!({
            "RetryPolicy": {"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60},
            "DeadLetterConfig": {"Arn": "arn:aws:sqs:eu-west-1:000000000000:q"},
            "SqsParameters": {"MessageGroupId": "g"},
        });
        let delivery = checked(given.clone()).unwrap();
        assert_eq!(
            (delivery.max_attempts, delivery.max_age),
            (Some(1), Some(60_000))
        );
        let back = serde_json::to_value(Wanted::of(&delivery, "eu-west-1")).unwrap();
        assert_eq!(back, given);
        let nothing = checked(json!({})).unwrap();
        assert!(nothing.is_plain());
        assert_eq!(
            serde_json::to_value(Wanted::of(&nothing, "r")).unwrap(),
            json!({})
        );
    }

    #[test]
    fn what_is_out_of_bounds_or_not_served_is_named() {
        for (given, said) in [
            (
                json!({"RetryPolicy": {"MaximumRetryAttempts": 186}}),
                "0 to 185",
            ),
            (
                json!({"RetryPolicy": {"MaximumEventAgeInSeconds": 59}}),
                "60 to 86400",
            ),
            (
                json!({"DeadLetterConfig": {"Arn": "arn:aws:sns:r:0:t"}}),
                "standard queue",
            ),
            (
                json!({"DeadLetterConfig": {"Arn": "arn:aws:sqs:r:000000000000:q.fifo"}}),
                "standard",
            ),
            (json!({"EcsParameters": {}}), "EcsParameters"),
        ] {
            let error = checked(given).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
