//! The environment of an instance: the platform's defaults, an image's, the user's, and what the
//! platform insists on, each over the one before.

use crate::host::Interpreter;
use crate::{InstanceSpec, bootstrap};
use model::{Code, Contract, InstanceId, Owner, Snapshot, Timestamp};
use std::collections::BTreeMap;

/// Where the code of a zip is inside.
pub(crate) const TASK_ROOT: &str = "/var/task";
const HOST_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/opt/bin";
const IMAGE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const MIB: u64 = 1024 * 1024;

/// The whole environment of an instance.
pub(crate) fn build(
    spec: &InstanceSpec,
    interpreter: Option<&Interpreter>,
    region: &str,
) -> Vec<(String, String)> {
    let mut all = defaults(spec, interpreter, region);
    if let Some(image) = &spec.image {
        for pair in &image.environment {
            if let Some((name, value)) = pair.split_once('=') {
                all.insert(name.to_owned(), value.to_owned());
            }
        }
    }
    all.extend(spec.environment.clone());
    all.extend(fixed(spec));
    all.into_iter().collect()
}

/// What a user may replace.
fn defaults(
    spec: &InstanceSpec,
    interpreter: Option<&Interpreter>,
    region: &str,
) -> BTreeMap<String, String> {
    let mut all = Variables::default();
    all.set("AWS_REGION", region);
    all.set("AWS_DEFAULT_REGION", region);
    all.set("AWS_ACCESS_KEY_ID", &spec.credential.access_key_id);
    all.set("AWS_SECRET_ACCESS_KEY", &spec.credential.secret_access_key);
    all.set("LANG", "C.UTF-8");
    all.set("TZ", ":UTC");
    // The only folder that can be written to.
    all.set("HOME", "/tmp");
    all.set("TMPDIR", "/tmp");
    if matches!(spec.code, Code::Image { .. }) {
        all.set("PATH", IMAGE_PATH);
    } else {
        let path = interpreter.map_or_else(|| HOST_PATH.to_owned(), |found| found.path(HOST_PATH));
        all.set("PATH", &path);
        all.set("LD_LIBRARY_PATH", &format!("{TASK_ROOT}:{TASK_ROOT}/lib"));
        // For interpreters that the function starts itself.
        all.set("PYTHONPATH", TASK_ROOT);
        all.set("NODE_PATH", &format!("{TASK_ROOT}/node_modules"));
    }
    all.0
}

