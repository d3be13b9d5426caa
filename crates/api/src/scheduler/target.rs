//! What a request says of a schedule's target.

use super::error::{Error, Result};
use crate::arn;
use crate::delivery::Wanted;
use model::{Delivery, Qualifier, Target};
use serde_json::{Map, Value};

/// What a target may say here. The parameters of other kinds of targets are refused by name.
const TARGET_FIELDS: [&str; 6] = [
    "Arn",
    "RoleArn",
    "Input",
    "RetryPolicy",
    "DeadLetterConfig",
    "SqsParameters",
];

/// A text that a target must have, of 1600 bytes at most.
pub(super) fn text<'a>(declared: &'a Map<String, Value>, name: &str) -> Result<&'a str> {
    let field = format!("target.{}{}", name[..1].to_ascii_lowercase(), &name[1..]);
    match declared.get(name) {
        Some(Value::String(text)) if text.len() > 1600 => Err(Error::too_long(&field, 1600)),
        Some(Value::String(text)) => Ok(text),
        _ => Err(Error::missing(&field)),
    }
}

/// What a target's ARN names, and which version of a function.
pub(super) fn woken(arn: &str) -> Result<(Target, Option<Qualifier>)> {
    arn::woken_of(arn).map_err(|reason| {
        let shown: String = arn.chars().take(200).collect();
        Error::invalid(format!(
            "Provided Arn {} is not in correct format or not supported: {reason}.",
            shown.escape_debug()
        ))
    })
}

/// What a target says of its delivery, in the words of both EventBridges.
pub(super) fn delivery(declared: &Map<String, Value>, woken: &Target) -> Result<Delivery> {
    let fields = ["RetryPolicy", "DeadLetterConfig", "SqsParameters"];
    let said = fields.iter().filter_map(|name| {
        let value = declared.get(*name).filter(|value| !value.is_null())?;
        Some(((*name).to_owned(), value.clone()))
    });
    let said: Map<String, Value> = said.collect();
    let wanted: Wanted = serde_json::from_value(Value::Object(said))
        .map_err(|error| Error::invalid(format!("target: {error}")))?;
    let mut delivery = wanted.checked().map_err(Error::invalid)?;
    let refused = |error: model::Invalid| Error::invalid(error.to_string());
    delivery.check(woken).map_err(refused)?;
    if let (Some(letters), Some(arn)) = (&mut delivery.dead_letter, declared.get("Arn")) {
        letters.say("TARGET_ARN", arn.as_str().unwrap_or_default());
    }
    Ok(delivery)
}

/// What is kept of a target must have AWS's form.
pub(super) fn check(declared: &Map<String, Value>) -> Result<()> {
    let other = |(name, value): &(&String, &Value)| {
        !value.is_null() && !TARGET_FIELDS.contains(&name.as_str())
    };
    if let Some((name, _)) = declared.iter().find(other) {
        let shown: String = name.chars().take(60).collect();
        return Err(Error::invalid(format!(
            "{} is for another kind of target than the one that is named.",
            shown.escape_debug()
        )));
    }
    let role = text(declared, "RoleArn")?;
    let is_role = role.starts_with("arn:aws") && role.contains(":iam::") && role.contains(":role/");
    if !is_role {
        let pattern = "arn:aws[a-z-]*:iam::\\d{12}:role\\/[\\w+=,.@\\/-]+";
        return Err(Error::pattern("target.roleArn", role, pattern));
    }
    if let Some(policy) = declared.get("RetryPolicy").filter(|value| !value.is_null()) {
        let within = |name: &str, least: i64, most: i64| {
            let value = policy.get(name).filter(|value| !value.is_null());
            match value.map(|value| (value, value.as_i64())) {
                None => Ok(()),
                Some((_, Some(number))) if (least..=most).contains(&number) => Ok(()),
                Some((value, _)) => {
                    let field = format!("target.retryPolicy.{name}");
                    Err(Error::range(&field, value, least, most))
                }
            }
        };
        within("MaximumEventAgeInSeconds", 60, 86_400)?;
        within("MaximumRetryAttempts", 0, 185)?;
    }
    let queue = declared
        .get("DeadLetterConfig")
        .and_then(|value| value.get("Arn"));
    if let Some(queue) = queue.filter(|value| !value.is_null()) {
        let arn = queue.as_str().unwrap_or_default();
        if !arn.starts_with("arn:aws") || !arn.contains(":sqs:") || arn.len() > 1600 {
            let pattern = "arn:aws[a-z-]*:sqs:[a-z0-9\\-]+:\\d{12}:[a-zA-Z0-9\\-_]+";
            return Err(Error::pattern("target.deadLetterConfig.arn", arn, pattern));
        }
    }
    Ok(())
}
