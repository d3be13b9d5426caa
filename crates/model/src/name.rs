//! Names that are checked once, where they enter.

use crate::Invalid;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $field:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                $check(text).map_err(|reason| {
                    let shown: String = text.chars().take(80).collect();
                    Invalid::new($field, format!("\"{}\" {reason}", shown.escape_debug()))
                })?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = Invalid;
            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use name;

name!(
    /// A function's name: 1 to 64 of `A-Z a-z 0-9 - _` (the bound of the AWS Lambda API).
    FunctionName,
    "function name",
    check_function
);
name!(
    /// A schedule's name within its group: 1 to 64 of `A-Z a-z 0-9 - _ .` (EventBridge Scheduler).
    ScheduleName,
    "schedule name",
    check_dotted
);
name!(
    /// The name of a group of schedules: 1 to 64 of `A-Z a-z 0-9 - _ .` (EventBridge Scheduler).
    ScheduleGroupName,
    "schedule group",
    check_dotted
);
name!(
    /// A service's name: a DNS label, 1 to 63 of `a-z 0-9 -`, since others reach it by that name.
    ServiceName,
    "service name",
    check_label
);
name!(
    /// A bucket's name: 3 to 63 of `a-z 0-9 - .`, beginning and ending with a letter or digit (S3).
    BucketName,
    "bucket name",
    check_bucket
);

impl ScheduleGroupName {
    /// Whether it is the group that is always there.
    pub fn is_default(&self) -> bool {
        self.0 == "default"
    }
}

impl Default for ScheduleGroupName {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

name!(
    /// A bus's name: 1 to 256 of `A-Z a-z 0-9 . - _` (EventBridge's, without partners' `/`).
    BusName,
    "bus name",
    check_bus
);
name!(
    /// A rule's name: 1 to 64 of `A-Z a-z 0-9 . - _` (EventBridge's).
    RuleName,
    "rule name",
    check_dotted
);
name!(
    /// A webhook's name: 1 to 64 of `A-Z a-z 0-9 . - _` (that of EventBridge's API destinations).
    WebhookName,
    "webhook name",
    check_dotted
);

name!(
    /// An upstream's name, the first part of its repositories here: 1 to 63 of `a-z 0-9 -`.
    UpstreamName,
    "upstream name",
    check_label
);

impl BusName {
    /// The bus that is always there.
    pub fn default_bus() -> Self {
        Self("default".to_owned())
    }
}

fn dotted(text: &str, most: usize) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !text.is_empty() && text.len() <= most && text.bytes().all(legal)
}

fn check_bus(text: &str) -> Result<(), &'static str> {
    match dotted(text, 256) {
        true => Ok(()),
        false => Err("must be 1 to 256 letters, digits, '.', '-' or '_'"),
    }
}

fn check_dotted(text: &str) -> Result<(), &'static str> {
    match dotted(text, 64) {
        true => Ok(()),
        false => Err("must be 1 to 64 letters, digits, '.', '-' or '_'"),
    }
}

fn check_function(text: &str) -> Result<(), &'static str> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if text.is_empty() || text.len() > 64 || !text.bytes().all(legal) {
        return Err("must be 1 to 64 letters, digits, '-' or '_'");
    }
    Ok(())
}

fn check_label(text: &str) -> Result<(), &'static str> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.is_empty() || text.len() > 63 || !text.bytes().all(legal) {
        return Err("must be 1 to 63 lower case letters, digits or '-'");
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err("must begin and end with a letter or digit");
    }
    if text == "localhost" {
        return Err("is taken: it names the machine itself");
    }
    Ok(())
}

fn check_bucket(text: &str) -> Result<(), &'static str> {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    if text.len() < 3 || text.len() > 63 || !text.bytes().all(legal) {
        return Err("must be 3 to 63 lower case letters, digits, '-' or '.'");
    }
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    if !edge(text.as_bytes().first()) || !edge(text.as_bytes().last()) {
        return Err("must begin and end with a letter or digit");
    }
    if text.contains("..") {
        return Err("must not contain '..'");
    }
    if text.parse::<std::net::Ipv4Addr>().is_ok() {
        return Err("must not look like an IP address");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn function_names_follow_lambda() {
        assert!("thumbnail-py_2".parse::<FunctionName>().is_ok());
        for bad in ["", "a b", "a/b", "..", &"x".repeat(65)] {
            assert!(bad.parse::<FunctionName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn bucket_names_follow_s3() {
        assert!("my.photos-1".parse::<BucketName>().is_ok());
        for bad in ["ab", "Photos", "-photos", "a..b", "10.0.0.1", "a_b"] {
            assert!(bad.parse::<BucketName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_of_rules_follow_eventbridge() {
        assert!("a.b-C_9".parse::<RuleName>().is_ok());
        assert!("x".repeat(256).parse::<BusName>().is_ok());
        for bad in ["", "a b", "a/b", "aws:x", &"x".repeat(65)] {
            assert!(bad.parse::<RuleName>().is_err(), "{bad:?}");
            assert!(bad.parse::<WebhookName>().is_err(), "{bad:?}");
        }
        assert_eq!(
            BusName::default_bus().to_string().parse(),
            Ok(BusName::default_bus())
        );
    }

    #[test]
    fn a_bad_name_is_shown_escaped() {
        let error = "a\u{1b}[31m".parse::<ServiceName>().unwrap_err();
        assert!(error.to_string().contains("\\u{1b}"), "{error}");
    }
}
