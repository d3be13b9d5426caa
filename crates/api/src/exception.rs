//! What AWS's JSON protocols share in telling of an error. Which error it is, and in what words, is each
//! service's own (`lambda::error` and its like).

use crate::auth::Refused;
use axum::response::Response;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde_json::Value;

/// The answer that carries an exception: its `name` in the header by which SDKs know it, its `body` in
/// the service's shape, of content type `kind`. Who was throttled is told when to come back.
pub(crate) fn response(
    status: StatusCode,
    name: &'static str,
    kind: &'static str,
    body: &Value,
) -> Response {
    let mut response = Response::new(body.to_string().into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("x-amzn-errortype", HeaderValue::from_static(name));
    if status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The name by which SDKs know why a request was not let in, and do not try it again; none where it was
/// let in and failed otherwise.
pub(crate) fn of_refused(refused: &Refused) -> Option<&'static str> {
    match refused {
        Refused::Missing => Some("MissingAuthenticationTokenException"),
        Refused::BadSignature(_) => Some("InvalidSignatureException"),
        Refused::Malformed(_) => Some("IncompleteSignatureException"),
        Refused::UnknownKey | Refused::BadToken => Some("UnrecognizedClientException"),
        _ => None,
    }
}
