//! The arrows between crates point one way. A new arrow is a decision: change this list with an ADR.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::process::Command;

/// Each room, lowest first, and the rooms that it may know.
const ROOMS: [(&str, &[&str]); 9] = [
    ("model", &[]),
    ("pattern", &[]),
    ("state", &["model"]),
    ("storage", &["model", "state"]),
    ("launcher", &["model"]),
    ("runtime", &["model", "storage", "launcher"]),
    (
        "engine",
        &["model", "pattern", "state", "storage", "runtime"],
    ),
    ("api", &["model", "pattern", "storage", "engine"]),
    (
        "cli",
        &[
            "model", "state", "storage", "launcher", "runtime", "engine", "api",
        ],
    ),
];

#[test]
fn arrows_point_one_way() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed: BTreeMap<&str, &[&str]> = ROOMS.into_iter().collect();
    let packages = metadata["packages"].as_array().unwrap();
    assert_eq!(
        packages.len(),
        ROOMS.len(),
        "a crate was added or removed: say here what it may know"
    );
    for package in packages {
        let room = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let name = dependency["name"].as_str().unwrap();
            let ours = allowed.contains_key(name) && dependency["kind"].is_null();
            assert!(
                !ours || allowed[room].contains(&name),
                "{room} must not know {name}"
            );
        }
    }
}
