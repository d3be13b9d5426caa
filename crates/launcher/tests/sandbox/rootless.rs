//! The cases once more, with a launcher that an ordinary user started.

use crate::Case;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

pub(crate) const CASES: &[Case] = &[(
    "an_ordinary_user_gets_the_same_sandboxes",
    an_ordinary_user_gets_the_same,
)];

/// What needs nothing of the host's root: neither mapped ids of files nor a way out.
const SAME: &[&str] = &[
    "no_privilege_is_left",
    "names_are_its_own",
    "only_the_given_environment_and_descriptors",
    "nothing_but_tmp_can_be_written",
    "the_host_is_not_seen",
    "proc_is_masked",
    "dangerous_calls_are_refused",
    "devices_work_and_none_can_be_made",
    "standard_streams_open_again_by_name",
    "neighbours_share_no_user_id",
    "memory_ends_what_takes_more",
    "tmp_counts_as_memory_and_has_a_size",
    "processes_are_bounded",
    "files_are_bounded",
    "what_the_kernel_counts_by_user_is_not_shared",
    "an_armed_sandbox_waits_contained",
    "an_armed_sandbox_takes_what_is_assigned",
    "a_stopped_launcher_leaves_nothing",
    "a_killed_launcher_and_a_frozen_sandbox",
    "only_loopback_is_there",
    "low_ports_can_be_listened_on",
    "a_listener_inside_is_reached_from_outside",
    "the_hosts_loopback_is_not_reached",
    "a_snapshot_has_no_more_than_its_forks_need",
    "what_is_restored_is_contained_as_any_sandbox",
    "a_snapshots_user_code_gets_nowhere",
    "a_fork_that_keeps_its_privilege_is_refused",
    "a_fork_that_is_not_in_its_sandbox_is_refused",
];

fn an_ordinary_user_gets_the_same() {
    // Where that user can reach it.
    let folder = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    let program = folder.path().join("sandbox");
    fs::copy("/proc/self/exe", &program).unwrap();
    let user = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/ordinary-user");
    let done = Command::new(user)
        .arg(&program)
        .args(SAME)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let passed = format!("{} passed, 0 failed", SAME.len());
    assert!(
        done.status.success() && said.contains(&passed),
        "{said}\n{}",
        String::from_utf8_lossy(&done.stderr)
    );
}
