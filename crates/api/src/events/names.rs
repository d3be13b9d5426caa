//! How requests name buses and rules: by name or by ARN.

use super::error::{Error, Result};
use crate::arn;
use model::{BusName, RuleName, Target};

/// A bus by name or ARN; the default bus without one.
pub(super) fn bus(text: Option<&str>) -> Result<BusName> {
    match text {
        None => Ok(BusName::default_bus()),
        Some(text) if text.starts_with("arn:") => match arn::target_of(text) {
            Ok(Target::Bus { name }) => Ok(name),
            _ => Err(Error::validation(
                "an event bus is named by its name or arn:aws:events:REGION:ACCOUNT:event-bus/NAME",
            )),
        },
        Some(text) => Ok(text.parse()?),
    }
}

/// What an ARN with tags names.
pub(super) enum Tagged {
    Bus(BusName),
    Rule(BusName, RuleName),
}

/// A bus or a rule by ARN.
pub(super) fn tagged(text: &str) -> Result<Tagged> {
    let fields: Vec<&str> = text.splitn(6, ':').collect();
    let rest = match fields[..] {
        ["arn", "aws", "events", _, _, rest] => rest,
        _ => "",
    };
    if let Some(rule) = rest.strip_prefix("rule/") {
        return Ok(match rule.split_once('/') {
            Some((bus, rule)) => Tagged::Rule(bus.parse()?, rule.parse()?),
            None => Tagged::Rule(BusName::default_bus(), rule.parse()?),
        });
    }
    match rest.strip_prefix("event-bus/") {
        Some(name) => Ok(Tagged::Bus(name.parse()?)),
        None => Err(Error::validation(
            "ResourceARN must be that of an event bus or of a rule",
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_arns() {
        assert_eq!(bus(None).unwrap(), BusName::default_bus());
        assert_eq!(bus(Some("a.b")).unwrap().as_str(), "a.b");
        let arn = "arn:aws:events:us-east-1:000000000000:event-bus/x";
        assert_eq!(bus(Some(arn)).unwrap().as_str(), "x");
        assert!(bus(Some("arn:aws:lambda:r:0:function:f")).is_err());
        let rule = |text: &str| match tagged(text) {
            Ok(Tagged::Rule(bus, rule)) => format!("{bus} {rule}"),
            _ => String::new(),
        };
        assert_eq!(rule("arn:aws:events:r:0:rule/r"), "default r");
        assert_eq!(rule("arn:aws:events:r:0:rule/b/r"), "b r");
        assert!(matches!(tagged(arn).unwrap(), Tagged::Bus(_)));
        assert!(tagged("arn:aws:sqs:r:0:q").is_err());
    }
}
