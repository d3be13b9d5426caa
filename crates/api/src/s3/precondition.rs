//! Conditions of reads, copies and writes (RFC 9110, section 13; S3 "conditional requests").

use super::error::{error, unsupported};
use s3s::dto::{ETag, ETagCondition, Timestamp};
use s3s::{S3ErrorCode, S3Result};
use std::time::{Duration, SystemTime};
use storage::{ObjectRow, Precondition};

/// The conditions of a read, or those of a copy on its source.
#[derive(Default)]
pub(super) struct Conditions {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
    pub(super) if_modified_since: Option<Timestamp>,
    pub(super) if_unmodified_since: Option<Timestamp>,
}

/// Why an object is not given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// 304 for a read, 412 for a copy.
    NotModified,
    /// 412.
    Precondition,
}

impl Conditions {
    /// In RFC 9110's order: `If-Match` over `If-Unmodified-Since`, `If-None-Match` over
    /// `If-Modified-Since`. Times are compared in whole seconds, as the header has them.
    pub(super) fn check(&self, row: &ObjectRow) -> Result<(), Failed> {
        let since = |time: &Timestamp| whole_seconds(modified(row)) > whole_seconds(time.clone());
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) if !fits(condition, row) => return Err(Failed::Precondition),
            (None, Some(time)) if since(time) => return Err(Failed::Precondition),
            _ => {}
        }
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) if fits(condition, row) => Err(Failed::NotModified),
            (None, Some(time)) if !since(time) => Err(Failed::NotModified),
            _ => Ok(()),
        }
    }
}

fn fits(condition: &ETagCondition, row: &ObjectRow) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(tag) => tag.value() == row.etag,
    }
}

/// The conditions of a write. They are checked in the transaction that makes the object.
///
/// # Errors
/// `NotImplemented` for those that S3 does not serve either.
pub(super) fn of_write(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
) -> S3Result<Precondition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Precondition::None),
        (None, Some(ETagCondition::Any)) => Ok(Precondition::Absent),
        (Some(ETagCondition::ETag(tag)), None) => {
            Ok(Precondition::Etag(tag.value().trim_matches('"').to_owned()))
        }
        (None, Some(_)) => Err(unsupported("If-None-Match with anything but * on a write")),
        (Some(_), _) => Err(unsupported("this combination of conditions on a write")),
    }
}

/// 412 in words.
pub(super) fn failed() -> s3s::S3Error {
    let message = "at least one of the conditions of the request did not hold";
    error(S3ErrorCode::PreconditionFailed, message)
}

/// The ETag of a row as the protocol has it.
pub(super) fn etag(text: &str) -> ETag {
    ETag::Strong(text.to_owned())
}

/// When a row was stored.
pub(super) fn modified(row: &ObjectRow) -> Timestamp {
    time(row.modified)
}

/// A time in s3s's type.
pub(super) fn time(time: model::Timestamp) -> Timestamp {
    let since = Duration::from_millis(u64::try_from(time.0).unwrap_or(0));
    Timestamp::from(SystemTime::UNIX_EPOCH + since)
}

fn whole_seconds(time: Timestamp) -> u64 {
    let mut text = Vec::new();
    let format = s3s::dto::TimestampFormat::EpochSeconds;
    if time.format(format, &mut text).is_err() {
        return 0;
    }
    let text = String::from_utf8_lossy(&text);
    let whole = text.split('.').next().unwrap_or_default();
    whole.parse().unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn row() -> ObjectRow {
        ObjectRow {
            bucket: "photos".parse().unwrap(),
            key: "a".to_owned(),
            data: String::new(),
            size: 1,
            etag: "abc".to_owned(),
            sequence: 1,
            version: None,
            modified: model::Timestamp(10_900),
            headers: BTreeMap::new(),
            metadata: BTreeMap::new(),
        }
    }

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(time(model::Timestamp(seconds * 1000)))
    }

    fn tag(text: &str) -> Option<ETagCondition> {
        Some(ETagCondition::ETag(etag(text)))
    }

    #[test]
    fn a_read_is_conditional_on_etag_and_whole_seconds() {
        let check = |conditions: Conditions| conditions.check(&row());
        let none = Conditions::default();
        assert_eq!(check(none), Ok(()));
        let cases = [
            (tag("abc"), None, None, None, Ok(())),
            (tag("x"), None, None, None, Err(Failed::Precondition)),
            (None, tag("abc"), None, None, Err(Failed::NotModified)),
            (None, tag("x"), None, None, Ok(())),
            (
                None,
                Some(ETagCondition::Any),
                None,
                None,
                Err(Failed::NotModified),
            ),
            (None, None, at(10), None, Err(Failed::NotModified)),
            (None, None, at(9), None, Ok(())),
            (None, None, None, at(9), Err(Failed::Precondition)),
            (None, None, None, at(10), Ok(())),
            (tag("abc"), None, None, at(9), Ok(())),
            (None, tag("x"), at(10), None, Ok(())),
        ];
        for (index, (if_match, if_none_match, modified, unmodified, expected)) in
            cases.into_iter().enumerate()
        {
            let conditions = Conditions {
                if_match,
                if_none_match,
                if_modified_since: modified,
                if_unmodified_since: unmodified,
            };
            assert_eq!(check(conditions), expected, "case {index}");
        }
    }

    #[test]
    fn a_write_takes_absent_or_one_etag() {
        let absent = of_write(None, Some(ETagCondition::Any)).unwrap();
        assert_eq!(absent, Precondition::Absent);
        let same = of_write(tag("abc"), None).unwrap();
        assert_eq!(same, Precondition::Etag("abc".to_owned()));
        assert!(of_write(None, tag("abc")).is_err());
        assert!(of_write(tag("abc"), Some(ETagCondition::Any)).is_err());
    }
}
