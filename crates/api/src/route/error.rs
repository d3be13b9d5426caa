//! Errors of the routes: a status and `{"message":…}`, as API gateways have it.

use crate::body::BodyError;
use crate::control::status_of;
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use model::Kind;
use serde_json::json;

/// Shorthand.
pub(super) type Result<T> = std::result::Result<T, Error>;

/// Why a request did not come to its service or function, or no answer came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Error {
    status: StatusCode,
    message: String,
}

impl Error {
    /// With the status of a kind.
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            status: status_of(kind),
            message: message.into(),
        }
    }

    /// 502: what is behind the route gave no answer that is one.
    pub(super) fn bad_gateway(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_GATEWAY,
            message: message.into(),
        }
    }

    /// 504: what is behind the route did not answer in time.
    pub(super) fn gateway_timeout(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::GATEWAY_TIMEOUT,
            message: message.into(),
        }
    }
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        let kind = error.kind();
        if kind == Kind::Internal {
            tracing::error!(%error, "a route answers 500");
            return Self::new(kind, "the server failed; its log says why");
        }
        Self::new(kind, error.to_string())
    }
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit } => Self::new(
                Kind::TooLarge,
                format!("the request body has more than {limit} bytes"),
            ),
            BodyError::Broken(reason) => Self::new(
                Kind::Invalid,
                format!("the request body could not be read: {reason}"),
            ),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let body = axum::Json(json!({"message": self.message}));
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                let ask = HeaderValue::from_static(
                    "Basic realm=\"rouse: any user, the token as password\", charset=\"UTF-8\"",
                );
                headers.insert(WWW_AUTHENTICATE, ask);
            }
            StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
