//! ARNs of what an event can wake. Any region and account are taken: the server has one of each.

use crate::sqs;
use model::{Qualifier, Target};

/// The account that every ARN of this server shows.
pub(crate) const ACCOUNT: &str = "000000000000";

/// Longest path of a service in an ARN.
const MAX_PATH: usize = 1024;

/// The ARN of a target. Services and webhooks have no AWS form; theirs are `arn:rouse:…`.
pub(crate) fn of(target: &Target, region: &str) -> String {
    match target {
        Target::Function { name } => format!("arn:aws:lambda:{region}:{ACCOUNT}:function:{name}"),
        Target::Service { name, path } => {
            format!("arn:rouse:service:{region}:{ACCOUNT}:{name}{path}")
        }
        Target::Queue { name } => sqs::arn(region, name),
        Target::Bus { name } => format!("arn:aws:events:{region}:{ACCOUNT}:event-bus/{name}"),
        Target::Bucket { name } => format!("arn:aws:s3:::{name}"),
        Target::Webhook { name } => format!("arn:rouse:webhook:{region}:{ACCOUNT}:{name}"),
    }
}

/// The ARN of a target, with the version of a function that is meant.
pub(crate) fn of_woken(target: &Target, qualifier: Option<&Qualifier>, region: &str) -> String {
    match qualifier {
        Some(qualifier) => format!("{}:{qualifier}", of(target, region)),
        None => of(target, region),
    }
}

/// What an ARN names, and of a function the version or alias that stands behind its name.
///
/// # Errors
/// As [`target_of`].
pub(crate) fn woken_of(arn: &str) -> Result<(Target, Option<Qualifier>), String> {
    // A function's ARN has seven parts, and an eighth with a qualifier.
    let parts: Vec<&str> = arn.splitn(8, ':').collect();
    let [_, _, "lambda", _, _, _, _, qualifier] = parts[..] else {
        return Ok((target_of(arn)?, None));
    };
    let target = target_of(&arn[..arn.len() - qualifier.len() - 1])?;
    let qualifier = qualifier
        .parse()
        .map_err(|error: model::Invalid| error.to_string())?;
    Ok((target, Some(qualifier)))
}

/// What an ARN names that can have no version: one behind a function's name is refused.
///
/// # Errors
/// Says what may be named, or why the name is none.
pub(crate) fn target_of(arn: &str) -> Result<Target, String> {
    let invalid = |error: model::Invalid| error.to_string();
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    let [_, partition, service, _, _, rest] = fields[..] else {
        return Err(unknown(arn));
    };
    let aws = matches!(partition, "aws" | "aws-cn" | "aws-us-gov");
    match (fields[0], partition, service) {
        ("arn", _, "lambda") if aws => {
            let name = rest.strip_prefix("function:");
            let name = name.map(|name| name.strip_suffix(":$LATEST").unwrap_or(name));
            let name = name.ok_or_else(|| unknown(arn))?;
            if name.contains(':') {
                return Err(
                    "a version or an alias cannot be named here, only the function".to_owned(),
                );
            }
            Ok(Target::Function {
                name: name.parse().map_err(invalid)?,
            })
        }
        ("arn", _, "sqs") if aws => match sqs::queue_of_arn(arn) {
            Some(name) => Ok(Target::Queue { name }),
            None => Err(unknown(arn)),
        },
        ("arn", _, "events") if aws => {
            let name = rest
                .strip_prefix("event-bus/")
                .ok_or_else(|| unknown(arn))?;
            Ok(Target::Bus {
                name: name.parse().map_err(invalid)?,
            })
        }
        ("arn", "rouse", "webhook") => Ok(Target::Webhook {
            name: rest.parse().map_err(invalid)?,
        }),
        ("arn", "rouse", "service") => {
            let slash = rest.find('/').unwrap_or(rest.len());
            let (name, path) = rest.split_at(slash);
            let name = name.parse().map_err(invalid)?;
            let path = if path.is_empty() { "/" } else { path };
            let legal = |b: u8| b.is_ascii_graphic() && b != b'#';
            if path.len() > MAX_PATH || !path.bytes().all(legal) {
                return Err("the path of a service must be printable ASCII".to_owned());
            }
            let path = path.to_owned();
            Ok(Target::Service { name, path })
        }
        _ => Err(unknown(arn)),
    }
}

