//! Drivers: what makes the containers of instances.

use crate::Invalid;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What makes the container of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// The platform's own launcher.
    #[default]
    Sandbox,
    /// Docker Engine on the same machine.
    Docker,
}

impl Driver {
    /// As manifests and options write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Docker => "docker",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Driver {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "sandbox" => Ok(Self::Sandbox),
            "docker" => Ok(Self::Docker),
            other => {
                let shown: String = other.chars().take(40).collect();
                let reason = format!("\"{}\" is neither sandbox nor docker", shown.escape_debug());
                Err(Invalid::new("driver", reason))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_driver_is_read_as_it_is_written() {
        for driver in [Driver::Sandbox, Driver::Docker] {
            assert_eq!(driver.to_string().parse::<Driver>().unwrap(), driver);
            assert_eq!(serde_json::json!(driver), driver.as_str());
        }
        assert_eq!("podman".parse::<Driver>().unwrap_err().field, "driver");
    }
}
