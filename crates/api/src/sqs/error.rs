//! Errors in both dialects of SQS: JSON with `__type` and the header `x-amzn-query-error`, by which
//! SDKs know the code that the query protocol has for it; or XML with `Code`
//! (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html>).

use super::{Dialect, xml};
use crate::auth::Refused;
use crate::body::BodyError;
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use model::{Invalid, Kind, RequestId};
use serde_json::json;

/// Shorthand.
pub(super) type Result<T> = std::result::Result<T, Error>;

/// What both protocols prefix some codes with in the query protocol alone.
const LONG: &str = "AWS.SimpleQueueService.";

/// An error as a client of SQS sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Error {
    status: StatusCode,
    /// The name in the JSON protocol.
    name: &'static str,
    /// The code in the query protocol, if it is another one.
    code: Option<&'static str>,
    /// Whether the code in the query protocol has the long prefix.
    long: bool,
    message: String,
}

impl Error {
    fn new(status: StatusCode, name: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            name,
            code: None,
            long: false,
            message: message.into(),
        }
    }

    fn bad(name: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, name, message)
    }

    fn long(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            long: true,
            ..Self::bad(name, message)
        }
    }

    /// The code in the query protocol, which batch entries show too.
    pub(super) fn code(&self) -> String {
        let code = self.code.unwrap_or(self.name);
        if self.long {
            format!("{LONG}{code}")
        } else {
            code.to_owned()
        }
    }

    /// What the client is told.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Whether who asks is at fault.
    pub(super) fn is_senders(&self) -> bool {
        !self.status.is_server_error()
    }

    pub(super) fn no_queue() -> Self {
        Self {
            code: Some("NonExistentQueue"),
            ..Self::long("QueueDoesNotExist", "The specified queue does not exist.")
        }
    }

    pub(super) fn queue_exists(name: &str) -> Self {
        Self {
            code: Some("QueueAlreadyExists"),
            ..Self::bad(
                "QueueNameExists",
                format!(
                    "A queue already exists with the same name and a different value for an \
                     attribute: {name}"
                ),
            )
        }
    }

    pub(super) fn unknown_attribute(name: &str) -> Self {
        let shown: String = name.chars().take(80).collect();
        Self::bad(
            "InvalidAttributeName",
            format!("Unknown Attribute {}.", shown.escape_debug()),
        )
    }

    pub(super) fn attribute_value(name: &str, reason: &str) -> Self {
        Self::bad(
            "InvalidAttributeValue",
            format!("Invalid value for the parameter {name}. Reason: {reason}."),
        )
    }

    pub(super) fn value(parameter: &str, reason: &str) -> Self {
        Self::bad(
            "InvalidParameterValue",
            format!("Value for parameter {parameter} is invalid. Reason: {reason}."),
        )
    }

    pub(super) fn missing(parameter: &str) -> Self {
        Self::bad(
            "MissingParameter",
            format!("The request must contain the parameter {parameter}."),
        )
    }

    pub(super) fn invalid_address(url: &str) -> Self {
        let shown: String = url.chars().take(200).collect();
        Self {
            status: StatusCode::NOT_FOUND,
            ..Self::bad(
                "InvalidAddress",
                format!(
                    "The address {} is not valid for this endpoint.",
                    shown.escape_debug()
                ),
            )
        }
    }

    pub(super) fn receipt(reason: &str) -> Self {
        Self::bad(
            "ReceiptHandleIsInvalid",
            format!("The input receipt handle is invalid: {reason}."),
        )
    }

    pub(super) fn not_in_flight() -> Self {
        Self::long(
            "MessageNotInflight",
            "The message is not in flight, so its visibility cannot be changed.",
        )
    }

    pub(super) fn over_limit() -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            ..Self::bad(
                "OverLimit",
                "Too many messages are in flight: delete some, or let their time end.",
            )
        }
    }

    pub(super) fn empty_batch() -> Self {
        Self::long(
            "EmptyBatchRequest",
            "The batch request doesn't contain any entries.",
        )
    }

    pub(super) fn large_batch(count: usize) -> Self {
        Self::long(
            "TooManyEntriesInBatchRequest",
            format!(
                "Maximum number of entries per request are {}. You have sent {count}.",
                model::MAX_BATCH
            ),
        )
    }

    pub(super) fn long_batch(size: usize) -> Self {
        Self::long(
            "BatchRequestTooLong",
            format!(
                "Batch requests cannot be longer than {} bytes. You have sent {size} bytes.",
                model::MAX_MESSAGE
            ),
        )
    }

    pub(super) fn batch_id(id: &str) -> Self {
        let shown: String = id.chars().take(100).collect();
        Self::long(
            "InvalidBatchEntryId",
            format!(
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. \
                 It can be at most 80 letters long: {}",
                shown.escape_debug()
            ),
        )
    }

    pub(super) fn same_batch_ids(id: &str) -> Self {
        Self::long("BatchEntryIdsNotDistinct", format!("Id {id} repeated."))
    }

    pub(super) fn unsupported(what: &str) -> Self {
        Self::long("UnsupportedOperation", what)
    }

    /// A queue or task of a move that is not there.
    pub(super) fn no_resource(message: &str) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            ..Self::bad("ResourceNotFoundException", message)
        }
    }

    /// An input that does not have the shape of its operation.
    pub(super) fn bad_input(message: &str) -> Self {
        let shown: String = message.chars().take(300).collect();
        Self::bad("InvalidParameterValue", shown)
    }

    pub(super) fn invalid_action(action: &str) -> Self {
        let shown: String = action.chars().take(80).collect();
        Self::bad(
            "InvalidAction",
            format!(
                "The action {} is not valid for this endpoint.",
                shown.escape_debug()
            ),
        )
    }

    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::bad("SerializationException", message)
    }

    pub(super) fn access_denied(who: &str, action: &str) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            code: Some("AccessDenied"),
            ..Self::bad(
                "AccessDeniedException",
                format!(
                    "{who} is not authorized to perform: sqs:{action}; only the owner of the server changes queues"
                ),
            )
        }
    }

    /// An error of a lower room, by its kind. What is a fault of ours is logged here and the client is
    /// told no more than that.
    fn of_kind(kind: Kind, message: String) -> Self {
        match kind {
            Kind::NotFound => Self::no_queue(),
            Kind::Invalid | Kind::Conflict => Self::bad("InvalidParameterValue", message),
            Kind::Unsupported => Self::unsupported(&message),
            Kind::TooLarge => Self::bad("InvalidParameterValue", message),
            Kind::Unauthenticated | Kind::Forbidden => Self {
                status: StatusCode::FORBIDDEN,
                code: Some("AccessDenied"),
                ..Self::bad("AccessDeniedException", message)
            },
            Kind::Throttled => Self {
                status: StatusCode::TOO_MANY_REQUESTS,
                ..Self::bad("RequestThrottled", message)
            },
            Kind::Unavailable => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                message,
            ),
            Kind::StorageFull => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "ServiceUnavailable",
                format!("the server's disk is full; free some of it and try again ({message})"),
            ),
            Kind::Internal => {
                tracing::error!(error = message, "the SQS door answers InternalFailure");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "InternalFailure",
                    "the server failed; its log says why",
                )
            }
        }
    }

    /// A message that was refused: SQS has codes of its own for some reasons.
    pub(super) fn of_message(invalid: &Invalid) -> Self {
        match invalid.field.as_str() {
            "InvalidMessageContents" => Self::bad("InvalidMessageContents", invalid.reason.clone()),
            "MessageGroupId" if invalid.reason.starts_with("is missing") => {
                Self::missing("MessageGroupId")
            }
            field => Self::value(field, &invalid.reason),
        }
    }

    /// Why a request was not let in.
    pub(super) fn of_refused(refused: &Refused) -> Self {
        let name = match refused {
            Refused::Missing => "MissingAuthenticationToken",
            Refused::BadSignature(_) => "SignatureDoesNotMatch",
            Refused::Malformed(_) => "IncompleteSignature",
            Refused::UnknownKey | Refused::BadToken => "InvalidClientTokenId",
            _ => return Self::of_kind(refused.kind(), refused.to_string()),
        };
        Self::new(StatusCode::FORBIDDEN, name, refused.to_string())
    }

    /// A body that could not be read.
    pub(super) fn of_body(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit } => {
                Self::value("the request", &format!("it has more than {limit} bytes"))
            }
            BodyError::Broken(reason) => {
                Self::malformed(format!("the request could not be read: {reason}"))
            }
        }
    }

    /// The answer in a dialect.
    pub(super) fn render(&self, dialect: Dialect, id: &RequestId) -> Response {
        let fault = if self.is_senders() {
            "Sender"
        } else {
            "Receiver"
        };
        let (kind, body) = match dialect {
            Dialect::Json => {
                let body = json!({"__type": format!("com.amazonaws.sqs#{}", self.name), "message": self.message});
                ("application/x-amz-json-1.0", body.to_string())
            }
            Dialect::Query => (
                "text/xml",
                xml::error(fault, &self.code(), &self.message, id),
            ),
        };
        let mut response = Response::new(body.into());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Ok(value) = HeaderValue::from_str(&format!("{};{fault}", self.code())) {
            headers.insert("x-amzn-query-error", value);
        }
        response
    }
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        Self::of_kind(error.kind(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn rendered(error: &Error, dialect: Dialect) -> (StatusCode, http::HeaderMap, String) {
        let response = error.render(dialect, &RequestId("id".into()));
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 65_536).await.unwrap();
        (
            parts.status,
            parts.headers,
            String::from_utf8(bytes.to_vec()).unwrap(),
        )
    }

    #[tokio::test]
    async fn a_missing_queue_has_its_name_in_both_dialects() {
        let (status, headers, body) = rendered(&Error::no_queue(), Dialect::Json).await;
        assert_eq!(status, 400);
        assert_eq!(
            headers["x-amzn-query-error"],
            "AWS.SimpleQueueService.NonExistentQueue;Sender"
        );
        assert!(
            body.contains("com.amazonaws.sqs#QueueDoesNotExist"),
            "{body}"
        );
        let (status, _, body) = rendered(&Error::no_queue(), Dialect::Query).await;
        assert_eq!(status, 400);
        assert!(
            body.contains("<Code>AWS.SimpleQueueService.NonExistentQueue</Code>"),
            "{body}"
        );
    }

    #[tokio::test]
    async fn a_fault_of_ours_tells_the_client_nothing_private() {
        let error = Error::of_kind(Kind::Internal, "/secret/path: EIO".into());
        for dialect in [Dialect::Json, Dialect::Query] {
            let (status, headers, body) = rendered(&error, dialect).await;
            assert_eq!(status, 500);
            assert_eq!(headers["x-amzn-query-error"], "InternalFailure;Receiver");
            assert!(!body.contains("secret"), "{body}");
        }
    }

    #[tokio::test]
    async fn what_a_client_wrote_is_escaped() {
        let (_, _, body) = rendered(&Error::invalid_action("<b>&"), Dialect::Query).await;
        assert!(body.contains("&lt;b&gt;&amp;"), "{body}");
    }
}
