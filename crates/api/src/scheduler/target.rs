//! ARNs of targets: the one place where this door turns them into what is woken, and back.

use super::error::{Error, Result};
use crate::sqs::{arn as queue_arn, queue_of_arn};
use model::Target;

/// The account that every ARN of this server shows.
const ACCOUNT: &str = "000000000000";
/// What can be woken.
const SERVED: &str = "a Lambda function (arn:aws:lambda:REGION:ACCOUNT:function:NAME), a standard queue \
                      (arn:aws:sqs:REGION:ACCOUNT:NAME) and a service of rouse \
                      (arn:rouse:service:REGION:ACCOUNT:NAME/path)";

/// What an ARN names. Region and account are not compared: the server has one of each.
pub(super) fn parse(arn: &str) -> Result<Target> {
    let refused = |reason: &str| {
        let shown: String = arn.chars().take(200).collect();
        let message = format!(
            "Provided Arn {} is not in correct format or not supported: {reason}; the targets served \
             here are {SERVED}.",
            shown.escape_debug()
        );
        Error::invalid(message)
    };
    let fields: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, service, _, _, resource] = fields[..] else {
        return Err(refused("it is no ARN"));
    };
    match (partition, service) {
        ("rouse", "service") => {
            let slash = resource.find('/').unwrap_or(resource.len());
            let (name, path) = resource.split_at(slash);
            let name = name.parse();
            Ok(Target::Service {
                name: name.map_err(|error: model::Invalid| refused(&error.reason))?,
                path: if path.is_empty() { "/" } else { path }.to_owned(),
            })
        }
        (partition, "lambda") if partition.starts_with("aws") => {
            let name = resource.strip_prefix("function:");
            let name = name.ok_or_else(|| refused("it names no function"))?;
            let name = match name.split_once(':') {
                None | Some((_, "$LATEST")) => name.trim_end_matches(":$LATEST"),
                Some(_) => return Err(refused("functions have no versions and aliases")),
            };
            let name = name.parse();
            Ok(Target::Function {
                name: name.map_err(|error: model::Invalid| refused(&error.reason))?,
            })
        }
        (partition, "sqs") if partition.starts_with("aws") => match queue_of_arn(arn) {
            Some(name) if name.is_fifo() => Err(refused("an event has no message group")),
            Some(name) => Ok(Target::Queue { name }),
            None => Err(refused("it names no queue")),
        },
        ("aws", "scheduler") => Err(refused("universal targets are not served")),
        _ => Err(refused("this kind of target is not served")),
    }
}

/// The ARN of a target that was not given by one.
pub(super) fn arn(target: &Target, region: &str) -> String {
    match target {
        Target::Function { name } => format!("arn:aws:lambda:{region}:{ACCOUNT}:function:{name}"),
        Target::Queue { name } => queue_arn(region, name),
        Target::Service { name, path } => {
            format!("arn:rouse:service:{region}:{ACCOUNT}:{name}{path}")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_not_served_is_refused_with_what_is() {
        for bad in [
            "",
            "thumbnail",
            "arn:aws:lambda:us-east-1:000000000000:layer:a",
            "arn:aws:lambda:us-east-1:000000000000:function:a:7",
            "arn:aws:lambda:us-east-1:000000000000:function:",
            "arn:aws:kinesis:us-east-1:000000000000:stream/a",
            "arn:aws:scheduler:::aws-sdk:sqs:sendMessage",
            "arn:aws:sqs:us-east-1:000000000000:orders.fifo",
            "arn:rouse:service:us-east-1:000000000000:UPPER/x",
        ] {
            let error = parse(bad).unwrap_err();
            assert!(
                error.message().contains("a Lambda function"),
                "{bad}: {error:?}"
            );
        }
        let latest = parse("arn:aws-cn:lambda:cn-north-1:123456789012:function:f:$LATEST");
        assert_eq!(latest.unwrap().key(), "function:f");
    }

    proptest! {
        #[test]
        fn every_target_survives_its_arn(
            function in "[A-Za-z0-9_-]{1,64}", service in "[a-z][a-z0-9]{0,30}", path in "(/[a-z:._-]{0,9}){1,3}",
        ) {
            prop_assume!(service != "localhost");
            let targets = [
                Target::Function { name: function.parse().unwrap() },
                Target::Service { name: service.parse().unwrap(), path },
                Target::Queue { name: function.parse().unwrap() },
            ];
            for target in targets {
                prop_assert_eq!(parse(&arn(&target, "eu-west-1")).unwrap(), target);
            }
        }

        #[test]
        fn no_text_panics(text in "(arn:)?(aws|rouse)?[a-z:/$A-Z ]{0,60}") {
            let _ = parse(&text);
        }
    }
}
