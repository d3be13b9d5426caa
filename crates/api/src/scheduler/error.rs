//! Errors in the dialect of the EventBridge Scheduler API: a status, the header `x-amzn-ErrorType`, and
//! a JSON body with `Message` (the "Errors" section of each operation in the API reference).

use crate::auth::Refused;
use crate::body::BodyError;
use crate::exception;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use model::{Kind, ScheduleGroupName, ScheduleKey};
use serde_json::json;

/// Shorthand.
pub(super) type Result<T> = std::result::Result<T, Error>;

/// An error as a client of the Scheduler API sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Error {
    status: StatusCode,
    name: &'static str,
    message: String,
}

impl Error {
    fn new(status: StatusCode, name: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            name,
            message: message.into(),
        }
    }

    /// What the client is told.
    #[cfg(test)]
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// A parameter has a value that cannot be.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ValidationException", message)
    }

    /// A parameter breaks one of the rules of the API's model, in AWS's words.
    fn constraint(field: &str, value: &str, rule: &str) -> Self {
        Self::invalid(format!(
            "1 validation error detected: Value {value} at '{field}' failed to satisfy constraint: {rule}"
        ))
    }

    /// A parameter is missing.
    pub(super) fn missing(field: &str) -> Self {
        Self::constraint(field, "null", "Member must not be null")
    }

    /// A parameter does not have its form.
    pub(super) fn pattern(field: &str, value: &str, pattern: &str) -> Self {
        let rule = format!("Member must satisfy regular expression pattern: {pattern}");
        Self::constraint(field, &shown(value), &rule)
    }

    /// A parameter is not one of the words that it may be.
    pub(super) fn word(field: &str, value: &str, words: &str) -> Self {
        let rule = format!("Member must satisfy enum value set: [{words}]");
        Self::constraint(field, &shown(value), &rule)
    }

    /// A number is not within its bounds.
    pub(super) fn range(field: &str, value: impl std::fmt::Display, least: i64, most: i64) -> Self {
        let rule = format!("Member must be between {least} and {most}, inclusive");
        Self::constraint(field, &format!("'{value}'"), &rule)
    }

    /// A text is too long.
    pub(super) fn too_long(field: &str, most: usize) -> Self {
        let rule = format!("Member must have length less than or equal to {most}");
        Self::constraint(field, "'...'", &rule)
    }

    /// What may not be done to the group that is always there.
    pub(super) fn default_group() -> Self {
        Self::invalid("This operation cannot be performed on schedule group default.")
    }

    /// A group that is not there.
    pub(super) fn no_group(name: &ScheduleGroupName) -> Self {
        Self::not_found(format!("Schedule group {name} does not exist."))
    }

    fn not_found(message: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
    }

    fn conflict(message: String) -> Self {
        Self::new(StatusCode::CONFLICT, "ConflictException", message)
    }

    /// What went wrong with a schedule that was asked for by name.
    pub(super) fn of_schedule(error: &engine::Error, key: &ScheduleKey) -> Self {
        match error.kind() {
            Kind::NotFound => Self::not_found(format!("Schedule {} does not exist.", key.name)),
            _ => error.into(),
        }
    }

    /// What went wrong while a schedule was made.
    pub(super) fn of_creation(error: &engine::Error, key: &ScheduleKey) -> Self {
        match error.kind() {
            Kind::NotFound => Self::no_group(&key.group),
            Kind::Conflict if !is_of_token(error) => {
                Self::conflict(format!("Schedule {} already exists.", key.name))
            }
            _ => error.into(),
        }
    }

    /// What went wrong with a group that was named.
    pub(super) fn of_group(error: &engine::Error, name: &ScheduleGroupName) -> Self {
        match error.kind() {
            Kind::NotFound => Self::no_group(name),
            Kind::Conflict if !is_of_token(error) => {
                Self::conflict(format!("Schedule group {name} already exists."))
            }
            _ => error.into(),
        }
    }

    /// Who asks may not.
    pub(super) fn access_denied(who: &str, action: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "AccessDeniedException",
            format!("{who} is not authorized to perform: scheduler:{action}"),
        )
    }

    /// What the API does not have.
    pub(super) fn not_served(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "UnknownOperationException",
            format!("{what} is no operation of the Scheduler API"),
        )
    }

    /// An error of a lower room, by its kind. What is a fault of ours is logged here and the client
    /// is told no more than that.
    fn of_kind(kind: Kind, message: String) -> Self {
        match kind {
            Kind::Invalid | Kind::Unsupported => Self::invalid(message),
            Kind::NotFound => Self::not_found(message),
            Kind::Conflict => Self::conflict(message),
            Kind::Unauthenticated => Self::new(
                StatusCode::FORBIDDEN,
                "UnrecognizedClientException",
                message,
            ),
            Kind::Forbidden => Self::new(StatusCode::FORBIDDEN, "AccessDeniedException", message),
            Kind::TooLarge => Self::new(
                StatusCode::PAYMENT_REQUIRED,
                "ServiceQuotaExceededException",
                message,
            ),
            Kind::Throttled => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "ThrottlingException",
                message,
            ),
            Kind::StorageFull => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "InternalServerException",
                format!("the server's disk is full; free some of it and try again ({message})"),
            ),
            Kind::Unavailable => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "InternalServerException",
                message,
            ),
            Kind::Internal => {
                tracing::error!(error = message, "the Scheduler API answers 500");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "InternalServerException",
                    "the server failed; its log says why",
                )
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

/// Whether a conflict is about a token that was used before, not about a name.
fn is_of_token(error: &engine::Error) -> bool {
    error.to_string().starts_with("client token")
}

fn shown(value: &str) -> String {
    let cut: String = value.chars().take(80).collect();
    format!("'{}'", cut.escape_debug())
}

impl From<&engine::Error> for Error {
    fn from(error: &engine::Error) -> Self {
        Self::of_kind(error.kind(), error.to_string())
    }
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        Self::from(&error)
    }
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "ValidationException",
                format!("the request body has more than {limit} bytes"),
            ),
            BodyError::Broken(reason) => {
                Self::invalid(format!("the request body could not be read: {reason}"))
            }
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let body = json!({"Message": self.message, "message": self.message});
        exception::response(self.status, self.name, "application/json", &body)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn an_error_is_rendered_as_aws_does() {
        let error = Error::pattern("name", "a\u{1b}b", "[0-9a-zA-Z-_.]{1,64}");
        let (parts, body) = error.into_response().into_parts();
        let body = axum::body::to_bytes(body, 4096).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(parts.status, 400);
        assert_eq!(parts.headers["x-amzn-errortype"], "ValidationException");
        assert_eq!(
            body["Message"],
            "1 validation error detected: Value 'a\\u{1b}b' at 'name' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: [0-9a-zA-Z-_.]{1,64}"
        );
    }

    #[test]
    fn a_fault_of_ours_tells_the_client_nothing_private() {
        let error = Error::of_kind(Kind::Internal, "/secret/path: EIO".into());
        assert!(!error.message().contains("secret"));
    }
}
