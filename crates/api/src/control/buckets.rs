//! `buckets`: their names and what they wake. Objects go through the S3 door.

use super::error::Result;
use super::owner::Owner;
use crate::doors::Doors;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

/// `GET buckets`.
pub(super) async fn list(_: Owner, State(doors): State<Doors>) -> Result<Json<Vec<Value>>> {
    let buckets = doors.engine.storage().list_buckets().await?;
    let shown = buckets.into_iter().map(
        |bucket| json!({"name": bucket.name, "created": bucket.created, "notify": bucket.notify}),
    );
    Ok(Json(shown.collect()))
}
