//! `http://NAME.svc.localhost:4566/…` is `/svc/NAME/…` in an origin of its own: browsers and curl take
//! every name below `localhost` for this machine. Nothing else is served under such a name, so a page
//! there can be trusted with its own origin.

use http::Uri;
use http::header::HOST;
use http::request::Parts;
use model::ServiceName;

/// The domain whose subdomains are services.
const DOMAIN: &str = ".svc.localhost";

/// Marks a request that came by the service's own host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OwnOrigin;

/// The request's URI as a route, if its host is a service's own.
pub(crate) fn route_of(parts: &Parts) -> Option<Uri> {
    let host = parts.headers.get(HOST)?.to_str().ok()?;
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name: ServiceName = name.strip_suffix(DOMAIN)?.parse().ok()?;
    let rest = parts.uri.path_and_query()?.as_str();
    if !rest.starts_with('/') {
        return None;
    }
    format!("/svc/{name}{rest}").parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn route(host: &str, uri: &str) -> Option<String> {
        let request = http::Request::get(uri).header(HOST, host).body(()).unwrap();
        route_of(&request.into_parts().0).map(|uri| uri.to_string())
    }

    #[test]
    fn a_host_below_svc_localhost_is_a_service() {
        let found = route("catalog.svc.localhost:4566", "/photos/a%2Fb?x=1");
        assert_eq!(found.unwrap(), "/svc/catalog/photos/a%2Fb?x=1");
        assert_eq!(
            route("catalog.svc.localhost", "/").unwrap(),
            "/svc/catalog/"
        );
        let found = route("catalog.svc.localhost", "/_rouse/v1/functions");
        assert_eq!(found.unwrap(), "/svc/catalog/_rouse/v1/functions");
        for host in [
            "localhost:4566",
            "svc.localhost",
            "photos.localhost",
            "a.b.svc.localhost",
            "..svc.localhost",
            "catalog.svc.localhost.example.org",
        ] {
            assert_eq!(route(host, "/"), None, "{host}");
        }
    }
}
