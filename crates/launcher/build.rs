//! Builds `park`, the program that waits in armed sandboxes, for the same target.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=park/park.rs");
    let read = |name: &str| std::env::var(name).unwrap_or_default();
    let out = PathBuf::from(read("OUT_DIR")).join("park");
    let mut rustc = Command::new(read("RUSTC"));
    rustc
        .args([
            "--edition",
            "2024",
            "--crate-type",
            "bin",
            "--crate-name",
            "park",
        ])
        .args([
            "--target",
            &read("TARGET"),
            "-C",
            "opt-level=2",
            "-C",
            "panic=abort",
        ])
        .args(["-C", "relocation-model=static", "-C", "strip=symbols"]);
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-Wl,--build-id=none",
    ] {
        rustc.arg("-C").arg(format!("link-arg={argument}"));
    }
    let status = rustc.arg("-o").arg(&out).arg("park/park.rs").status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "the program that waits in sandboxes could not be built"
    );
}
