//! `NAME/blobs/DIGEST`.

use super::Call;
use super::answer::{self, DIGEST};
use super::error::{Code, Error, Result};
use super::range::{self, Wanted};
use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE,
};
use model::{ContentDigest, Kind, RepositoryName};

fn unknown(error: storage::Error) -> Error {
    Error::of(error, Code::BlobUnknown)
}

/// What is said of a blob beside its bytes.
fn describe(response: &mut Response, digest: &ContentDigest, length: u64) {
    let (etag, length) = (format!("\"{digest}\""), length.to_string());
    let headers = [
        (CONTENT_TYPE, "application/octet-stream"),
        (CONTENT_LENGTH, length.as_str()),
        (ACCEPT_RANGES, "bytes"),
        (ETAG, etag.as_str()),
        (DIGEST, digest.as_str()),
    ];
    answer::put(response, headers);
}

/// Its size, if the repository has it, which is brought here first if it is an upstream's.
async fn size(call: &Call, name: &RepositoryName, digest: &ContentDigest) -> Result<u64> {
    let storage = call.storage();
    match storage.registry_blob_size(name, digest).await {
        Err(error) if error.kind() == Kind::NotFound => {}
        found => return found.map_err(unknown),
    }
    let pulled = call.doors.engine.pull_blob(name, digest).await;
    pulled.map_err(|error| Error::of_engine(error, Code::BlobUnknown))?;
    let size = storage.registry_blob_size(name, digest).await;
    size.map_err(unknown)
}

/// `HEAD`: whether it is there. Who is told so may name it in a manifest for some time.
pub(super) async fn head(
    call: &Call,
    name: &RepositoryName,
    digest: &ContentDigest,
) -> Result<Response> {
    let size = size(call, name, digest).await?;
    let mut response = Response::new(Body::empty());
    describe(&mut response, digest, size);
    Ok(response)
}

/// `GET`: its bytes, or one range of them.
pub(super) async fn get(
    call: &Call,
    name: &RepositoryName,
    digest: &ContentDigest,
) -> Result<Response> {
    let storage = call.storage();
    let size = size(call, name, digest).await?;
    // The bytes of a digest never change, so only another digest makes a range worthless.
    let is_same = call
        .header(IF_RANGE)
        .is_none_or(|etag| etag.trim_matches('"') == digest.as_str());
    let part = match range::wanted(call.header(RANGE).filter(|_| is_same), size) {
        Wanted::All => None,
        Wanted::Part(part) => Some(part),
        Wanted::Outside => {
            let text = format!("the range is not within the {size} bytes of the blob");
            let error = Error::new(Code::RangeInvalid, text);
            return Err(error.with_header(CONTENT_RANGE, &format!("bytes */{size}")));
        }
    };
    let bytes = storage.read_registry_blob(digest, part).await;
    let mut response = Response::new(Body::from_stream(bytes.map_err(unknown)?));
    describe(&mut response, digest, part.map_or(size, |part| part.length));
    if let Some(part) = part {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let last = part.start + part.length - 1;
        let range = format!("bytes {}-{last}/{size}", part.start);
        answer::put(&mut response, [(CONTENT_RANGE, range.as_str())]);
    }
    Ok(response)
}

/// `DELETE`: out of this repository, unless one of its manifests names it.
pub(super) async fn delete(
    call: &Call,
    name: RepositoryName,
    digest: ContentDigest,
) -> Result<Response> {
    let state = call.storage().state();
    let deleted = state.unlink_registry_blob(name, digest).await;
    deleted.map_err(|error| unknown(error.into()))?;
    Ok(answer::empty(StatusCode::ACCEPTED, []))
}
