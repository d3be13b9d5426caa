//! Answers: a status, some headers, mostly no body.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_LENGTH, HeaderName};
use http::{HeaderValue, StatusCode};

/// Where the digest of what was asked for or sent stands.
pub(super) const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// An answer without a body. All values are ours or were checked, and can stand in a header.
pub(super) fn empty<'a>(
    status: StatusCode,
    headers: impl IntoIterator<Item = (HeaderName, &'a str)>,
) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    put(&mut response, headers);
    if status != StatusCode::NO_CONTENT {
        let none = HeaderValue::from_static("0");
        response.headers_mut().entry(CONTENT_LENGTH).or_insert(none);
    }
    response
}

/// Adds headers to an answer.
pub(super) fn put<'a>(
    response: &mut Response,
    headers: impl IntoIterator<Item = (HeaderName, &'a str)>,
) {
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
}
