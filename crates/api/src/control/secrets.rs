//! `secrets` and `configs`. No answer has a secret's value.

use super::error::Result;
use super::owner::Owner;
use crate::body;
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use model::{MAX_SECRET, SecretKind, SecretName};
use serde_json::{Value, json};

/// All of a kind. `readable`: whether the server has the key that it is sealed by.
async fn list(doors: Doors, kind: SecretKind) -> Result<Json<Vec<Value>>> {
    let all = doors.engine.list_secrets(kind).await?;
    let shown = all.into_iter().map(|(record, readable)| {
        json!({
            "name": record.name,
            "revision": record.revision,
            "size": record.size,
            "readable": readable,
            "created": record.created,
            "modified": record.modified,
        })
    });
    Ok(Json(shown.collect()))
}

async fn put(
    doors: Doors,
    kind: SecretKind,
    name: String,
    request: Request,
) -> Result<Json<Value>> {
    let name: SecretName = name.parse()?;
    let (parts, stream) = request.into_parts();
    let value = body::read(&parts.headers, stream, MAX_SECRET).await?;
    let engine = doors.engine.clone();
    let (record, change) =
        whole(async move { engine.put_secret(kind, name, value.to_vec()).await }).await?;
    Ok(Json(json!({
        "name": record.name,
        "revision": record.revision,
        "change": change,
    })))
}

async fn delete(doors: Doors, kind: SecretKind, name: String) -> Result<StatusCode> {
    let name: SecretName = name.parse()?;
    let engine = doors.engine.clone();
    whole(async move { engine.delete_secret(kind, name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET secrets`.
pub(super) async fn list_secrets(_: Owner, State(doors): State<Doors>) -> Result<Json<Vec<Value>>> {
    list(doors, SecretKind::Secret).await
}

/// `GET configs`.
pub(super) async fn list_configs(_: Owner, State(doors): State<Doors>) -> Result<Json<Vec<Value>>> {
    list(doors, SecretKind::Config).await
}

/// `PUT secrets/NAME`: the body is the value.
pub(super) async fn put_secret(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>> {
    put(doors, SecretKind::Secret, name, request).await
}

/// `PUT configs/NAME`: the body is the value.
pub(super) async fn put_config(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>> {
    put(doors, SecretKind::Config, name, request).await
}

/// `GET configs/NAME`: the value as it was put.
pub(super) async fn read_config(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
) -> Result<Response> {
    let (_, value) = doors.engine.read_config(name.parse()?).await?;
    let octets = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((octets, value).into_response())
}

/// `DELETE secrets/NAME`.
pub(super) async fn delete_secret(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    delete(doors, SecretKind::Secret, name).await
}

/// `DELETE configs/NAME`.
pub(super) async fn delete_config(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    delete(doors, SecretKind::Config, name).await
}
