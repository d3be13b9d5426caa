//! The request header `Idempotency-Key`
//! (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>).

use http::HeaderMap;

/// The key that the sender of an event chose. In double quotes, as the draft has it, or without: both
/// are the same key. What is no text is a key that the engine refuses.
pub(crate) fn key(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("idempotency-key")?;
    let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    let inner = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    Some(inner.map_or_else(|| text.clone(), str::to_owned))
}

/// What is said to a key on a call that waits for its answer, which is not kept: to ignore it would be to say that
/// the call happens once.
pub(crate) const WAITS: &str = "Idempotency-Key is for asynchronous calls only: a call that is waited for happens each time; \
     leave the key out, or ask for the invocation type Event";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quotes_are_not_of_the_key() {
        let of = |value: &str| {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static("idempotency-key"),
                value.parse().unwrap(),
            )]);
            key(&headers)
        };
        assert_eq!(key(&HeaderMap::new()), None);
        assert_eq!(of("a-1").as_deref(), Some("a-1"));
        assert_eq!(of("\"a-1\"").as_deref(), Some("a-1"));
        assert_eq!(of("").as_deref(), Some(""));
    }
}
