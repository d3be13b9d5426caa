//! Errors in the dialect of the control API: a status, and `{"error":{"kind":…,"message":…}}`.

use crate::auth::Refused;
use crate::body::BodyError;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode};
use model::Kind;
use serde_json::{Value, json};

/// Shorthand.
pub(super) type Result<T> = std::result::Result<T, Error>;

/// An error as a client of the control API sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Error {
    kind: Kind,
    message: String,
}

impl Error {
    /// With a text that is fit for the outside.
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// A request that cannot be meant.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// The same, of one event of a batch.
    pub(super) fn at(self, index: usize) -> Self {
        Self {
            message: format!("event {index}: {}", self.message),
            ..self
        }
    }

    /// Its JSON, as a body or as the last line of a stream.
    pub(super) fn json(&self) -> Value {
        json!({"error": {"kind": self.kind, "message": self.message}})
    }
}

/// The HTTP status of a kind of error.
pub(crate) fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Throttled => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Kind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<engine::Error> for Error {
    /// Only the owner of the server is here: the whole text is for them, a fault of ours included.
    fn from(error: engine::Error) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

impl From<model::Invalid> for Error {
    fn from(error: model::Invalid) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit } => Self::new(
                Kind::TooLarge,
                format!("the request body has more than {limit} bytes"),
            ),
            BodyError::Broken(reason) => {
                Self::invalid(format!("the request body could not be read: {reason}"))
            }
        }
    }
}

impl From<&Refused> for Error {
    fn from(refused: &Refused) -> Self {
        Self::new(refused.kind(), refused.to_string())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if self.kind == Kind::Internal {
            tracing::error!(error = self.message, "the control API answers 500");
        }
        let mut response = (status_of(self.kind), axum::Json(self.json())).into_response();
        let headers = response.headers_mut();
        match self.kind {
            Kind::Unauthenticated => {
                headers.insert(
                    http::header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer"),
                );
            }
            Kind::Throttled => {
                headers.insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn an_error_has_its_status_its_kind_and_its_text() {
        let response = Error::new(Kind::NotFound, "function \"x\" does not exist").into_response();
        assert_eq!(response.status(), 404);
        let body = axum::body::to_bytes(response.into_body(), 4096)
            .await
            .unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            json!({"error": {"kind": "not_found", "message": "function \"x\" does not exist"}})
        );
    }

    #[test]
    fn who_is_not_known_is_asked_for_a_token() {
        let response = Error::from(&Refused::Missing).into_response();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
}
