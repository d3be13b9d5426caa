//! Which request goes through which door, and who is let in there.

use super::Origin;
use super::signed_body::Budget;
use crate::auth::{Auth, Refused, Schemes, Verified, scope_of};
use crate::doors::Doors;
use crate::{control, events, lambda, oci, route, s3, scheduler, sqs};
use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use engine::crash;
use http::header::{AUTHORIZATION, CONTENT_TYPE, SERVER};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use model::{Principal, RequestId};
use tower::ServiceExt as _;

/// What is said in the `Server` header.
const NAME: HeaderValue = HeaderValue::from_static("rouse");

/// Header in which AWS says the request's id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// The doors.
pub(super) struct App {
    pub(super) auth: Auth,
    pub(super) s3: s3::S3Door,
    pub(super) lambda: Router,
    pub(super) scheduler: Router,
    pub(super) sqs: Router,
    pub(super) events: Router,
    pub(super) doors: Doors,
    pub(super) control: Router,
    pub(super) bodies: Budget,
}

/// Where a request is meant to go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    S3,
    /// Signed; the service's name is not one that is served.
    Unserved(String),
    Lambda,
    Scheduler,
    Sqs,
    Events,
    /// `true` if it is signed, and not by a token.
    Route(bool),
    Health,
    Control,
    Registry,
}

/// By the signature's scope first: an object's key may look like any path.
fn way_of(parts: &Parts) -> Way {
    let path = parts.uri.path();
    let below = |folder: &str| {
        let rest = path.strip_prefix(folder);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let routed = below("/svc") || below("/fn");
    if let Some(scope) = scope_of(parts) {
        return match scope.service.as_str() {
            "s3" => Way::S3,
            "lambda" | "execute-api" if routed => Way::Route(true),
            "lambda" => Way::Lambda,
            "scheduler" => Way::Scheduler,
            "sqs" => Way::Sqs,
            "events" => Way::Events,
            _ => Way::Unserved(scope.service),
        };
    }
    match path {
        "/_rouse/health" => Way::Health,
        _ if below("/_rouse") => Way::Control,
        _ if routed => Way::Route(false),
        // No bucket has a name so short.
        _ if below("/v2") => Way::Registry,
        _ => Way::S3,
    }
}

impl App {
    /// Answers one request.
    pub(super) async fn answer(&self, mut request: Request<Body>) -> Response {
        let id = RequestId::generate();
        request.extensions_mut().insert(id.clone());
        let began = std::time::Instant::now();
        let asked = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| (request.method().clone(), request.uri().path().to_owned()));
        let accepts = *request.method() != Method::GET;
        let mut response = self.pass(request).await;
        if accepts && response.status().is_success() {
            crash::point("reply-before");
            crash::soon("reply-after");
        }
        let headers = response.headers_mut();
        headers.insert(SERVER, NAME);
        if let Ok(value) = HeaderValue::from_str(id.as_str()) {
            headers.entry(REQUEST_ID).or_insert(value);
        }
        if let Some((method, path)) = asked {
            let status = response.status().as_u16();
            let took = began.elapsed();
            tracing::debug!(%method, path, status, ?took, request = %id, "answered");
        }
        response
    }

    async fn pass(&self, request: Request<Body>) -> Response {
        let (mut parts, body) = request.into_parts();
        // A signature names its door, whatever the host.
        let by_host = || route::route_of(&parts).filter(|_| scope_of(&parts).is_none());
        if let Some(uri) = by_host() {
            parts.uri = uri;
            parts.extensions.insert(route::OwnOrigin);
        }
        let way = way_of(&parts);
        match way {
            // In boxes of their own, so that the way of a call is not as large as theirs.
            Way::S3 => {
                let request = Request::from_parts(parts, body);
                Box::pin(self.s3.clone().serve(request)).await
            }
            Way::Unserved(service) => unserved(&service),
            Way::Health => health(),
            Way::Lambda => match self.signed(&parts, body).await {
                Ok((who, body)) => enter(&self.lambda, parts, body, who).await,
                Err(refused) => lambda::refuse(&refused),
            },
            Way::Scheduler => match self.signed(&parts, body).await {
                Ok((who, body)) => enter(&self.scheduler, parts, body, who).await,
                Err(refused) => scheduler::refuse(&refused),
            },
            Way::Sqs => {
                let dialect = sqs::Dialect::of(&parts);
                match self.signed(&parts, body).await {
                    Ok((who, body)) => enter(&self.sqs, parts, body, who).await,
                    Err(refused) => sqs::refuse(&refused, dialect),
                }
            }
            Way::Events => match self.signed(&parts, body).await {
                Ok((who, body)) => enter(&self.events, parts, body, who).await,
                Err(refused) => events::refuse(&refused),
            },
            Way::Route(true) => match self.signed(&parts, body).await {
                Ok((who, body)) => self.route(parts, body, who).await,
                Err(refused) => route::refuse(&refused),
            },
            Way::Route(false) => {
                match self
                    .auth
                    .verify_token(&parts.headers, Schemes::BearerOrBasic)
                {
                    Ok(who) => self.route(parts, body, who).await,
                    Err(refused) => route::refuse(&refused),
                }
            }
            Way::Control => match self.owner(&parts) {
                Ok(who) => enter(&self.control, parts, body, who).await,
                Err(refused) => control::refuse(&refused),
            },
            Way::Registry => Box::pin(oci::serve(&self.doors, parts, body)).await,
        }
    }

    /// Verifies a signature in the headers. The key must be known before the body is read.
    async fn signed(&self, parts: &Parts, body: Body) -> Result<(Verified, Body), Refused> {
        let scope = scope_of(parts).ok_or(Refused::Missing)?;
        self.auth.find(&scope.access_key_id).await?;
        let origin = parts.extensions.get::<Origin>();
        let origin = origin.unwrap_or(&Origin::Client);
        let bytes = self.bodies.read(origin, &parts.headers, body).await?;
        let who = self.auth.verify_sigv4(parts, &bytes).await?;
        Ok((who, Body::from(bytes)))
    }

    async fn route(&self, mut parts: Parts, body: Body, who: Verified) -> Response {
        parts.headers.remove(AUTHORIZATION);
        route::serve(&self.doors, who, Request::from_parts(parts, body)).await
    }

    /// The control plane is for the owner alone.
    fn owner(&self, parts: &Parts) -> Result<Verified, Refused> {
        let who = self.auth.verify_token(&parts.headers, Schemes::Bearer)?;
        match who.get() {
            Principal::Root => Ok(who),
            other => Err(Refused::Forbidden {
                who: other.key(),
                reason: "the control plane is for the owner of the server",
            }),
        }
    }
}

