//! `functions` and `functions/NAME`.

use super::error::Result;
use super::owner::Owner;
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use model::{Function, FunctionName};

/// `GET functions`: all of them, by name.
pub(super) async fn list(_: Owner, State(doors): State<Doors>) -> Result<Json<Vec<Function>>> {
    Ok(Json(doors.engine.list_functions().await?))
}

/// `GET functions/NAME`.
pub(super) async fn get(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
) -> Result<Json<Function>> {
    let name: FunctionName = name.parse()?;
    Ok(Json(doors.engine.get_function(&name).await?))
}

/// `DELETE functions/NAME`.
pub(super) async fn delete(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    let name: FunctionName = name.parse()?;
    let engine = doors.engine.clone();
    whole(async move { engine.delete_function(&name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
