//! The launcher's own life, and what it leaves: nothing.

use crate::Case;
use crate::bench::{
    are_gone, block_on, cgroups, connect, kill, lives, open_files, parent, program, shell, until,
    with, with_data,
};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, socketpair};
use rustix::process::Pid;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

pub(crate) const CASES: &[Case] = &[
    ("two_hundred_starts_leak_nothing", two_hundred_starts),
    ("many_start_at_once", many_start_at_once),
    (
        "a_stopped_launcher_leaves_nothing",
        a_stopped_launcher_leaves_nothing,
    ),
    (
        "a_vanished_server_leaves_nothing",
        a_vanished_server_leaves_nothing,
    ),
    (
        "a_killed_launcher_takes_all_with_it_and_is_swept_after",
        a_killed_launcher,
    ),
    (
        "what_survives_a_killed_launcher_is_killed_by_the_next",
        survivors_are_swept,
    ),
    ("two_launchers_do_not_disturb_each_other", two_launchers),
    ("one_data_folder_has_one_launcher", one_data_folder),
    (
        "a_killed_launcher_and_a_frozen_sandbox",
        a_killed_launcher_and_a_frozen_sandbox,
    ),
    ("malformed_requests_do_not_end_it", malformed_requests),
];

fn two_hundred_starts() {
    with(|bench| async move {
        let sandbox = bench.start(shell("sleep 60")).await.unwrap();
        let launcher = parent(sandbox.pid);
        sandbox.kill();
        sandbox.exited().await;
        let count = || (open_files(std::process::id()), open_files(launcher));
        let (ours, theirs) = count();
        for turn in 0..200 {
            let mut spec = program(&["/bin/true"]);
            spec.shape.listen = vec![([127, 0, 0, 1], 9001).into()];
            if turn % 10 == 0 {
                spec.argv = vec!["/no/such".to_owned()];
            }
            if let Ok(sandbox) = bench.start(spec).await {
                assert_eq!(sandbox.exited().await.code, Some(0));
            }
        }
        let (ours_then, theirs_then) = count();
        assert_eq!(ours_then, ours);
        // What was made for a sandbox is kept for the next: namespaces, a listener's redirect, files of its cgroups.
        assert!(theirs_then <= theirs + 32, "{theirs} {theirs_then}");
    });
}

fn many_start_at_once() {
    with(|bench| async move {
        let starts = (0..40).map(|number| {
            let launcher = bench.launcher.clone();
            tokio::spawn(async move {
                let spec = shell(&format!("exit {number}"));
                let sandbox = spec.start(&launcher).await.unwrap();
                (number, sandbox.exited().await.code)
            })
        });
        for start in starts.collect::<Vec<_>>() {
            let (number, code) = start.await.unwrap();
            assert_eq!(code, Some(number));
        }
    });
}

fn a_stopped_launcher_leaves_nothing() {
    with(|bench| async move {
        let sandbox = bench.start(shell("sleep 1000")).await.unwrap();
        let launcher = parent(sandbox.pid);
        let groups = cgroups(sandbox.pid);
        bench.launcher.stop().await;
        assert!(!lives(sandbox.pid) && !lives(launcher));
        assert!(!groups.is_empty() && are_gone(&groups));
        assert!(bench.launcher.gone().await.contains("exit status: 0"));
        assert_eq!(sandbox.exited().await.signal, Some(9));
        let error = bench.start(shell("true")).await.err().unwrap();
        assert!(
            error.to_string().contains("the launcher has ended"),
            "{error}"
        );
    });
}

fn a_vanished_server_leaves_nothing() {
    let data = TempDir::new().unwrap();
    let spec = shell("sleep 1000");
    let (pid, launcher, groups) = block_on(async {
        let sandbox = spec.start(&connect(data.path())).await.unwrap();
        let pids = (sandbox.pid, parent(sandbox.pid), cgroups(sandbox.pid));
        // As a killed server does: no word of farewell, the socket just closes.
        std::mem::forget(sandbox);
        pids
    });
    block_on(until("the end", || {
        !lives(pid) && !lives(launcher) && are_gone(&groups)
    }));
}

fn a_killed_launcher() {
    let data = TempDir::new().unwrap();
    let spec = shell("sleep 1000 & sleep 1000");
    let groups = block_on(async {
        let launcher = connect(data.path());
        let sandbox = spec.start(&launcher).await.unwrap();
        let groups = cgroups(sandbox.pid);
        kill(parent(sandbox.pid));
        assert!(launcher.gone().await.contains("SIGKILL"));
        assert_eq!(sandbox.exited().await.signal, Some(9));
        until("the sandbox's end", || !lives(sandbox.pid)).await;
        assert!(shell("true").start(&launcher).await.is_err());
        groups
    });
    assert!(!are_gone(&groups), "a killed launcher cannot clear up");
    with_data(data, |bench| async move {
        assert!(are_gone(&groups));
        assert_eq!(bench.run(shell("echo again")).await.stdout, "again\n");
    });
}

