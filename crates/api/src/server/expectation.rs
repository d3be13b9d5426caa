//! `Expect: 100-continue`: a client that waits for leave to send its body.
//!
//! Answered at once with its last status, such a client does not send the body (RFC 9110, 10.1.1) and
//! takes the connection for free, while the server still counts the body's bytes: the first of the
//! next request would be taken for them. So that connection is closed.

use axum::body::{Body, Bytes};
use http::header::{CONNECTION, EXPECT};
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

/// Whether leave was given to send a body; it is with the first look at the body.
#[derive(Clone, Default)]
pub(super) struct Leave(Arc<AtomicBool>);

/// A body that notes when it is looked at.
struct Watched {
    body: Body,
    leave: Leave,
}

impl Leave {
    /// The body of a request whose client waits, and what will be known of it.
    pub(super) fn watch(headers: &HeaderMap, body: Body) -> (Body, Option<Self>) {
        if !headers.contains_key(EXPECT) || body.is_end_stream() {
            return (body, None);
        }
        let leave = Self::default();
        let watched = Watched {
            body,
            leave: leave.clone(),
        };
        (Body::new(watched), Some(leave))
    }

    /// Says in `response` that the connection ends with it, when leave was not given.
    pub(super) fn close_unless_given(&self, response: &mut Response<Body>) {
        if !self.0.load(Ordering::Relaxed) && !response.status().is_informational() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.leave.0.store(true, Ordering::Relaxed);
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn waiting() -> HeaderMap {
        HeaderMap::from_iter([(EXPECT, HeaderValue::from_static("100-continue"))])
    }

    #[test]
    fn a_connection_ends_when_its_client_was_answered_before_its_body() {
        let (_body, leave) = Leave::watch(&waiting(), Body::from("x"));
        let mut response = Response::new(Body::empty());
        leave.unwrap().close_unless_given(&mut response);
        assert_eq!(response.headers()[CONNECTION], "close");
    }

    #[tokio::test]
    async fn a_connection_stays_when_the_body_was_taken() {
        let (body, leave) = Leave::watch(&waiting(), Body::from("x"));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "x");
        let mut response = Response::new(Body::empty());
        leave.unwrap().close_unless_given(&mut response);
        assert!(!response.headers().contains_key(CONNECTION));
    }

    #[test]
    fn a_client_that_does_not_wait_is_not_watched() {
        assert!(Leave::watch(&HeaderMap::new(), Body::from("x")).1.is_none());
        assert!(Leave::watch(&waiting(), Body::empty()).1.is_none());
    }
}
