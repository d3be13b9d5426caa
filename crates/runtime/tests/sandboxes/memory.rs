//! What is kept in memory, and what is read ahead.

use crate::images;
use crate::rig::{MIB, Rig, answer, call};
use launcher::residency::resident;
use model::{Code, InstanceId, RuntimeName};
use runtime::{Instance, InstanceSpec, Options};
use rustix::fs::{Advice, fadvise};
use serde_json::json;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;
use storage::Guess;

crate::tests!(
    what_runtimes_read_stays_in_memory,
    a_node_stays_in_memory_though_none_waits,
    what_starts_read_is_read_ahead,
    a_node_takes_its_bounds_from_where_it_looks,
);

const BOUNDS: &str = "const v8 = require('node:v8');
    exports.handle = async () => ({
      heap: v8.getHeapStatistics().heap_size_limit,
      told: process.constrainedMemory(),
      left: process.availableMemory(),
      arguments: process.execArgv.length,
    });";

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
        let program = program(&instance);
        until("the interpreter is pinned", || is_whole(&program)).await;
    }
    // What nothing reads is not.
    let other = bootstraps.join("other");
    std::fs::write(&other, "other").unwrap();
    assert_eq!(let_go(&other), 0);
}

/// The interpreter of an instance, which is at the same place inside.
fn program(instance: &Instance) -> PathBuf {
    std::fs::read_link(format!("/proc/{}/exe", instance.pid())).unwrap()
}

/// Whether all of it stays in memory; of what is only running, there is no more than was needed.
fn is_whole(path: &Path) -> bool {
    let_go(path) >= path.metadata().unwrap().len()
}

async fn a_node_stays_in_memory_though_none_waits(rig: &Rig) {
    let options = |options: Options| Options {
        stems: 0,
        ..options
    };
    let runtime = rig.with(options).await;
    let spec = rig.node("exports.handler = async (event) => event;").await;
    let unpinned = rig.with(|options| Options { pin: 0, ..options }).await;
    let instance = unpinned.start(spec.clone()).await.unwrap();
    let program = program(&instance);
    // What is pinned for the rig's runtime goes, also if that was just about to.
    let mut gone = 0;
    while gone < 25 {
        rig.launcher.pin(Vec::new(), 0).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        gone = if is_whole(&program) { 0 } else { gone + 1 };
    }
    let id = InstanceId::generate();
    let _kept = runtime.start(InstanceSpec { id, ..spec }).await.unwrap();
    until("it is pinned", || is_whole(&program)).await;
}

/// Larger than what is kept in memory because it is little.
const FILLER: usize = 16 << 20;

async fn what_starts_read_is_read_ahead(rig: &Rig) {
    let image = images::import(rig, "shop/warm:1", "/runtime.sh", FILLER).await;
    let spec = images::function(rig, &image).await;
    let Code::Image { digest, .. } = &spec.code else {
        unreachable!("it is an image's")
    };
    let folder = rig.data.join("images").join(digest.hex());
    let inside = |path: &str| folder.join("rootfs").join(path);
    let (program, filler) = (inside("bin/bash"), inside("filler"));
    assert_eq!(in_memory(&program), 0, "what was only written is let go");
    // Deployed, and never run: a guess.
    let kept = rig.runtime.prepare(&spec).await.unwrap();
    until("the program is read ahead", || in_memory(&program) > 0).await;
    assert_eq!(in_memory(&filler), 0);
    assert!(!folder.join("warm").exists());
    let instance = rig.start(spec.clone()).await;
    assert_eq!(answer(&call(&instance, "1").await)[0], json!("image"));
    until("it is remembered", || folder.join("warm").exists()).await;
    instance.stop(Duration::ZERO).await;
    drop(kept);

    // Another server finds nothing in memory, and knows what will be needed.
    let script = inside("runtime.sh");
    until("all is let go", || let_go(&program) + let_go(&script) == 0).await;
    let restarted = rig.restarted().await;
    let _kept = restarted.prepare(&spec).await.unwrap();
    until("it is read ahead", || {
        in_memory(&program) > 0 && in_memory(&script) > 0
    })
    .await;
    assert_eq!(in_memory(&filler), 0);

    // Not while memory is short.
    until("all is let go", || let_go(&program) + let_go(&script) == 0).await;
    let short = rig.restarted().await;
    short.set_scarce(true);
    let _kept = short.prepare(&spec).await.unwrap();
    // That nothing happens shows only after a while.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let warmed = rig.storage.warm(&spec.code, Guess::default(), 0, || true);
    assert_eq!(warmed.await.unwrap().files, 0, "nor past a bound");
    assert_eq!(in_memory(&script), 0);
}

async fn a_node_takes_its_bounds_from_where_it_looks(rig: &Rig) {
    let files = [("app.js", BOUNDS, false)];
    // What of it is the heap's at least, and how many arguments tell so.
    for (memory, heap, arguments) in [
        (128, 115, 1),
        (512, 460, 0),
        (1000, 900, 0),
        (3000, 2700, 1),
    ] {
        let mut spec = rig
            .function(RuntimeName::Nodejs20, "app.handle", &files)
            .await;
        spec.limits.memory = memory * MIB;
        // With one that waited, and with one that did not.
        let other = rig
            .with(|options| Options {
                stems: 0,
                ..options
            })
            .await;
        for runtime in [&rig.runtime, &other] {
            let spec = InstanceSpec {
                id: InstanceId::generate(),
                ..spec.clone()
            };
            let instance = runtime.start(spec).await.unwrap();
            let told = answer(&call(&instance, "1").await);
            assert_eq!(told["told"], json!(memory * MIB), "{told}");
            assert_eq!(told["arguments"], json!(arguments), "{told}");
            let left = told["left"].as_u64().unwrap();
            assert!(left > 0 && left < memory * MIB, "{told}");
            let least = heap * MIB..=heap * MIB + 50 * MIB;
            assert!(least.contains(&told["heap"].as_u64().unwrap()), "{told}");
        }
    }
}
