//! `NAME/blobs/uploads/` and `NAME/blobs/uploads/ID`: blobs as they come in.

use super::answer::{self, DIGEST};
use super::error::{Code, Error, Result};
use super::{Call, path, range};
use crate::auth::Action;
use axum::body::{Body, BodyDataStream};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt as _;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, LOCATION, RANGE};
use model::{ContentDigest, Kind, RepositoryName};
use std::time::Duration;
use storage::ChunkWriter;

const ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// What of an upload past its bound is still taken and thrown away, so that a client that does not read
/// while it writes sees the refusal and not a broken connection.
const SPILL: usize = 16 << 20;
/// A client that sends nothing for so long is given up, and with it the chunk.
const PATIENCE: Duration = Duration::from_secs(60);

fn unknown(error: storage::Error) -> Error {
    Error::of(error, Code::BlobUploadUnknown)
}

/// Where an upload goes on.
fn location(name: &RepositoryName, id: &str) -> String {
    format!("/v2/{name}/blobs/uploads/{id}")
}

/// The first and last byte that are here; `0-0` also stands for none.
fn so_far(size: u64) -> String {
    format!("0-{}", size.saturating_sub(1))
}

/// Says how far an upload is.
fn progress(status: StatusCode, name: &RepositoryName, id: &str, size: u64) -> Response {
    let (location, range) = (location(name, id), so_far(size));
    let headers = [
        (LOCATION, location.as_str()),
        (RANGE, range.as_str()),
        (ID, id),
    ];
    answer::empty(status, headers)
}

/// Says that a blob is there.
fn created(name: &RepositoryName, digest: &ContentDigest) -> Response {
    let location = format!("/v2/{name}/blobs/{digest}");
    let headers = [(LOCATION, location.as_str()), (DIGEST, digest.as_str())];
    answer::empty(StatusCode::CREATED, headers)
}

/// `POST`: takes the whole blob with `digest`, another repository's with `mount` and `from`, and else, or
/// where there is nothing to mount, begins an upload.
pub(super) async fn begin(call: &Call, name: &RepositoryName, body: Body) -> Result<Response> {
    let storage = call.storage();
    if let Some(text) = call.query.get("mount") {
        let from = call.query.get("from").and_then(|from| from.parse().ok());
        let allowed = from.filter(|from| call.access.get().allows(from, Action::Pull));
        if let (Ok(digest), Some(from)) = (path::digest(text), allowed) {
            let mounted = storage.mount_registry_blob(&from, name, &digest).await;
            if mounted.map_err(unknown)? {
                return Ok(created(name, &digest));
            }
        }
    }
    let digest = call.query.get("digest").map(path::digest).transpose()?;
    let upload = storage.begin_blob_upload(name).await.map_err(unknown)?;
    let Some(digest) = digest else {
        return Ok(progress(StatusCode::ACCEPTED, name, &upload.id, 0));
    };
    let limit = call.doors.options.max_upload;
    let writer = storage.begin_chunk(name, &upload.id, limit).await;
    let finished = match receive(writer.map_err(unknown)?, body).await {
        Ok(writer) => writer.finish(digest.clone()).await.map_err(unknown),
        Err(error) => Err(error),
    };
    if let Err(error) = finished {
        // Nobody knows where it would go on. One that is over already is as good as cancelled.
        let cancelled = storage.cancel_blob_upload(name, &upload.id).await;
        if let Err(error) = cancelled.or_else(absent_is_fine) {
            tracing::warn!(%error, "an upload that failed stays until it is collected");
        }
        return Err(error);
    }
    Ok(created(name, &digest))
}

fn absent_is_fine(error: storage::Error) -> storage::Result<()> {
    match error.kind() {
        Kind::NotFound => Ok(()),
        _ => Err(error),
    }
}

/// `GET`: how far an upload is.
pub(super) async fn status(call: &Call, name: &RepositoryName, id: &str) -> Result<Response> {
    let upload = call.storage().get_blob_upload(name, id).await;
    let upload = upload.map_err(unknown)?;
    Ok(progress(StatusCode::NO_CONTENT, name, id, upload.size))
}

