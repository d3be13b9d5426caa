//! What is refused before s3s sees it, because s3s would take it: Signature Version 2 outside of
//! presigned URLs, presigned URLs that last longer than AWS allows, `x-amz-` headers that were not signed,
//! and headers that ask for what is not done.

use super::access::Keys;
use super::error::{error, invalid_argument, unsupported};
use super::presigned_v2;
use crate::auth::scope_of;
use http::header::{AUTHORIZATION, CONTENT_LENGTH};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};
use percent_encoding::percent_decode_str;
use s3s::{S3ErrorCode, S3Result};

/// The account that everything belongs to.
pub(super) const ACCOUNT: &str = "000000000000";

/// Largest object that one put takes: 5 GiB, as on AWS.
pub(super) const MAX_PUT: u64 = 5 << 30;

/// What chunk signatures and trailers may add to a body: 1 part in 80 at the least chunk of 8 KiB.
const MAX_FRAMING: u64 = MAX_PUT / 64;

/// Longest life of a presigned URL in seconds: seven days, as on AWS.
pub(super) const MAX_EXPIRY: u32 = 7 * 24 * 3600;

/// Headers that ask for something that this version does not do. To ignore them would be to say yes.
const UNSUPPORTED: [(&str, &str); 11] = [
    ("x-amz-server-side-encryption", "server-side encryption"),
    (
        "x-amz-copy-source-server-side-encryption",
        "server-side encryption",
    ),
    ("x-amz-object-lock", "object lock"),
    ("x-amz-bypass-governance-retention", "object lock"),
    ("x-amz-tagging", "tagging"),
    ("x-amz-website-redirect-location", "a website redirect"),
    ("x-amz-grant-", "an access control list"),
    ("x-amz-write-offset-bytes", "appending to an object"),
    ("x-amz-mfa", "multi-factor authentication"),
    ("x-amz-if-match-", "a condition on size or time"),
    ("x-amz-rename-source", "renaming"),
];

/// Headers of which some values change nothing, and the others ask for something not done.
const HARMLESS: [(&str, &[&str], &str); 5] = [
    (
        "x-amz-acl",
        &["private", "bucket-owner-full-control"],
        "a canned access control list other than private",
    ),
    (
        "x-amz-storage-class",
        &["STANDARD"],
        "a storage class other than STANDARD",
    ),
    (
        "x-amz-bucket-object-lock-enabled",
        &["false", "False"],
        "object lock",
    ),
    ("x-amz-tagging-directive", &["COPY", "REPLACE"], "tagging"),
    (
        "x-amz-object-ownership",
        &["BucketOwnerEnforced"],
        "object ownership",
    ),
];

/// Whether the request may go on to s3s, which then checks its signature.
pub(super) async fn check(parts: &Parts, keys: &Keys) -> S3Result<()> {
    if presigned_v2::is_one(parts) {
        presigned_v2::check(parts, keys).await?;
    } else {
        check_version_4(parts)?;
    }
    check_request(parts)
}

fn check_version_4(parts: &Parts) -> S3Result<()> {
    check_scope(parts)?;
    check_expiry(parts)?;
    check_signed_headers(parts)
}

fn check_request(parts: &Parts) -> S3Result<()> {
    check_size(parts)?;
    check_headers(&parts.headers)?;
    check_query(parts)
}

/// The pairs of the query, decoded as s3s decodes them, so that no spelling passes by.
pub(super) fn query(parts: &Parts) -> impl Iterator<Item = (String, String)> + '_ {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let text = parts.uri.query().unwrap_or_default();
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(move |pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
}

fn check_scope(parts: &Parts) -> S3Result<()> {
    if scope_of(parts).is_none_or(|scope| scope.service != "s3") {
        let message = "sign the request with Signature Version 4 for the service s3";
        return Err(error(S3ErrorCode::AccessDenied, message));
    }
    Ok(())
}

/// Whether the signature is for something that cannot be a region, such as s3cmd's default `US`.
pub(super) fn names_no_region(parts: &Parts) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    scope_of(parts).is_some_and(|scope| !scope.region.bytes().all(legal))
}

fn check_expiry(parts: &Parts) -> S3Result<()> {
    for (name, value) in query(parts) {
        if name == "X-Amz-Expires" && value.parse().is_ok_and(|life: u32| life <= MAX_EXPIRY) {
            continue;
        }
        if name == "X-Amz-Expires" {
            let message = format!("X-Amz-Expires must be 1 to {MAX_EXPIRY} seconds");
            let code = S3ErrorCode::AuthorizationQueryParametersError;
            return Err(error(code, message));
        }
    }
    Ok(())
}

