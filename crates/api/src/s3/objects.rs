//! Objects: stored, read, described.

use super::Handlers;
use super::access::Caller;
use super::buckets::{grants, owner};
use super::error::{error, of_bucket, of_storage, unsupported};
use super::gate::MAX_PUT;
use super::kept::{Kept, metadata};
use super::precondition::{Conditions, Failed, etag, failed, modified, of_write};
use super::receive::Incoming;
use crate::whole::whole;
use bytes::Bytes;
use model::Kind;
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use storage::{ByteRange, ObjectRow, PutObject};

/// How often a read looks again when the object is replaced under it.
const LOOKS: usize = 5;

/// What AWS says of an object whose type was not given.
const DEFAULT_TYPE: &str = "binary/octet-stream";

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
        most: MAX_PUT,
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
        version_id: row.version,
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
        let row = handlers
            .object(&input.bucket, &input.key, input.version_id.as_deref())
            .await?;
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
            version_id: row.version,
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
    let row = handlers
        .object(&input.bucket, &input.key, input.version_id.as_deref())
        .await?;
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
        version_id: row.version,
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

pub(super) async fn acl(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<GetObjectAclInput>,
) -> S3Result<S3Response<GetObjectAclOutput>> {
    let input = request.input;
    handlers
        .object(&input.bucket, &input.key, input.version_id.as_deref())
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
    let input = request.input;
    let row = handlers
        .object(&input.bucket, &input.key, input.version_id.as_deref())
        .await?;
    Ok(S3Response::new(GetObjectTaggingOutput {
        tag_set: Vec::new(),
        version_id: row.version,
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
