//! Objects: stored, read, described, removed.

use super::Handlers;
use super::access::Caller;
use super::buckets::{grants, owner};
use super::error::{error, of_bucket, of_storage, unsupported};
use super::precondition::{Conditions, Failed, etag, failed, modified, of_write};
use super::receive::Incoming;
use crate::whole::whole;
use bytes::Bytes;
use model::Kind;
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use storage::{ByteRange, ObjectRow, PutObject};

/// What user metadata may have in all, as on AWS.
const MAX_METADATA: usize = 2048;

/// Most keys that one `DeleteObjects` names, as on AWS.
const MAX_DELETE: usize = 1000;

/// How often a read looks again when the object is replaced under it.
const LOOKS: usize = 5;

/// What AWS says of an object whose type was not given.
const DEFAULT_TYPE: &str = "binary/octet-stream";

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

impl Handlers {
    /// A row that must be there.
    pub(super) async fn object(&self, bucket: &str, key: &str) -> S3Result<ObjectRow> {
        let bucket = super::buckets::name(bucket)?;
        match self.storage().head_object(&bucket, key).await {
            Ok(row) => Ok(row),
            Err(fault) if fault.kind() == Kind::NotFound => {
                self.storage()
                    .get_bucket(&bucket)
                    .await
                    .map_err(of_bucket)?;
                Err(no_such_key(key))
            }
            Err(fault) => Err(of_bucket(fault)),
        }
    }
}

fn no_such_key(key: &str) -> S3Error {
    let shown: String = key.chars().take(200).collect();
    let message = format!(
        "there is no object \"{}\" in the bucket",
        shown.escape_debug()
    );
    error(S3ErrorCode::NoSuchKey, message)
}

