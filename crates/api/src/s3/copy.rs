//! Copies: of an object, and of a range of one into a part of an upload.

use super::Handlers;
use super::access::Caller;
use super::error::{error, of_bucket, of_storage, of_upload, unsupported};
use super::kept::{Kept, metadata};
use super::precondition::{Conditions, etag, failed, modified, time};
use crate::whole::whole;
use futures::StreamExt as _;
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result};
use storage::{ByteRange, ObjectRow, Precondition, PutObject};

/// The source, which must be there and fit the conditions.
async fn source(
    handlers: &Handlers,
    from: &CopySource,
    conditions: &Conditions,
) -> S3Result<ObjectRow> {
    let CopySource::Bucket {
        bucket,
        key,
        version_id,
    } = from
    else {
        return Err(unsupported("a copy from an access point or outpost"));
    };
    let found = handlers.object(bucket, key, version_id.as_deref()).await;
    let row = found.map_err(|refused| match refused.code() {
        S3ErrorCode::MethodNotAllowed => {
            let message = "the version to be copied is a delete marker, which has no bytes";
            error(S3ErrorCode::InvalidRequest, message)
        }
        _ => refused,
    })?;
    conditions.check(&row).map_err(|_| failed())?;
    Ok(row)
}

pub(super) async fn object(
    handlers: &Handlers,
    caller: Caller,
    request: S3Request<CopyObjectInput>,
) -> S3Result<S3Response<CopyObjectOutput>> {
    let input = request.input;
    let conditions = Conditions {
        if_match: input.copy_source_if_match,
        if_none_match: input.copy_source_if_none_match,
        if_modified_since: input.copy_source_if_modified_since,
        if_unmodified_since: input.copy_source_if_unmodified_since,
    };
    let from = source(handlers, &input.copy_source, &conditions).await?;
    let bucket = handlers.bucket(&input.bucket).await?.name;
    let replace = match input
        .metadata_directive
        .as_ref()
        .map(MetadataDirective::as_str)
    {
        None | Some(MetadataDirective::COPY) => false,
        Some(MetadataDirective::REPLACE) => true,
        Some(other) => {
            let message = format!("the metadata directive {other:?} is neither COPY nor REPLACE");
            return Err(error(S3ErrorCode::InvalidArgument, message));
        }
    };
    // An old version may be copied onto its key, to be the newest again.
    let restores = from.version.is_some()
        && matches!(
            &input.copy_source,
            CopySource::Bucket {
                version_id: Some(_),
                ..
            }
        );
    if !replace && !restores && from.bucket == bucket && from.key == input.key {
        let message = "a copy onto itself must replace the metadata";
        return Err(error(S3ErrorCode::InvalidRequest, message));
    }
    let (headers, metadata) = if replace {
        let kept = Kept {
            cache_control: input.cache_control,
            content_disposition: input.content_disposition,
            content_encoding: input.content_encoding,
            content_language: input.content_language,
            content_type: input.content_type,
            expires: input.expires,
        };
        (kept.headers(), metadata(input.metadata)?)
    } else {
        (from.headers.clone(), from.metadata.clone())
    };
    let put = PutObject {
        bucket,
        key: input.key,
        headers,
        metadata,
        precondition: Precondition::None,
        event: "ObjectCreated:Copy",
        principal: caller.principal,
        cause: caller.cause,
    };
    let storage = handlers.storage().clone();
    let copied = from.version.clone();
    let row = whole(async move {
        let translate = of_storage(S3ErrorCode::NoSuchKey, S3ErrorCode::PreconditionFailed);
        storage.copy_object(&from, put).await.map_err(translate)
    })
    .await?;
    let result = CopyObjectResult {
        e_tag: Some(etag(&row.etag)),
        last_modified: Some(modified(&row)),
        ..CopyObjectResult::default()
    };
    Ok(S3Response::new(CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id: copied,
        version_id: row.version,
        ..CopyObjectOutput::default()
    }))
}

/// `bytes=FIRST-LAST`, both of which must lie in the source.
fn range_of(text: &str, row: &ObjectRow) -> S3Result<ByteRange> {
    let range = || {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last && last < row.size).then_some(ByteRange {
            start: first,
            length: last - first + 1,
        })
    };
    range().ok_or_else(|| {
        let size = row.size;
        let message =
            format!("x-amz-copy-source-range must be bytes=FIRST-LAST within {size} bytes");
        error(S3ErrorCode::InvalidArgument, message)
    })
}

pub(super) async fn part(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<S3Response<UploadPartCopyOutput>> {
    let input = request.input;
    let conditions = Conditions {
        if_match: input.copy_source_if_match,
        if_none_match: input.copy_source_if_none_match,
        if_modified_since: input.copy_source_if_modified_since,
        if_unmodified_since: input.copy_source_if_unmodified_since,
    };
    let bucket = super::buckets::name(&input.bucket)?;
    let number = super::uploads::part_number(input.part_number)?;
    let storage = handlers.storage().clone();
    let (key, upload) = (input.key, input.upload_id);
    storage
        .get_upload(&bucket, &key, &upload)
        .await
        .map_err(of_upload)?;

    let from = source(handlers, &input.copy_source, &conditions).await?;
    let range = match &input.copy_source_range {
        Some(text) => Some(range_of(text, &from)?),
        None => None,
    };
    if range.map_or(from.size, |range| range.length) > super::gate::MAX_PUT {
        return Err(super::gate::too_large(super::gate::MAX_PUT));
    }
    let translate = of_storage(S3ErrorCode::NoSuchKey, S3ErrorCode::OperationAborted);
    let copied = from.version.clone();
    let mut body = storage.read_object(&from, range).await.map_err(translate)?;
    let mut writer = storage.begin_object().await.map_err(of_bucket)?;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(s3s::S3Error::internal_error)?;
        writer.write(chunk).await.map_err(of_bucket)?;
    }
    let row = whole(async move {
        let done = storage.commit_part(&bucket, &key, &upload, number, writer);
        done.await.map_err(of_upload)
    })
    .await?;
    let result = CopyPartResult {
        e_tag: Some(etag(&row.etag)),
        last_modified: Some(time(row.modified)),
        ..CopyPartResult::default()
    };
    Ok(S3Response::new(UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id: copied,
        ..UploadPartCopyOutput::default()
    }))
}