/// What an ARN names that is given records and has no message group: a standard queue, a bucket, or
/// what else an event can wake.
///
/// # Errors
/// As [`target_of`].
pub(crate) fn destination_of(arn: &str) -> Result<Target, String> {
    if let Some(name) = arn.strip_prefix("arn:aws:s3:::") {
        let name = name
            .parse()
            .map_err(|error: model::Invalid| error.to_string())?;
        return Ok(Target::Bucket { name });
    }
    match target_of(arn)? {
        Target::Queue { name } if name.is_fifo() => Err(format!(
            "\"{name}\" is a FIFO queue, and there is no message group: name a standard queue"
        )),
        target => Ok(target),
    }
}

fn unknown(arn: &str) -> String {
    let shown: String = arn.chars().take(200).collect();
    format!(
        "\"{}\" is nothing that rouse can wake: arn:aws:lambda:REGION:ACCOUNT:function:NAME, \
         arn:aws:sqs:REGION:ACCOUNT:NAME, arn:aws:events:REGION:ACCOUNT:event-bus/NAME, arn:rouse:service:REGION:ACCOUNT:NAME/path or \
         arn:rouse:webhook:REGION:ACCOUNT:NAME",
        shown.escape_debug()
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_target_survives_its_arn(
            name in "[a-z0-9]{1,20}", dotted in "[A-Za-z0-9._-]{1,40}", path in "/[a-z0-9:/._-]{0,40}",
        ) {
            for target in [
                Target::Function { name: name.parse().unwrap() },
                Target::Service { name: name.parse().unwrap(), path: path.clone() },
                Target::Queue { name: name.parse().unwrap() },
                Target::Bus { name: dotted.parse().unwrap() },
                Target::Webhook { name: dotted.parse().unwrap() },
            ] {
                let arn = of(&target, "eu-west-1");
                prop_assert_eq!(destination_of(&arn).unwrap(), target.clone());
                prop_assert_eq!(target_of(&arn).unwrap(), target);
            }
            let bucket = Target::Bucket { name: format!("b-{name}").parse().unwrap() };
            prop_assert_eq!(destination_of(&of(&bucket, "eu-west-1")).unwrap(), bucket);
        }

        #[test]
        fn a_qualifier_survives_its_arn(
            name in "[A-Za-z0-9_-]{1,20}",
            qualifier in proptest::option::of("[1-9][0-9]{0,6}|[a-z][A-Za-z0-9_-]{0,20}|\\$LATEST"),
        ) {
            let target = Target::Function { name: name.parse().unwrap() };
            let qualifier: Option<Qualifier> = qualifier.map(|text| text.parse().unwrap());
            let arn = of_woken(&target, qualifier.as_ref(), "eu-west-1");
            prop_assert_eq!(woken_of(&arn).unwrap(), (target, qualifier));
        }

        #[test]
        fn other_targets_have_none(path in "/[a-z0-9:/._-]{0,40}") {
            let target = Target::Service { name: "lambda".parse().unwrap(), path };
            prop_assert_eq!(woken_of(&of(&target, "r")).unwrap(), (target, None));
        }

        #[test]
        fn no_arn_breaks_the_door(text in "(arn:)?[a-z:/$ ]{0,60}") {
            let _ = destination_of(&text);
            let _ = woken_of(&text);
        }
    }

    #[test]
    fn a_fifo_queue_is_woken_and_given_no_records() {
        let arn = "arn:aws:sqs:r:000000000000:orders.fifo";
        assert!(target_of(arn).is_ok() && destination_of(arn).is_err());
    }

    #[test]
    fn what_cannot_be_woken_is_refused() {
        for arn in [
            "",
            "arn:aws:sns:r:0:topic",
            "arn:aws:sqs:r:0:orders:more",
            "arn:aws:scheduler:::aws-sdk:sqs:sendMessage",
            "arn:aws:lambda:r:0:function:f:7",
            "arn:aws:events:r:0:rule/x",
            "arn:rouse:service:r:0:a/b c",
        ] {
            assert!(target_of(arn).is_err(), "{arn}");
        }
        for arn in [
            "arn:aws:lambda:r:0:function:f:",
            "arn:aws:lambda:r:0:function:f:0",
            "arn:aws:lambda:r:0:function:f:1:2",
            "arn:aws:lambda:r:0:function:f:a b",
        ] {
            assert!(woken_of(arn).is_err(), "{arn}");
        }
    }
}
