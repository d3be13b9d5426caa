//! Reading what an instance posts, within bounds.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use model::MAX_PAYLOAD;

/// Bytes past the bound that are read and thrown away, so that the client gets to read the answer
/// instead of a broken pipe. Past it the connection is cut.
const MAX_DISCARDED: usize = 64 * 1024 * 1024;

/// What was posted.
pub(super) enum Posted {
    /// All of it, with the trailers of a streamed answer.
    Whole(Bytes, HeaderMap),
    /// More than 6 MiB; the rest was not kept and is still in here.
    TooLarge(Incoming),
    /// The connection broke before its end.
    Broken,
}

/// Reads a body of at most [`MAX_PAYLOAD`] bytes.
pub(super) async fn read(mut body: Incoming) -> Posted {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if expected > MAX_PAYLOAD {
        return Posted::TooLarge(body);
    }
    let mut whole = BytesMut::new();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Posted::Broken;
        };
        match frame.into_data() {
            Ok(data) if whole.len() + data.len() > MAX_PAYLOAD => return Posted::TooLarge(body),
            Ok(data) => whole.extend_from_slice(&data),
            Err(frame) => {
                if let Ok(found) = frame.into_trailers() {
                    trailers = found;
                }
            }
        }
    }
    Posted::Whole(whole.freeze(), trailers)
}

/// Reads on without keeping, within a bound.
pub(super) async fn discard(mut body: Incoming) {
    let mut discarded = 0;
    while let Some(Ok(frame)) = body.frame().await {
        discarded += frame.data_ref().map_or(0, Bytes::len);
        if discarded > MAX_DISCARDED {
            return;
        }
    }
}
