//! A body that comes in: written to a file, counted, and checked against what the client said of it.

use super::Handlers;
use super::checksum::{Expected, Sums};
use super::error::{error, of_bucket};
use super::gate::too_large;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::HeaderMap;
use s3s::{S3Error, S3ErrorCode, S3Result, StdError, TrailingHeaders};
use std::time::Duration;
use storage::ObjectWriter;

/// A client that sends nothing for so long is given up, and what it sent is deleted.
const PATIENCE: Duration = Duration::from_secs(60);

/// What of a request tells how to take its body.
pub(super) struct Incoming<'a, B> {
    pub(super) headers: &'a HeaderMap,
    pub(super) trailers: Option<&'a TrailingHeaders>,
    pub(super) body: Option<B>,
    /// The bytes that were announced, without chunk signatures.
    pub(super) length: Option<i64>,
    /// Most bytes that are taken: `MAX_PUT`, or less.
    pub(super) most: u64,
}

impl Handlers {
    /// Writes the whole body to a file that is not yet an object.
    ///
    /// # Errors
    /// `EntityTooLarge`, `IncompleteBody`, `RequestTimeout`, `BadDigest`, or of the storage. The file
    /// is deleted.
    pub(super) async fn receive<B>(
        &self,
        incoming: Incoming<'_, B>,
    ) -> S3Result<(ObjectWriter, Sums)>
    where
        B: Stream<Item = Result<Bytes, StdError>> + Unpin,
    {
        let mut expected = Expected::read(incoming.headers)?;
        let mut writer = self.storage().begin_object().await.map_err(of_bucket)?;
        if let Some(mut body) = incoming.body {
            while let Some(chunk) = next(&mut body).await? {
                if writer.size() + chunk.len() as u64 > incoming.most {
                    return Err(too_large(incoming.most));
                }
                expected.update(&chunk);
                writer.write(chunk).await.map_err(of_bucket)?;
            }
        }
        let announced = incoming
            .length
            .and_then(|length| u64::try_from(length).ok());
        if announced.is_some_and(|announced| announced != writer.size()) {
            let message = "the body has not as many bytes as were announced";
            return Err(error(S3ErrorCode::IncompleteBody, message));
        }
        let (md5, _) = writer.digests();
        let sums = expected.finish(&md5, incoming.trailers)?;
        Ok((writer, sums))
    }
}

async fn next<B>(body: &mut B) -> S3Result<Option<Bytes>>
where
    B: Stream<Item = Result<Bytes, StdError>> + Unpin,
{
    match tokio::time::timeout(PATIENCE, body.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(chunk))) => Ok(Some(chunk)),
        Ok(Some(Err(fault))) => Err(broken(&fault)),
        Err(_) => {
            let message = "no byte of the body came for a minute";
            Err(error(S3ErrorCode::RequestTimeout, message))
        }
    }
}

/// s3s checks SHA-256 and chunk signatures while the body is read; their failures come as errors of
/// the stream, of types that it does not show.
fn broken(fault: &StdError) -> S3Error {
    let text = fault.to_string();
    if text.contains("Sha256Mismatch") {
        let message = "x-amz-content-sha256 is not that of the bytes that were received";
        let code = S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into());
        let mut mismatch = error(code, message);
        mismatch.set_status_code(http::StatusCode::BAD_REQUEST);
        return mismatch;
    }
    if text.contains("SignatureMismatch") {
        let message = "the signature of a chunk or trailer does not fit";
        return error(S3ErrorCode::SignatureDoesNotMatch, message);
    }
    tracing::debug!(error = text, "a body broke off");
    let message = "the body broke off or is not framed as announced";
    error(S3ErrorCode::IncompleteBody, message)
}
