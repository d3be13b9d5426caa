//! Instances: one contained process tree each.

use crate::{Driver, FunctionName, ServiceName, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// An instance's identity: 32 hex digits, random.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub String);

impl InstanceId {
    /// A new one.
    pub fn generate() -> Self {
        Self(crate::identity::random().simple().to_string())
    }

    /// The identity as text, safe as a file name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose instance it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Owner {
    /// A revision of a function.
    Function {
        /// The function.
        name: FunctionName,
        /// Which revision of it.
        revision: u64,
        /// Which published version; `None` for what was declared last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u64>,
    },
    /// A replica of a service.
    Service {
        /// The service.
        name: ServiceName,
        /// Which replica, from 0.
        replica: u32,
    },
}

impl Owner {
    /// The function's version as the Lambda API writes it: its number, or `$LATEST`.
    pub fn version(&self) -> String {
        match self {
            Self::Function {
                version: Some(number),
                ..
            } => number.to_string(),
            _ => "$LATEST".to_owned(),
        }
    }

    /// The number of the function's published version; `None` for what was declared last.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Function { version, .. } => *version,
            Self::Service { .. } => None,
        }
    }

    /// Under which name its logs are kept: `function:thumbnail` or `service:catalog`.
    pub fn log_key(&self) -> String {
        match self {
            Self::Function { name, .. } => format!("function:{name}"),
            Self::Service { name, .. } => format!("service:{name}"),
        }
    }
}

/// What an instance is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// Being started or initialised.
    Starting,
    /// Ready and waiting.
    Idle,
    /// Answering a call.
    Busy,
    /// Being stopped.
    Stopping,
}

/// One instance, as seen now (`rouse ps`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Its identity.
    pub id: InstanceId,
    /// Whose it is.
    pub owner: Owner,
    /// What it is doing.
    pub state: InstanceState,
    /// Process id of its first process as the host sees it; 0 while starting.
    pub pid: u32,
    /// When its start was asked for.
    pub started: Timestamp,
    /// Calls that it has answered.
    pub calls: u64,
    /// What makes its container.
    #[serde(default)]
    pub driver: Driver,
}
