//! Errors in the dialect of the AWS Lambda API: a status, the header `x-amzn-ErrorType`, and a JSON
//! body with `Type` and `Message` (the "Errors" section of each operation in the API reference).

use crate::auth::Refused;
use crate::body::BodyError;
use crate::exception;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use model::Kind;
use serde_json::json;

/// Shorthand.
pub(super) type Result<T> = std::result::Result<T, Error>;

/// An error as a client of the Lambda API sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Error {
    status: StatusCode,
    name: &'static str,
    message: String,
    reason: Option<&'static str>,
}

impl Error {
    fn new(status: StatusCode, name: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            name,
            message: message.into(),
            reason: None,
        }
    }

    /// The exception's name.
    #[cfg(test)]
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// What the client is told.
    #[cfg(test)]
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// A parameter has a value that cannot be.
    pub(super) fn invalid_parameter(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "InvalidParameterValueException",
            message,
        )
    }

    /// The body is not the JSON that it must be.
    pub(super) fn invalid_content(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "InvalidRequestContentException",
            message,
        )
    }

    /// The named thing does not exist.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
    }

    /// The named thing exists already, or is being changed.
    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "ResourceConflictException", message)
    }

    /// The revision that the client named is not the current one.
    pub(super) fn stale_revision() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "PreconditionFailedException",
            "The RevisionId provided does not match the latest RevisionId. Call the \
             GetFunction/GetAlias API to retrieve the latest Revision Id",
        )
    }

    /// Who asks may not.
    pub(super) fn access_denied(who: &str, action: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "AccessDeniedException",
            format!("{who} is not authorized to perform: lambda:{action}"),
        )
    }

    /// A request body past its bound.
    pub(super) fn request_too_large(limit: usize, operation: &str) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestTooLargeException",
            format!("Request must be smaller than {limit} bytes for the {operation} operation"),
        )
    }

    /// An operation of the Lambda API that is not served.
    pub(super) fn not_served(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "NotImplementedException",
            format!(
                "{what} is not served; functions can be created, updated, read, listed, deleted, \
                 published and invoked, and concurrency reserved for them"
            ),
        )
    }

    /// The platform cannot do it now.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceException", message)
    }

    /// An error of a lower room, by its kind. What is a fault of ours is logged here and the client
    /// is told no more than that.
    pub(super) fn of_kind(kind: Kind, message: String) -> Self {
        match kind {
            Kind::Invalid | Kind::Unsupported => Self::invalid_parameter(message),
            Kind::NotFound => Self::not_found(message),
            Kind::Conflict => Self::conflict(message),
            Kind::Unauthenticated => Self::new(
                StatusCode::FORBIDDEN,
                "UnrecognizedClientException",
                message,
            ),
            Kind::Forbidden => Self::new(StatusCode::FORBIDDEN, "AccessDeniedException", message),
            Kind::TooLarge => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestTooLargeException",
                message,
            ),
            Kind::Throttled => Self {
                reason: Some("ConcurrentInvocationLimitExceeded"),
                ..Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "TooManyRequestsException",
                    message,
                )
            },
            Kind::Unavailable => Self::unavailable(message),
            Kind::StorageFull => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "CodeStorageExceededException",
                format!("the server's disk is full; free some of it and try again ({message})"),
            ),
            Kind::Internal => {
                tracing::error!(error = message, "the Lambda API answers ServiceException");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "ServiceException",
                    "the server failed; its log says why",
                )
            }
        }
    }
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        Self::of_kind(error.kind(), error.to_string())
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        Self::of_kind(error.kind(), error.to_string())
    }
}

impl From<model::Invalid> for Error {
    fn from(error: model::Invalid) -> Self {
        Self::invalid_parameter(error.to_string())
    }
}

impl Error {
    /// Why a request was not let in.
    pub(super) fn of_refused(refused: &Refused) -> Self {
        match exception::of_refused(refused) {
            Some(name) => Self::new(StatusCode::FORBIDDEN, name, refused.to_string()),
            None => Self::of_kind(refused.kind(), refused.to_string()),
        }
    }

    /// A body of `operation` that could not be read.
    pub(super) fn of_body(error: BodyError, operation: &str) -> Self {
        match error {
            BodyError::TooLarge { limit } => Self::request_too_large(limit, operation),
            BodyError::Broken(reason) => {
                Self::invalid_content(format!("the request body could not be read: {reason}"))
            }
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let whose = if self.status.is_server_error() {
            "Service"
        } else {
            "User"
        };
        // SDKs read `message` or `Message`, depending on the error's shape: both are there.
        let mut body = json!({
            "Type": whose,
            "Message": self.message,
            "message": self.message,
        });
        if let Some(reason) = self.reason {
            body["Reason"] = reason.into();
        }
        exception::response(self.status, self.name, "application/json", &body)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn rendered(error: Error) -> (StatusCode, http::HeaderMap, serde_json::Value) {
        let (parts, body) = error.into_response().into_parts();
        let bytes = axum::body::to_bytes(body, 65_536).await.unwrap();
        (
            parts.status,
            parts.headers,
            serde_json::from_slice(&bytes).unwrap(),
        )
    }

    #[tokio::test]
    async fn a_missing_function_is_rendered_as_aws_does() {
        let (status, headers, body) = rendered(Error::not_found("Function not found: x")).await;
        assert_eq!(status, 404);
        assert_eq!(headers["x-amzn-errortype"], "ResourceNotFoundException");
        assert_eq!(body["Type"], "User");
        assert_eq!(body["Message"], "Function not found: x");
        assert_eq!(body["message"], "Function not found: x");
    }

    #[tokio::test]
    async fn throttling_says_when_to_come_back() {
        let (status, headers, body) =
            rendered(Error::of_kind(Kind::Throttled, "busy".into())).await;
        assert_eq!(status, 429);
        assert_eq!(headers["retry-after"], "1");
        assert_eq!(body["Reason"], "ConcurrentInvocationLimitExceeded");
    }

    #[tokio::test]
    async fn a_fault_of_ours_tells_the_client_nothing_private() {
        let (status, _, body) =
            rendered(Error::of_kind(Kind::Internal, "/secret/path: EIO".into())).await;
        assert_eq!(status, 500);
        assert_eq!(body["Type"], "Service");
        assert!(!body.to_string().contains("secret"), "{body}");
    }
}
