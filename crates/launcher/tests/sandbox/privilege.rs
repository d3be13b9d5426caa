//! What a server without privilege can and cannot do.

use crate::Case;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

pub(crate) const CASES: &[Case] = &[
    ("an_ordinary_user_is_told_what_is_missing", an_ordinary_user),
    (
        "a_server_can_drop_its_privilege",
        a_server_can_drop_its_privilege,
    ),
    ("probe_finds_what_the_launcher_needs", probe_finds),
];

/// The cases start this program again in one of these roles.
pub(crate) fn run_if_helper() {
    match std::env::args().nth(1).as_deref() {
        Some("--spawn") => match launcher::spawn(std::path::Path::new("/tmp")) {
            Ok(_) => println!("it works"),
            Err(error) => println!("{:?}: {error}", error.kind()),
        },
        Some("--drop") => {
            launcher::drop_privilege().unwrap();
            println!(
                "{}",
                std::fs::read_to_string("/proc/thread-self/status").unwrap()
            );
            let mounted = rustix::mount::mount_bind("/tmp", "/tmp");
            println!("mount: {mounted:?}");
        }
        _ => return,
    }
    std::process::exit(0);
}

fn helper(role: &str, uid: u32) -> String {
    let mut command = Command::new("/proc/self/exe");
    command.arg(role).uid(uid).gid(uid);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn an_ordinary_user() {
    let text = helper("--spawn", 65534);
    assert!(text.starts_with("Unavailable"), "{text}");
    for word in [
        "CAP_SYS_ADMIN",
        "CAP_NET_ADMIN",
        "cgroup memory",
        "cgroup pids",
        "start as root",
    ] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

fn a_server_can_drop_its_privilege() {
    let text = helper("--drop", 0);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(
            text.contains(&format!("{set}:\t0000000000000000")),
            "{set} in {text}"
        );
    }
    assert!(text.contains("NoNewPrivs:\t1"), "{text}");
    assert!(text.contains("Uid:\t0\t"), "{text}");
    assert!(text.contains("mount: Err"), "{text}");
}

fn probe_finds() {
    let findings = launcher::probe::probe();
    let missing: Vec<_> = findings
        .iter()
        .filter(|f| f.standing == launcher::probe::Standing::Missing)
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    for what in [
        "kernel",
        "privilege",
        "seccomp",
        "cgroups",
        "cgroup memory",
        "overlay",
    ] {
        assert!(
            findings.iter().any(|finding| finding.what == what),
            "{what} in {findings:?}"
        );
    }
}
