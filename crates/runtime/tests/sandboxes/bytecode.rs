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
    nothing_is_compiled_while_memory_is_short,
    what_was_not_finished_has_another_turn,
    code_of_an_own_zygote_is_compiled_in_its_shape,
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

fn is_compiled(rig: &Rig, spec: &InstanceSpec) -> bool {
    let Code::Zip { digest, .. } = &spec.code else {
        unreachable!("it is made from a zip");
    };
    rig.storage.has_bytecode(digest)
}

async fn until_compiled(rig: &Rig, spec: &InstanceSpec) {
    while !is_compiled(rig, spec) {
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
    assert!(folder.join("__pycache__/app.cpython-311.pyc").exists());
    let laid = std::fs::read(folder.join("pkg/__pycache__/answer.cpython-311.pyc")).unwrap();
    assert_ne!(laid, b"not bytecode");
    let kept = std::fs::read(folder.join("other/__pycache__/kept.cpython-311.pyc")).unwrap();
    assert_eq!(kept, b"kept");
    let instance = rig.start(spec).await;
    assert_eq!(answer(&call(&instance, "1").await), json!("fifth"));
}

async fn nothing_is_compiled_while_memory_is_short(rig: &Rig) {
    let spec = function(rig, "sixth", &[]).await;
    let short = rig.restarted().await;
    short.set_scarce(true);
    let _kept = short.prepare(&spec).await.unwrap();
    // Meanwhile another server has time for another code.
    let other = function(rig, "seventh", &[]).await;
    let _other = rig.runtime.prepare(&other).await.unwrap();
    until_compiled(rig, &other).await;
    assert!(!is_compiled(rig, &spec));
    assert!(!folder(rig, &spec).join("__pycache__").exists());
    short.set_scarce(false);
    until_compiled(rig, &spec).await;
}

/// With a compiler that takes one source a turn.
async fn what_was_not_finished_has_another_turn(rig: &Rig) {
    let hasty = rig.restarted().await;
    let compiler = rig.data.join("runtime/var-runtime/compile.py");
    let whole = std::fs::read_to_string(&compiler).unwrap();
    let one = whole.replace(
        "        status, content = self.compiler.compile(source)\n",
        "        if getattr(self, 'has_one', False):\n\
        \x20           self.all_read = False\n\
        \x20           return 0\n\
        \x20       self.has_one = True\n\
        \x20       status, content = self.compiler.compile(source)\n",
    );
    assert_ne!(one, whole);
    std::fs::write(&compiler, one).unwrap();
    let spec = function(rig, "eighth", &[]).await;
    let _kept = hasty.prepare(&spec).await.unwrap();
    until_compiled(rig, &spec).await;
    // No turn could have laid both.
    let folder = folder(rig, &spec);
    assert!(folder.join("__pycache__/app.cpython-311.pyc").exists());
    assert!(
        folder
            .join("pkg/__pycache__/answer.cpython-311.pyc")
            .exists()
    );
}

async fn code_of_an_own_zygote_is_compiled_in_its_shape(rig: &Rig) {
    let spec = InstanceSpec {
        snapshot: Snapshot::Init,
        ..function(rig, "tenth", &[]).await
    };
    let first = rig.restarted().await;
    let kept = first.prepare(&spec).await.unwrap();
    until_compiled(rig, &spec).await;
    drop(kept);
    let answer_file = folder(rig, &spec).join("pkg/answer.py");
    std::fs::write(answer_file, "VALUE = 'other'\n").unwrap();
    // Another server, whose zygote is made only now.
    let instance = rig.start(spec).await;
    assert_eq!(answer(&call(&instance, "1").await), json!("tenth"));
}
