//! Errors in the dialect of the OCI distribution specification:
//! `{"errors":[{"code":…,"message":…,"detail":…}]}`.

use crate::auth::Refused;
use crate::body::BodyError;
use crate::control::status_of;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use model::{ContentDigest, Kind};
use serde_json::{Value, json};

/// Shorthand.
pub(super) type Result<T> = std::result::Result<T, Error>;

/// The codes of the specification that are used, and two of the registry that most clients know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    SizeInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
    /// The address is no address of the registry.
    NotServed,
    TagInvalid,
    PageInvalid,
    /// A `Range` that is not within the blob.
    RangeInvalid,
    /// A fault of ours, or of the machine.
    Unknown(StatusCode),
}

impl Code {
    fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown
            | Self::BlobUploadUnknown
            | Self::ManifestBlobUnknown
            | Self::ManifestUnknown
            | Self::NameUnknown
            | Self::NotServed => StatusCode::NOT_FOUND,
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestInvalid
            | Self::NameInvalid
            | Self::TagInvalid
            | Self::PageInvalid => StatusCode::BAD_REQUEST,
            Self::SizeInvalid => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::RangeInvalid => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::Unknown(status) => status,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Denied => "DENIED",
            Self::Unsupported | Self::NotServed => "UNSUPPORTED",
            Self::TooManyRequests => "TOOMANYREQUESTS",
            Self::TagInvalid => "TAG_INVALID",
            Self::PageInvalid => "PAGINATION_NUMBER_INVALID",
            Self::RangeInvalid => "RANGE_INVALID",
            Self::Unknown(_) => "UNKNOWN",
        }
    }
}

/// An error as a client of the registry sees it.
#[derive(Debug)]
pub(super) struct Error {
    code: Code,
    status: StatusCode,
    message: String,
    /// Digests that the error is about, an entry for each.
    digests: Vec<ContentDigest>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Error {
    /// With a text that is fit for the outside.
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            status: code.status(),
            code,
            message: message.into(),
            digests: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// The same with another status than its code's.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// The same with a header; one that cannot be a header is left out.
    pub(super) fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers
            .extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    /// Whether who asks should say who it is.
    pub(super) fn is_unauthorized(&self) -> bool {
        self.code == Code::Unauthorized
    }

    /// From the engine, which may have asked an upstream; `absent` as in [`Error::of`].
    pub(super) fn of_engine(error: engine::Error, absent: Code) -> Self {
        match error {
            engine::Error::Storage(error) => Self::of(error, absent),
            engine::Error::State(error) => Self::of(error.into(), absent),
            error => {
                let message = error.to_string();
                match error.kind() {
                    Kind::NotFound => Self::new(absent, message),
                    Kind::Throttled => Self::new(Code::TooManyRequests, message),
                    kind => {
                        tracing::warn!(%error, "nothing was pulled through");
                        Self::new(Code::Unknown(status_of(kind)), message)
                    }
                }
            }
        }
    }

    /// From the storage; `absent` is what something that is not there is called where it was asked for.
    pub(super) fn of(error: storage::Error, absent: Code) -> Self {
        let message = error.to_string();
        match &error {
            storage::Error::Mismatch(_) => return Self::new(Code::DigestInvalid, message),
            storage::Error::Unknown(digests) => {
                let digests = digests.clone();
                let error = Self::new(Code::ManifestBlobUnknown, message);
                return Self { digests, ..error };
            }
            _ => {}
        }
        match error.kind() {
            Kind::NotFound => Self::new(absent, message),
            Kind::Conflict => Self::new(Code::Unsupported, message),
            // More uploads than there may be, not a large one.
            Kind::TooLarge if !matches!(error, storage::Error::TooLarge { .. }) => {
                Self::new(Code::TooManyRequests, message)
            }
            Kind::Throttled => Self::new(Code::TooManyRequests, message),
            Kind::TooLarge => Self::new(Code::SizeInvalid, message),
            Kind::Invalid if absent == Code::ManifestUnknown => {
                Self::new(Code::ManifestInvalid, message)
            }
            Kind::Invalid => Self::new(Code::BlobUploadInvalid, message),
            kind => {
                tracing::error!(%error, "the registry answers an error");
                let shown = "the server failed; its log says how".to_owned();
                let text = if kind == Kind::Internal {
                    shown
                } else {
                    message
                };
                Self::new(Code::Unknown(status_of(kind)), text)
            }
        }
    }
}

impl From<&Refused> for Error {
    fn from(refused: &Refused) -> Self {
        let code = match refused {
            Refused::Forbidden { .. } => Code::Denied,
            Refused::Unavailable | Refused::Busy => Code::Unknown(status_of(refused.kind())),
            _ => Code::Unauthorized,
        };
        Self::new(code, refused.to_string())
    }
}

impl From<BodyError> for Error {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { limit } => {
                let text = format!("the body is more than {limit} bytes");
                Self::new(Code::ManifestInvalid, text).with_status(StatusCode::PAYLOAD_TOO_LARGE)
            }
            BodyError::Broken(reason) => Self::new(
                Code::ManifestInvalid,
                format!("the body broke off: {reason}"),
            ),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let entry = |detail: Value| json!({"code": self.code.as_str(), "message": self.message, "detail": detail});
        let errors: Vec<Value> = match self.digests.as_slice() {
            [] => vec![entry(Value::Null)],
            digests => digests
                .iter()
                .map(|digest| entry(json!({"digest": digest.as_str()})))
                .collect(),
        };
        let json = [(CONTENT_TYPE, "application/json")];
        let body = json!({"errors": errors}).to_string();
        let mut response = (self.status, json, body).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            let second = HeaderValue::from_static("1");
            response.headers_mut().insert(RETRY_AFTER, second);
        }
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}