pub(super) async fn put(
    handlers: &Handlers,
    caller: Caller,
    request: S3Request<PutObjectInput>,
) -> S3Result<S3Response<PutObjectOutput>> {
    let input = request.input;
    let bucket = handlers.bucket(&input.bucket).await?.name;
    let kept = Kept {
        cache_control: input.cache_control,
        content_disposition: input.content_disposition,
        content_encoding: input.content_encoding,
        content_language: input.content_language,
        content_type: input.content_type,
        expires: input.expires,
    };
    let put = PutObject {
        bucket,
        key: input.key,
        headers: kept.headers(),
        metadata: metadata(input.metadata)?,
        precondition: of_write(input.if_match, input.if_none_match)?,
        event: "ObjectCreated:Put",
        principal: caller.principal,
        cause: caller.cause,
    };
    let incoming = Incoming {
        headers: &request.headers,
        trailers: request.trailing_headers.as_ref(),
        body: input.body,
        length: input.content_length,
    };
    let (writer, sums) = handlers.receive(incoming).await?;
    let storage = handlers.storage().clone();
    let row = whole(async move {
        let translate = of_storage(S3ErrorCode::NoSuchBucket, S3ErrorCode::PreconditionFailed);
        storage.commit_object(writer, put).await.map_err(translate)
    })
    .await?;
    let whole = ChecksumType::from_static(ChecksumType::FULL_OBJECT);
    let any = sums.checksum_crc32.is_some()
        || sums.checksum_crc32c.is_some()
        || sums.checksum_crc64nvme.is_some()
        || sums.checksum_sha1.is_some()
        || sums.checksum_sha256.is_some();
    Ok(S3Response::new(PutObjectOutput {
        e_tag: Some(etag(&row.etag)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        checksum_type: any.then_some(whole),
        ..PutObjectOutput::default()
    }))
}

/// Turns a failed condition of a read into its answer.
fn unmet(failure: Failed, row: &ObjectRow) -> S3Error {
    match failure {
        Failed::Precondition => failed(),
        Failed::NotModified => {
            let mut error = S3Error::new(S3ErrorCode::NotModified);
            let mut headers = http::HeaderMap::new();
            if let Ok(tag) = etag(&row.etag).to_http_header() {
                headers.insert(http::header::ETAG, tag);
            }
            error.set_headers(headers);
            error
        }
    }
}

/// Which bytes are asked for, and whether that is a part of them.
fn range_of(
    row: &ObjectRow,
    range: Option<Range>,
    part: Option<i32>,
) -> S3Result<Option<ByteRange>> {
    if part.is_some_and(|number| number != 1) || (part.is_some() && row.etag.contains('-')) {
        return Err(unsupported("reading one part of a multipart object"));
    }
    let Some(range) = range else {
        return Ok(None);
    };
    let found = range.check(row.size).map_err(|_| {
        let message = format!(
            "the range lies outside the {} bytes of the object",
            row.size
        );
        error(S3ErrorCode::InvalidRange, message)
    })?;
    Ok(Some(ByteRange {
        start: found.start,
        length: found.end - found.start,
    }))
}

fn content_range(range: ByteRange, row: &ObjectRow) -> String {
    let last = range.start + range.length.saturating_sub(1);
    format!("bytes {}-{last}/{}", range.start, row.size)
}

fn kept(row: &ObjectRow, name: &str) -> Option<String> {
    row.headers.get(name).cloned()
}

fn expires(row: &ObjectRow) -> Option<Timestamp> {
    let text = row.headers.get("expires")?;
    Timestamp::parse(TimestampFormat::HttpDate, text).ok()
}

fn size_of(length: u64) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

pub(super) async fn get(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<GetObjectInput>,
) -> S3Result<S3Response<GetObjectOutput>> {
    let input = request.input;
    let conditions = Conditions {
        if_match: input.if_match,
        if_none_match: input.if_none_match,
        if_modified_since: input.if_modified_since,
        if_unmodified_since: input.if_unmodified_since,
    };
    for _ in 0..LOOKS {
        let row = handlers.object(&input.bucket, &input.key).await?;
        conditions
            .check(&row)
            .map_err(|failure| unmet(failure, &row))?;
        let range = range_of(&row, input.range, input.part_number)?;
        let body = match handlers.storage().read_object(&row, range).await {
            Ok(body) => body,
            // It was replaced after its row was read.
            Err(fault) if fault.kind() == Kind::NotFound => continue,
            Err(fault) => return Err(of_bucket(fault)),
        };
        let length = range.map_or(row.size, |range| range.length);
        return Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(StreamingBlob::wrap(Shared(Mutex::new(body)))),
            cache_control: kept(&row, "cache-control"),
            content_disposition: kept(&row, "content-disposition"),
            content_encoding: kept(&row, "content-encoding"),
            content_language: kept(&row, "content-language"),
            content_length: Some(size_of(length)),
            content_range: range.map(|range| content_range(range, &row)),
            content_type: Some(kept(&row, "content-type").unwrap_or(DEFAULT_TYPE.to_owned())),
            e_tag: Some(etag(&row.etag)),
            expires: expires(&row),
            last_modified: Some(modified(&row)),
            metadata: Some(row.metadata.into_iter().collect()),
            ..GetObjectOutput::default()
        }));
    }
    let message = "the object is replaced faster than it can be read; try again";
    Err(error(S3ErrorCode::SlowDown, message))
}

pub(super) async fn head(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<HeadObjectInput>,
) -> S3Result<S3Response<HeadObjectOutput>> {
    let input = request.input;
    let row = handlers.object(&input.bucket, &input.key).await?;
    let conditions = Conditions {
        if_match: input.if_match,
        if_none_match: input.if_none_match,
        if_modified_since: input.if_modified_since,
        if_unmodified_since: input.if_unmodified_since,
    };
    conditions
        .check(&row)
        .map_err(|failure| unmet(failure, &row))?;
    let range = range_of(&row, input.range, input.part_number)?;
    let length = range.map_or(row.size, |range| range.length);
    let output = HeadObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        cache_control: kept(&row, "cache-control"),
        content_disposition: kept(&row, "content-disposition"),
        content_encoding: kept(&row, "content-encoding"),
        content_language: kept(&row, "content-language"),
        content_length: Some(size_of(length)),
        content_range: range.map(|range| content_range(range, &row)),
        content_type: Some(kept(&row, "content-type").unwrap_or(DEFAULT_TYPE.to_owned())),
        e_tag: Some(etag(&row.etag)),
        expires: expires(&row),
        last_modified: Some(modified(&row)),
        metadata: Some(row.metadata.into_iter().collect()),
        ..HeadObjectOutput::default()
    };
    match range {
        Some(_) => Ok(S3Response::with_status(
            output,
            http::StatusCode::PARTIAL_CONTENT,
        )),
        None => Ok(S3Response::new(output)),
    }
}

