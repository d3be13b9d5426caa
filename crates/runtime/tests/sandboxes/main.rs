//! Real containers: functions of every kind, and each way in which one can go wrong, with each driver.
//! Needs root and Docker Engine (Debian's docker.io).
//!
//! A name is chosen by any part of it: `docker::` all with that driver.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod bytecode;
mod contracts;
mod docker;
mod dockerd;
mod egress;
mod failures;
mod images;
mod memory;
mod private;
mod rig;
mod secrets;
mod services;
mod snapshots;
mod starts;
mod world;

use dockerd::Dockerd;
use model::Driver;
use rig::Rig;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Duration;
use tempfile::TempDir;
use world::World;

/// Longer than any of them takes on a slow machine; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    launcher::run_if_launcher();
    world::enter();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // What any driver must do, and what only one can.
    let both = [
        contracts::NAMES,
        egress::NAMES,
        failures::NAMES,
        images::NAMES,
        private::NAMES,
        secrets::NAMES,
        services::NAMES,
    ];
    let names = |driver: Driver, own: &[&[&str]]| {
        let all = both.iter().chain(own).copied().flatten();
        let names: Vec<String> = all.map(|name| format!("{driver}::{name}")).collect();
        names
    };
    let sandbox = names(
        Driver::Sandbox,
        &[
            bytecode::NAMES,
            memory::NAMES,
            snapshots::NAMES,
            starts::NAMES,
        ],
    );
    let docker = names(Driver::Docker, &[docker::NAMES]);
    let all = || sandbox.iter().chain(&docker);
    if arguments.iter().any(|argument| argument == "--list") {
        for name in all() {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let chosen = |names: &[String]| -> Vec<String> {
        let wanted = |name: &&String| {
            filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
        };
        names.iter().filter(wanted).cloned().collect()
    };
    let (sandbox, docker) = (chosen(&sandbox), chosen(&docker));
    // Not below /tmp, which may be in memory only.
    let folder = || tempfile::tempdir_in("/var/tmp").unwrap();
    let (first, second) = (folder(), folder());
    // A launcher is started before any thread exists.
    let spawn = |data: &TempDir| launcher::spawn(data.path()).expect("starting the launcher");
    let connections = (spawn(&first), spawn(&second));
    let _world = World::new();
    let engine = (!docker.is_empty()).then(Dockerd::start);
    let host = engine.as_ref().map_or("", |engine| &engine.host);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (passed, failed) = runtime.block_on(async {
        let (mut passed, mut failed) = (0, 0);
        let kinds = [
            (Driver::Sandbox, &first, connections.0, sandbox),
            (Driver::Docker, &second, connections.1, docker),
        ];
        for (driver, data, connection, names) in kinds {
            if names.is_empty() {
                continue;
            }
            let rig = Rig::new(data.path(), connection, driver, host).await;
            for name in names {
                match run(&rig, &name).await {
                    true => passed += 1,
                    false => failed += 1,
                }
            }
            rig.close().await;
        }
        (passed, failed)
    });
    drop(engine);
    println!("{passed} passed, {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}

/// Whether the test passed.
async fn run(rig: &Rig, name: &str) -> bool {
    use futures::FutureExt;
    let (_, name) = name.split_once("::").unwrap();
    let test = async {
        let found = contracts::run(rig, name).await
            || egress::run(rig, name).await
            || failures::run(rig, name).await
            || images::run(rig, name).await
            || bytecode::run(rig, name).await
            || memory::run(rig, name).await
            || docker::run(rig, name).await
            || private::run(rig, name).await
            || secrets::run(rig, name).await
            || services::run(rig, name).await
            || snapshots::run(rig, name).await
            || starts::run(rig, name).await;
        assert!(found, "no test is named {name}");
    };
    let ended = tokio::time::timeout(PATIENCE, AssertUnwindSafe(test).catch_unwind()).await;
    let word = match &ended {
        Ok(Ok(())) => "ok",
        Ok(Err(_)) => "FAILED",
        Err(_) => "FAILED: it hangs",
    };
    println!("test {}::{name} ... {word}", rig.driver);
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
