//! `instances`: what runs now.

use super::owner::Owner;
use crate::doors::Doors;
use axum::Json;
use axum::extract::State;
use model::InstanceStatus;

/// `GET instances`.
pub(super) async fn list(_: Owner, State(doors): State<Doors>) -> Json<Vec<InstanceStatus>> {
    Json(doors.engine.instances())
}