/// `PATCH`: the next chunk. It is taken whole or not at all.
pub(super) async fn append(
    call: &Call,
    name: &RepositoryName,
    id: &str,
    body: Body,
) -> Result<Response> {
    let writer = chunk(call, name, id, body).await?;
    let size = writer.commit().await.map_err(unknown)?;
    Ok(progress(StatusCode::ACCEPTED, name, id, size))
}

/// `PUT`: the last chunk, if there is one, and the end.
pub(super) async fn finish(
    call: &Call,
    name: &RepositoryName,
    id: &str,
    body: Body,
) -> Result<Response> {
    let named = call.query.get("digest").unwrap_or_default();
    let digest = path::digest(named)?;
    let writer = chunk(call, name, id, body).await?;
    writer.finish(digest.clone()).await.map_err(unknown)?;
    Ok(created(name, &digest))
}

/// `DELETE`: none of it.
pub(super) async fn cancel(call: &Call, name: &RepositoryName, id: &str) -> Result<Response> {
    let cancelled = call.storage().cancel_blob_upload(name, id).await;
    cancelled.map_err(unknown)?;
    Ok(answer::empty(StatusCode::NO_CONTENT, []))
}

/// Takes a chunk in, which must begin where the upload ends if it says where it begins.
async fn chunk(call: &Call, name: &RepositoryName, id: &str, body: Body) -> Result<ChunkWriter> {
    let storage = call.storage();
    let writer = storage
        .begin_chunk(name, id, call.doors.options.max_upload)
        .await;
    let writer = writer.map_err(unknown)?;
    let begin = writer.size();
    let Some(said) = call.header(CONTENT_RANGE) else {
        return receive(writer, body).await;
    };
    let length = call
        .header(CONTENT_LENGTH)
        .and_then(|text| text.parse().ok());
    let fits = range::chunk(said).filter(|(first, last)| {
        *first == begin && length.is_none_or(|length: u64| length == last - first + 1)
    });
    let Some((_, last)) = fits else {
        let text = format!("the chunk must begin at byte {begin}, as Content-Range: FIRST-LAST");
        let error = Error::new(Code::BlobUploadInvalid, text)
            .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
            .with_header(LOCATION, &location(name, id))
            .with_header(RANGE, &so_far(begin));
        return Err(error);
    };
    let writer = receive(writer, body).await?;
    if writer.size() != last + 1 {
        let text = "the chunk is not as long as its Content-Range says; send it again";
        return Err(Error::new(Code::BlobUploadInvalid, text));
    }
    Ok(writer)
}

/// Writes the body down. The writer knows the bound.
async fn receive(mut writer: ChunkWriter, body: Body) -> Result<ChunkWriter> {
    let mut stream = body.into_data_stream();
    while let Some(chunk) = next(&mut stream).await? {
        if let Err(error) = writer.write(chunk).await {
            let mut spilt = 0;
            while error.kind() == Kind::TooLarge && spilt < SPILL {
                match next(&mut stream).await {
                    Ok(Some(chunk)) => spilt += chunk.len(),
                    _ => break,
                }
            }
            return Err(unknown(error));
        }
    }
    Ok(writer)
}

async fn next(stream: &mut BodyDataStream) -> Result<Option<Bytes>> {
    match tokio::time::timeout(PATIENCE, stream.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
        Ok(Some(Err(error))) => {
            let text = format!("the upload broke off: {error}; send it again");
            Err(Error::new(Code::BlobUploadInvalid, text))
        }
        Err(_) => {
            let text = "no byte of the upload came for a minute; send it again";
            let error = Error::new(Code::BlobUploadInvalid, text);
            Err(error.with_status(StatusCode::REQUEST_TIMEOUT))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use axum::response::IntoResponse as _;
    use futures::stream;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_nothing_more_is_given_up() {
        let first = Ok::<_, std::convert::Infallible>(Bytes::from_static(b"a"));
        let stalled = stream::iter([first]).chain(stream::pending());
        let mut stream = Body::from_stream(stalled).into_data_stream();
        let got = next(&mut stream).await.unwrap();
        assert_eq!(got.unwrap(), "a");
        let refused = next(&mut stream).await.unwrap_err().into_response();
        assert_eq!(refused.status(), StatusCode::REQUEST_TIMEOUT);
    }
}