fn a_killed_launcher_and_a_frozen_sandbox() {
    let data = TempDir::new().unwrap();
    let (groups, pid) = block_on(async {
        let launcher = connect(data.path());
        let sandbox = program(&["sleep", "1000"]).start(&launcher).await.unwrap();
        let (groups, pid) = (cgroups(sandbox.pid), sandbox.pid);
        sandbox.freeze();
        until("its freezing", || is_frozen(&groups)).await;
        kill(parent(pid));
        launcher.gone().await;
        // As if the server had been killed as well: nobody thaws it.
        std::mem::forget(sandbox);
        (groups, pid)
    });
    with_data(data, |_bench| async move {
        assert!(are_gone(&groups) && !lives(pid));
    });
}

/// Whether one of these groups stands still or is told to, as either version of the freezer tells it.
fn is_frozen(groups: &[std::path::PathBuf]) -> bool {
    let says = |group: &std::path::PathBuf, file: &str, word: &str| {
        std::fs::read_to_string(group.join(file)).is_ok_and(|text| text.contains(word))
    };
    groups.iter().any(|group| {
        let first = ["FROZEN", "FREEZING"].map(|word| says(group, "freezer.state", word));
        first.contains(&true) || says(group, "cgroup.events", "frozen 1")
    })
}

/// Puts a foreign process into a group that a killed launcher left, as if its death signal had
/// missed it.
fn survivors_are_swept() {
    let data = TempDir::new().unwrap();
    let folders = block_on(async {
        let launcher = connect(data.path());
        let sandbox = shell("sleep 1000").start(&launcher).await.unwrap();
        let folders = cgroups(sandbox.pid);
        kill(parent(sandbox.pid));
        launcher.gone().await;
        until("the sandbox's end", || !lives(sandbox.pid)).await;
        folders
    });
    let mut survivor = Command::new("sleep").arg("1000").spawn().unwrap();
    assert!(!folders.is_empty());
    for folder in &folders {
        std::fs::write(folder.join("cgroup.procs"), survivor.id().to_string()).unwrap();
    }
    let reaper = std::thread::spawn(move || survivor.wait().unwrap());
    with_data(data, |_bench| async move { assert!(are_gone(&folders)) });
    assert!(!reaper.join().unwrap().success());
}

fn two_launchers() {
    with(|one| async move {
        let sandbox = one.start(shell("sleep 1000")).await.unwrap();
        let other = TempDir::new().unwrap();
        let two = connect(other.path());
        let second = shell("sleep 1000").start(&two).await.unwrap();
        two.stop().await;
        assert!(!lives(second.pid));
        assert!(lives(sandbox.pid));
        assert_eq!(one.run(shell("echo still")).await.stdout, "still\n");
    });
}

fn one_data_folder() {
    with(|bench| async move {
        // The second waits for the first to end, as after a kill -9 of the server.
        let folder = bench.data.path().to_owned();
        let second = tokio::task::spawn_blocking(move || launcher::spawn(&folder).map(drop));
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!second.is_finished());
        bench.launcher.stop().await;
        second.await.unwrap().unwrap();
    });
}

/// Speaks to a launcher without the client: see `wire.rs` for the numbers.
fn malformed_requests() {
    let data = TempDir::new().unwrap();
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    let mut process = Command::new("/proc/self/exe")
        .arg0("rouse-launcher")
        .arg(data.path())
        .stdin(Stdio::from(theirs))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let hear = || {
        let mut buffer = [0; 4096];
        let received = rustix::net::recv(&ours, &mut buffer[..], rustix::net::RecvFlags::empty());
        let (length, _) = received.unwrap();
        buffer[..length].to_vec()
    };
    assert_eq!(hear()[0], 0, "it is ready");
    let long = vec![0xff; 190_000];
    let arm_cut_short = [0, 1, 32, 65];
    for bad in [&[0xff; 64][..], &[9], &arm_cut_short, &long, &[4, 0x80]] {
        rustix::net::send(&ours, bad, SendFlags::NOSIGNAL).unwrap();
    }
    // Usage, request 7, of sandbox 9, which is not there: refused.
    let usage = [4, 7, 9];
    rustix::net::send(&ours, &usage, SendFlags::NOSIGNAL).unwrap();
    assert_eq!(hear()[..2], [9, 7]);
    // Termination and killing of what is not there say nothing.
    rustix::net::send(&ours, &[6, 9], SendFlags::NOSIGNAL).unwrap();
    rustix::net::send(&ours, &usage, SendFlags::NOSIGNAL).unwrap();
    assert_eq!(hear()[..2], [9, 7]);
    drop(ours);
    let status = process.wait();
    assert!(status.is_ok_and(|status| status.success()));
    assert_eq!(
        rustix::process::test_kill_process(Pid::from_child(&process)),
        Err(Errno::SRCH)
    );
}
