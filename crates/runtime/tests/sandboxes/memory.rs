//! What is kept in memory, and what is read ahead.

use crate::rig::{Rig, answer, call};
use launcher::residency::resident;
use model::RuntimeName;
use rustix::fs::{Advice, fadvise};
use serde_json::json;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

crate::tests!(what_runtimes_read_stays_in_memory);

/// Asks the kernel to let go of the file; how many bytes of it are in memory then.
fn let_go(path: &Path) -> u64 {
    let file = File::open(path).unwrap();
    // What is not on the disk yet stays.
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    in_memory(path)
}

fn in_memory(path: &Path) -> u64 {
    let parts = resident(&File::open(path).unwrap()).unwrap();
    parts.iter().map(|part| part.end - part.start).sum()
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let patience = Duration::from_secs(60);
    let waited = tokio::time::timeout(patience, waiting).await;
    assert!(waited.is_ok(), "{what} does not happen");
}

async fn what_runtimes_read_stays_in_memory(rig: &Rig) {
    let bootstraps = rig.data.join("runtime/var-runtime");
    let python = [("app.py", "def handle(event, context): return event", false)];
    let node = [("app.js", "exports.handle = async (event) => event;", false)];
    for (runtime, files, file) in [
        (RuntimeName::Python311, &python, "bootstrap.py"),
        (RuntimeName::Nodejs20, &node, "index.js"),
    ] {
        let spec = rig.function(runtime, "app.handle", files).await;
        let _kept = rig.runtime.prepare(&spec).await.unwrap();
        let instance = rig.start(spec).await;
        assert_eq!(answer(&call(&instance, "1").await), json!(1));
        let path = bootstraps.join(file);
        until("it is pinned", || let_go(&path) > 0).await;
    }
    // What nothing reads is not.
    let other = bootstraps.join("other");
    std::fs::write(&other, "other").unwrap();
    assert_eq!(let_go(&other), 0);
}
