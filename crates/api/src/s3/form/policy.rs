//! What a POST policy allows
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html>).

use super::super::error::error;
use super::super::gate::{MAX_EXPIRY, MAX_PUT};
use base64::Engine as _;
use model::Timestamp;
use s3s::{S3Error, S3ErrorCode, S3Result};
use serde::Deserialize;
use serde_json::Value;

/// How far ahead the clock of who signed may be, in milliseconds.
const SKEW: i64 = 15 * 60 * 1000;

/// Fields that no condition has to name: those of the signature itself, and what is sent to be ignored.
const FREE: [&str; 4] = ["policy", "x-amz-signature", "signature", "awsaccesskeyid"];
const IGNORED: &str = "x-ignore-";

/// A policy that was read; who signed it is not known here.
#[derive(Debug)]
pub(super) struct Policy {
    expiration: Timestamp,
    conditions: Vec<Condition>,
}

#[derive(Debug, PartialEq, Eq)]
enum Condition {
    Equals(String, String),
    StartsWith(String, String),
    Length(u64, u64),
}

#[derive(Deserialize)]
struct Document {
    expiration: String,
    conditions: Vec<Value>,
}

impl Policy {
    /// Reads the field `policy`.
    ///
    /// # Errors
    /// `InvalidPolicyDocument`.
    pub(super) fn read(encoded: &str) -> S3Result<Self> {
        let text = base64::engine::general_purpose::STANDARD
            .decode(encoded)
            .map_err(|_| invalid("it is not base64"))?;
        let document: Document = serde_json::from_slice(&text)
            .map_err(|fault| invalid(&format!("it cannot be read: {fault}")))?;
        let expiration: jiff::Timestamp = document
            .expiration
            .parse()
            .map_err(|_| invalid("its expiration is not a time such as 2030-01-01T00:00:00Z"))?;
        let mut conditions = Vec::new();
        for condition in &document.conditions {
            read_condition(condition, &mut conditions)?;
        }
        Ok(Self {
            expiration: Timestamp(expiration.as_millisecond()),
            conditions,
        })
    }

    /// Whether it is in force. As with presigned URLs, what lives longer than seven days is refused.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub(super) fn check_life(&self, now: Timestamp) -> S3Result<()> {
        if self.expiration <= now {
            return Err(denied("policy expired"));
        }
        let longest = i64::from(MAX_EXPIRY) * 1000 + SKEW;
        if self.expiration.0.saturating_sub(now.0) > longest {
            return Err(denied("its expiration is more than seven days ahead"));
        }
        Ok(())
    }

    /// Whether the fields of a form satisfy every condition, and every field is named by one. So is the
    /// bucket: what is signed for one must not be good for all.
    ///
    /// # Errors
    /// `AccessDenied`.
    pub(super) fn check_fields(&self, bucket: &str, fields: &[(String, String)]) -> S3Result<()> {
        let value = |wanted: &str| {
            let mut found = fields.iter().filter(|(name, _)| name == wanted);
            let found = found.next().map(|(_, value)| value.as_str());
            // The bucket is the one of the URL, whatever the form says.
            if wanted == "bucket" {
                Some(bucket)
            } else {
                found
            }
        };
        for condition in &self.conditions {
            let held = match condition {
                Condition::Equals(name, wanted) => value(name) == Some(wanted),
                Condition::StartsWith(name, prefix) => {
                    value(name).is_some_and(|value| begins(name, value, prefix))
                }
                Condition::Length(..) => true,
            };
            if !held {
                return Err(denied(&format!("policy condition failed: {condition}")));
            }
        }
        let named = |name: &str| {
            self.conditions.iter().any(|condition| match condition {
                Condition::Equals(known, _) | Condition::StartsWith(known, _) => known == name,
                Condition::Length(..) => false,
            })
        };
        if !named("bucket") {
            return Err(denied("no condition names the bucket"));
        }
        for (name, given) in fields {
            if name == "bucket" && given != bucket {
                return Err(denied("the field \"bucket\" is not the URL's"));
            }
            let free = FREE.contains(&name.as_str()) || name.starts_with(IGNORED);
            if !free && !named(name) {
                let shown: String = name.chars().take(100).collect();
                let shown = shown.escape_debug();
                return Err(denied(&format!("extra input field: \"{shown}\"")));
            }
        }
        Ok(())
    }

    /// How many bytes the file may have, from and to.
    pub(super) fn length(&self) -> (u64, u64) {
        let all = (0, MAX_PUT);
        self.conditions
            .iter()
            .fold(all, |(from, to), condition| match condition {
                Condition::Length(least, most) => (from.max(*least), to.min(*most)),
                Condition::Equals(..) | Condition::StartsWith(..) => (from, to),
            })
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Equals(name, value) => write!(out, "[\"eq\", \"${name}\", {value:?}]"),
            Self::StartsWith(name, value) => {
                write!(out, "[\"starts-with\", \"${name}\", {value:?}]")
            }
            Self::Length(least, most) => write!(out, "[\"content-length-range\", {least}, {most}]"),
        }
    }
}

