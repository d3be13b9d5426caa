//! What the server makes containers with, as commands show it.

use crate::client::Client;
use crate::error::Result;
use model::Driver;
use serde::{Deserialize, Serialize};

/// What the server was started with, as the control API shows it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Drivers {
    /// Of functions and services that do not choose.
    pub(crate) default: Driver,
    /// Where the server looks for Docker Engine.
    pub(crate) docker_host: String,
}

impl Drivers {
    /// Asks the server.
    pub(crate) async fn get(client: &Client) -> Result<Self> {
        client.get("drivers", &[]).await
    }

    /// What makes the containers of one that chooses this, or nothing.
    pub(crate) fn of(&self, chosen: Option<Driver>) -> String {
        chosen.unwrap_or(self.default).to_string()
    }
}