/// Without this, who holds a presigned URL to put one object could add `x-amz-copy-source` and read
/// any other.
fn check_signed_headers(parts: &Parts) -> S3Result<()> {
    let in_query = query(parts).find(|(name, _)| name == "X-Amz-SignedHeaders");
    let signed = match (&in_query, parts.headers.get(AUTHORIZATION)) {
        (Some((_, list)), _) => list.clone(),
        (None, Some(header)) => {
            let text = header.to_str().unwrap_or_default();
            let list = text
                .split_once("SignedHeaders=")
                .map_or("", |(_, rest)| rest);
            list.split([',', ' ']).next().unwrap_or_default().to_owned()
        }
        (None, None) => String::new(),
    };
    let signed: Vec<&str> = signed.split(';').collect();
    let covered = |name: &HeaderName| {
        let free = in_query.is_some() && name == "x-amz-content-sha256";
        !name.as_str().starts_with("x-amz-") || free || signed.contains(&name.as_str())
    };
    if !signed.contains(&"host") {
        return Err(error(
            S3ErrorCode::AccessDenied,
            "the header host must be signed",
        ));
    }
    if let Some(name) = parts.headers.keys().find(|name| !covered(name)) {
        let message = format!("there is a header that was not signed: {name}");
        return Err(error(S3ErrorCode::AccessDenied, message));
    }
    Ok(())
}

/// Whether one put can be as long as is announced.
pub(super) fn check_size(parts: &Parts) -> S3Result<()> {
    let Some(length) = parts.headers.get(CONTENT_LENGTH) else {
        return Ok(());
    };
    let length = length
        .to_str()
        .ok()
        .and_then(|text| text.parse::<u64>().ok());
    match length {
        Some(length) if length <= MAX_PUT + MAX_FRAMING => Ok(()),
        Some(_) => Err(too_large(MAX_PUT)),
        None => Err(invalid_argument("Content-Length must be a number")),
    }
}

/// One put has a bound, and a form's policy may set a lower one.
pub(super) fn too_large(most: u64) -> s3s::S3Error {
    let message = match most {
        MAX_PUT => format!("one put takes at most {MAX_PUT} bytes; use a multipart upload"),
        _ => format!("the policy of the form takes a file of at most {most} bytes"),
    };
    error(S3ErrorCode::EntityTooLarge, message)
}

/// Whether nothing is asked for that is not done.
pub(super) fn check_headers(headers: &HeaderMap) -> S3Result<()> {
    for (name, value) in headers {
        let name = name.as_str();
        if !name.starts_with("x-amz-") {
            continue;
        }
        if let Some((_, allowed, what)) = HARMLESS.iter().find(|(known, ..)| *known == name) {
            let harmless = allowed
                .iter()
                .any(|text| value.as_bytes() == text.as_bytes());
            if harmless {
                continue;
            }
            return Err(unsupported(what));
        }
        let owner = matches!(
            name,
            "x-amz-expected-bucket-owner" | "x-amz-source-expected-bucket-owner"
        );
        if owner && value.as_bytes() != ACCOUNT.as_bytes() {
            let message = format!("everything here belongs to the account {ACCOUNT}");
            return Err(error(S3ErrorCode::AccessDenied, message));
        }
        if let Some((_, what)) = UNSUPPORTED
            .iter()
            .find(|(known, _)| name.starts_with(known))
        {
            return Err(unsupported(what));
        }
    }
    Ok(())
}

