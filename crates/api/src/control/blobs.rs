//! `blobs/sha256:HEX`: archives of code, uploaded before the deployment that names them.

use super::error::Result;
use super::owner::Owner;
use super::upload;
use crate::doors::Doors;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use http::StatusCode;
use model::Digest;
use serde_json::{Value, json};

/// `HEAD`: 200 if the archive is here, else 404.
pub(super) async fn head(
    _: Owner,
    State(doors): State<Doors>,
    Path(digest): Path<String>,
) -> Result<StatusCode> {
    let digest: Digest = digest.parse()?;
    let found = doors.engine.storage().blob_size(&digest).await?;
    Ok(match found {
        Some(_) => StatusCode::OK,
        None => StatusCode::NOT_FOUND,
    })
}

/// `PUT`: keeps the archive if its bytes are those of the digest; `max_upload` bytes at most.
pub(super) async fn put(
    _: Owner,
    State(doors): State<Doors>,
    Path(digest): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<Value>)> {
    let digest: Digest = digest.parse()?;
    let storage = doors.engine.storage();
    let mut writer = storage.begin_blob(doors.options.max_upload).await?;
    upload::receive(body, &mut writer).await?;
    let (digest, size) = storage.commit_blob(writer, Some(&digest)).await?;
    let kept = json!({"digest": digest, "size": size});
    Ok((StatusCode::CREATED, Json(kept)))
}
