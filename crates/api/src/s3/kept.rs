//! What is kept with an object and given back with it: headers and user metadata.

use super::error::error;
use s3s::dto::{Metadata, Timestamp, TimestampFormat};
use s3s::{S3ErrorCode, S3Result};
use std::collections::BTreeMap;

/// What user metadata may have in all, as on AWS.
const MAX_METADATA: usize = 2048;

/// The headers that are kept with an object and given back with it.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) cache_control: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) expires: Option<Timestamp>,
}

impl Kept {
    /// By lower case name. `aws-chunked` is how the body came, not what it is.
    pub(super) fn headers(self) -> BTreeMap<String, String> {
        let encoding = self.content_encoding.map(|text| {
            let other = text
                .split(',')
                .map(str::trim)
                .filter(|part| *part != "aws-chunked");
            other.collect::<Vec<_>>().join(",")
        });
        let expires = self.expires.and_then(|time| {
            let mut text = Vec::new();
            time.format(TimestampFormat::HttpDate, &mut text).ok()?;
            String::from_utf8(text).ok()
        });
        let pairs = [
            ("cache-control", self.cache_control),
            ("content-disposition", self.content_disposition),
            ("content-encoding", encoding),
            ("content-language", self.content_language),
            ("content-type", self.content_type),
            ("expires", expires),
        ];
        let given = pairs
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        let filled = given.filter(|(_, value)| !value.is_empty());
        filled
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

/// Checks user metadata and brings it into its kept form.
pub(super) fn metadata(given: Option<Metadata>) -> S3Result<BTreeMap<String, String>> {
    let given = given.unwrap_or_default();
    let size: usize = given
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if size > MAX_METADATA {
        let message = format!("the metadata has {size} bytes, more than {MAX_METADATA}");
        return Err(error(S3ErrorCode::MetadataTooLarge, message));
    }
    let lower = given
        .into_iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value));
    Ok(lower.collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn aws_chunked_is_not_kept() {
        let kept = |text: &str| {
            let kept = Kept {
                content_encoding: Some(text.to_owned()),
                ..Kept::default()
            };
            kept.headers().get("content-encoding").cloned()
        };
        assert_eq!(kept("aws-chunked"), None);
        assert_eq!(kept("aws-chunked, gzip").as_deref(), Some("gzip"));
        assert_eq!(kept("gzip,aws-chunked").as_deref(), Some("gzip"));
    }

    #[test]
    fn metadata_has_a_bound_and_lower_case_names() {
        let given = |value: usize| Some([("Name".to_owned(), "x".repeat(value))].into());
        assert!(metadata(given(2044)).unwrap().contains_key("name"));
        let error = metadata(given(2045)).unwrap_err();
        assert_eq!(error.code(), &S3ErrorCode::MetadataTooLarge);
    }
}
