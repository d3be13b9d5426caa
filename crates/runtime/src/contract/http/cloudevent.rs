//! An event as a CloudEvent 1.0 in the binary mode of its HTTP binding
//! (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>).

use http::{HeaderMap, HeaderName, HeaderValue};
use model::NewEvent;

/// The headers of an event as a CloudEvent 1.0 in binary mode: `ce-id`, `ce-source`, `ce-type`,
/// `ce-subject`, `ce-time` and `ce-specversion`, percent-encoded as the binding says. The body is the
/// event's payload, JSON; its `content-type` is for the caller to set.
pub fn headers(event: &NewEvent) -> HeaderMap {
    let attributes = [
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", event.id.to_string()),
        ("ce-source", event.source.clone()),
        ("ce-type", event.kind.clone()),
        ("ce-subject", event.subject.clone()),
        ("ce-time", event.accepted.rfc3339()),
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in attributes {
        // An attribute must not be empty (CloudEvents, "Type System").
        if value.is_empty() {
            continue;
        }
        if let Ok(value) = HeaderValue::from_str(&encode(&value)) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// Percent-encodes what the binding (3.1.3.2) says: everything but printable ASCII, and space, `"`
/// and `%`.
fn encode(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'"' | b'%' | 0..=b' ' | 0x7f.. => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push(char::from(byte)),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_binding() {
        assert_eq!(encode("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(encode("a\"b%"), "a%22b%25");
    }

    proptest! {
        #[test]
        fn every_subject_fits_a_header_and_comes_back(subject: String) {
            let encoded = encode(&subject);
            prop_assert!(HeaderValue::from_str(&encoded).is_ok());
            let decoded = decode(&encoded);
            prop_assert_eq!(String::from_utf8(decoded).unwrap(), subject);
        }
    }

    fn decode(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            if byte == b'%' {
                let hex: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap());
            } else {
                bytes.push(byte);
            }
        }
        bytes
    }
}
