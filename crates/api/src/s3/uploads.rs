//! Multipart uploads.

use super::Handlers;
use super::access::Caller;
use super::buckets::owner;
use super::error::{error, invalid_argument, of_bucket, of_upload, unsupported};
use super::gate::ACCOUNT;
use super::gate::MAX_PUT;
use super::kept::{Kept, metadata};
use super::precondition::{etag, of_write, time};
use super::receive::Incoming;
use crate::whole::whole;
use s3s::dto::*;
use s3s::{S3ErrorCode, S3Request, S3Response, S3Result};
use std::collections::BTreeMap;
use storage::{Precondition, PutObject};

/// Most parts of an upload, and the highest number of one.
const MAX_PARTS: i32 = 10_000;

/// Most entries of one page.
const MAX_PAGE: i32 = 1000;

/// A part's number.
pub(super) fn part_number(number: i32) -> S3Result<u32> {
    match u32::try_from(number) {
        Ok(checked) if (1..=MAX_PARTS).contains(&number) => Ok(checked),
        _ => Err(invalid_argument(format!(
            "partNumber must be 1 to {MAX_PARTS}"
        ))),
    }
}

pub(super) async fn create(
    handlers: &Handlers,
    caller: Caller,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let input = request.input;
    let bucket = super::buckets::name(&input.bucket)?;
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
        precondition: Precondition::None,
        event: "ObjectCreated:CompleteMultipartUpload",
        principal: caller.principal,
        cause: caller.cause,
    };
    let storage = handlers.storage().clone();
    let row = whole(async move { storage.create_upload(&put).await.map_err(of_bucket) }).await?;
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(row.bucket.to_string()),
        key: Some(row.key),
        upload_id: Some(row.id),
        checksum_algorithm: input.checksum_algorithm,
        checksum_type: input.checksum_type,
        ..CreateMultipartUploadOutput::default()
    }))
}

pub(super) async fn put_part(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<UploadPartInput>,
) -> S3Result<S3Response<UploadPartOutput>> {
    let input = request.input;
    let bucket = super::buckets::name(&input.bucket)?;
    let number = part_number(input.part_number)?;
    let storage = handlers.storage().clone();
    let (key, upload) = (input.key, input.upload_id);
    storage
        .get_upload(&bucket, &key, &upload)
        .await
        .map_err(of_upload)?;
    let incoming = Incoming {
        headers: &request.headers,
        trailers: request.trailing_headers.as_ref(),
        body: input.body,
        length: input.content_length,
        most: MAX_PUT,
    };
    let (writer, sums) = handlers.receive(incoming).await?;
    let row = whole(async move {
        let done = storage.commit_part(&bucket, &key, &upload, number, writer);
        done.await.map_err(of_upload)
    })
    .await?;
    Ok(S3Response::new(UploadPartOutput {
        e_tag: Some(etag(&row.etag)),
        checksum_crc32: sums.checksum_crc32,
        checksum_crc32c: sums.checksum_crc32c,
        checksum_crc64nvme: sums.checksum_crc64nvme,
        checksum_sha1: sums.checksum_sha1,
        checksum_sha256: sums.checksum_sha256,
        ..UploadPartOutput::default()
    }))
}

/// The named parts: number and ETag.
fn named(upload: Option<CompletedMultipartUpload>) -> S3Result<Vec<(u32, String)>> {
    let parts = upload.and_then(|upload| upload.parts).unwrap_or_default();
    if parts.is_empty() {
        let message = "name at least one part";
        return Err(error(S3ErrorCode::MalformedXML, message));
    }
    if parts.len() > MAX_PARTS.unsigned_abs() as usize {
        return Err(invalid_argument(format!(
            "an upload has at most {MAX_PARTS} parts"
        )));
    }
    let mut list = Vec::with_capacity(parts.len());
    for part in parts {
        let number = part_number(part.part_number.unwrap_or(0))?;
        let tag = part.e_tag.ok_or_else(|| {
            let message = format!("part {number} has no ETag");
            error(S3ErrorCode::MalformedXML, message)
        })?;
        list.push((number, tag.value().trim_matches('"').to_owned()));
    }
    Ok(list)
}

