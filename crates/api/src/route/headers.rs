//! Which headers pass a route, and which do not (RFC 9110, section 7.6.1).

use http::header::{CONNECTION, HOST, HeaderName, SET_COOKIE, UPGRADE};
use http::{HeaderMap, HeaderValue};
use std::net::IpAddr;

// Names of which no copy is made for each request.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Headers that are added to a request on its way inward, those of the call's own included.
const ADDED: usize = 6;

/// Meant for one connection only.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Credentials, and what only a gateway may say.
fn stays_outside(name: &str) -> bool {
    matches!(
        name,
        "authorization"
            | "x-amz-security-token"
            | "expect"
            | "forwarded"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-port"
            | "x-forwarded-proto"
            | "x-forwarded-prefix"
            | "x-real-ip"
    )
}

/// What speaks for a whole origin, which is not the answerer's alone.
fn stays_inside(name: &str) -> bool {
    matches!(
        name,
        "clear-site-data"
            | "strict-transport-security"
            | "service-worker-allowed"
            | "alt-svc"
            | "public-key-pins"
    )
}

/// The headers that a service or function is given: those of the client, without credentials, and
/// what the gateway knows of it. Whatever a client claims in `X-Forwarded-…` is replaced.
pub(super) fn inward(mut headers: HeaderMap, from: Option<IpAddr>, prefix: &str) -> HeaderMap {
    drop_all(&mut headers, stays_outside);
    // It grows once.
    headers.reserve(ADDED);
    let host = headers.get(HOST).cloned();
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    if let Some(from) = from {
        set(FORWARDED_FOR, &from.to_string());
    }
    if !prefix.is_empty() {
        set(FORWARDED_PREFIX, prefix);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    if let Some(host) = host {
        headers.insert(FORWARDED_HOST, host);
    }
    headers
}

/// The headers that a client is given of those that a service or function answered with.
pub(super) fn outward(mut headers: HeaderMap, prefix: &str) -> HeaderMap {
    drop_all(&mut headers, stays_inside);
    let cookies: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    if !cookies.is_empty() {
        headers.remove(SET_COOKIE);
    }
    for cookie in cookies {
        let moved = cookie.to_str().ok().map(|text| move_cookie(text, prefix));
        if let Some(Ok(value)) = moved.map(|text| HeaderValue::from_str(&text)) {
            headers.append(SET_COOKIE, value);
        }
    }
    headers
}

/// Whether the client asks for another protocol on this connection. `h2c` is only an offer, which
/// some clients make with every request.
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    headers.get_all(UPGRADE).iter().any(|value| {
        let text = value.to_str().unwrap_or("?");
        text.split(',')
            .any(|protocol| !protocol.trim().eq_ignore_ascii_case("h2c"))
    })
}

/// Drops what belongs to one connection, what `Connection` names, and what is `unwanted`.
fn drop_all(headers: &mut HeaderMap, unwanted: fn(&str) -> bool) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let goes = |name: &&HeaderName| {
        is_hop_by_hop(name.as_str()) || unwanted(name.as_str()) || named.contains(name)
    };
    let going: Vec<HeaderName> = headers.keys().filter(goes).cloned().collect();
    for name in going {
        headers.remove(name);
    }
}

/// Moves a cookie below the route, so that nothing else on this port is sent it or loses its own.
fn move_cookie(cookie: &str, prefix: &str) -> String {
    let mut parts = cookie.split(';').map(str::trim);
    let mut moved = parts.next().unwrap_or_default().to_owned();
    let mut path = "/";
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let name = name.trim();
        if name.eq_ignore_ascii_case("path") {
            path = value.trim();
        } else if !name.eq_ignore_ascii_case("domain") && !part.is_empty() {
            moved.push_str("; ");
            moved.push_str(part);
        }
    }
    let below = if path.starts_with('/') { path } else { "/" };
    format!("{moved}; Path={prefix}{below}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn credentials_and_claims_do_not_pass_inward() {
        let sent = headers(&[
            ("host", "rouse.test:4566"),
            ("authorization", "Bearer secret"),
            ("x-amz-security-token", "secret"),
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("accept", "*/*"),
        ]);
        let passed = inward(sent, "127.0.0.1".parse().ok(), "/svc/a");
        let expected = headers(&[
            ("host", "rouse.test:4566"),
            ("accept", "*/*"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-prefix", "/svc/a"),
            ("x-forwarded-host", "rouse.test:4566"),
        ]);
        assert_eq!(passed, expected);
    }

    #[test]
    fn nothing_passes_outward_that_speaks_for_the_origin() {
        let answered = headers(&[
            ("content-type", "text/html"),
            ("clear-site-data", "\"*\""),
            ("transfer-encoding", "chunked"),
            ("service-worker-allowed", "/"),
            ("set-cookie", "a=b; Domain=x.test; Path=/; HttpOnly"),
            ("set-cookie", "c=d"),
        ]);
        let passed = outward(answered, "/svc/a");
        let expected = headers(&[
            ("content-type", "text/html"),
            ("set-cookie", "a=b; HttpOnly; Path=/svc/a/"),
            ("set-cookie", "c=d; Path=/svc/a/"),
        ]);
        assert_eq!(passed, expected);
    }

    #[test]
    fn a_cookie_stays_below_its_route() {
        let moved = |text| move_cookie(text, "/fn/f");
        assert_eq!(moved("a=b; path=/x"), "a=b; Path=/fn/f/x");
        assert_eq!(
            moved("a=b; Path=/x; Path=/_rouse"),
            "a=b; Path=/fn/f/_rouse"
        );
        assert_eq!(moved("a=b; Path=x"), "a=b; Path=/fn/f/");
        assert_eq!(moved(""), "; Path=/fn/f/");
    }

    #[test]
    fn an_offer_is_not_a_demand() {
        assert!(wants_upgrade(&headers(&[("upgrade", "websocket")])));
        assert!(wants_upgrade(&headers(&[("upgrade", "h2c, websocket")])));
        assert!(!wants_upgrade(&headers(&[("upgrade", "h2c")])));
        assert!(!wants_upgrade(&HeaderMap::new()));
    }
}
