//! Functions: what scales from zero.

use crate::{
    Destinations, Digest, Driver, Egress, FunctionName, Invalid, Limits, Networks, RetryPolicy,
    Scaling, SecretUse, Snapshot, Target, Timestamp, environment,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What runs a function's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RuntimeName {
    /// Node.js 20 of the host base; `handler` is `module.export`.
    #[serde(rename = "nodejs20.x")]
    Nodejs20,
    /// Python 3.11 of the host base; `handler` is `module.function`.
    #[serde(rename = "python3.11")]
    Python311,
    /// An executable named `bootstrap` in the code; also accepts Lambda's `provided.al2023`.
    #[serde(rename = "provided", alias = "provided.al2", alias = "provided.al2023")]
    Provided,
    /// An OCI image brings everything.
    #[serde(rename = "image")]
    Image,
}

impl RuntimeName {
    /// The identifier as the Lambda API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nodejs20 => "nodejs20.x",
            Self::Python311 => "python3.11",
            Self::Provided => "provided",
            Self::Image => "image",
        }
    }
}

impl std::str::FromStr for RuntimeName {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "nodejs20.x" => Ok(Self::Nodejs20),
            "python3.11" => Ok(Self::Python311),
            "provided" | "provided.al2" | "provided.al2023" => Ok(Self::Provided),
            "image" => Ok(Self::Image),
            other => {
                let shown: String = other.chars().take(40).collect();
                let reason = format!(
                    "\"{}\" is not known; use nodejs20.x, python3.11, provided or an image",
                    shown.escape_debug()
                );
                Err(Invalid::new("runtime", reason))
            }
        }
    }
}

/// How the platform and an instance talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contract {
    /// The instance polls the AWS Lambda Runtime API 2018-06-01.
    #[default]
    Lambda,
    /// The instance serves HTTP on `$PORT`.
    Http,
}

impl std::str::FromStr for Contract {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "lambda" => Ok(Self::Lambda),
            "http" => Ok(Self::Http),
            _ => Err(Invalid::new("contract", "must be lambda or http")),
        }
    }
}

/// Whether an instance may answer more than one call in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fresh {
    /// It is kept for the next call.
    #[default]
    Reuse,
    /// Each call gets an instance that nobody used before, and that is destroyed afterwards.
    Always,
}

/// Where a function's code is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// A zip archive kept as a blob.
    Zip {
        /// Address of the archive.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
    },
    /// An imported image.
    Image {
        /// The name it was asked for by, such as `shop/thumbnail:prod`.
        reference: String,
        /// The manifest that the name meant when the function was deployed.
        digest: Digest,
    },
}

/// What a user declares of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionSpec {
    /// Its name, unique in the server.
    pub name: FunctionName,
    /// Free text, 256 characters at most.
    #[serde(default)]
    pub description: String,
    /// What runs the code.
    pub runtime: RuntimeName,
    /// Entry point for managed runtimes, such as `index.handler`.
    #[serde(default)]
    pub handler: Option<String>,
    /// Where the code is.
    pub code: Code,
    /// Whether a push to the tag that the image's name means in the own registry becomes a new version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub follow: bool,
    /// How platform and instance talk.
    #[serde(default)]
    pub contract: Contract,
    /// Replaces the image's entry point.
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command; for `provided` with the `http` contract, the program to run.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Replaces the working directory.
    #[serde(default)]
    pub working_dir: Option<String>,
    /// Environment variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Secrets and configs that its instances are given.
    #[serde(default, skip_serializing_if = "SecretUse::is_empty")]
    pub secrets: SecretUse,
    /// What one instance may use.
    #[serde(default)]
    pub limits: Limits,
    /// How many instances.
    #[serde(default)]
    pub scaling: Scaling,
    /// Whether instances are used again.
    #[serde(default)]
    pub fresh: Fresh,
    /// From what instances begin.
    #[serde(default)]
    pub snapshot: Snapshot,
    /// Where its instances may connect to; without, the server's default.
    #[serde(default)]
    pub egress: Option<Egress>,
    /// The networks that its instances are on.
    #[serde(default, skip_serializing_if = "Networks::is_empty")]
    pub networks: Networks,
    /// What makes the containers of its instances; without, the server's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// Retries of durable events.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// Who is told of their end.
    #[serde(default)]
    pub destinations: Destinations,
    /// Kept and given back for the AWS API; not interpreted (an IAM role's ARN).
    #[serde(default)]
    pub role: String,
}

