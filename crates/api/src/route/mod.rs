//! HTTP routes: `/svc/NAME/…` goes to a service, `/fn/NAME/…` to a function.
//!
//! What a service or a function answers is hostile, and in a browser it is served from the origin of
//! everything else on this port, with the password that the browser remembers. So:
//!
//! - Every answer carries `Content-Security-Policy: sandbox` without `allow-same-origin`: a page may
//!   run its scripts, but in an origin of its own, from which it cannot ask this port in the
//!   visitor's name or read its cookies. The price is that a page here cannot call its own service by
//!   script; one that must is opened by its own host name, `NAME.svc.localhost`, where nothing else
//!   is and no sandbox is needed.
//! - A request that a browser says comes from another site or origin (`Sec-Fetch-Site`) is refused
//!   unless it only reads, and so is one that comes from a sandboxed page.
//! - A cookie's `Path` is moved below its route, and headers that speak for the whole origin
//!   (`Clear-Site-Data`, `Strict-Transport-Security` and the like) are left out.

mod error;
mod function;
mod headers;
mod host;
mod payload;
mod service;

use crate::auth::{Refused, Verified};
use crate::doors::Doors;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use error::Error;
use http::header::{CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Uri};
use model::Kind;

pub(crate) use host::{OwnOrigin, route_of};

/// A second policy only makes the first one stricter, so a service's own is kept beside it.
const SANDBOX: HeaderValue = HeaderValue::from_static(
    "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts",
);

/// Says in the dialect of this door why a request was not let in. A browser asks for the password.
pub(crate) fn refuse(refused: &Refused) -> Response {
    Error::new(refused.kind(), refused.to_string()).into_response()
}

/// Answers one request. Refuses what another site asks in the visitor's name, and puts every answer
/// into the sandbox, but for those of an origin of their own.
pub(crate) async fn serve(doors: &Doors, who: Verified, request: Request) -> Response {
    let shared = request.extensions().get::<OwnOrigin>().is_none();
    let mut response = if is_forged(request.method(), request.headers()) {
        let text = "this request comes from another site, and does more than read";
        Error::new(Kind::Forbidden, text).into_response()
    } else {
        pass(doors, who, request).await
    };
    let headers = response.headers_mut();
    if shared {
        headers.append(CONTENT_SECURITY_POLICY, SANDBOX);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// By the path alone. There is no router here: this is the way of every call, and it has three doors.
async fn pass(doors: &Doors, who: Verified, request: Request) -> Response {
    let mut parts = request.uri().path().splitn(4, '/').skip(1);
    let answer = match (parts.next(), parts.next(), parts.next()) {
        (Some("svc"), Some(name), None) if !name.is_empty() => {
            service::redirect(who, request.uri())
        }
        (Some("svc"), Some(name), Some(_)) if !name.is_empty() => {
            Box::pin(service::proxy(who, doors, request)).await
        }
        (Some("fn"), Some(name), _) if !name.is_empty() => {
            function::call(who, doors, request).await
        }
        _ => Err(Error::new(
            Kind::NotFound,
            "routes are /svc/NAME/… for services and /fn/NAME/… for functions",
        )),
    };
    answer.unwrap_or_else(|error| error.into_response())
}

/// Browsers say where a request comes from (Fetch Metadata), and pages cannot change what they say;
/// other clients say nothing.
fn is_forged(method: &Method, headers: &http::HeaderMap) -> bool {
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    !reads && !matches!(site, None | Some(b"same-origin" | b"none"))
}

/// Splits `/svc/NAME/rest?query` into the name and `/rest?query`, nothing decoded.
fn below(uri: &Uri) -> (&str, String) {
    let path = uri.path();
    let mut parts = path.splitn(4, '/').skip(2);
    let name = parts.next().unwrap_or_default();
    let mut rest = format!("/{}", parts.next().unwrap_or_default());
    if let Some(query) = uri.query() {
        rest.push('?');
        rest.push_str(query);
    }
    (name, rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_is_split_and_not_decoded() {
        let split = |text: &'static str| {
            let uri = Uri::from_static(text);
            let (name, rest) = below(&uri);
            (name.to_owned(), rest)
        };
        let expect = |name: &str, rest: &str| (name.to_owned(), rest.to_owned());
        assert_eq!(split("/svc/a"), expect("a", "/"));
        assert_eq!(split("/svc/a/"), expect("a", "/"));
        assert_eq!(
            split("/fn/a/b%2Fc//d?x=%20"),
            expect("a", "/b%2Fc//d?x=%20")
        );
        assert_eq!(split("http://h/svc/a/b"), expect("a", "/b"));
    }

    #[test]
    fn another_site_may_only_read() {
        let from = |site: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert("sec-fetch-site", site.parse().unwrap());
            headers
        };
        for site in ["cross-site", "same-site", "nonsense"] {
            assert!(is_forged(&Method::POST, &from(site)), "{site}");
            assert!(!is_forged(&Method::GET, &from(site)), "{site}");
        }
        for site in ["same-origin", "none"] {
            assert!(!is_forged(&Method::DELETE, &from(site)), "{site}");
        }
        assert!(!is_forged(&Method::POST, &http::HeaderMap::new()));
    }
}
