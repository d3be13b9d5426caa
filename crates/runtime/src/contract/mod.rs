//! Contracts: how platform and instance talk.

pub(crate) mod http;
pub(crate) mod lambda;

use bytes::Bytes;
use model::Ending;

/// Longest error message that is kept of what a function says: 64 KiB.
const MAX_MESSAGE: usize = 64 * 1024;

/// An error in the form that Lambda's clients know.
pub(crate) fn error_payload(error_type: &str, message: &str) -> Bytes {
    serde_json::json!({ "errorType": error_type, "errorMessage": message })
        .to_string()
        .into()
}

/// A call that the function failed, as far as the platform could tell.
pub(crate) fn failed(error_type: &str, message: &str) -> Ending {
    let message = cut(message, MAX_MESSAGE);
    Ending::Failed {
        error_type: error_type.to_owned(),
        message: message.to_owned(),
        payload: error_payload(error_type, message),
    }
}

/// The longest beginning of `text` that is no more than `bytes`.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