/// The content type may be a list, each of which must begin so.
fn begins(name: &str, value: &str, prefix: &str) -> bool {
    match name {
        "content-type" => value.split(',').all(|one| one.trim().starts_with(prefix)),
        _ => value.starts_with(prefix),
    }
}

fn read_condition(condition: &Value, into: &mut Vec<Condition>) -> S3Result<()> {
    let wrong = || invalid("a condition is not one of eq, starts-with, content-length-range");
    let name = |text: &str| text.strip_prefix('$').map(str::to_ascii_lowercase);
    match condition {
        Value::Object(pairs) => {
            for (name, value) in pairs {
                let value = value.as_str().ok_or_else(wrong)?;
                into.push(Condition::Equals(
                    name.to_ascii_lowercase(),
                    value.to_owned(),
                ));
            }
        }
        Value::Array(parts) => {
            let [Value::String(operator), first, second] = &parts[..] else {
                return Err(wrong());
            };
            let texts = first.as_str().and_then(name).zip(second.as_str());
            let texts = texts.map(|(name, value)| (name, value.to_owned()));
            into.push(
                match operator.to_ascii_lowercase().as_str() {
                    "eq" => texts.map(|(name, value)| Condition::Equals(name, value)),
                    "starts-with" => texts.map(|(name, value)| Condition::StartsWith(name, value)),
                    "content-length-range" => {
                        let range = bytes(first).zip(bytes(second));
                        range.map(|(least, most)| Condition::Length(least, most))
                    }
                    _ => None,
                }
                .ok_or_else(wrong)?,
            );
        }
        _ => return Err(wrong()),
    }
    Ok(())
}

/// Some clients write the bounds as texts.
fn bytes(value: &Value) -> Option<u64> {
    let text = value.as_str().map(str::parse);
    value.as_u64().or_else(|| text?.ok())
}

fn invalid(why: &str) -> S3Error {
    let message = format!("the policy of the form is invalid: {why}");
    error(S3ErrorCode::InvalidPolicyDocument, message)
}