/// Goes through a door. The credentials stay outside: no handler needs them any more, and some pass
/// headers on to programs that are not trusted.
async fn enter(door: &Router, mut parts: Parts, body: Body, who: Verified) -> Response {
    parts.headers.remove(AUTHORIZATION);
    parts.extensions.insert(who);
    match door.clone().oneshot(Request::from_parts(parts, body)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn health() -> Response {
    let json = [(CONTENT_TYPE, "application/json")];
    (json, "{\"status\":\"ok\"}").into_response()
}

fn unserved(service: &str) -> Response {
    let shown: String = service.chars().take(40).collect();
    let message = format!(
        "the AWS service \"{}\" is not served by this version of rouse; s3, lambda, sqs, events and \
         scheduler are",
        shown.escape_debug()
    );
    let body = serde_json::json!({"__type": "NotImplemented", "message": message});
    let headers = [
        (CONTENT_TYPE.as_str(), "application/x-amz-json-1.1"),
        ("x-amzn-errortype", "NotImplemented"),
    ];
    (StatusCode::NOT_IMPLEMENTED, headers, body.to_string()).into_response()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn way(service: Option<&str>, uri: &str) -> Way {
        let mut request = Request::get(uri);
        if let Some(service) = service {
            let value = format!(
                "AWS4-HMAC-SHA256 Credential=A/20261122/r/{service}/aws4_request, SignedHeaders=host, Signature=0"
            );
            request = request.header(AUTHORIZATION, value);
        }
        way_of(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_signature_goes_to_the_door_of_its_scope() {
        assert_eq!(way(Some("s3"), "/_rouse/v1/functions"), Way::S3);
        assert_eq!(way(Some("s3"), "/svc/catalog"), Way::S3);
        assert_eq!(way(Some("lambda"), "/2015-03-31/functions"), Way::Lambda);
        assert_eq!(way(Some("events"), "/"), Way::Events);
        assert_eq!(way(Some("lambda"), "/fn/thumbnail/x"), Way::Route(true));
        assert_eq!(way(Some("execute-api"), "/svc/catalog"), Way::Route(true));
        assert_eq!(
            way(Some("execute-api"), "/x"),
            Way::Unserved("execute-api".to_owned())
        );
        assert_eq!(way(Some("scheduler"), "/schedules"), Way::Scheduler);
        assert_eq!(way(Some("sqs"), "/000000000000/orders"), Way::Sqs);
        assert_eq!(way(Some("sns"), "/"), Way::Unserved("sns".to_owned()));
    }

    #[test]
    fn what_is_not_signed_goes_by_its_path() {
        assert_eq!(way(None, "/_rouse/health"), Way::Health);
        assert_eq!(way(None, "/_rouse/v1/functions"), Way::Control);
        assert_eq!(way(None, "/_rouse"), Way::Control);
        assert_eq!(way(None, "/svc/catalog/photos"), Way::Route(false));
        assert_eq!(way(None, "/fn/thumbnail"), Way::Route(false));
        assert_eq!(way(None, "/v2/"), Way::Registry);
        assert_eq!(way(None, "/v2/shop/tags/list"), Way::Registry);
        assert_eq!(way(Some("s3"), "/v2/"), Way::S3);
        assert_eq!(way(None, "/v2x"), Way::S3);
        assert_eq!(way(None, "/svcx"), Way::S3);
        assert_eq!(way(None, "/photos/a.jpg"), Way::S3);
    }
}
