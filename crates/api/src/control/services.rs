//! `services` and `services/NAME`.

use super::error::Result;
use super::owner::Owner;
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use model::{ServiceName, ServiceStatus};

/// `GET services`: all of them with their replicas.
pub(super) async fn list(_: Owner, State(doors): State<Doors>) -> Result<Json<Vec<ServiceStatus>>> {
    Ok(Json(doors.engine.list_services().await?))
}

/// `DELETE services/NAME`: its volumes stay.
pub(super) async fn delete(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    let name: ServiceName = name.parse()?;
    let engine = doors.engine.clone();
    whole(async move { engine.delete_service(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
