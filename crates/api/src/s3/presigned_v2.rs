//! Presigned URLs of Signature Version 2, which boto3 and the AWS CLI make unless told otherwise
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html>). Version 2 is taken in
//! no other place.
//!
//! s3s checks them too, but compares with `!=` and knows no cap on their life. So they are checked
//! here first, in constant time, and only for what such URLs are made for: to read, store or remove
//! one object.

use super::access::Keys;
use super::error::error;
use super::gate::{MAX_EXPIRY, query};
use super::host::Host;
use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderMap, Method};
use s3s::auth::S3Auth as _;
use s3s::host::S3Host as _;
use s3s::{S3Error, S3ErrorCode, S3Result};
use sha1::Sha1;

/// How far ahead the clock of who made the URL may be, in seconds.
const SKEW: i64 = 15 * 60;

/// What the query is made of: the first three are the signature's own.
const OWN: [&str; 3] = ["AWSAccessKeyId", "Expires", "Signature"];

/// The others that may be there, all of which are signed, in the order in which they are.
const SIGNED: [&str; 9] = [
    "partNumber",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "uploadId",
    "versionId",
];

/// Whether it claims to be one.
pub(super) fn is_one(parts: &Parts) -> bool {
    query(parts).any(|(name, _)| name == "Signature" || name == "AWSAccessKeyId")
}

/// Whether it may go on to s3s.
pub(super) async fn check(parts: &Parts, keys: &Keys) -> S3Result<()> {
    let url = Url::read(parts)?;
    url.check_life(model::Timestamp::now().0 / 1000)?;
    let secret = keys.get_secret_key(&url.access_key_id).await?;
    if url.is_signed_with(secret.expose(), parts) {
        return Ok(());
    }
    let message = "the signature does not fit the request";
    Err(error(S3ErrorCode::SignatureDoesNotMatch, message))
}

fn refused(message: &str) -> S3Error {
    error(S3ErrorCode::AccessDenied, message)
}

struct Url {
    access_key_id: String,
    /// In seconds since the Unix epoch.
    expires: String,
    signature: Vec<u8>,
    /// By name, in the order of [`SIGNED`].
    signed: Vec<(&'static str, String)>,
}

impl Url {
    fn read(parts: &Parts) -> S3Result<Self> {
        if parts.headers.contains_key(AUTHORIZATION) {
            return Err(refused("a presigned URL is sent without Authorization"));
        }
        let use_of_it = [Method::GET, Method::HEAD, Method::PUT, Method::DELETE];
        let pairs: Vec<_> = query(parts).collect();
        // botocore writes there too what headers were signed. Only the headers themselves count.
        let repeated = |name: &str| name.starts_with("x-amz-") || name.starts_with("content-");
        let known = |name: &str| OWN.contains(&name) || SIGNED.contains(&name) || repeated(name);
        let other = pairs.iter().any(|(name, _)| !known(name));
        if other || !use_of_it.contains(&parts.method) {
            let message = "Signature Version 2 is only taken in URLs that read, store or remove an \
                           object; sign with Signature Version 4";
            return Err(refused(message));
        }
        let one = |wanted: &str| {
            let mut values = pairs.iter().filter(|(name, _)| name == wanted);
            match (values.next(), values.next()) {
                (Some((_, value)), None) => Ok(value.clone()),
                _ => Err(refused("the presigned URL is not complete")),
            }
        };
        let mut signed = Vec::new();
        for name in SIGNED {
            if pairs.iter().any(|(present, _)| present == name) {
                signed.push((name, one(name)?));
            }
        }
        let decoded = base64::engine::general_purpose::STANDARD.decode(one("Signature")?);
        Ok(Self {
            access_key_id: one("AWSAccessKeyId")?,
            expires: one("Expires")?,
            signature: decoded.map_err(|_| refused("the signature is not base64"))?,
            signed,
        })
    }

    fn check_life(&self, now: i64) -> S3Result<()> {
        let expires: i64 = self
            .expires
            .parse()
            .map_err(|_| refused("Expires must be seconds since the Unix epoch"))?;
        if expires <= now {
            return Err(refused("Request has expired"));
        }
        if expires.saturating_sub(now) > i64::from(MAX_EXPIRY) + SKEW {
            return Err(refused("a presigned URL lives seven days at most"));
        }
        Ok(())
    }

