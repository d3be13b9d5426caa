//! The cases once more, with a launcher that an ordinary user started.

use crate::Case;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

pub(crate) const CASES: &[Case] = &[(
    "an_ordinary_user_gets_the_same_sandboxes",
    an_ordinary_user_gets_the_same,
)];

/// What needs nothing of the host's root.
const SAME: &[&str] = &["no_privilege_is_left"];

fn an_ordinary_user_gets_the_same() {
    // Where that user can reach it.
    let folder = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    let program = folder.path().join("sandbox");
    fs::copy("/proc/self/exe", &program).unwrap();
    let user = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/ordinary-user");
    let done = Command::new(user).arg(&program).args(SAME).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let passed = format!("{} passed, 0 failed", SAME.len());
    assert!(
        done.status.success() && said.contains(&passed),
        "{said}\n{}",
        String::from_utf8_lossy(&done.stderr)
    );
}
