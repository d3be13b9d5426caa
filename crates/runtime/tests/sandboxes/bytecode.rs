//! Modules that are compiled ahead.

use crate::rig::{Rig, answer, call};
use model::{Code, Ending, RuntimeName, Snapshot};
use runtime::InstanceSpec;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

crate::tests!(
    bytecode_is_what_starts_take,
    an_own_zygote_takes_bytecode_too,
    what_does_not_compile_keeps_nothing_else_from_it,
);

const APP: &str = "from pkg import answer\n\
    def handler(event, context):\n\
    \x20   if event == 'raise': raise ValueError(answer.VALUE)\n\
    \x20   return answer.VALUE\n";

async fn function(rig: &Rig, value: &str, more: &[(&str, &str, bool)]) -> InstanceSpec {
    let module = format!("VALUE = {value:?}\n");
    let mut files = vec![
        ("app.py", APP, false),
        ("pkg/__init__.py", "", false),
        ("pkg/answer.py", &module, false),
    ];
    files.extend(more);
    rig.function(RuntimeName::Python311, "app.handler", &files)
        .await
}

/// Where its code is unpacked.
fn folder(rig: &Rig, spec: &InstanceSpec) -> PathBuf {
    let Code::Zip { digest, .. } = &spec.code else {
        unreachable!("it is made from a zip");
    };
    rig.data.join("code").join(digest.hex())
}

async fn until_compiled(rig: &Rig, spec: &InstanceSpec) {
    let Code::Zip { digest, .. } = &spec.code else {
        unreachable!("it is made from a zip");
    };
    while !rig.storage.has_bytecode(digest) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn bytecode_is_what_starts_take(rig: &Rig) {
    let spec = function(rig, "first", &[]).await;
    let _kept = rig.runtime.prepare(&spec).await.unwrap();
    until_compiled(rig, &spec).await;
    let folder = folder(rig, &spec);
    // Nobody changes it; who did would see that it is not read.
    std::fs::write(folder.join("pkg/answer.py"), "VALUE = 'second'\n").unwrap();
    let instance = rig.start(spec).await;
    assert_eq!(answer(&call(&instance, "1").await), json!("first"));
    // What is told of an error is where it is in the source.
    let Ending::Failed { payload, .. } = call(&instance, "\"raise\"").await.ending else {
        panic!("it does not fail");
    };
    let told: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    let frame = told["stackTrace"][0].as_str().unwrap();
    assert!(frame.contains("\"/var/task/app.py\", line 3"), "{frame}");
    assert!(frame.contains("raise ValueError(answer.VALUE)"), "{frame}");
}

async fn an_own_zygote_takes_bytecode_too(rig: &Rig) {
    let spec = function(rig, "third", &[]).await;
    let _kept = rig.runtime.prepare(&spec).await.unwrap();
    until_compiled(rig, &spec).await;
    std::fs::write(
        folder(rig, &spec).join("pkg/answer.py"),
        "VALUE = 'fourth'\n",
    )
    .unwrap();
    let spec = InstanceSpec {
        snapshot: Snapshot::Init,
        ..spec
    };
    let instance = rig.start(spec).await;
    assert_eq!(answer(&call(&instance, "1").await), json!("third"));
}

async fn what_does_not_compile_keeps_nothing_else_from_it(rig: &Rig) {
    let deep = format!("{}x{}", "(".repeat(50_000), ")".repeat(50_000));
    let more = [
        ("broken.py", "def\n", false),
        ("deep.py", deep.as_str(), false),
        ("nul.py", "\0", false),
        (
            "pkg/__pycache__/answer.cpython-311.pyc",
            "not bytecode",
            false,
        ),
        ("other/__pycache__/kept.cpython-311.pyc", "kept", false),
    ];
    let spec = function(rig, "fifth", &more).await;
    let _kept = rig.runtime.prepare(&spec).await.unwrap();
    until_compiled(rig, &spec).await;
    let folder = folder(rig, &spec);
    for absent in ["broken", "deep", "nul"] {
        assert!(
            !folder
                .join(format!("__pycache__/{absent}.cpython-311.pyc"))
                .exists()
        );
    }
    let kept = std::fs::read(folder.join("other/__pycache__/kept.cpython-311.pyc")).unwrap();
    assert_eq!(kept, b"kept");
    let instance = rig.start(spec).await;
    assert_eq!(answer(&call(&instance, "1").await), json!("fifth"));
}
