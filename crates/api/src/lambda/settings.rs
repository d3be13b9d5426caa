//! The parameters that CreateFunction and UpdateFunctionConfiguration share, and what is done with
//! those that ask for something this server does not have: they are refused by name, so that nobody
//! believes to have it. Accepted and without effect are `Tags`, and the values that ask for nothing: empty ones, `TracingConfig` `PassThrough`,
//! `SnapStart` `None`, `LoggingConfig` with `LogFormat` `Text`.

use super::error::{Error, Result};
use crate::sqs;
use model::{FunctionSpec, QueueName, RuntimeName};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

const MIB: u64 = 1024 * 1024;

/// Environment of a function.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Environment {
    variables: BTreeMap<String, String>,
}

/// Size of `/tmp`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EphemeralStorage {
    size: i64,
}

/// What replaces an image's own configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct ImageConfig {
    entry_point: Vec<String>,
    command: Vec<String>,
    working_directory: String,
}

/// Which queue is given dead letters; an empty ARN takes it away.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct DeadLetterConfig {
    target_arn: String,
}

impl DeadLetterConfig {
    fn queue(&self) -> Result<Option<QueueName>> {
        if self.target_arn.is_empty() {
            return Ok(None);
        }
        let queue = sqs::queue_of_arn(&self.target_arn).filter(|queue| !queue.is_fifo());
        queue.map(Some).ok_or_else(|| {
            Error::invalid_parameter(
                "DeadLetterConfig.TargetArn must be a standard queue's: \
                 arn:aws:sqs:REGION:ACCOUNT:NAME",
            )
        })
    }
}

/// The shared parameters; what is absent stays as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Settings {
    runtime: Option<String>,
    role: Option<String>,
    handler: Option<String>,
    description: Option<String>,
    timeout: Option<i64>,
    memory_size: Option<i64>,
    environment: Option<Environment>,
    ephemeral_storage: Option<EphemeralStorage>,
    image_config: Option<ImageConfig>,
    dead_letter_config: Option<DeadLetterConfig>,
    /// Everything else that was sent.
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

impl Settings {
    /// Changes `spec` to what was asked.
    ///
    /// # Errors
    /// Names the parameter that is not served or out of its bounds.
    pub(super) fn apply(self, spec: &mut FunctionSpec) -> Result<()> {
        refuse_unserved(&self.others)?;
        if let Some(runtime) = self.runtime {
            spec.runtime = runtime_of(&runtime)?;
        }
        if let Some(role) = self.role {
            spec.role = bounded("Role", role, 2048)?;
        }
        if let Some(handler) = self.handler {
            spec.handler = Some(handler).filter(|text| !text.is_empty());
        }
        if let Some(description) = self.description {
            spec.description = description;
        }
        if let Some(seconds) = self.timeout {
            spec.limits.timeout = within("Timeout", seconds, 1, 900, "seconds")? * 1000;
        }
        if let Some(size) = self.memory_size {
            spec.limits.memory = within("MemorySize", size, 16, 65_536, "MiB")? * MIB;
        }
        if let Some(storage) = self.ephemeral_storage {
            spec.limits.tmp =
                within("EphemeralStorage.Size", storage.size, 1, 10_240, "MiB")? * MIB;
        }
        if let Some(environment) = self.environment {
            spec.environment = environment.variables;
        }
        if let Some(letters) = self.dead_letter_config {
            spec.destinations.dead_letter = letters.queue()?;
        }
        if let Some(image) = self.image_config {
            spec.entrypoint = Some(image.entry_point).filter(|words| !words.is_empty());
            spec.command = Some(image.command).filter(|words| !words.is_empty());
            spec.working_dir = Some(image.working_directory).filter(|text| !text.is_empty());
        }
        Ok(())
    }
}

/// Reads a JSON body; an empty one has no parameters.
pub(super) fn from_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        Error::invalid_content(format!("Could not parse request body into json: {error}"))
    })
}

/// Refuses parameters that ask for something that is not served.
pub(super) fn refuse_unserved(others: &BTreeMap<String, Value>) -> Result<()> {
    for (name, value) in others {
        if asks_nothing(value) || is_harmless(name, value) {
            continue;
        }
        let shown: String = name.chars().take(60).collect();
        return Err(Error::invalid_parameter(format!(
            "{} is not served by this server, and would have no effect: leave it out",
            shown.escape_debug()
        )));
    }
    Ok(())
}

fn asks_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(asks_nothing),
    }
}

fn is_harmless(name: &str, value: &Value) -> bool {
    let only = |member: &str, wanted: &str| {
        value.as_object().is_some_and(|members| {
            members
                .iter()
                .all(|(key, value)| (key == member && value == wanted) || asks_nothing(value))
        })
    };
    match name {
        "Tags" => value.is_object(),
        "TracingConfig" => only("Mode", "PassThrough"),
        "SnapStart" => only("ApplyOn", "None"),
        "LoggingConfig" => only("LogFormat", "Text"),
        _ => false,
    }
}

