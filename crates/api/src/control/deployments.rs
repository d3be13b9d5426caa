//! `deployments`: everything that a manifest declares, done at once.

use super::error::{Error, Result};
use super::owner::Owner;
use crate::body;
use crate::doors::Doors;
use crate::whole::whole;
use axum::Json;
use axum::extract::{Request, State};
use model::{Deployment, DeploymentReport};

/// Largest deployment, in bytes of JSON.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// `POST`: checks all of it, then does it.
pub(super) async fn create(
    _: Owner,
    State(doors): State<Doors>,
    request: Request,
) -> Result<Json<DeploymentReport>> {
    let deployment = read(request).await?;
    let engine = doors.engine.clone();
    let report = whole(async move { engine.deploy(deployment).await }).await?;
    Ok(Json(report))
}

/// `POST deployments/preview`: checks it, changes nothing, and answers with what there is of the same things now.
pub(super) async fn preview(
    _: Owner,
    State(doors): State<Doors>,
    request: Request,
) -> Result<Json<Deployment>> {
    let deployment = read(request).await?;
    Ok(Json(doors.engine.preview(&deployment).await?))
}

async fn read(request: Request) -> Result<Deployment> {
    let (parts, stream) = request.into_parts();
    let bytes = body::read(&parts.headers, stream, MAX_BODY).await?;
    let deployment = serde_json::from_slice(&bytes);
    deployment.map_err(|error| Error::invalid(format!("this is not a deployment: {error}")))
}
