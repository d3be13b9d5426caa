//! Errors in the dialect of the EventBridge API: AWS JSON 1.1, with the exception's name in `__type`.

use crate::auth::Refused;
use crate::body::BodyError;
use crate::exception;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use model::Kind;
use serde_json::json;

/// Shorthand.
pub(super) type Result<T> = std::result::Result<T, Error>;

/// The content type of requests and answers.
pub(super) const JSON: &str = "application/x-amz-json-1.1";

/// An error as a client of the EventBridge API sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Error {
    status: StatusCode,
    name: &'static str,
    message: String,
}

impl Error {
    fn new(status: StatusCode, name: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            status,
            name,
            message,
        }
    }

    fn bad(name: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, name, message)
    }

    /// A parameter has a value that cannot be.
    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::bad("ValidationException", message)
    }

    /// The body is not what the operation takes.
    pub(super) fn serialization(message: impl Into<String>) -> Self {
        Self::bad("SerializationException", message)
    }

    /// An operation that is not served.
    pub(super) fn unknown_operation(name: &str) -> Self {
        let shown: String = name.chars().take(80).collect();
        let message = format!(
            "\"{}\" is not served: buses, rules, targets, tags, PutEvents and TestEventPattern are; \
             for time, use EventBridge Scheduler, and for addresses outside rouse's webhooks",
            shown.escape_debug()
        );
        Self::bad("UnknownOperationException", message)
    }

    /// Who asks may not.
    pub(super) fn access_denied(who: &str, action: &str) -> Self {
        let message = format!("{who} is not authorized to perform: events:{action}");
        Self::bad("AccessDeniedException", message)
    }

    /// What the client is told.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// An error of a lower room, by its kind. What is a fault of ours is logged and not told.
    fn of_kind(kind: Kind, message: String) -> Self {
        match kind {
            Kind::Invalid | Kind::Unsupported | Kind::TooLarge => Self::validation(message),
            Kind::NotFound => Self::bad("ResourceNotFoundException", message),
            Kind::Conflict => Self::bad("ResourceAlreadyExistsException", message),
            Kind::Unauthenticated => Self::bad("UnrecognizedClientException", message),
            Kind::Forbidden => Self::bad("AccessDeniedException", message),
            Kind::Throttled => Self::bad("ThrottlingException", message),
            Kind::Unavailable => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailableException",
                message,
            ),
            Kind::StorageFull => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "ServiceUnavailableException",
                format!("the server's disk is full; free some of it and try again ({message})"),
            ),
            Kind::Internal => {
                tracing::error!(
                    error = message,
                    "the EventBridge API answers InternalException"
                );
                let told = "the server failed; its log says why";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalException", told)
            }
        }
    }

    /// Why a request was not let in.
    pub(super) fn of_refused(refused: &Refused) -> Self {
        match exception::of_refused(refused) {
            Some(name) => Self::new(StatusCode::FORBIDDEN, name, refused.to_string()),
            None => Self::of_kind(refused.kind(), refused.to_string()),
        }
    }
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        let message = error.to_string();
        match error {
            engine::Error::Pattern(_) => Self::bad("InvalidEventPatternException", message),
            engine::Error::Limit(_) => Self::bad("LimitExceededException", message),
            engine::Error::Managed(_) => Self::bad("ManagedRuleException", message),
            error => Self::of_kind(error.kind(), message),
        }
    }
}

impl From<model::Invalid> for Error {
    fn from(error: model::Invalid) -> Self {
        Self::validation(error.to_string())
    }
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit } => {
                Self::validation(format!("the request has more than {limit} bytes"))
            }
            BodyError::Broken(reason) => {
                Self::serialization(format!("the request could not be read: {reason}"))
            }
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        // SDKs read `message` or `Message`, depending on their age: both are there.
        let body = json!({
            "__type": self.name,
            "message": self.message,
            "Message": self.message,
        });
        exception::response(self.status, self.name, JSON, &body)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::header::CONTENT_TYPE;

    #[tokio::test]
    async fn an_error_has_its_name_and_a_fault_of_ours_tells_nothing_private() {
        let response = Error::of_kind(Kind::NotFound, "no such bus".into()).into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()[CONTENT_TYPE], JSON);
        let body = axum::body::to_bytes(response.into_body(), 4096)
            .await
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["__type"], "ResourceNotFoundException");
        assert_eq!(body["message"], "no such bus");
        let full = Error::of_kind(Kind::StorageFull, "events".into());
        assert_eq!(
            (full.status.as_u16(), full.name),
            (507, "ServiceUnavailableException")
        );
        let fault = Error::of_kind(Kind::Internal, "/secret: EIO".into());
        assert_eq!(fault.status, 500);
        assert!(!fault.message().contains("secret"));
    }
}
