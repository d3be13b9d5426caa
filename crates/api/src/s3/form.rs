//! Uploads by an HTML form (POST Object,
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html>). s3s knows them too, but gathers the file
//! in memory and takes a form for a quarter of an hour only; so they are read here, and the file goes to the disk
//! while it comes.
//!
//! Who may upload what is said by a policy, which somebody signed who is known here. Nothing is stored that a
//! condition of it does not allow.

mod multipart;
mod policy;

use super::access::{Caller, admit};
use super::error::{error, invalid_argument, of_refused, of_storage};
use super::host::Host;
use super::kept::{Kept, metadata};
use super::listing::PLAIN;
use super::precondition::etag;
use super::receive::Incoming;
use super::{Handlers, gate};
use crate::auth::{Auth, PolicySignature, SignedPolicy};
use crate::whole::whole;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use model::{BucketName, Timestamp};
use multipart::Broken;
use percent_encoding::{percent_decode_str, utf8_percent_encode};
use policy::Policy;
use s3s::dto::{PostResponse, TimestampFormat};
use s3s::host::S3Host as _;
use s3s::xml::{Serialize as _, Serializer};
use s3s::{S3Error, S3ErrorCode, S3Result};
use storage::{ObjectRow, Precondition, PutObject};

/// In a field, this is replaced by the name of the client's file.
const FILE_NAME: &str = "${filename}";
/// Longest name of a client's file, in bytes: as long as a key.
const MAX_FILE_NAME: usize = 1024;

/// Says which version was stored, in a bucket that keeps versions.
const VERSION_ID: HeaderName = HeaderName::from_static("x-amz-version-id");

/// Whether the request is an upload by a form.
pub(super) fn is_one(parts: &Parts) -> bool {
    let form = |value: &HeaderValue| {
        let value = value.as_bytes().trim_ascii_start();
        value.len() >= 19 && value[..19].eq_ignore_ascii_case(b"multipart/form-data")
    };
    parts.method == Method::POST && parts.headers.get_all(CONTENT_TYPE).iter().any(form)
}

/// Stores the file of a form, and answers as the form wishes.
pub(super) async fn serve(
    handlers: &Handlers,
    auth: &Auth,
    parts: Parts,
    body: Body,
) -> S3Result<Response> {
    if parts.headers.contains_key(AUTHORIZATION) || parts.uri.query().is_some() {
        let message = "a form is signed by its policy, without Authorization and without a query";
        return Err(invalid_argument(message));
    }
    gate::check_size(&parts)?;
    let bucket = bucket_of(&parts)?;
    let boundary = parts.headers.get(CONTENT_TYPE);
    let boundary = boundary.and_then(|value| multipart::boundary(value.to_str().ok()?));
    let boundary = boundary.ok_or_else(|| broken(&Broken::Malformed("it names no boundary")))?;
    let body = Box::pin(body.into_data_stream());
    let form = multipart::read(body, boundary).await;
    let form = form.map_err(|fault| broken(&fault))?;
    let fields = Fields::new(form.fields, &form.file_name)?;

    let signed = fields.signed_policy()?;
    let verified = auth.verify_policy(&signed).await;
    let verified = verified.map_err(|refused| of_refused(&refused))?;
    admit(&verified, "PutObject")?;
    let policy = Policy::read(signed.policy)?;
    policy.check_life(Timestamp::now())?;
    policy.check_fields(bucket.as_str(), &fields.0)?;

    let headers = fields.headers()?;
    gate::check_headers(&headers)?;
    let bucket = handlers.bucket(bucket.as_str()).await?.name;
    let caller = Caller::of(&handlers.engine, &parts.extensions, &verified);
    let put = fields.object(&headers, bucket, caller)?;
    let (least, most) = policy.length();
    let incoming = Incoming {
        headers: &headers,
        trailers: None,
        body: Some(Box::pin(form.file.into_stream())),
        length: None,
        most,
    };
    let (writer, _) = handlers.receive(incoming).await?;
    if writer.size() < least {
        let message = format!("the policy of the form takes a file of {least} bytes or more");
        return Err(error(S3ErrorCode::EntityTooSmall, message));
    }
    let storage = handlers.storage().clone();
    let row = whole(async move {
        let translate = of_storage(S3ErrorCode::NoSuchBucket, S3ErrorCode::PreconditionFailed);
        storage.commit_object(writer, put).await.map_err(translate)
    })
    .await?;
    fields.answer(&parts, &row)
}

fn broken(fault: &Broken) -> S3Error {
    let code = match fault {
        Broken::Malformed(_) => S3ErrorCode::MalformedPOSTRequest,
        Broken::TooLarge => S3ErrorCode::MaxPostPreDataLengthExceededError,
        Broken::NoFile => S3ErrorCode::IncorrectNumberOfFilesInPostRequest,
        Broken::Incomplete => S3ErrorCode::IncompleteBody,
    };
    error(code, fault.to_string())
}

fn host(parts: &Parts) -> Option<&str> {
    let header = parts
        .headers
        .get(HOST)
        .and_then(|value| value.to_str().ok());
    header.or_else(|| Some(parts.uri.authority()?.as_str()))
}