/// To remove what is not there is no error.
pub(super) async fn delete(
    handlers: &Handlers,
    caller: Caller,
    request: S3Request<DeleteObjectInput>,
) -> S3Result<S3Response<DeleteObjectOutput>> {
    let input = request.input;
    if input.if_match.is_some() {
        return Err(unsupported("If-Match on a delete"));
    }
    let bucket = super::buckets::name(&input.bucket)?;
    let storage = handlers.storage().clone();
    whole(async move {
        let done = storage
            .delete_object(&bucket, &input.key, &caller.principal, caller.cause)
            .await;
        done.map_err(of_bucket)
    })
    .await?;
    let output = DeleteObjectOutput::default();
    Ok(S3Response::with_status(
        output,
        http::StatusCode::NO_CONTENT,
    ))
}

pub(super) async fn delete_many(
    handlers: &Handlers,
    caller: Caller,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<S3Response<DeleteObjectsOutput>> {
    let input = request.input;
    let bucket = handlers.bucket(&input.bucket).await?.name;
    let objects = input.delete.objects;
    if objects.is_empty() || objects.len() > MAX_DELETE {
        let message = format!("one request removes 1 to {MAX_DELETE} objects");
        return Err(error(S3ErrorCode::MalformedXML, message));
    }
    let quiet = input.delete.quiet.unwrap_or(false);
    let storage = handlers.storage().clone();
    let (deleted, errors) = whole(async move {
        let mut deleted = Vec::new();
        let mut errors = Vec::new();
        for object in objects {
            let key = object.key;
            let conditional = object.e_tag.is_some()
                || object.size.is_some()
                || object.last_modified_time.is_some()
                || object
                    .version_id
                    .as_deref()
                    .is_some_and(|version| version != "null");
            let done = if conditional {
                Err(unsupported("a version or condition on a delete"))
            } else {
                let principal = &caller.principal;
                let done = storage.delete_object(&bucket, &key, principal, caller.cause);
                done.await.map_err(of_bucket)
            };
            match done {
                Ok(_) => deleted.push(DeletedObject {
                    key: Some(key),
                    ..DeletedObject::default()
                }),
                Err(fault) => errors.push(Error {
                    code: Some(fault.code().as_str().to_owned()),
                    key: Some(key),
                    message: fault.message().map(str::to_owned),
                    version_id: object.version_id,
                }),
            }
        }
        (deleted, errors)
    })
    .await;
    Ok(S3Response::new(DeleteObjectsOutput {
        deleted: (!quiet).then_some(deleted),
        errors: (!errors.is_empty()).then_some(errors),
        request_charged: None,
    }))
}

pub(super) async fn acl(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<GetObjectAclInput>,
) -> S3Result<S3Response<GetObjectAclOutput>> {
    handlers
        .object(&request.input.bucket, &request.input.key)
        .await?;
    Ok(S3Response::new(GetObjectAclOutput {
        grants: Some(grants()),
        owner: Some(owner()),
        request_charged: None,
    }))
}

pub(super) async fn tagging(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<GetObjectTaggingInput>,
) -> S3Result<S3Response<GetObjectTaggingOutput>> {
    handlers
        .object(&request.input.bucket, &request.input.key)
        .await?;
    Ok(S3Response::new(GetObjectTaggingOutput {
        tag_set: Vec::new(),
        version_id: None,
    }))
}

/// s3s asks that a body can be shared between threads; ours are only ever read by one, which the
/// lock never has to wait to prove.
struct Shared(Mutex<storage::Body>);

impl futures::Stream for Shared {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.0.get_mut() {
            Ok(body) => body.as_mut().poll_next(context),
            Err(_) => Poll::Ready(None),
        }
    }
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
