//! Who asks.

use crate::{FunctionName, ServiceName};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Who asks, once that was verified.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Principal {
    /// The owner of the server; may do everything.
    Root,
    /// A function's instance: objects, invoke and the HTTP routes, not the control plane.
    Function {
        /// The function.
        name: FunctionName,
    },
    /// A service's instance: as a function.
    Service {
        /// The service.
        name: ServiceName,
    },
}

impl Principal {
    /// One word for tables, events and logs: `root`, `function:NAME` or `service:NAME`.
    pub fn key(&self) -> String {
        match self {
            Self::Root => "root".to_owned(),
            Self::Function { name } => format!("function:{name}"),
            Self::Service { name } => format!("service:{name}"),
        }
    }
}

/// A pair of keys for AWS doors. `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Whose it is.
    pub principal: Principal,
    /// 20 upper case letters and digits.
    pub access_key_id: String,
    /// 40 characters, random.
    pub secret_access_key: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential")
            .field("principal", &self.principal)
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}
