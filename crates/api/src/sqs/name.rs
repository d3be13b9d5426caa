//! How SQS names a queue: its name, its URL (`http://HOST/ACCOUNT/NAME`) and its ARN.

use super::error::{Error, Result};
use crate::arn::ACCOUNT;
use model::QueueName;

/// The URL of a queue, below the address that the client used.
pub(super) fn url(base: &str, name: &QueueName) -> String {
    format!("{base}/{ACCOUNT}/{name}")
}

/// The queue of a URL. Only its path tells: a client may reach the server by several names.
pub(super) fn queue_of_url(url: &str) -> Result<QueueName> {
    let invalid = || Error::invalid_address(url);
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (_, path) = rest.split_once('/').ok_or_else(invalid)?;
    let (account, name) = path.split_once('/').ok_or_else(invalid)?;
    let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    if !is_account {
        return Err(invalid());
    }
    name.trim_end_matches('/')
        .parse()
        .map_err(|_| Error::no_queue())
}

/// The ARN of a queue.
pub(crate) fn arn(region: &str, name: &QueueName) -> String {
    format!("arn:aws:sqs:{region}:{ACCOUNT}:{name}")
}

/// The queue of an ARN. Region and account are not compared: the server has one of each.
pub(crate) fn queue_of_arn(arn: &str) -> Option<QueueName> {
    let fields: Vec<&str> = arn.split(':').collect();
    match fields[..] {
        [
            "arn",
            "aws" | "aws-cn" | "aws-us-gov",
            "sqs",
            _,
            account,
            name,
        ] if account.bytes().all(|b| b.is_ascii_digit()) => name.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_survives_its_url_and_its_arn(name in "[A-Za-z0-9_-]{1,75}(\\.fifo)?") {
            let name: QueueName = name.parse().unwrap();
            prop_assert_eq!(&queue_of_url(&url("http://127.0.0.1:4566", &name)).unwrap(), &name);
            prop_assert_eq!(queue_of_arn(&arn("eu-west-1", &name)), Some(name));
        }

        #[test]
        fn no_text_breaks_the_door(text in ".{0,80}") {
            let _ = queue_of_url(&text);
            let _ = queue_of_arn(&text);
        }
    }

    #[test]
    fn other_addresses_are_refused() {
        for bad in [
            "",
            "orders",
            "http://h/orders",
            "http://h/abc/orders",
            "/x/y/z",
        ] {
            assert!(queue_of_url(bad).is_err(), "{bad}");
        }
        assert!(queue_of_arn("arn:aws:sns:r:000000000000:orders").is_none());
    }
}