/// A checksum over the whole object cannot be checked from the checksums of its parts, and to take
/// it unchecked would be to promise what was not done.
fn refuse_whole_checksum(input: &CompleteMultipartUploadInput) -> S3Result<()> {
    let whole = input.checksum_crc32.is_some()
        || input.checksum_crc32c.is_some()
        || input.checksum_crc64nvme.is_some()
        || input.checksum_sha1.is_some()
        || input.checksum_sha256.is_some();
    if whole {
        return Err(unsupported(
            "a checksum over a whole multipart object (send one with each part)",
        ));
    }
    Ok(())
}

/// Whether the named parts have as many bytes as the client says the object must have.
fn check_size(rows: &[storage::PartRow], parts: &[(u32, String)], said: i64) -> S3Result<()> {
    let named = |row: &&storage::PartRow| parts.iter().any(|(number, _)| *number == row.number);
    let size: u64 = rows.iter().filter(named).map(|row| row.size).sum();
    if u64::try_from(said) == Ok(size) {
        return Ok(());
    }
    let message = format!("the named parts have {size} bytes, not {said}");
    Err(error(S3ErrorCode::InvalidRequest, message))
}

pub(super) async fn complete(
    handlers: &Handlers,
    caller: Caller,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let input = request.input;
    refuse_whole_checksum(&input)?;
    let bucket = super::buckets::name(&input.bucket)?;
    let parts = named(input.multipart_upload)?;
    if let Some(size) = input.mpu_object_size {
        let found = handlers
            .storage()
            .get_upload(&bucket, &input.key, &input.upload_id)
            .await;
        check_size(&found.map_err(of_upload)?.1, &parts, size)?;
    }
    let put = PutObject {
        bucket,
        key: input.key,
        // Those that came when the upload was begun are taken.
        headers: BTreeMap::new(),
        metadata: BTreeMap::new(),
        precondition: of_write(input.if_match, input.if_none_match)?,
        event: "ObjectCreated:CompleteMultipartUpload",
        principal: caller.principal,
        cause: caller.cause,
    };
    let storage = handlers.storage().clone();
    let upload = input.upload_id;
    let row = whole(async move {
        let done = storage.complete_upload(&upload, &parts, put).await;
        done.map_err(of_upload)
    })
    .await?;
    Ok(S3Response::new(CompleteMultipartUploadOutput {
        location: Some(format!("/{}/{}", row.bucket, row.key)),
        bucket: Some(row.bucket.to_string()),
        e_tag: Some(etag(&row.etag)),
        key: Some(row.key),
        version_id: row.version,
        ..CompleteMultipartUploadOutput::default()
    }))
}

pub(super) async fn abort(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
    let input = request.input;
    let bucket = super::buckets::name(&input.bucket)?;
    let storage = handlers.storage().clone();
    whole(async move {
        let done = storage.abort_upload(&bucket, &input.key, &input.upload_id);
        done.await.map_err(of_upload)
    })
    .await?;
    let output = AbortMultipartUploadOutput::default();
    Ok(S3Response::with_status(
        output,
        http::StatusCode::NO_CONTENT,
    ))
}

fn initiator() -> Initiator {
    Initiator {
        id: Some(ACCOUNT.to_owned()),
        display_name: Some("rouse".to_owned()),
    }
}

fn page_size(asked: Option<i32>) -> S3Result<i32> {
    match asked.unwrap_or(MAX_PAGE) {
        ..0 => Err(invalid_argument("the size of a page must be 0 or more")),
        asked => Ok(asked.min(MAX_PAGE)),
    }
}