/// The bucket that is named by the host.
fn bucket_of_host(parts: &Parts) -> Option<&str> {
    let host = host(parts)?;
    let name = host.split(':').next()?;
    Host.parse_host_header(host).ok()?.bucket()?;
    name.strip_suffix(".s3.localhost")
        .or_else(|| name.strip_suffix(".localhost"))
}

fn bucket_of(parts: &Parts) -> S3Result<BucketName> {
    let path = parts.uri.path().trim_matches('/');
    let text = match (bucket_of_host(parts), path) {
        (Some(bucket), "") => bucket.into(),
        (None, path) if !path.is_empty() && !path.contains('/') => percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| error(S3ErrorCode::InvalidURI, "the path is not UTF-8"))?,
        _ => {
            let message = "a form is posted to a bucket; its key is a field";
            return Err(error(S3ErrorCode::MethodNotAllowed, message));
        }
    };
    super::buckets::name(&text)
}

/// The fields of a form: names in lower case, each once.
struct Fields(Vec<(String, String)>);

impl Fields {
    /// Nobody knows yet who sends them: with the file's name filled in, they are together no larger
    /// than what may be sent.
    fn new(mut fields: Vec<(String, String)>, file_name: &str) -> S3Result<Self> {
        if file_name.len() > MAX_FILE_NAME {
            let message = format!("the file's name has more than {MAX_FILE_NAME} bytes");
            return Err(invalid_argument(message));
        }
        let mut left = multipart::MAX_FIELDS;
        for at in 0..fields.len() {
            let (name, value) = &fields[at];
            if fields[..at].iter().any(|(earlier, _)| earlier == name) {
                let shown: String = name.chars().take(100).collect();
                let message = format!("the field \"{}\" is there twice", shown.escape_debug());
                return Err(invalid_argument(message));
            }
            let places = value.matches(FILE_NAME).count();
            let grown = value.len() - places * FILE_NAME.len() + places * file_name.len();
            left = left
                .checked_sub(grown)
                .ok_or_else(|| broken(&Broken::TooLarge))?;
            if places > 0 {
                fields[at].1 = value.replace(FILE_NAME, file_name);
            }
        }
        Ok(Self(fields))
    }

    fn get(&self, wanted: &str) -> Option<&str> {
        let found = self.0.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    }

