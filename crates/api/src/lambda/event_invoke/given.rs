//! What a request says of how events are delivered, and its bounds.

use super::super::error::{Error, Result};
use crate::arn;
use model::{Destinations, RetryPolicy, Target, Timestamp};
use serde::Deserialize;

/// Longest ARN of a destination (AWS's bound).
const MAX_ARN: usize = 350;
/// Most retries that this API sets (AWS's bound); a manifest may declare more.
const MAX_RETRIES: i64 = 2;
/// Bounds of the age that this API sets, in seconds (AWS's); a manifest may declare others.
const AGES: (i64, i64) = (60, 21_600);

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Given {
    maximum_retry_attempts: Option<i64>,
    maximum_event_age_in_seconds: Option<i64>,
    destination_config: Option<DestinationConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct DestinationConfig {
    on_success: Option<OneDestination>,
    on_failure: Option<OneDestination>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct OneDestination {
    destination: Option<String>,
}

/// What was given, checked. The outer `None` is what was not named.
#[derive(Debug, Default)]
pub(super) struct Change {
    max_attempts: Option<u32>,
    max_age: Option<u64>,
    on_success: Option<Option<Target>>,
    on_failure: Option<Option<Target>>,
}

impl Given {
    pub(super) fn checked(self) -> Result<Change> {
        let within = |name: &str, value: Option<i64>, (least, most): (i64, i64)| match value {
            Some(value) if !(least..=most).contains(&value) => Err(Error::invalid_parameter(
                format!("{name} is {value} and must be {least} to {most}"),
            )),
            value => Ok(value.and_then(|value| u32::try_from(value).ok())),
        };
        let retries = self.maximum_retry_attempts;
        let retries = within("MaximumRetryAttempts", retries, (0, MAX_RETRIES))?;
        let age = self.maximum_event_age_in_seconds;
        let age = within("MaximumEventAgeInSeconds", age, AGES)?;
        let config = self.destination_config.unwrap_or_default();
        let change = Change {
            max_attempts: retries.map(|retries| retries + 1),
            max_age: age.map(|seconds| u64::from(seconds) * 1000),
            on_success: config.on_success.map(target).transpose()?,
            on_failure: config.on_failure.map(target).transpose()?,
        };
        if change.is_empty() {
            return Err(Error::invalid_parameter(
                "You must specify at least one of error handling or destination setting.",
            ));
        }
        Ok(change)
    }
}

impl Change {
    fn is_empty(&self) -> bool {
        self.max_attempts.is_none()
            && self.max_age.is_none()
            && self.on_success.is_none()
            && self.on_failure.is_none()
    }

    pub(super) fn apply(self, retry: &mut RetryPolicy, destinations: &mut Destinations) {
        retry.max_attempts = self.max_attempts.unwrap_or(retry.max_attempts);
        retry.max_age = self.max_age.unwrap_or(retry.max_age);
        if let Some(target) = self.on_success {
            destinations.on_success = target;
        }
        if let Some(target) = self.on_failure {
            destinations.on_failure = target;
        }
        destinations.modified = Some(Timestamp::now());
    }
}

/// What an ARN names; nothing and an empty one take the destination away.
fn target(given: OneDestination) -> Result<Option<Target>> {
    let arn = given.destination.unwrap_or_default();
    if arn.is_empty() {
        return Ok(None);
    }
    if arn.len() > MAX_ARN {
        let reason = format!("a destination's ARN has at most {MAX_ARN} characters");
        return Err(Error::invalid_parameter(reason));
    }
    let refused = |reason| {
        Error::invalid_parameter(format!(
            "The provided destination config is invalid: {reason}"
        ))
    };
    arn::destination_of(&arn).map(Some).map_err(refused)
}
