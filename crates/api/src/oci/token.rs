//! `token`: a short-lived token for some repositories, and the challenge that leads to it
//! (<https://distribution.github.io/distribution/spec/auth/token/>).

use super::error::{Code, Error, Result};
use super::query::Query;
use crate::auth::{Refused, TOKEN_LIFE, Verified};
use crate::body;
use crate::doors::Doors;
use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, HOST, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use model::Timestamp;
use serde_json::json;
use std::time::Duration;

/// Largest form, in bytes.
const MAX_FORM: usize = 16 * 1024;
/// How long a form may take to come: nobody knows yet who sends it.
const MAX_TIME: Duration = Duration::from_secs(30);

/// How a client is asked who it is.
pub(super) struct Challenge {
    /// Where tokens are had; `None` without a usable `Host`.
    realm: Option<String>,
}

impl Challenge {
    /// At the address at which the client reached the registry; a proxy before it may say that it
    /// speaks TLS.
    pub(super) fn of(parts: &Parts) -> Self {
        let header = |name| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let host = header(HOST.as_str()).or_else(|| Some(parts.uri.authority()?.as_str()));
        let legal = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
        let host = host.filter(|host| !host.is_empty() && host.bytes().all(legal));
        let scheme = match header("x-forwarded-proto") {
            Some("https") => "https",
            _ => "http",
        };
        Self {
            realm: host.map(|host| format!("{scheme}://{host}/v2/token")),
        }
    }

    /// Adds it to a refusal for want of credentials: a token for what was asked, or HTTP Basic.
    pub(super) fn add(&self, error: Error, scope: Option<&str>) -> Error {
        if !error.is_unauthorized() {
            return error;
        }
        let scope = scope.map_or_else(String::new, |scope| format!(",scope=\"{scope}\""));
        let bearer = self
            .realm
            .as_ref()
            .map(|realm| format!("Bearer realm=\"{realm}\",service=\"rouse\"{scope}"));
        let error = match bearer {
            Some(bearer) => error.with_header(WWW_AUTHENTICATE, &bearer),
            None => error,
        };
        error.with_header(WWW_AUTHENTICATE, "Basic realm=\"rouse\"")
    }
}

/// `GET` with HTTP Basic; `POST` with the same as a form (`grant_type=password`).
pub(super) async fn serve(doors: &Doors, parts: &Parts, body: Body) -> Result<Response> {
    let basic = |refused: &Refused| {
        let error = Error::from(refused);
        match error.is_unauthorized() {
            true => error.with_header(WWW_AUTHENTICATE, "Basic realm=\"rouse\""),
            false => error,
        }
    };
    let (who, query) = match parts.method {
        Method::GET => {
            let who = doors.auth.verify_registry_owner(&parts.headers).await;
            let query = Query::of(parts.uri.query().unwrap_or_default());
            (who.map_err(|refused| basic(&refused))?, query)
        }
        Method::POST => {
            let read = body::read(&parts.headers, body, MAX_FORM);
            let bytes = tokio::time::timeout(MAX_TIME, read).await.map_err(|_| {
                let text = "the form did not come within 30 seconds; send it again";
                Error::new(Code::Unknown(StatusCode::REQUEST_TIMEOUT), text)
            })??;
            let form = Query::of(&String::from_utf8_lossy(&bytes));
            let field = |name| form.get(name).unwrap_or_default();
            let keys = (field("username"), field("password"));
            let who = match field("grant_type") {
                "password" => doors.auth.verify_keys(keys.0, keys.1).await,
                _ => Err(Refused::Missing),
            };
            (who.map_err(|refused| basic(&refused))?, form)
        }
        _ => {
            let text = "a token is had by GET or POST";
            return Err(Error::new(Code::Unsupported, text));
        }
    };
    issue(doors, &who, &query)
}

fn issue(doors: &Doors, who: &Verified, query: &Query) -> Result<Response> {
    let token = doors.auth.registry_token(who, query.all("scope"));
    let token = token.map_err(|refused| Error::from(&refused))?;
    let body = json!({
        "token": token, "access_token": token, "token_type": "Bearer",
        "expires_in": TOKEN_LIFE.as_secs(), "issued_at": Timestamp::now().rfc3339(),
    });
    let mut response = Json(body).into_response();
    let unkept = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, unkept);
    Ok(response)
}