    /// Compared in constant time.
    fn is_signed_with(&self, secret: &str, parts: &Parts) -> bool {
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret.as_bytes()) else {
            return false;
        };
        mac.update(self.string_to_sign(parts).as_bytes());
        mac.verify_slice(&self.signature).is_ok()
    }

    fn string_to_sign(&self, parts: &Parts) -> String {
        let header = |name: &str| {
            let value = parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok());
            value.unwrap_or_default()
        };
        let method = &parts.method;
        let md5 = header("content-md5");
        let kind = header(CONTENT_TYPE.as_str());
        let expires = &self.expires;
        let amz = amz_headers(&parts.headers);
        let resource = self.resource(parts);
        format!("{method}\n{md5}\n{kind}\n{expires}\n{amz}{resource}")
    }

    fn resource(&self, parts: &Parts) -> String {
        let host = parts
            .headers
            .get(HOST)
            .and_then(|value| value.to_str().ok());
        let host = host.and_then(|host| Host.parse_host_header(host).ok());
        let mut resource = String::new();
        if let Some(bucket) = host.as_ref().and_then(|host| host.bucket()) {
            resource.push('/');
            resource.push_str(bucket);
        }
        resource.push_str(parts.uri.path());
        let pair = |(name, value): &(&str, String)| match value.is_empty() {
            true => (*name).to_owned(),
            false => format!("{name}={value}"),
        };
        let pairs: Vec<String> = self.signed.iter().map(pair).collect();
        if !pairs.is_empty() {
            resource.push('?');
            resource.push_str(&pairs.join("&"));
        }
        resource
    }
}

/// All of them are signed, so none can be added.
fn amz_headers(headers: &HeaderMap) -> String {
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.retain(|name| name.starts_with("x-amz-"));
    names.sort_unstable();
    let mut text = String::new();
    for name in names {
        let values = headers.get_all(name).iter();
        let values = values.map(|value| value.to_str().unwrap_or_default().trim());
        let values = values.collect::<Vec<_>>().join(",");
        text.push_str(&format!("{name}:{values}\n"));
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::Request;

    /// The example of AWS's documentation, with its bucket moved to a host of ours.
    const URL: &str = "/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE\
                       &Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    fn parts(method: Method, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        request = request.header(HOST, "johnsmith.s3.localhost:4566");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_example_of_aws_is_signed_and_nothing_else_is() {
        let signed = |secret: &str, parts: Parts| {
            let url = Url::read(&parts).unwrap();
            url.is_signed_with(secret, &parts)
        };
        assert!(signed(SECRET, parts(Method::GET, URL, &[])));
        assert!(!signed("other", parts(Method::GET, URL, &[])));
        assert!(!signed(SECRET, parts(Method::PUT, URL, &[])));
        let added = [("x-amz-copy-source", "other/secret")];
        assert!(!signed(SECRET, parts(Method::GET, URL, &added)));
        assert!(!signed(
            SECRET,
            parts(Method::GET, &format!("{URL}&versionId=1"), &[])
        ));
        assert!(!signed(
            SECRET,
            parts(Method::GET, &URL.replace("puppy", "kitten"), &[])
        ));
    }

    #[test]
    fn only_what_such_urls_are_made_for_is_read() {
        let repeated = format!("{URL}&content-type=text%2Fplain&x-amz-meta-a=b");
        assert!(Url::read(&parts(Method::PUT, &repeated, &[])).is_ok());
        let later = format!("{URL}&X-Amz-Signature=0");
        assert!(Url::read(&parts(Method::PUT, &later, &[])).is_err());
        assert!(Url::read(&parts(Method::POST, URL, &[])).is_err());
        assert!(Url::read(&parts(Method::GET, &format!("{URL}&acl"), &[])).is_err());
        assert!(Url::read(&parts(Method::GET, &format!("{URL}&Expires=2"), &[])).is_err());
        assert!(Url::read(&parts(Method::GET, "/b/k?Signature=eA==", &[])).is_err());
        let both = [("authorization", "AWS4-HMAC-SHA256 Credential=x")];
        assert!(Url::read(&parts(Method::GET, URL, &both)).is_err());
    }

    #[test]
    fn the_life_of_a_url_has_an_end_and_a_bound() {
        let url = Url::read(&parts(Method::GET, URL, &[])).unwrap();
        let end = 1_175_139_620;
        assert!(url.check_life(end).is_err());
        assert!(url.check_life(end - 1).is_ok());
        assert!(url.check_life(end - 604_800).is_ok());
        assert!(url.check_life(end - 604_800 - SKEW - 1).is_err());
    }
}
