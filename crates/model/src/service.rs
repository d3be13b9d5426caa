//! Services: what stays resident.

use crate::{Code, Egress, Invalid, Limits, RuntimeName, SecretUse, ServiceName, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a replica shows that it is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCheck {
    /// Path that must answer 2xx or 3xx; without it a TCP connect is enough.
    pub path: Option<String>,
    /// Milliseconds between checks.
    pub interval: u64,
    /// Milliseconds that one check may take.
    pub timeout: u64,
    /// Failures in a row after which the replica is restarted.
    pub retries: u32,
    /// Milliseconds after the start in which failures do not count.
    pub start_period: u64,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: None,
            interval: 5_000,
            timeout: 2_000,
            retries: 3,
            start_period: 30_000,
        }
    }
}

/// A named volume of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeMount {
    /// Name of the volume: `a-z 0-9 - _`, 1 to 63.
    pub volume: String,
    /// Absolute path inside the service.
    pub target: String,
    /// Whether writing is refused.
    #[serde(default)]
    pub read_only: bool,
}

/// What a user declares of a resident service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// Its name, by which functions and services reach it.
    pub name: ServiceName,
    /// Which base it runs on: `nodejs20.x`, `python3.11`, `provided` (all the host base) or `image`.
    pub runtime: RuntimeName,
    /// Where the code is.
    pub code: Code,
    /// The program and its arguments; an image may bring its own.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Replaces the image's entry point.
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the working directory.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// Environment variables. `PORT` is set to the first of `ports`.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// TCP ports it listens on; the first takes its HTTP route and its events.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// Replicas: 0 to 100.
    #[serde(default = "one")]
    pub replicas: u32,
    /// How a replica shows that it is well.
    #[serde(default)]
    pub health: HealthCheck,
    /// Secrets and configs that its replicas are given.
    #[serde(default, skip_serializing_if = "SecretUse::is_empty")]
    pub secrets: SecretUse,
    /// Named volumes.
    #[serde(default)]
    pub volumes: Vec<VolumeMount>,
    /// What one replica may use.
    #[serde(default)]
    pub limits: Limits,
    /// Where its replicas may connect to; without, the server's default.
    #[serde(default)]
    pub egress: Option<Egress>,
}

fn one() -> u32 {
    1
}

impl ServiceSpec {
    /// The same validation on create, update and import.
    ///
    /// # Errors
    /// Names the first field that breaks a rule.
    pub fn check(&self) -> Result<(), Invalid> {
        self.limits.check()?;
        crate::function::check_environment(&self.environment)?;
        self.secrets.check(&self.environment)?;
        if self.replicas > 100 {
            return Err(Invalid::new("replicas", "must be 0 to 100"));
        }
        if self.ports.len() > 8 || self.ports.contains(&0) {
            return Err(Invalid::new(
                "ports",
                "must be at most 8 ports from 1 to 65535",
            ));
        }
        if matches!(self.code, Code::Zip { .. }) && self.command.as_ref().is_none_or(Vec::is_empty)
        {
            return Err(Invalid::new(
                "command",
                "is missing: a service from a folder needs one",
            ));
        }
        for mount in &self.volumes {
            let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            let name = &mount.volume;
            if name.is_empty() || name.len() > 63 || !name.bytes().all(legal) {
                return Err(Invalid::new(
                    "volumes",
                    "a volume's name must be 1 to 63 of a-z 0-9 - _",
                ));
            }
            let clean = mount.target.starts_with('/')
                && !mount
                    .target
                    .split('/')
                    .any(|part| part == ".." || part == ".")
                && !mount.target.trim_matches('/').is_empty();
            if !clean {
                return Err(Invalid::new(
                    "volumes",
                    "a target must be an absolute path without ..",
                ));
            }
        }
        Ok(())
    }
}

/// A service as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// What was declared.
    pub spec: ServiceSpec,
    /// Counts the changes of this service, from 1.
    pub revision: u64,
    /// When it was first made.
    pub created: Timestamp,
    /// When it was last changed.
    pub modified: Timestamp,
}

/// One replica, as seen now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    /// 0 to `replicas - 1`.
    pub index: u32,
    /// `starting`, `healthy`, `unhealthy`, `backing_off` or `stopped`.
    pub state: String,
    /// How often it was started again.
    pub restarts: u32,
    /// Why it ended last, if it did.
    pub last_exit: Option<String>,
}

/// A service and its replicas, as seen now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// The service as it is kept.
    pub service: Service,
    /// Its replicas by index.
    pub replicas: Vec<ReplicaStatus>,
}
