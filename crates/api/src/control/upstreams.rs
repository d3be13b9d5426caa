//! `upstreams`: other registries that images are pulled through. No answer has a password.

use super::error::{Error, Result};
use super::owner::Owner;
use crate::body;
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, Request, State};
use http::StatusCode;
use model::{Secret, Timestamp, Upstream, UpstreamName};
use serde::Deserialize;
use serde_json::{Value, json};

/// Largest declaration, in bytes of JSON: its certificates are most of it.
const MAX_BODY: usize = 512 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    url: String,
    username: Option<String>,
    password: Option<Secret>,
    certificates: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    private: bool,
}

/// `readable`: whether the server has the key that the password is sealed by.
fn shown(upstream: &Upstream, readable: bool) -> Value {
    json!({
        "name": upstream.name,
        "url": upstream.url,
        "username": upstream.username,
        "certificates": upstream.certificates.is_some(),
        "insecure": upstream.insecure,
        "private": upstream.private,
        "readable": readable,
        "created": upstream.created,
        "modified": upstream.modified,
    })
}

/// `GET upstreams`.
pub(super) async fn list(_: Owner, State(doors): State<Doors>) -> Json<Vec<Value>> {
    let all = doors.engine.list_upstreams();
    let all = all
        .iter()
        .map(|(upstream, readable)| shown(upstream, *readable));
    Json(all.collect())
}

/// `PUT upstreams/NAME`: makes or changes one, all of it: what is not said again is gone.
pub(super) async fn put(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>> {
    let name: UpstreamName = name.parse()?;
    let (parts, stream) = request.into_parts();
    let bytes = body::read(&parts.headers, stream, MAX_BODY).await?;
    // The text of serde's error could hold a password that stands in the wrong place.
    let put: Put = serde_json::from_slice(&bytes).map_err(|error| {
        Error::invalid(format!(
            "this is not an upstream, {{\"url\": …, \"username\": …, \"password\": …}}: line {}, column {}",
            error.line(),
            error.column()
        ))
    })?;
    let now = Timestamp::now();
    let upstream = Upstream {
        name,
        url: put.url,
        username: put.username,
        certificates: put.certificates,
        insecure: put.insecure,
        private: put.private,
        created: now,
        modified: now,
    };
    let engine = doors.engine.clone();
    let password = put.password;
    let (upstream, change) =
        whole(async move { engine.put_upstream(upstream, password).await }).await?;
    let mut shown = shown(&upstream, true);
    shown["change"] = json!(change);
    Ok(Json(shown))
}

/// `DELETE upstreams/NAME`.
pub(super) async fn delete(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    let name: UpstreamName = name.parse()?;
    let engine = doors.engine.clone();
    whole(async move { engine.delete_upstream(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
