//! The S3 dialect of errors
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
//!
//! Beyond Amazon's list there is one code: `InsufficientStorage` with status 507, when the disk is
//! full. Clients do not repeat a 507 by themselves, so that the reason reaches somebody.

use crate::auth::Refused;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use model::{Invalid, Kind};
use s3s::{S3Error, S3ErrorCode};

/// An error with our own words.
pub(super) fn error(code: S3ErrorCode, message: impl Into<String>) -> S3Error {
    S3Error::with_message(code, message.into())
}

/// For what is asked rightly and not served in this version.
pub(super) fn unsupported(what: &str) -> S3Error {
    let message = format!("{what} is not supported by this version of rouse");
    error(S3ErrorCode::NotImplemented, message)
}

/// For an argument that breaks a rule.
pub(super) fn invalid_argument(message: impl Into<String>) -> S3Error {
    error(S3ErrorCode::InvalidArgument, message)
}

/// A name or rule that the model refuses.
pub(super) fn of_invalid(code: S3ErrorCode) -> impl FnOnce(Invalid) -> S3Error {
    move |invalid| error(code, invalid.to_string())
}

/// An error of the storage. Only the operation knows what is `missing` when something is not found,
/// and what a `conflict` means.
pub(super) fn of_storage(
    missing: S3ErrorCode,
    conflict: S3ErrorCode,
) -> impl FnOnce(storage::Error) -> S3Error {
    move |fault| match fault.kind() {
        _ if fault.is_bound() => error(S3ErrorCode::InvalidRequest, fault.to_string()),
        Kind::NotFound => error(missing, fault.to_string()),
        Kind::Conflict => error(conflict, fault.to_string()),
        kind => of_kind(kind, &fault),
    }
}

/// As [`of_storage`] where only the bucket can be missing and nothing can conflict.
pub(super) fn of_bucket(fault: storage::Error) -> S3Error {
    of_storage(S3ErrorCode::NoSuchBucket, S3ErrorCode::OperationAborted)(fault)
}

/// As [`of_storage`] where the upload can be missing and a precondition can fail. `InvalidPart` and
/// its like are the first word of the storage's text.
pub(super) fn of_upload(fault: storage::Error) -> S3Error {
    if fault.kind() == Kind::Invalid {
        let text = fault.to_string();
        let code = match text.split([':', ' ']).next() {
            Some("InvalidPart") => S3ErrorCode::InvalidPart,
            Some("InvalidPartOrder") => S3ErrorCode::InvalidPartOrder,
            Some("EntityTooSmall") => S3ErrorCode::EntityTooSmall,
            _ => S3ErrorCode::InvalidArgument,
        };
        return error(code, text);
    }
    of_storage(S3ErrorCode::NoSuchUpload, S3ErrorCode::PreconditionFailed)(fault)
}

/// An error of the engine.
pub(super) fn of_engine(fault: engine::Error) -> S3Error {
    of_kind(fault.kind(), &fault)
}

fn of_kind(kind: Kind, fault: &dyn std::error::Error) -> S3Error {
    let text = fault.to_string();
    match kind {
        Kind::Invalid => invalid_argument(text),
        Kind::TooLarge => error(S3ErrorCode::EntityTooLarge, text),
        Kind::Throttled => error(S3ErrorCode::SlowDown, text),
        Kind::Unavailable => error(S3ErrorCode::ServiceUnavailable, text),
        Kind::Unsupported => error(S3ErrorCode::NotImplemented, text),
        Kind::Forbidden | Kind::Unauthenticated => error(S3ErrorCode::AccessDenied, text),
        Kind::NotFound => error(S3ErrorCode::NoSuchKey, text),
        Kind::Conflict => error(S3ErrorCode::OperationAborted, text),
        Kind::StorageFull => {
            tracing::error!(error = text, "the disk is full");
            disk_full()
        }
        Kind::Internal => {
            tracing::error!(error = text, "an S3 operation failed");
            let message = "a fault of the server; its log has the details";
            error(S3ErrorCode::InternalError, message)
        }
    }
}

fn disk_full() -> S3Error {
    let message = "the disk of the server is full; free space on it, then try again";
    let mut full = error(
        S3ErrorCode::Custom("InsufficientStorage".into()),
        message.to_owned(),
    );
    full.set_status_code(StatusCode::INSUFFICIENT_STORAGE);
    full
}

/// Says that somebody was not let in.
pub(super) fn of_refused(refused: &Refused) -> S3Error {
    let code = match refused {
        Refused::Missing | Refused::BadToken | Refused::Forbidden { .. } => {
            S3ErrorCode::AccessDenied
        }
        Refused::Malformed(_) => S3ErrorCode::AuthorizationHeaderMalformed,
        Refused::UnknownKey => S3ErrorCode::InvalidAccessKeyId,
        Refused::BadSignature(_) => S3ErrorCode::SignatureDoesNotMatch,
        Refused::TooLarge { .. } => S3ErrorCode::EntityTooLarge,
        Refused::BadBody(_) => S3ErrorCode::IncompleteBody,
        Refused::Busy => S3ErrorCode::SlowDown,
        Refused::Unavailable => S3ErrorCode::ServiceUnavailable,
    };
    error(code, refused.to_string())
}

/// As AWS answers a signature for another region; s3cmd and older SDKs then sign for `expected`.
pub(super) fn wrong_region(expected: &str) -> Response {
    let code = "AuthorizationHeaderMalformed";
    let message = format!("the region of the signature is wrong; expecting '{expected}'");
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
         <Message>{message}</Message><Region>{expected}</Region></Error>"
    );
    let headers = [(http::header::CONTENT_TYPE, "application/xml")];
    (StatusCode::BAD_REQUEST, headers, body).into_response()
}

/// Writes an error that arose before s3s took the request.
pub(super) fn respond(error: S3Error) -> Response {
    match error.to_http_response() {
        Ok(response) => response.map(axum::body::Body::new),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn storage_io(kind: std::io::ErrorKind) -> storage::Error {
        storage::Error::Io {
            doing: "writing",
            path: "/secret/place".to_owned(),
            source: kind.into(),
        }
    }

    #[test]
    fn a_full_disk_has_its_own_code_and_status() {
        let said = of_bucket(storage_io(std::io::ErrorKind::StorageFull));
        assert_eq!(said.code().as_str(), "InsufficientStorage");
        assert_eq!(said.status_code(), Some(StatusCode::INSUFFICIENT_STORAGE));
    }

    #[test]
    fn a_fault_of_ours_does_not_show_paths() {
        let said = of_bucket(storage_io(std::io::ErrorKind::PermissionDenied));
        assert_eq!(said.code(), &S3ErrorCode::InternalError);
        assert!(!said.message().unwrap().contains("secret"));
    }

    #[test]
    fn the_first_word_of_an_upload_error_is_its_code() {
        for (text, code) in [
            ("InvalidPart: part 3 is not there", S3ErrorCode::InvalidPart),
            ("InvalidPartOrder", S3ErrorCode::InvalidPartOrder),
            ("EntityTooSmall: part 1", S3ErrorCode::EntityTooSmall),
            ("something else", S3ErrorCode::InvalidArgument),
        ] {
            let said = of_upload(storage::Error::Invalid(text.to_owned()));
            assert_eq!(said.code(), &code, "{text}");
        }
    }
}