fn runtime_of(text: &str) -> Result<RuntimeName> {
    match text.parse()? {
        RuntimeName::Image => Err(Error::invalid_parameter(
            "Runtime is only for zip archives; an image brings its own: set PackageType to Image \
             and Code.ImageUri",
        )),
        runtime => Ok(runtime),
    }
}

fn bounded(name: &str, text: String, most: usize) -> Result<String> {
    if text.len() > most {
        let reason = format!("{name} must have at most {most} characters");
        return Err(Error::invalid_parameter(reason));
    }
    Ok(text)
}

fn within(name: &str, value: i64, least: i64, most: i64, unit: &str) -> Result<u64> {
    match u64::try_from(value) {
        Ok(fits) if (least..=most).contains(&value) => Ok(fits),
        _ => Err(Error::invalid_parameter(format!(
            "{name} is {value} and must be {least} to {most} {unit}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::{
        Code, Contract, Destinations, Digest, Fresh, Limits, RetryPolicy, Scaling, Snapshot,
    };

    fn spec() -> FunctionSpec {
        FunctionSpec {
            name: "f".parse().unwrap(),
            description: "old".into(),
            runtime: RuntimeName::Python311,
            handler: Some("a.b".into()),
            code: Code::Zip {
                digest: Digest::from_hex(&"0".repeat(64)).unwrap(),
                size: 1,
            },
            follow: false,
            contract: Contract::Lambda,
            entrypoint: None,
            command: None,
            working_dir: None,
            environment: BTreeMap::new(),
            secrets: model::SecretUse::default(),
            limits: Limits::default(),
            scaling: Scaling::default(),
            fresh: Fresh::Reuse,
            snapshot: Snapshot::None,
            egress: None,
            networks: model::Networks::default(),
            driver: None,
            retry: RetryPolicy::default(),
            destinations: Destinations::default(),
            role: String::new(),
        }
    }

    fn applied(json: &str) -> Result<FunctionSpec> {
        let mut spec = spec();
        from_json::<Settings>(json.as_bytes())?.apply(&mut spec)?;
        Ok(spec)
    }

    #[test]
    fn what_is_absent_stays() {
        assert_eq!(applied("{}").unwrap(), spec());
        assert_eq!(applied("").unwrap(), spec());
    }

    #[test]
    fn units_are_those_of_aws() {
        let spec = applied(
            r#"{"Timeout":7,"MemorySize":256,"EphemeralStorage":{"Size":1024},
                "Environment":{"Variables":{"A":"1"}},"Runtime":"provided.al2023"}"#,
        )
        .unwrap();
        assert_eq!(spec.limits.timeout, 7_000);
        assert_eq!(spec.limits.memory, 256 * MIB);
        assert_eq!(spec.limits.tmp, 1024 * MIB);
        assert_eq!(spec.environment["A"], "1");
        assert_eq!(spec.runtime, RuntimeName::Provided);
    }

    #[test]
    fn bounds_are_named() {
        for bad in [
            r#"{"Timeout":0}"#,
            r#"{"Timeout":901}"#,
            r#"{"MemorySize":-1}"#,
            r#"{"MemorySize":9223372036854775807}"#,
            r#"{"EphemeralStorage":{"Size":99999}}"#,
            r#"{"Runtime":"cobol"}"#,
            r#"{"Runtime":"image"}"#,
        ] {
            let error = applied(bad).unwrap_err();
            assert_eq!(error.name(), "InvalidParameterValueException", "{bad}");
        }
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        let error =
            applied(r#"{"VpcConfig":{"SubnetIds":["s"],"SecurityGroupIds":[]}}"#).unwrap_err();
        assert!(error.message().contains("VpcConfig"));
        for harmless in [
            r#"{"VpcConfig":{"SubnetIds":[],"SecurityGroupIds":[]}}"#,
            r#"{"Layers":[]}"#,
            r#"{"KMSKeyArn":""}"#,
            r#"{"TracingConfig":{"Mode":"PassThrough"}}"#,
            r#"{"Tags":{"a":"b"}}"#,
        ] {
            assert_eq!(applied(harmless).unwrap(), spec(), "{harmless}");
        }
        for asks in [
            r#"{"Layers":["arn:x"]}"#,
            r#"{"TracingConfig":{"Mode":"Active"}}"#,
            r#"{"DeadLetterConfig":{"TargetArn":"arn:x"}}"#,
            r#"{"SnapStart":{"ApplyOn":"PublishedVersions"}}"#,
        ] {
            assert!(applied(asks).is_err(), "{asks}");
        }
    }
}
