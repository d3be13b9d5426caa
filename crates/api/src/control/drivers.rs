//! `drivers`: what makes the containers.

use super::owner::Owner;
use crate::doors::Doors;
use axum::Json;
use axum::extract::State;
use model::Driver;
use serde::Serialize;

/// What the server was started with.
#[derive(Debug, Serialize)]
pub(super) struct Drivers {
    /// Of functions and services that do not choose.
    default: Driver,
    /// Where Docker Engine is looked for, once something needs it.
    docker_host: String,
}

/// `GET drivers`.
pub(super) async fn get(_: Owner, State(doors): State<Doors>) -> Json<Drivers> {
    let (default, docker_host) = doors.engine.drivers();
    Json(Drivers {
        default,
        docker_host: docker_host.to_owned(),
    })
}
