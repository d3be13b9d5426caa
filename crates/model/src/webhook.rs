//! Webhooks: addresses outside that events are posted to.

use crate::{Invalid, Timestamp, WebhookName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Most webhooks.
pub const MAX_WEBHOOKS: usize = 1000;
/// Most headers of one webhook.
const MAX_HEADERS: usize = 20;
/// Longest address, and name and value of a header together, in bytes.
const MAX_TEXT: usize = 2048;

/// A text that must not be shown: it is left out of `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for where it is used.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A webhook as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its name.
    pub name: WebhookName,
    /// Where events are posted to: `http://` or `https://`.
    pub url: String,
    /// Headers that are sent along, such as an API key.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// The key of the signature: `whsec_` and 24 to 64 bytes in base64 (Standard Webhooks).
    pub secret: Secret,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub modified: Timestamp,
}

impl Webhook {
    /// Checks the bounds of what was declared; whether the address may be dialled is decided when it is.
    ///
    /// # Errors
    /// Names the first field that breaks a rule. Values of headers are not in the text.
    pub fn check(&self) -> Result<(), Invalid> {
        let scheme = self.url.starts_with("http://") || self.url.starts_with("https://");
        if !scheme || self.url.len() > MAX_TEXT || !self.url.bytes().all(|b| b.is_ascii_graphic()) {
            let reason = "must be an http:// or https:// URL of at most 2048 bytes";
            return Err(Invalid::new("url", reason));
        }
        if self.headers.len() > MAX_HEADERS {
            return Err(Invalid::new("headers", "must be at most 20"));
        }
        for (name, value) in &self.headers {
            let shown: String = name.chars().take(60).collect();
            let token = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            let value = value.expose();
            if name.is_empty() || !name.bytes().all(token) {
                let reason = format!("\"{}\" is not a header's name", shown.escape_debug());
                return Err(Invalid::new("headers", reason));
            }
            let legal = |b: u8| (b' '..=b'~').contains(&b);
            if name.len() + value.len() > MAX_TEXT || !value.bytes().all(legal) {
                let reason =
                    format!("the value of {shown} must be printable ASCII, 2048 bytes at most");
                return Err(Invalid::new("headers", reason));
            }
            if is_ours(&name.to_ascii_lowercase()) {
                let reason = format!("{shown} is set by rouse");
                return Err(Invalid::new("headers", reason));
            }
        }
        Ok(())
    }
}

/// Headers that say where a message goes, how long it is, or what it is.
fn is_ours(name: &str) -> bool {
    let fixed = [
        "host",
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "expect",
    ];
    fixed.contains(&name) || name.starts_with("ce-") || name.starts_with("webhook-")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn webhook(url: &str, header: Option<(&str, &str)>) -> Webhook {
        let header = header.map(|(name, value)| (name.to_owned(), Secret::new(value.to_owned())));
        Webhook {
            name: "w".parse().unwrap(),
            url: url.to_owned(),
            headers: header.into_iter().collect(),
            secret: Secret::new("whsec_x".to_owned()),
            created: Timestamp(1),
            modified: Timestamp(1),
        }
    }

    #[test]
    fn bounds_hold_and_secrets_are_not_shown() {
        let good = webhook("https://example.com/a?b=c", Some(("X-Key", "hidden")));
        assert!(good.check().is_ok());
        assert!(!format!("{good:?}").contains("hidden"));
        for bad in ["ftp://x", "example.com", "http://a b", ""] {
            assert_eq!(webhook(bad, None).check().unwrap_err().field, "url");
        }
        for bad in [
            ("Host", "x"),
            ("ce-id", "x"),
            ("a b", "x"),
            ("X", "a\r\nb"),
            ("", "x"),
        ] {
            let error = webhook("http://x", Some(bad)).check().unwrap_err();
            assert_eq!(error.field, "headers", "{bad:?}");
        }
    }
}
