//! Real sandboxes on the real kernel. It needs root, or what `tests/ordinary-user` gives, and fails
//! without.
//!
//! `cargo test -p launcher --test sandbox [part of a name]`
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod armed;
mod bench;
mod contain;
mod ending;
mod image;
mod life;
mod limits;
mod network;
mod pin;
mod privilege;
mod reuse;
mod rootless;
mod snapshot;
mod zygote;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A name and what to do.
type Case = (&'static str, fn());

fn main() {
    launcher::run_if_launcher();
    privilege::run_if_helper();
    launcher::enter_without_root().expect("root, or what an ordinary user needs");
    let cases = [
        armed::CASES,
        contain::CASES,
        ending::CASES,
        image::CASES,
        life::CASES,
        limits::CASES,
        network::CASES,
        pin::CASES,
        privilege::CASES,
        reuse::CASES,
        rootless::CASES,
        snapshot::CASES,
        zygote::CASES,
    ];
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    if std::env::args().any(|argument| argument == "--list") {
        cases
            .iter()
            .copied()
            .flatten()
            .for_each(|(name, _)| println!("{name}: test"));
        return;
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in cases.into_iter().flatten() {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let outcome = catch_unwind(AssertUnwindSafe(case));
        println!(
            "test {name} ... {}",
            if outcome.is_ok() { "ok" } else { "FAILED" }
        );
        match outcome {
            Ok(()) => passed += 1,
            Err(_) => failed += 1,
        }
    }
    println!("{passed} passed, {failed} failed");
    std::process::exit(i32::from(failed > 0));
}
