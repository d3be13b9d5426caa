//! Request bodies that are held in memory, with a bound.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;

/// What of a body that is too large is still taken and thrown away, so that a client that does not
/// read while it writes sees the refusal and not a broken connection.
const SPILL: usize = 4 * 1024 * 1024;

/// Why a body could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It has more than `limit` bytes.
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// The client broke off or sent what is not HTTP.
    Broken(String),
}

/// The whole body if it has at most `limit` bytes.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Bytes, BodyError> {
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let mut held = BytesMut::with_capacity(declared.unwrap_or(0).min(limit).min(1024 * 1024));
    let mut seen = 0;
    let mut stream = body.into_data_stream();
    if declared.is_some_and(|length| length > limit + SPILL) {
        return Err(BodyError::TooLarge { limit });
    }
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| BodyError::Broken(error.to_string()))?;
        seen += chunk.len();
        if seen <= limit {
            held.extend_from_slice(&chunk);
        } else if seen > limit + SPILL {
            break;
        }
    }
    if seen > limit {
        return Err(BodyError::TooLarge { limit });
    }
    Ok(held.freeze())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_body_at_its_bound_is_taken_and_one_byte_more_is_not() {
        let headers = HeaderMap::new();
        let whole = read(&headers, Body::from(vec![7; 10]), 10).await.unwrap();
        assert_eq!(&whole[..], [7; 10]);
        let error = read(&headers, Body::from(vec![7; 11]), 10)
            .await
            .unwrap_err();
        assert_eq!(error, BodyError::TooLarge { limit: 10 });
    }

    #[tokio::test]
    async fn a_declared_length_far_past_the_bound_is_refused_unread() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, "99999999999".parse().unwrap());
        let endless =
            futures::stream::repeat(Ok::<_, std::convert::Infallible>(Bytes::from_static(b"x")));
        let error = read(&headers, Body::from_stream(endless), 10)
            .await
            .unwrap_err();
        assert_eq!(error, BodyError::TooLarge { limit: 10 });
    }

    #[tokio::test]
    async fn an_endless_body_is_cut_off() {
        let chunk = Bytes::from(vec![0; 1024 * 1024]);
        let endless = futures::stream::repeat(Ok::<_, std::convert::Infallible>(chunk));
        let error = read(&HeaderMap::new(), Body::from_stream(endless), 10)
            .await
            .unwrap_err();
        assert_eq!(error, BodyError::TooLarge { limit: 10 });
    }
}