/// A version is read or deleted, and never written.
fn check_query(parts: &Parts) -> S3Result<()> {
    let written = parts.method != Method::GET
        && parts.method != Method::HEAD
        && parts.method != Method::DELETE;
    for (name, value) in query(parts) {
        if name == "versionId" && value.is_empty() {
            return Err(invalid_argument("the version id is empty"));
        }
        if name == "versionId" && written {
            let message = "this operation takes no version id: every write is a version of its own";
            return Err(invalid_argument(message));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::Request;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_query_breaks_the_gate(text in "[a-zA-Z0-9%/&=+_-]{0,80}") {
            let parts = signed(&[], "host", &format!("/b/k?{text}"));
            prop_assert_eq!(query(&parts).count() > 0, text.contains(|c| c != '&'));
            let _ = check_version_4(&parts).and_then(|()| check_request(&parts));
        }
    }

    const SCOPE: &str = "AKID/20261122/us-east-1/s3/aws4_request";

    fn signed(headers: &[(&str, &str)], signed: &str, uri: &str) -> Parts {
        let value =
            format!("AWS4-HMAC-SHA256 Credential={SCOPE}, SignedHeaders={signed}, Signature=00");
        let mut request = Request::put(uri).header(AUTHORIZATION, value);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn presigned(expires: &str, headers: &[(&str, &str)]) -> Parts {
        let scope = SCOPE.replace('/', "%2F");
        let uri = format!(
            "/b/k?X-Amz-Credential={scope}&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
        );
        let mut request = Request::put(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn code(parts: &Parts) -> String {
        match check_version_4(parts).and_then(|()| check_request(parts)) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.code().as_str().to_owned(),
        }
    }

    #[test]
    fn a_plain_signed_request_passes() {
        let date = [("x-amz-date", "20261122T000000Z")];
        assert_eq!(code(&signed(&date, "host;x-amz-date", "/b/k")), "ok");
        assert_eq!(code(&presigned("604800", &[])), "ok");
    }

    #[test]
    fn other_signatures_are_refused() {
        for header in [None, Some("AWS AKID:c2ln"), Some("Bearer x")] {
            let mut request = Request::get("/b/k");
            if let Some(value) = header {
                request = request.header(AUTHORIZATION, value);
            }
            let parts = request.body(()).unwrap().into_parts().0;
            assert_eq!(code(&parts), "AccessDenied", "{header:?}");
        }
    }

    #[test]
    fn no_spelling_of_a_version_2_url_passes_by() {
        for uri in [
            "/b/k?Signature=x",
            "/b/k?%53ignature=x",
            "/b/k?a&AWSAccessKeyId=y",
        ] {
            assert!(presigned_v2::is_one(&signed(&[], "host", uri)), "{uri}");
        }
    }

    #[test]
    fn a_presigned_url_lives_seven_days_at_most() {
        for expires in ["604801", "-1", "x", "99999999999"] {
            let expected = "AuthorizationQueryParametersError";
            assert_eq!(code(&presigned(expires, &[])), expected, "{expires}");
        }
    }

    #[test]
    fn a_header_added_to_a_presigned_url_is_refused() {
        let added = [("x-amz-copy-source", "other/secret")];
        assert_eq!(code(&presigned("60", &added)), "AccessDenied");
        assert_eq!(code(&signed(&added, "host", "/b/k")), "AccessDenied");
        assert_eq!(
            code(&signed(&added, "host;x-amz-copy-source", "/b/k")),
            "ok"
        );
        assert_eq!(code(&signed(&[], "x-amz-date", "/b/k")), "AccessDenied");
    }

    #[test]
    fn what_is_not_done_is_refused_and_not_ignored() {
        for (name, value, expected) in [
            ("x-amz-acl", "private", "ok"),
            ("x-amz-acl", "public-read", "NotImplemented"),
            ("x-amz-storage-class", "STANDARD", "ok"),
            ("x-amz-storage-class", "GLACIER", "NotImplemented"),
            ("x-amz-server-side-encryption", "AES256", "NotImplemented"),
            (
                "x-amz-server-side-encryption-customer-key",
                "k",
                "NotImplemented",
            ),
            ("x-amz-tagging", "a=b", "NotImplemented"),
            ("x-amz-expected-bucket-owner", ACCOUNT, "ok"),
            (
                "x-amz-expected-bucket-owner",
                "123456789012",
                "AccessDenied",
            ),
            ("content-length", "6000000000", "EntityTooLarge"),
        ] {
            let parts = signed(&[(name, value)], &format!("host;{name}"), "/b/k");
            assert_eq!(code(&parts), expected, "{name}: {value}");
        }
    }

    #[test]
    fn versions_are_read_and_deleted_and_not_written() {
        let asked = |method, query: &str| {
            let mut parts = signed(&[], "host", &format!("/b/k?{query}"));
            parts.method = method;
            code(&parts)
        };
        for method in [Method::GET, Method::HEAD, Method::DELETE] {
            assert_eq!(asked(method.clone(), "versionId=1"), "ok");
            assert_eq!(asked(method, "versionId="), "InvalidArgument");
        }
        for method in [Method::PUT, Method::POST] {
            assert_eq!(asked(method, "versionId=1"), "InvalidArgument");
        }
    }
}
