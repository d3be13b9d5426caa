//! `functions` and `functions/NAME`.

use super::error::Result;
use super::owner::Owner;
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use model::{Function, FunctionName, Routing};
use serde::Serialize;

/// A function, and where its calls without a qualifier go.
#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    function: Function,
    /// Absent when they go to what was declared last.
    #[serde(skip_serializing_if = "Option::is_none")]
    serving: Option<Routing>,
}

impl Shown {
    fn of(doors: &Doors, function: Function) -> Self {
        Self {
            serving: doors.engine.serving(&function.spec.name),
            function,
        }
    }
}

/// `GET functions`: all of them, by name.
pub(super) async fn list(_: Owner, State(doors): State<Doors>) -> Result<Json<Vec<Shown>>> {
    let functions = doors.engine.list_functions().await?;
    let shown = functions
        .into_iter()
        .map(|function| Shown::of(&doors, function));
    Ok(Json(shown.collect()))
}

/// `GET functions/NAME`.
pub(super) async fn get(
    _: Owner,
    State(doors): State<Doors>,
    Path(name): Path<String>,
) -> Result<Json<Shown>> {
    let name: FunctionName = name.parse()?;
    let function = doors.engine.get_function(&name).await?;
    Ok(Json(Shown::of(&doors, function)))
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