/// What nobody may replace.
fn fixed(spec: &InstanceSpec) -> BTreeMap<String, String> {
    let mut all = Variables::default();
    all.set("AWS_ENDPOINT_URL", "http://127.0.0.1:4566");
    // A service may have no port at all.
    if spec.contract == Contract::Http && spec.port != 0 {
        all.set("PORT", &spec.port.to_string());
    }
    let Owner::Function { name, .. } = &spec.owner else {
        return all.0;
    };
    let name = name.as_str();
    let memory = (spec.limits.memory / MIB).to_string();
    all.set("AWS_LAMBDA_FUNCTION_NAME", name);
    all.set("AWS_LAMBDA_FUNCTION_VERSION", &spec.owner.version());
    all.set("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &memory);
    let initialised = match spec.snapshot {
        Snapshot::None => "on-demand",
        Snapshot::Init => "snap-start",
    };
    all.set("AWS_LAMBDA_INITIALIZATION_TYPE", initialised);
    all.set("AWS_LAMBDA_LOG_GROUP_NAME", &format!("/aws/lambda/{name}"));
    let (log_stream, value) = log_stream_of(&spec.id, &spec.owner);
    all.set(&log_stream, &value);
    let environment = format!("AWS_Lambda_{}", spec.runtime.as_str());
    all.set("AWS_EXECUTION_ENV", &environment);
    all.set("LAMBDA_TASK_ROOT", TASK_ROOT);
    all.set("LAMBDA_RUNTIME_DIR", bootstrap::FOLDER);
    if spec.contract == Contract::Lambda {
        all.set("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001");
        if let Some(handler) = handler(spec) {
            all.set("_HANDLER", handler);
        }
    }
    all.0
}

/// The handler; of an image, its command's first word, as in AWS's own images.
fn handler(spec: &InstanceSpec) -> Option<&str> {
    let of_image = || {
        let command = spec.command.as_ref();
        let command = command.or(spec.image.as_ref().map(|image| &image.command));
        command?.first()
    };
    spec.handler.as_ref().or_else(of_image).map(String::as_str)
}

/// The one variable that differs between the instances of a function.
const LOG_STREAM: &str = "AWS_LAMBDA_LOG_STREAM_NAME";

/// It, for this instance: `YYYY/MM/DD/[VERSION]INSTANCE`, as Lambda names it.
pub(crate) fn log_stream_of(id: &InstanceId, owner: &Owner) -> (String, String) {
    let version = owner.version();
    let now = Timestamp::now().rfc3339();
    let day = now.get(..10).unwrap_or("1970-01-01").replace('-', "/");
    (LOG_STREAM.to_owned(), format!("{day}/[{version}]{id}"))
}

/// Whether a variable is the same for all instances of a function.
pub(crate) fn is_shared(name: &str) -> bool {
    name != LOG_STREAM
}

#[derive(Default)]
struct Variables(BTreeMap<String, String>);

impl Variables {
    fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::spec::tests::spec;
    use model::ImageConfig;

    fn read(spec: &InstanceSpec) -> BTreeMap<String, String> {
        build(spec, None, "us-east-1").into_iter().collect()
    }

    #[test]
    fn a_user_replaces_defaults_but_not_what_is_fixed() {
        let mut spec = spec();
        for (name, value) in [
            ("AWS_REGION", "eu-central-1"),
            ("PATH", "/var/task/bin"),
            ("AWS_LAMBDA_RUNTIME_API", "evil:1"),
            ("AWS_ENDPOINT_URL", "http://evil"),
        ] {
            spec.environment.insert(name.into(), value.into());
        }
        let all = read(&spec);
        assert_eq!(all["AWS_REGION"], "eu-central-1");
        assert_eq!(all["PATH"], "/var/task/bin");
        assert_eq!(all["AWS_LAMBDA_RUNTIME_API"], "127.0.0.1:9001");
        assert_eq!(all["AWS_ENDPOINT_URL"], "http://127.0.0.1:4566");
        assert_eq!(all["_HANDLER"], "index.handler");
        assert_eq!(all["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "128");
        let stream = &all["AWS_LAMBDA_LOG_STREAM_NAME"];
        assert!(
            stream.ends_with(&format!("/[$LATEST]{}", spec.id)),
            "{stream}"
        );
    }

    #[test]
    fn an_image_brings_its_own_and_the_user_is_over_it() {
        let mut spec = spec();
        spec.code = Code::Image {
            reference: "shop/thumbnail:prod".into(),
            digest: model::Digest::from_hex(&"a".repeat(64)).unwrap(),
        };
        spec.handler = None;
        spec.image = Some(ImageConfig {
            command: vec!["app.resize".into()],
            environment: vec!["PATH=/opt/bin".into(), "MODE=image".into()],
            ..ImageConfig::default()
        });
        spec.environment.insert("MODE".into(), "user".into());
        let all = read(&spec);
        assert_eq!(all["PATH"], "/opt/bin");
        assert_eq!(all["MODE"], "user");
        assert_eq!(all["_HANDLER"], "app.resize");
        assert!(!all.contains_key("LD_LIBRARY_PATH"));
    }

    #[test]
    fn a_service_is_told_its_port_and_nothing_of_lambda() {
        let mut spec = spec();
        spec.owner = Owner::Service {
            name: "catalog".parse().unwrap(),
            replica: 0,
        };
        spec.contract = Contract::Http;
        spec.port = 3000;
        let all = read(&spec);
        assert_eq!(all["PORT"], "3000");
        assert!(all.keys().all(|name| !name.starts_with("AWS_LAMBDA_")));
        assert!(!all.contains_key("_HANDLER"));
        assert_eq!(all["AWS_ACCESS_KEY_ID"], spec.credential.access_key_id);
    }
}
