//! The resource `/functions/NAME/configuration`: GetFunctionConfiguration and
//! UpdateFunctionConfiguration, and how a function is written as a `FunctionConfiguration`.

use super::error::{Error, Result};
use super::functions::{must_have_letters, owner, read_body, refer, refer_to, update};
use super::name::{self, LATEST};
use super::settings::{self, Settings};
use crate::auth::Verified;
use crate::doors::Doors;
use crate::sqs;
use axum::Json;
use axum::extract::{Path, Query, Request, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::Put;
use model::{Code, Function, Qualifier, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

/// Largest body: an environment of 32 KiB with every byte escaped, and room for the rest.
const MAX_BODY: usize = 512 * 1024;

/// The query of operations on one function.
#[derive(Debug, Deserialize)]
pub(super) struct Qualified {
    /// Version or alias.
    #[serde(rename = "Qualifier")]
    pub(super) qualifier: Option<String>,
}

/// GetFunctionConfiguration. Also what `aws lambda wait function-active` and
/// `function-updated` ask.
pub(super) async fn get(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(query): Query<Qualified>,
) -> Result<Json<Value>> {
    owner(&verified, "GetFunctionConfiguration")?;
    let asked = refer_to(&doors, &name, query.qualifier.as_deref()).await?;
    Ok(Json(asked.render(&doors.options.region)))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Change {
    #[serde(rename = "RevisionId")]
    revision_id: Option<String>,
    #[serde(flatten)]
    settings: Settings,
}

/// UpdateFunctionConfiguration.
pub(super) async fn put(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>> {
    const OPERATION: &str = "UpdateFunctionConfiguration";
    owner(&verified, OPERATION)?;
    let body = read_body(request, MAX_BODY, OPERATION).await?;
    let change: Change = settings::from_json(&body)?;
    let function = refer(&doors, &name, None).await?;
    let mut spec = function.spec.clone();
    change.settings.apply(&mut spec)?;
    if spec.destinations.dead_letter != function.spec.destinations.dead_letter {
        must_have_letters(&doors, &spec).await?;
    }
    let changed = update(&doors, &function, spec, change.revision_id).await?;
    Ok(Json(render(&changed, &doors.options.region)))
}

/// What a put is to compare: the revision that the client named, or the one that was just read, so
/// that two changes at once do not undo each other.
pub(super) fn compare(read: &Function, named: Option<&str>) -> Result<Put> {
    if named.is_some_and(|revision| revision != read.revision_id) {
        return Err(Error::stale_revision());
    }
    Ok(Put::Update {
        revision_id: Some(read.revision_id.clone()),
    })
}

/// What was declared last, as a `FunctionConfiguration`.
pub(super) fn render(function: &Function, region: &str) -> Value {
    render_version(function, None, None, region)
}

/// A function as a `FunctionConfiguration`, with the version that it is and the qualifier that it was
/// asked by. `State` is always `Active`: a function that was answered
/// can be invoked.
pub(super) fn render_version(
    function: &Function,
    version: Option<u64>,
    qualifier: Option<&Qualifier>,
    region: &str,
) -> Value {
    let version = version.map_or_else(|| LATEST.to_owned(), |number| number.to_string());
    let spec = &function.spec;
    let (package, size, sha256) = match &spec.code {
        Code::Zip { digest, size } => ("Zip", *size, base64_of_hex(digest.hex())),
        // As AWS has it: no size for an image, and its digest in hex.
        Code::Image { digest, .. } => ("Image", 0, digest.hex().to_owned()),
    };
    let mut shown = json!({
        "FunctionName": spec.name,
        "FunctionArn": name::qualified_arn(&spec.name, qualifier, region),
        "Role": spec.role,
        "CodeSize": size,
        "CodeSha256": sha256,
        "Description": spec.description,
        "Timeout": spec.limits.timeout.div_ceil(1000),
        "MemorySize": spec.limits.memory / (1024 * 1024),
        "LastModified": aws_time(function.modified),
        "Version": version,
        "RevisionId": function.revision_id,
        "TracingConfig": {"Mode": "PassThrough"},
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "PackageType": package,
        "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": spec.limits.tmp / (1024 * 1024)},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
    });
    if package == "Zip" {
        shown["Runtime"] = spec.runtime.as_str().into();
        shown["Handler"] = spec.handler.as_deref().unwrap_or_default().into();
    }
    if let Some(queue) = &spec.destinations.dead_letter {
        shown["DeadLetterConfig"] = json!({"TargetArn": sqs::arn(region, queue)});
    }
    if !spec.environment.is_empty() {
        shown["Environment"] = json!({"Variables": spec.environment});
    }
    if spec.entrypoint.is_some() || spec.command.is_some() || spec.working_dir.is_some() {
        let mut image = serde_json::Map::new();
        if let Some(words) = &spec.entrypoint {
            image.insert("EntryPoint".into(), json!(words));
        }
        if let Some(words) = &spec.command {
            image.insert("Command".into(), json!(words));
        }
        if let Some(folder) = &spec.working_dir {
            image.insert("WorkingDirectory".into(), json!(folder));
        }
        shown["ImageConfigResponse"] = json!({"ImageConfig": image});
    }
    shown
}

/// `2026-11-22T10:00:00.000+0000`, the Lambda API's own form.
fn aws_time(time: Timestamp) -> String {
    let text = time.rfc3339();
    match text.strip_suffix('Z') {
        Some(rest) => format!("{rest}+0000"),
        None => text,
    }
}

/// The digest of a zip archive as the Lambda API writes it.
fn base64_of_hex(text: &str) -> String {
    hex::decode(text).map_or_else(|_| String::new(), |bytes| STANDARD.encode(bytes))
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::{
        Contract, Destinations, Digest, Fresh, FunctionSpec, Limits, RetryPolicy, RuntimeName,
        Scaling, Snapshot,
    };

    /// A function for tests of the rendering.
    pub(in crate::lambda) fn function() -> Function {
        Function {
            spec: FunctionSpec {
                name: "thumb".parse().unwrap(),
                description: "small pictures".into(),
                runtime: RuntimeName::Nodejs20,
                handler: Some("index.handler".into()),
                code: Code::Zip {
                    // the SHA-256 of nothing
                    digest: Digest::from_hex(
                        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                    )
                    .unwrap(),
                    size: 22,
                },
                follow: false,
                contract: Contract::Lambda,
                entrypoint: None,
                command: None,
                working_dir: None,
                environment: [("A".to_owned(), "1".to_owned())].into(),
                secrets: model::SecretUse {
                    environment: [("KEY".to_owned(), "s".parse().unwrap())].into(),
                    files: Vec::new(),
                },
                limits: Limits {
                    timeout: 2_500,
                    ..Limits::default()
                },
                scaling: Scaling::default(),
                fresh: Fresh::Reuse,
                snapshot: Snapshot::None,
                egress: None,
                networks: model::Networks::default(),
                driver: None,
                retry: RetryPolicy::default(),
                destinations: Destinations::default(),
                role: "arn:aws:iam::000000000000:role/r".into(),
            },
            revision: 1,
            revision_id: "0198a5a0-0000-4000-8000-000000000000".into(),
            created: Timestamp(0),
            modified: Timestamp(1_795_341_600_000),
        }
    }

    #[test]
    fn a_zip_function_reads_as_in_aws() {
        let shown = render(&function(), "us-east-1");
        let expected = json!({
            "FunctionName": "thumb",
            "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:thumb",
            "Runtime": "nodejs20.x",
            "Role": "arn:aws:iam::000000000000:role/r",
            "Handler": "index.handler",
            "CodeSize": 22,
            "CodeSha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "Description": "small pictures",
            "Timeout": 3,
            "MemorySize": 128,
            "LastModified": "2026-11-22T10:00:00.000+0000",
            "Version": "$LATEST",
            "RevisionId": "0198a5a0-0000-4000-8000-000000000000",
            "TracingConfig": {"Mode": "PassThrough"},
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "PackageType": "Zip",
            "Architectures": ["x86_64"],
            "EphemeralStorage": {"Size": 512},
            "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
            "Environment": {"Variables": {"A": "1"}},
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn an_image_function_has_neither_runtime_nor_handler() {
        let mut function = function();
        function.spec.runtime = RuntimeName::Image;
        function.spec.code = Code::Image {
            reference: "shop/thumb:1".into(),
            digest: Digest::from_hex(&"a".repeat(64)).unwrap(),
        };
        function.spec.command = Some(vec!["serve".into()]);
        let shown = render(&function, "us-east-1");
        assert_eq!(shown["PackageType"], "Image");
        assert_eq!(shown["CodeSha256"], "a".repeat(64));
        assert!(shown.get("Runtime").is_none() && shown.get("Handler").is_none());
        assert_eq!(
            shown["ImageConfigResponse"],
            json!({"ImageConfig": {"Command": ["serve"]}})
        );
    }

    #[test]
    fn a_revision_that_is_not_the_current_one_is_refused() {
        let function = function();
        assert_eq!(
            compare(&function, Some("other")).unwrap_err(),
            Error::stale_revision()
        );
        assert_eq!(
            compare(&function, None).unwrap(),
            Put::Update {
                revision_id: Some(function.revision_id.clone())
            }
        );
    }
}
