//! Functions from images: what the image says is what runs.

use crate::rig::{Rig, answer, call, tail};
use model::{Code, Ending, ImageRecord, RuntimeName};
use runtime::InstanceSpec;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::process::Command;

crate::tests!(
    an_image_with_a_runtime_of_its_own_is_a_function,
    an_image_whose_program_is_not_there_is_named,
);

/// A runtime in nothing but bash: one connection, three requests for each call.
const RUNTIME: &str = r#"
api=/dev/tcp/${AWS_LAMBDA_RUNTIME_API/:/\/}
exec 3<>$api
say() { printf '%s /2018-06-01/runtime/%s HTTP/1.1\r\nHost: a\r\nContent-Length: %s\r\n\r\n%s' "$1" "$2" "${#3}" "$3" >&3; }
hear() {
  local line length=0
  while IFS= read -r line <&3 && line=${line%$'\r'} && [ -n "$line" ]; do
    case ${line,,} in
      lambda-runtime-aws-request-id:*) id=${line#*: } ;;
      content-length:*) length=${line#*: } ;;
    esac
  done
  IFS= read -r -N "$length" body <&3
}
echo "handler $_HANDLER"
: > /tmp/probe || exit 9
while :; do
  say GET invocation/next ''; hear
  say POST "invocation/$id/response" "[\"$MODE\",\"$PWD\",$EUID,$body]"; hear
done
"#;

async fn an_image_with_a_runtime_of_its_own_is_a_function(rig: &Rig) {
    let image = import(rig, "shop/bash:1", "/runtime.sh", 0).await;
    let instance = rig.start(function(rig, &image).await).await;
    for n in 0..2 {
        let outcome = call(&instance, &n.to_string()).await;
        assert_eq!(answer(&outcome), json!(["image", "/srv", 1234, n]));
        assert!(tail(&outcome).contains("END RequestId: "));
    }
}

async fn an_image_whose_program_is_not_there_is_named(rig: &Rig) {
    let image = import(rig, "shop/none:1", "/absent.sh", 0).await;
    let mut spec = function(rig, &image).await;
    spec.entrypoint = Some(vec!["/no/such/program".into()]);
    match rig.runtime.start(spec).await.map(|_| ()) {
        Err(runtime::Error::Init { ending, .. }) => match *ending {
            Ending::InitFailed {
                error_type,
                message,
            } => {
                assert_eq!(error_type, "Runtime.InvalidEntrypoint");
                assert!(message.contains("/no/such/program"), "{message}");
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn function(rig: &Rig, image: &ImageRecord) -> InstanceSpec {
    let mut spec = rig
        .function(RuntimeName::Image, "unused", &[("unused", "", false)])
        .await;
    spec.handler = None;
    spec.code = Code::Image {
        reference: image.reference.clone(),
        digest: image.digest.clone(),
    };
    spec.image = Some(image.config.clone());
    spec
}

/// An image of bash, its libraries, a script and a file of so many bytes, as `docker save` would write it.
pub(crate) async fn import(rig: &Rig, reference: &str, script: &str, filler: usize) -> ImageRecord {
    let mut layer = tar::Builder::new(Vec::new());
    for program in bash() {
        let inside = program.strip_prefix("/").unwrap();
        let bytes = std::fs::read(&program).unwrap();
        add(&mut layer, inside, &bytes, 0o755);
    }
    add(
        &mut layer,
        Path::new("runtime.sh"),
        RUNTIME.as_bytes(),
        0o644,
    );
    add(&mut layer, Path::new("srv/photo"), b"", 0o644);
    add(&mut layer, Path::new("filler"), &vec![1; filler], 0o644);
    let layer = layer.into_inner().unwrap();
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Entrypoint": ["bash", script],
            "Cmd": ["app.handler"],
            "Env": ["MODE=image"],
            "WorkingDir": "/srv",
            "User": "1234:1234",
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", hash(&layer))] },
    });
    let config = serde_json::to_vec(&config).unwrap();
    let config_name = format!("{}.json", hash(&config));
    let manifest = json!([{
        "Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"],
    }]);
    let mut archive = tar::Builder::new(Vec::new());
    add(&mut archive, Path::new(&config_name), &config, 0o644);
    add(&mut archive, Path::new("layer.tar"), &layer, 0o644);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    add(&mut archive, Path::new("manifest.json"), &manifest, 0o644);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image.tar");
    std::fs::write(&file, archive.into_inner().unwrap()).unwrap();
    rig.storage
        .import_image(&file, Some(reference), |_| {})
        .await
        .unwrap()
}

/// This machine's bash and what it is linked with.
fn bash() -> Vec<PathBuf> {
    let listed = Command::new("ldd").arg("/bin/bash").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let libraries = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from);
    std::iter::once(PathBuf::from("/bin/bash"))
        .chain(libraries)
        .collect()
}

fn add(archive: &mut tar::Builder<Vec<u8>>, path: &Path, bytes: &[u8], mode: u32) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    archive.append_data(&mut header, path, bytes).unwrap();
}

fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
