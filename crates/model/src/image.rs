//! Images that were imported.

use crate::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

/// The label by which an image says how it is talked to: `lambda` or `http`.
pub const CONTRACT_LABEL: &str = "rouse.contract";

/// What of an image's configuration matters to run it (OCI image spec, `config`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// Further arguments.
    pub command: Vec<String>,
    /// `NAME=value` each.
    pub environment: Vec<String>,
    /// Working directory; empty means `/`.
    pub working_dir: String,
    /// `user`, `uid`, `user:group` or `uid:gid`; empty means root of the sandbox.
    pub user: String,
    /// TCP ports that the image says it serves.
    pub ports: Vec<u16>,
    /// Labels.
    pub labels: std::collections::BTreeMap<String, String>,
}

/// An image as it is kept: flattened to one root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Its name, such as `shop/thumbnail:prod`.
    pub reference: String,
    /// Address of its manifest; the flattened root is kept under it.
    pub digest: Digest,
    /// Bytes of the flattened root.
    pub size: u64,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// When it was imported.
    pub imported: Timestamp,
}