    fn signed_policy(&self) -> S3Result<SignedPolicy<'_>> {
        let need = |name: &str| {
            self.get(name).ok_or_else(|| {
                let message =
                    format!("a form needs a signed policy: the field \"{name}\" is missing");
                error(S3ErrorCode::AccessDenied, message)
            })
        };
        let policy = need("policy")?;
        let signature = match self.get("awsaccesskeyid") {
            Some(access_key_id) => PolicySignature::V2 {
                access_key_id,
                signature: need("signature")?,
            },
            None => {
                if need("x-amz-algorithm")? != "AWS4-HMAC-SHA256" {
                    let message = "x-amz-algorithm must be AWS4-HMAC-SHA256";
                    return Err(invalid_argument(message));
                }
                PolicySignature::V4 {
                    credential: need("x-amz-credential")?,
                    date: need("x-amz-date")?,
                    signature: need("x-amz-signature")?,
                }
            }
        };
        Ok(SignedPolicy { policy, signature })
    }

    /// What would have been said in headers of a PUT.
    fn headers(&self) -> S3Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.0 {
            let name = match name.as_str() {
                "acl" => "x-amz-acl",
                "tagging" => "x-amz-tagging",
                "policy" | "signature" | "key" => continue,
                other => other,
            };
            let wrong = || invalid_argument(format!("the field {name:.100?} is no header"));
            let name = HeaderName::try_from(name).map_err(|_| wrong())?;
            let value = HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?;
            headers.insert(name, value);
        }
        Ok(headers)
    }

    fn object(
        &self,
        headers: &HeaderMap,
        bucket: BucketName,
        caller: Caller,
    ) -> S3Result<PutObject> {
        let key = self.get("key").filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| invalid_argument("the form needs a field \"key\""))?;
        let field = |name| self.get(name).map(str::to_owned);
        let expires = self.get("expires").map(|text| {
            let time = s3s::dto::Timestamp::parse(TimestampFormat::HttpDate, text);
            time.map_err(|_| invalid_argument("expires must be an HTTP date"))
        });
        let kept = Kept {
            cache_control: field("cache-control"),
            content_disposition: field("content-disposition"),
            content_encoding: field("content-encoding"),
            content_language: field("content-language"),
            content_type: field("content-type"),
            expires: expires.transpose()?,
        };
        let own = headers.keys().filter_map(|name| {
            let own = name.as_str().strip_prefix("x-amz-meta-")?;
            Some((own.to_owned(), field(name.as_str())?))
        });
        Ok(PutObject {
            bucket,
            key: key.to_owned(),
            headers: kept.headers(),
            metadata: metadata(Some(own.collect()))?,
            precondition: Precondition::None,
            event: "ObjectCreated:Post",
            principal: caller.principal,
            cause: caller.cause,
        })
    }

    /// A redirect to an address that cannot be read is as good as none.
    fn redirect(&self, row: &ObjectRow) -> Option<HeaderValue> {
        let wish = self.get("success_action_redirect");
        let wish = wish.or_else(|| self.get("redirect"))?;
        let wish = wish.split('#').next()?;
        let uri: http::Uri = wish.parse().ok()?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return None;
        }
        let join = if uri.query().is_some() { '&' } else { '?' };
        let bucket = &row.bucket;
        let key = utf8_percent_encode(&row.key, PLAIN);
        let location = format!(
            "{wish}{join}bucket={bucket}&key={key}&etag=%22{}%22",
            row.etag
        );
        HeaderValue::try_from(location).ok()
    }

    fn answer(&self, parts: &Parts, row: &ObjectRow) -> S3Result<Response> {
        if let Some(location) = self.redirect(row) {
            return Ok((StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response());
        }
        let folder = match bucket_of_host(parts) {
            Some(_) => String::new(),
            None => format!("/{}", row.bucket),
        };
        let key = utf8_percent_encode(&row.key, PLAIN);
        let location = format!(
            "http://{}{folder}/{key}",
            host(parts).unwrap_or("localhost")
        );
        let tag = format!("\"{}\"", row.etag);
        let mut response = match self.get("success_action_status") {
            Some("200") => StatusCode::OK.into_response(),
            Some("201") => {
                let answer = PostResponse {
                    location: &location,
                    bucket: row.bucket.as_str(),
                    key: &row.key,
                    etag: &tag,
                };
                let mut text = Vec::new();
                let mut xml = Serializer::new(&mut text);
                let written = xml.decl().and_then(|()| answer.serialize(&mut xml));
                written.map_err(|fault| error(S3ErrorCode::InternalError, fault.to_string()))?;
                let kind = [(CONTENT_TYPE, "application/xml")];
                (StatusCode::CREATED, kind, text).into_response()
            }
            _ => StatusCode::NO_CONTENT.into_response(),
        };
        let headers = response.headers_mut();
        let version = row.version.as_deref();
        let said = [
            (LOCATION, HeaderValue::try_from(location).ok()),
            (ETAG, etag(&row.etag).to_http_header().ok()),
            (
                VERSION_ID,
                version.and_then(|text| HeaderValue::try_from(text).ok()),
            ),
        ];
        for (name, value) in said {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        Ok(response)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http::Request;

    fn parts(host: &str, path: &str) -> Parts {
        let request = Request::post(path).header(HOST, host);
        request.body(()).unwrap().into_parts().0
    }

    fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn the_bucket_is_in_the_host_or_the_path() {
        for (host, path, expected) in [
            ("127.0.0.1:4566", "/photos", Some("photos")),
            ("127.0.0.1:4566", "/photos/", Some("photos")),
            ("photos.localhost:4566", "/", Some("photos")),
            ("photos.s3.localhost", "/", Some("photos")),
            ("photos.localhost:4566", "/key", None),
            ("127.0.0.1:4566", "/", None),
            ("127.0.0.1:4566", "/photos/key", None),
        ] {
            let found = bucket_of(&parts(host, path)).ok();
            let found = found.as_ref().map(BucketName::as_str);
            assert_eq!(found, expected, "{host} {path}");
        }
    }

    #[test]
    fn the_files_name_is_filled_in_and_no_field_is_there_twice() {
        let given = fields(&[
            ("key", "in/${filename}"),
            ("x-amz-meta-name", "${filename}"),
        ]);
        let found = Fields::new(given, "a.jpg").unwrap();
        assert_eq!(found.get("key"), Some("in/a.jpg"));
        assert_eq!(found.get("x-amz-meta-name"), Some("a.jpg"));
        assert!(Fields::new(fields(&[("key", "a"), ("key", "b")]), "").is_err());
    }

    #[test]
    fn the_files_name_makes_no_field_large() {
        let name = "n".repeat(MAX_FILE_NAME);
        let taken = |value: &str, name: &str| Fields::new(fields(&[("key", value)]), name).is_ok();
        assert!(taken(FILE_NAME, &name));
        assert!(!taken("k", &format!("{name}n")));
        let most = multipart::MAX_FIELDS / MAX_FILE_NAME;
        assert!(taken(&FILE_NAME.repeat(most), &name));
        assert!(!taken(&FILE_NAME.repeat(most + 1), &name));
    }

    #[test]
    fn fields_that_ask_for_more_are_seen_as_headers() {
        for (name, value, expected) in [
            ("acl", "private", true),
            ("acl", "public-read", false),
            ("tagging", "<Tagging/>", false),
            ("x-amz-server-side-encryption", "AES256", false),
            ("x-amz-meta-name", "ünïcode", true),
            ("content-type", "text/plain", true),
            ("content-type", "text/plain\r\nx: y", false),
            ("no header", "x", false),
        ] {
            let found = Fields::new(fields(&[(name, value)]), "").unwrap().headers();
            let taken = found
                .and_then(|headers| gate::check_headers(&headers))
                .is_ok();
            assert_eq!(taken, expected, "{name}: {value}");
        }
    }
}
