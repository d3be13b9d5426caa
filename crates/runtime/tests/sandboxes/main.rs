//! Real sandboxes: functions of every kind, and each way in which one can go wrong. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod contracts;
mod egress;
mod failures;
mod images;
mod memory;
mod rig;
mod services;
mod snapshots;
mod world;

use rig::Rig;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Duration;
use world::World;

/// Longer than any of them takes on a slow machine; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    launcher::run_if_launcher();
    world::enter();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&str> = contracts::NAMES
        .iter()
        .chain(egress::NAMES)
        .chain(failures::NAMES)
        .chain(images::NAMES)
        .chain(memory::NAMES)
        .chain(services::NAMES)
        .chain(snapshots::NAMES)
        .copied()
        .collect();
    if arguments.iter().any(|argument| argument == "--list") {
        for name in names {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let chosen = |name: &&str| {
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    };
    // Not below /tmp, which may be in memory only.
    let data = tempfile::tempdir_in("/var/tmp").unwrap();
    let connection = launcher::spawn(data.path()).expect("starting the launcher");
    let _world = World::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (passed, failed) = runtime.block_on(async {
        let rig = Rig::new(data.path(), connection).await;
        let (mut passed, mut failed) = (0, 0);
        for name in names.into_iter().filter(chosen) {
            match run(&rig, name).await {
                true => passed += 1,
                false => failed += 1,
            }
        }
        rig.close().await;
        (passed, failed)
    });
    println!("{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}

/// Whether the test passed.
async fn run(rig: &Rig, name: &str) -> bool {
    use futures::FutureExt;
    let test = async {
        let found = contracts::run(rig, name).await
            || egress::run(rig, name).await
            || failures::run(rig, name).await
            || images::run(rig, name).await
            || memory::run(rig, name).await
            || services::run(rig, name).await
            || snapshots::run(rig, name).await;
        assert!(found, "no test is named {name}");
    };
    let ended = tokio::time::timeout(PATIENCE, AssertUnwindSafe(test).catch_unwind()).await;
    let word = match &ended {
        Ok(Ok(())) => "ok",
        Ok(Err(_)) => "FAILED",
        Err(_) => "FAILED: it hangs",
    };
    println!("test {name} ... {word}");
    matches!(ended, Ok(Ok(())))
}

/// A folder's tests: their names, and running one by its name.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),*];

        pub(crate) async fn run(rig: &$crate::rig::Rig, name: &str) -> bool {
            match name {
                $(stringify!($name) => $name(rig).await,)*
                _ => return false,
            }
            true
        }
    };
}