pub(super) async fn list_parts(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<ListPartsInput>,
) -> S3Result<S3Response<ListPartsOutput>> {
    let input = request.input;
    let bucket = super::buckets::name(&input.bucket)?;
    let storage = handlers.storage();
    let found = storage
        .get_upload(&bucket, &input.key, &input.upload_id)
        .await;
    let (upload, rows) = found.map_err(of_upload)?;
    let most = page_size(input.max_parts)?;
    let marker = input.part_number_marker.unwrap_or(0);
    let number = |row: &storage::PartRow| i32::try_from(row.number).unwrap_or(i32::MAX);
    let mut rest = rows.into_iter().filter(|row| number(row) > marker);
    let page: Vec<_> = rest.by_ref().take(most.unsigned_abs() as usize).collect();
    let next = page.last().map(number);
    let more = most > 0 && rest.next().is_some();
    let parts = page.into_iter().map(|row| Part {
        part_number: Some(number(&row)),
        e_tag: Some(etag(&row.etag)),
        size: i64::try_from(row.size).ok(),
        last_modified: Some(time(row.modified)),
        ..Part::default()
    });
    Ok(S3Response::new(ListPartsOutput {
        bucket: Some(upload.bucket.to_string()),
        key: Some(upload.key),
        upload_id: Some(upload.id),
        initiator: Some(initiator()),
        owner: Some(owner()),
        max_parts: Some(most),
        part_number_marker: Some(marker),
        next_part_number_marker: next,
        is_truncated: Some(more),
        parts: Some(parts.collect()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        ..ListPartsOutput::default()
    }))
}

/// The first 1 000 uploads whose keys begin with the prefix; the markers page within those.
pub(super) async fn list(
    handlers: &Handlers,
    _: Caller,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let input = request.input;
    if input
        .delimiter
        .as_ref()
        .is_some_and(|text| !text.is_empty())
    {
        return Err(unsupported("a delimiter in a listing of uploads"));
    }
    let bucket = super::buckets::name(&input.bucket)?;
    let prefix = input.prefix.clone().unwrap_or_default();
    let rows = handlers
        .storage()
        .list_uploads(&bucket, &prefix)
        .await
        .map_err(of_bucket)?;
    let most = page_size(input.max_uploads)?;
    let key_marker = input.key_marker.clone().unwrap_or_default();
    let id_marker = input.upload_id_marker.clone().unwrap_or_default();
    let after = |row: &storage::UploadRow| {
        let same = !id_marker.is_empty() && row.key == key_marker && row.id > id_marker;
        row.key > key_marker || same
    };
    let mut rows: Vec<_> = rows.into_iter().filter(after).collect();
    rows.sort_by(|a, b| (&a.key, &a.id).cmp(&(&b.key, &b.id)));
    let more = most > 0 && rows.len() > most.unsigned_abs() as usize;
    rows.truncate(most.unsigned_abs() as usize);
    let last = rows
        .last()
        .filter(|_| more)
        .map(|row| (row.key.clone(), row.id.clone()));
    let (next_key, next_id) = last.unzip();
    let uploads = rows.into_iter().map(|row| MultipartUpload {
        initiated: Some(time(row.created)),
        initiator: Some(initiator()),
        key: Some(row.key),
        owner: Some(owner()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        upload_id: Some(row.id),
        ..MultipartUpload::default()
    });
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        prefix: input.prefix,
        key_marker: input.key_marker,
        upload_id_marker: input.upload_id_marker,
        max_uploads: Some(most),
        is_truncated: Some(more),
        next_key_marker: next_key,
        next_upload_id_marker: next_id,
        uploads: Some(uploads.collect()),
        ..ListMultipartUploadsOutput::default()
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_numbered_from_1_to_10_000() {
        assert_eq!(part_number(1).unwrap(), 1);
        assert_eq!(part_number(10_000).unwrap(), 10_000);
        for bad in [0, -1, 10_001] {
            assert!(part_number(bad).is_err());
        }
    }

    #[test]
    fn a_completion_names_parts_with_their_etags() {
        assert!(named(None).is_err());
        let part = CompletedPart {
            part_number: Some(3),
            e_tag: Some(etag("abc")),
            ..CompletedPart::default()
        };
        let upload = CompletedMultipartUpload {
            parts: Some(vec![part]),
        };
        assert_eq!(named(Some(upload)).unwrap(), [(3, "abc".to_owned())]);
    }
}
