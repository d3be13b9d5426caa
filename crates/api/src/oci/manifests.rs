//! `NAME/manifests/REFERENCE`: manifests by tag or digest, byte for byte.

use super::Call;
use super::answer::{self, DIGEST};
use super::error::{Code, Error, Result};
use crate::body;
use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, LOCATION};
use model::{ManifestReference, RepositoryName};
use storage::{MAX_MANIFEST, ManifestRow};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

fn unknown(error: impl Into<storage::Error>) -> Error {
    Error::of(error.into(), Code::ManifestUnknown)
}

/// What is said of a manifest beside its bytes.
fn describe(response: &mut Response, row: &ManifestRow) {
    let (etag, length) = (format!("\"{}\"", row.digest), row.size.to_string());
    let headers = [
        (CONTENT_TYPE, row.media_type.as_str()),
        (CONTENT_LENGTH, length.as_str()),
        (ETAG, etag.as_str()),
        (DIGEST, row.digest.as_str()),
    ];
    answer::put(response, headers);
}

/// Brings it here, or its tag up to date, if the repository is an upstream's.
async fn pull(call: &Call, name: &RepositoryName, reference: &ManifestReference) -> Result<()> {
    let pulled = call.doors.engine.pull_manifest(name, reference).await;
    pulled.map_err(|error| Error::of_engine(error, Code::ManifestUnknown))
}

/// `HEAD`: whether it is there.
pub(super) async fn head(
    call: &Call,
    name: RepositoryName,
    reference: ManifestReference,
) -> Result<Response> {
    pull(call, &name, &reference).await?;
    let state = call.storage().state();
    let row = state
        .find_manifest(name, reference)
        .await
        .map_err(unknown)?;
    let mut response = Response::new(Body::empty());
    describe(&mut response, &row);
    Ok(response)
}

/// `GET`: its bytes, whatever is accepted: there is one form of it only.
pub(super) async fn get(
    call: &Call,
    name: RepositoryName,
    reference: ManifestReference,
) -> Result<Response> {
    pull(call, &name, &reference).await?;
    let state = call.storage().state();
    let read = state.read_manifest(name, reference).await;
    let (row, bytes) = read.map_err(unknown)?;
    let mut response = Response::new(Body::from(bytes));
    describe(&mut response, &row);
    Ok(response)
}

/// `PUT`: stores it and moves the tag, once all that it names is here.
pub(super) async fn put(
    call: &Call,
    name: &RepositoryName,
    reference: ManifestReference,
    body: Body,
) -> Result<Response> {
    let media_type = call.header(CONTENT_TYPE).map(|text| {
        let kind = text.split(';').next().unwrap_or_default();
        kind.trim().to_owned()
    });
    let bytes = body::read(&call.parts.headers, body, MAX_MANIFEST).await?;
    let storage = call.storage();
    let is_tag = matches!(reference, ManifestReference::Tag(_));
    let pushed = storage.push_manifest(name, reference, media_type, bytes);
    let pushed = pushed.await.map_err(unknown)?;
    if is_tag {
        call.doors.engine.tag_moved();
    }
    let location = format!("/v2/{name}/manifests/{}", pushed.digest);
    let headers = [
        (LOCATION, location.as_str()),
        (DIGEST, pushed.digest.as_str()),
    ];
    let subject = pushed.subject.as_ref();
    let subject = subject.map(|subject| (SUBJECT, subject.as_str()));
    Ok(answer::empty(
        StatusCode::CREATED,
        headers.into_iter().chain(subject),
    ))
}

/// `DELETE`: a tag alone, or a manifest with all its tags.
pub(super) async fn delete(
    call: &Call,
    name: RepositoryName,
    reference: ManifestReference,
) -> Result<Response> {
    let state = call.storage().state();
    let deleted = state.delete_manifest(name, reference).await;
    deleted.map_err(unknown)?;
    Ok(answer::empty(StatusCode::ACCEPTED, []))
}