impl FunctionSpec {
    /// A function of an image with everything else as it is by default.
    pub fn of_image(name: FunctionName, code: Code) -> Self {
        Self {
            name,
            description: String::new(),
            runtime: RuntimeName::Image,
            handler: None,
            code,
            follow: false,
            contract: Contract::default(),
            entrypoint: None,
            command: None,
            working_dir: None,
            environment: BTreeMap::new(),
            secrets: SecretUse::default(),
            limits: Limits::default(),
            scaling: Scaling::default(),
            fresh: Fresh::default(),
            snapshot: Snapshot::default(),
            driver: None,
            egress: None,
            networks: Networks::default(),
            retry: RetryPolicy::default(),
            destinations: Destinations::default(),
            role: String::new(),
        }
    }

    /// The same validation on create, update and import.
    ///
    /// # Errors
    /// Names the first field that breaks a rule.
    pub fn check(&self) -> Result<(), Invalid> {
        self.limits.check()?;
        environment::check(&self.environment)?;
        self.secrets.check(&self.environment)?;
        if self.description.chars().count() > 256 {
            return Err(Invalid::new("description", "is longer than 256 characters"));
        }
        let managed = matches!(self.runtime, RuntimeName::Nodejs20 | RuntimeName::Python311);
        if managed && self.contract == Contract::Lambda {
            match &self.handler {
                Some(handler) => check_handler(handler)?,
                None => return Err(Invalid::new("handler", "is missing: give module.function")),
            }
        }
        match (&self.runtime, &self.code) {
            (RuntimeName::Image, Code::Zip { .. }) => {
                return Err(Invalid::new("runtime", "is image, and the code is a zip"));
            }
            (runtime, Code::Image { .. }) if *runtime != RuntimeName::Image => {
                return Err(Invalid::new(
                    "runtime",
                    "must be image when the code is an image",
                ));
            }
            _ => {}
        }
        if self.follow && matches!(self.code, Code::Zip { .. }) {
            let reason = "is for a tag of an image, and the code is a folder or a zip";
            return Err(Invalid::new("follow", reason));
        }
        self.snapshot.check(self.runtime, self.contract)?;
        if self.snapshot == Snapshot::Init && self.limits.pids < 2 {
            let reason = "must be 2 at least with snapshot: init";
            return Err(Invalid::new("limits.pids", reason));
        }
        if self.snapshot == Snapshot::Init && self.driver == Some(Driver::Docker) {
            let reason = "is docker, which cannot fork a container: snapshot: init needs sandbox";
            return Err(Invalid::new("driver", reason));
        }
        self.networks.check()?;
        if self.networks.has_aliases() {
            let reason = "has aliases, and a function has no address to be reached at";
            return Err(Invalid::new("networks", reason));
        }
        self.scaling.check()?;
        self.check_sharing()?;
        if !(1..=100).contains(&self.retry.max_attempts) {
            return Err(Invalid::new("retry.max_attempts", "must be 1 to 100"));
        }
        self.destinations.check(&Target::Function {
            name: self.name.clone(),
        })
    }

    /// Whether instances of both are the same: they differ, if at all, in what becomes of events and of pushes.
    pub fn runs_like(&self, other: &Self) -> bool {
        let other = Self {
            retry: self.retry.clone(),
            destinations: self.destinations.clone(),
            follow: self.follow,
            ..other.clone()
        };
        *self == other
    }

