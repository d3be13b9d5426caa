//! Services: what stays resident.

use crate::{
    Code, Egress, Invalid, Limits, Networks, RuntimeName, SecretUse, ServiceName, Timestamp,
};
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
    /// Nothing is asked: it is well as long as it runs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: None,
            interval: 5_000,
            timeout: 2_000,
            retries: 3,
            start_period: 30_000,
            disabled: false,
        }
    }
}

/// When a replica that has ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Restart {
    /// However it ended.
    #[default]
    Always,
    /// If it ended with another status than 0, by a signal, or was ill.
    OnFailure {
        /// At most so often; without, any number of times.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<u32>,
    },
    /// Never: a job, run once for each deployment and each start of the server.
    No,
}

impl Restart {
    /// Whether one that ended so is started again, after so many restarts.
    pub fn again(self, success: bool, restarts: u32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure { max } => !success && max.is_none_or(|max| restarts < max),
            Self::No => false,
        }
    }
}

/// What of another service is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Each of its replicas has a process.
    Started,
    /// Each of its replicas is well.
    Healthy,
    /// Each of its replicas has ended with status 0, and is not started again.
    Completed,
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Started => "to start",
            Self::Healthy => "to be healthy",
            Self::Completed => "to end with status 0",
        })
    }
}

/// A service that another one waits for before it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// The other one.
    pub service: ServiceName,
    /// What of it is waited for.
    pub condition: Condition,
}

/// Most services that one service waits for.
const MAX_DEPENDENCIES: usize = 64;
/// Most bytes of all labels of a service.
const MAX_LABELS: usize = 32 * 1024;

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
    /// The networks that its replicas are on.
    #[serde(default, skip_serializing_if = "Networks::is_empty")]
    pub networks: Networks,
    /// When a replica that has ended is started again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restart: Restart,
    /// What its replicas wait for before their first start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
    /// Its owner's notes; they change nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What makes its replicas' containers; without, the server's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<crate::Driver>,
}

fn is_default(restart: &Restart) -> bool {
    *restart == Restart::default()
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
        crate::environment::check(&self.environment)?;
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
        self.check_dependencies()?;
        self.networks.check()?;
        let labels = self.labels.iter();
        let size: usize = labels.map(|(key, value)| key.len() + value.len()).sum();
        if size > MAX_LABELS || self.labels.keys().any(String::is_empty) {
            let reason = format!("must have names, and at most {MAX_LABELS} bytes in all");
            return Err(Invalid::new("labels", reason));
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

    fn check_dependencies(&self) -> Result<(), Invalid> {
        if self.depends_on.len() > MAX_DEPENDENCIES {
            let reason = format!("must be at most {MAX_DEPENDENCIES} services");
            return Err(Invalid::new("depends_on", reason));
        }
        for (at, dependency) in self.depends_on.iter().enumerate() {
            let name = &dependency.service;
            if *name == self.name {
                return Err(Invalid::new("depends_on", "names the service itself"));
            }
            let mut before = self.depends_on[..at].iter();
            if before.any(|other| other.service == *name) {
                return Err(Invalid::new(
                    "depends_on",
                    format!("names \"{name}\" twice"),
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
    /// `waiting` (for what it depends on), `starting`, `healthy`, `unhealthy`, `backing_off`, `completed` (ended with
    /// status 0, not to be started again), `failed` (the same with another) or `stopped`.
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn who_is_started_again() {
        let twice = Restart::OnFailure { max: Some(2) };
        let always = Restart::OnFailure { max: None };
        for (restart, success, restarts, again) in [
            (Restart::Always, true, 1_000, true),
            (Restart::No, false, 0, false),
            (always, true, 0, false),
            (always, false, 1_000, true),
            (twice, false, 1, true),
            (twice, false, 2, false),
        ] {
            assert_eq!(restart.again(success, restarts), again, "{restart:?}");
        }
    }

    #[test]
    fn what_an_older_server_has_kept_is_read_and_what_is_not_said_is_not_written() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let kept = serde_json::json!({
            "name": "a", "runtime": "provided", "code": {"zip": {"digest": digest, "size": 1}}, "command": ["x"],
        });
        let mut spec: ServiceSpec = serde_json::from_value(kept).unwrap();
        assert_eq!(spec.restart, Restart::Always);
        let written = serde_json::to_value(&spec).unwrap();
        for key in ["restart", "depends_on", "labels", "driver"] {
            assert!(written.get(key).is_none(), "{key}");
        }
        spec.check().unwrap();
        spec.depends_on = vec![Dependency {
            service: "a".parse().unwrap(),
            condition: Condition::Started,
        }];
        assert!(spec.check().unwrap_err().reason.contains("itself"));
        spec.depends_on.clear();
        spec.labels.insert("a".to_owned(), "x".repeat(MAX_LABELS));
        assert_eq!(spec.check().unwrap_err().field, "labels");
    }
}
