//! Why an upstream did not give what was asked for.

use model::Kind;

/// Most characters of a text of the upstream that are shown.
const MAX_TEXT: usize = 300;

/// Why not. Holds no password and no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) reason: String,
    /// Whether trying again soon may help.
    pub(super) passing: bool,
}

impl Fault {
    /// The upstream cannot be reached, or broke off.
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Self {
            kind: Kind::Unavailable,
            reason: reason.into(),
            passing: true,
        }
    }

    /// What it says is not what it should be.
    pub(super) fn wrong(reason: impl Into<String>) -> Self {
        Self::of(Kind::Unavailable, reason)
    }

    pub(super) fn of(kind: Kind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            passing: false,
        }
    }
}

/// What a registry says in the body of an error: the first message in the dialect of the OCI distribution
/// specification, else the text; bounded, and without signs that would disturb a terminal.
pub(super) fn said(body: &[u8]) -> String {
    let json: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let message = json.as_ref().and_then(|json| {
        let error = json.get("errors")?.get(0)?;
        let text = |name: &str| error.get(name)?.as_str().filter(|text| !text.is_empty());
        text("message").or_else(|| text("code"))
    });
    let text = match message {
        Some(message) => message.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    };
    let shown = text.trim().chars().take(MAX_TEXT);
    shown
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_says_is_shortened_and_cleaned() {
        let json = br#"{"errors":[{"code":"DENIED","message":"no \u001b[31maccess"}]}"#;
        assert_eq!(said(json), "no  [31maccess");
        assert_eq!(said(br#"{"errors":[{"code":"DENIED"}]}"#), "DENIED");
        assert_eq!(said(b"<html>\n"), "<html>");
        assert_eq!(said(&[b'x'; 5_000]).len(), MAX_TEXT);
        assert_eq!(said(&[0xff, 0xfe]).chars().count(), 2);
    }
}
