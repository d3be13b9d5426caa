//! Builds the programs without a library, for the same target: `park`, which waits in armed sandboxes,
//! `pin`, which keeps files in memory, and `gate`, with which containers of others begin.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=bare/system.rs");
    println!("cargo::rerun-if-changed=bare/program.rs");
    for name in ["park", "pin", "gate"] {
        build(name);
    }
}

fn build(name: &str) {
    let source = format!("{name}/{name}.rs");
    println!("cargo::rerun-if-changed={source}");
    let read = |name: &str| std::env::var(name).unwrap_or_default();
    let out = PathBuf::from(read("OUT_DIR")).join(name);
    let mut rustc = Command::new(read("RUSTC"));
    rustc
        .args(["--edition", "2024", "--crate-type", "bin"])
        .args(["--crate-name", name])
        .args(["--target", &read("TARGET")])
        .args(["-C", "opt-level=2", "-C", "panic=abort"])
        .args(["-C", "relocation-model=static", "-C", "strip=symbols"]);
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-Wl,--build-id=none",
    ] {
        rustc.arg("-C").arg(format!("link-arg={argument}"));
    }
    let status = rustc.arg("-o").arg(&out).arg(source).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "the program `{name}`, which needs no library, could not be built"
    );
}