/// As AWS begins these messages.
fn denied(why: &str) -> S3Error {
    let message = format!("Invalid according to Policy: {why}");
    error(S3ErrorCode::AccessDenied, message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn policy(conditions: Value) -> S3Result<Policy> {
        let document = json!({"expiration": "2030-01-01T00:00:00.000Z", "conditions": conditions});
        let engine = base64::engine::general_purpose::STANDARD;
        Policy::read(&engine.encode(document.to_string()))
    }

    /// Whether conditions hold, and one for the bucket.
    fn held(mut conditions: Value, fields: &[(&str, &str)]) -> bool {
        let list = conditions.as_array_mut().unwrap();
        list.push(json!({"bucket": "b"}));
        alone(conditions, fields)
    }

    fn alone(conditions: Value, fields: &[(&str, &str)]) -> bool {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        policy(conditions)
            .unwrap()
            .check_fields("b", &fields)
            .is_ok()
    }

    #[test]
    fn conditions_hold_or_not() {
        let key = [("key", "in/a.jpg")];
        assert!(held(
            json!([{"bucket": "b"}, ["starts-with", "$key", "in/"]]),
            &key
        ));
        assert!(held(json!([["eq", "$KEY", "in/a.jpg"]]), &key));
        assert!(!held(json!([["starts-with", "$key", "out/"]]), &key));
        assert!(!held(json!([{"key": "in/a.jp"}]), &key));
        assert!(!held(
            json!([{"bucket": "other"}, {"key": "in/a.jpg"}]),
            &key
        ));
        // What is asked of a field that is not there does not hold.
        assert!(!held(
            json!([{"key": "in/a.jpg"}, {"acl": "private"}]),
            &key
        ));
        assert!(!held(
            json!([{"key": "in/a.jpg"}, ["starts-with", "$acl", ""]]),
            &key
        ));
    }

    #[test]
    fn the_bucket_is_named_by_a_condition() {
        let key = [("key", "k")];
        assert!(!alone(json!([{"key": "k"}]), &key));
        assert!(!alone(
            json!([{"key": "k"}]),
            &[("key", "k"), ("bucket", "b")]
        ));
        assert!(alone(
            json!([{"key": "k"}, ["starts-with", "$bucket", "b"]]),
            &key
        ));
    }

    #[test]
    fn every_field_is_named_by_a_condition() {
        let conditions = || json!([["starts-with", "$key", ""]]);
        assert!(!held(conditions(), &[("key", "k"), ("x-amz-meta-a", "b")]));
        assert!(held(
            conditions(),
            &[("key", "k"), ("x-ignore-a", "b"), ("policy", "p")]
        ));
        assert!(!held(conditions(), &[("key", "k"), ("bucket", "other")]));
    }

    #[test]
    fn each_of_a_list_of_types_is_looked_at() {
        let conditions = || json!([["starts-with", "$Content-Type", "image/"]]);
        assert!(held(
            conditions(),
            &[("content-type", "image/png, image/jpeg")]
        ));
        assert!(!held(
            conditions(),
            &[("content-type", "image/png,text/html")]
        ));
    }

    #[test]
    fn lengths_are_the_narrowest_of_all() {
        let range = |conditions| policy(conditions).unwrap().length();
        assert_eq!(range(json!([])), (0, MAX_PUT));
        assert_eq!(range(json!([["content-length-range", 1, "10"]])), (1, 10));
        let two = json!([
            ["content-length-range", 1, 10],
            ["content-length-range", 5, 20]
        ]);
        assert_eq!(range(two), (5, 10));
    }

    #[test]
    fn it_lives_until_its_expiration_and_seven_days_at_most() {
        let policy = policy(json!([])).unwrap();
        let end: jiff::Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let end = end.as_millisecond();
        let code = |now| policy.check_life(Timestamp(now)).is_ok();
        assert!(code(end - 1));
        assert!(!code(end));
        assert!(code(end - 7 * 24 * 3_600_000));
        assert!(!code(end - 8 * 24 * 3_600_000));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for conditions in [
            json!([["matches", "$key", "x"]]),
            json!([["eq", "key", "x"]]),
            json!([["eq", "$key"]]),
            json!([{"key": 1}]),
            json!([["content-length-range", -1, 5]]),
            json!(["eq"]),
        ] {
            let refused = policy(conditions.clone()).unwrap_err();
            assert_eq!(
                refused.code(),
                &S3ErrorCode::InvalidPolicyDocument,
                "{conditions}"
            );
        }
        assert!(Policy::read("%").is_err());
    }

    proptest! {
        #[test]
        fn no_policy_breaks_it(text in "[\\[\\]{}\",:$a-z0-9]{0,80}") {
            let engine = base64::engine::general_purpose::STANDARD;
            let _ = Policy::read(&engine.encode(text));
        }
    }
}