    /// An instance can answer several calls at once only where they can be told apart, and where it
    /// is used again.
    fn check_sharing(&self) -> Result<(), Invalid> {
        let refuse = |reason| Err(Invalid::new("scaling.per_instance", reason));
        match (self.scaling.per_instance, self.contract, self.fresh) {
            (1, ..) => Ok(()),
            (_, Contract::Lambda, _) => refuse(
                "is above 1, which needs contract http: the Runtime API hands out one call at a time",
            ),
            (_, Contract::Http, Fresh::Always) => {
                refuse("is above 1, and fresh: always gives each call an instance of its own")
            }
            (_, Contract::Http, Fresh::Reuse) => Ok(()),
        }
    }
}

fn check_handler(handler: &str) -> Result<(), Invalid> {
    let legal = |c: char| !c.is_whitespace() && !c.is_control();
    if handler.is_empty() || handler.len() > 128 || !handler.chars().all(legal) {
        return Err(Invalid::new(
            "handler",
            "must be 1 to 128 characters without spaces",
        ));
    }
    if !handler.contains('.') {
        return Err(Invalid::new(
            "handler",
            "must name a module and a function: module.function",
        ));
    }
    Ok(())
}

/// A function as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Function {
    /// What was declared.
    pub spec: FunctionSpec,
    /// Counts the changes of this function, from 1. Instances belong to one revision.
    pub revision: u64,
    /// Changes with each revision; clients use it for compare-and-set (a UUID).
    pub revision_id: String,
    /// When it was first made.
    pub created: Timestamp,
    /// When it was last changed.
    pub modified: Timestamp,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn spec(contract: &str, fresh: &str, scaling: serde_json::Value) -> FunctionSpec {
        serde_json::from_value(serde_json::json!({
            "name": "f", "runtime": "provided", "contract": contract, "fresh": fresh,
            "code": {"zip": {"digest": format!("sha256:{}", "a".repeat(64)), "size": 1}},
            "scaling": scaling,
        }))
        .unwrap()
    }

    #[test]
    fn only_http_instances_that_are_used_again_share() {
        let ten = || serde_json::json!({"per_instance": 10});
        assert!(spec("http", "reuse", ten()).check().is_ok());
        for (contract, fresh) in [
            ("lambda", "reuse"),
            ("http", "always"),
            ("lambda", "always"),
        ] {
            let error = spec(contract, fresh, ten()).check().unwrap_err();
            assert_eq!(error.field, "scaling.per_instance", "{contract} {fresh}");
        }
        for (field, value) in [
            ("per_instance", 0),
            ("per_instance", 1001),
            ("reserved", 1001),
        ] {
            let error = spec("http", "reuse", serde_json::json!({field: value}));
            let error = error.check().unwrap_err();
            assert_eq!(error.field, format!("scaling.{field}"));
        }
    }

    #[test]
    fn only_python_functions_are_initialised_once() {
        let mut python = spec("lambda", "always", serde_json::json!({}));
        python.snapshot = Snapshot::Init;
        let error = python.check().unwrap_err();
        assert_eq!(error.field, "snapshot");
        assert!(error.reason.contains("program of your own"), "{error}");
        python.runtime = RuntimeName::Python311;
        python.handler = Some("app.handler".to_owned());
        assert_eq!(python.check(), Ok(()));
        python.driver = Some(Driver::Docker);
        assert_eq!(python.check().unwrap_err().field, "driver");
        python.driver = None;
        python.limits.pids = 1;
        assert_eq!(python.check().unwrap_err().field, "limits.pids");
    }

    #[test]
    fn what_was_kept_before_these_settings_reads_as_their_defaults() {
        let old = spec("http", "reuse", serde_json::json!({"max_instances": 3}));
        assert_eq!(old.scaling.per_instance, 1);
        assert_eq!(old.scaling.reserved, None);
        assert_eq!(old.scaling.freeze_after, Some(200));
        assert_eq!((old.fresh, old.snapshot), (Fresh::Reuse, Snapshot::None));
        assert_eq!(old.driver, None);
    }
}
