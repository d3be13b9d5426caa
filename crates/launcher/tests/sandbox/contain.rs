//! What a program inside can and cannot do.

use crate::Case;
use crate::bench::{Bench, bind, is_nobodys, program, shell, with};
use launcher::Volume;

pub(crate) const CASES: &[Case] = &[
    ("output_is_read", output_is_read),
    ("no_privilege_is_left", no_privilege_is_left),
    ("names_are_its_own", names_are_its_own),
    ("only_the_given_environment_and_descriptors", only_the_given),
    (
        "nothing_but_tmp_can_be_written",
        nothing_but_tmp_can_be_written,
    ),
    ("the_host_is_not_seen", the_host_is_not_seen),
    ("proc_is_masked", proc_is_masked),
    ("dangerous_calls_are_refused", dangerous_calls_are_refused),
    ("devices_work_and_none_can_be_made", devices_work),
    (
        "standard_streams_open_again_by_name",
        standard_streams_open_again,
    ),
    ("binds_are_read_only", binds_are_read_only),
    (
        "what_is_told_of_the_control_group_is_seen",
        what_is_told_of_the_control_group_is_seen,
    ),
    ("volumes_keep_what_is_written", volumes_keep_what_is_written),
    ("neighbours_share_no_user_id", neighbours_share_no_user_id),
];

fn output_is_read() {
    with(|bench| async move {
        let output = bench.run(shell("echo out; echo err >&2")).await;
        assert_eq!(
            (output.stdout.as_str(), output.stderr.as_str()),
            ("out\n", "err\n")
        );
        assert_eq!(output.exit.code, Some(0));
    });
}

fn no_privilege_is_left() {
    with(|bench| async move {
        let status = bench
            .run(program(&["cat", "/proc/self/status"]))
            .await
            .stdout;
        let field = |name: &str| {
            let line = status
                .lines()
                .find(|line| line.starts_with(name))
                .expect(name);
            line.split_whitespace()
                .skip(1)
                .collect::<Vec<_>>()
                .join(" ")
        };
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{set}");
        }
        assert_eq!(field("Seccomp:"), "2");
        assert_eq!(field("NoNewPrivs:"), "1");
        assert_eq!(field("Uid:"), "1000 1000 1000 1000");
        assert_eq!(field("Groups:"), "");
        assert_eq!(field("Pid:"), "1");
        assert_eq!(field("SigIgn:"), "0000000000000000");
        assert_eq!(field("SigBlk:"), "0000000000000000");
        assert_eq!(field("CoreDumping:"), "0");
    });
}

fn names_are_its_own() {
    with(|bench| async move {
        let mut spec =
            shell("hostname; id -un; cat /etc/hosts /proc/self/cgroup /proc/self/oom_score_adj");
        spec.shape
            .hosts
            .push(("catalog".to_owned(), [127, 0, 1, 1].into()));
        let text = bench.run(spec).await.stdout;
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(&lines[..2], ["box", "app"]);
        assert!(lines.contains(&"127.0.1.1 catalog"), "{text}");
        assert!(lines.contains(&"127.0.0.1 localhost"), "{text}");
        assert!(
            !text.contains("rouse-"),
            "its cgroup namespace hides the path: {text}"
        );
        assert_eq!(lines.last(), Some(&"500"));
    });
}

fn only_the_given() {
    with(|bench| async move {
        let output = bench.run(program(&["/usr/bin/env"])).await;
        assert_eq!(output.stdout, "PATH=/usr/bin:/bin\n");
        // 3 is the folder that ls reads.
        let output = bench.run(program(&["ls", "/proc/self/fd"])).await;
        assert_eq!(
            output.stdout.split_whitespace().collect::<Vec<_>>(),
            ["0", "1", "2", "3"]
        );
    });
}

fn nothing_but_tmp_can_be_written() {
    with(|bench| async move {
        let places = [
            "/x",
            "/usr/x",
            "/etc/passwd",
            "/etc/x",
            "/dev/x",
            "/var/x",
            "/run/x",
            "/proc/sys/kernel/hostname",
            "/root/x",
        ];
        for place in places {
            for uid in [0, 1000] {
                let mut spec = shell(&format!("echo x > {place}"));
                spec.shape.user = launcher::User::Ids { uid, gid: 0 };
                let output = bench.run(spec).await;
                assert_ne!(output.exit.code, Some(0), "{place} as {uid}");
                let refused = ["Read-only file system", "Permission denied"];
                let said = refused.iter().any(|word| output.stderr.contains(word));
                assert!(said, "{place}: {}", output.stderr);
            }
        }
        let output = bench.run(shell("echo x > /x")).await;
        assert!(output.stderr.contains("Read-only"), "{}", output.stderr);
        let output = bench
            .run(shell(
                "echo x > /tmp/a && echo y > /dev/shm/b && cat /tmp/a /dev/shm/b",
            ))
            .await;
        assert_eq!(output.stdout, "x\ny\n");
    });
}

fn the_host_is_not_seen() {
    with(|bench| async move {
        let data = bench.data.path().display().to_string();
        let script =
            "ls -A / /root /home /sys /var/tmp/ ; cat /proc/mounts; ls /etc; ls -d /proc/[0-9]*";
        let text = bench.run(shell(script)).await.stdout;
        for word in ["shadow", "lost+found", &data, "launcher/root"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
        let processes = text
            .lines()
            .filter(|line| line.starts_with("/proc/"))
            .count();
        assert!(processes <= 2, "{text}");
    });
}

fn proc_is_masked() {
    with(|bench| async move {
        let script = "for f in kcore keys kallsyms timer_list sysrq-trigger; do \
                      test -e /proc/$f && cat /proc/$f; done; ls -A /proc/acpi /proc/scsi 2>/dev/null; \
                      echo b > /proc/sysrq-trigger; head -c1 /proc/meminfo /proc/cpuinfo | wc -l";
        let mut spec = shell(script);
        spec.shape.user = launcher::User::Ids { uid: 0, gid: 0 };
        let output = bench.run(spec).await;
        let shown: Vec<_> = output
            .stdout
            .lines()
            .filter(|line| !line.starts_with("/proc/"))
            .collect();
        let shown: Vec<_> = shown.into_iter().filter(|line| !line.is_empty()).collect();
        assert_eq!(
            shown.len(),
            1,
            "only the count is shown: {:?}",
            output.stdout
        );
    });
}

/// Runs one system call by its number, and prints the error's.
fn call(number: i64, arguments: &str) -> crate::bench::Spec {
    let script = format!("my $r = syscall({number}{arguments}); print $r == -1 ? $!+0 : 0");
    program(&["/usr/bin/perl", "-e", &script])
}

fn dangerous_calls_are_refused() {
    with(|bench| async move {
        let cases = [
            ("unshare", libc::SYS_unshare, ", 0x10000000", libc::EPERM),
            (
                "clone",
                libc::SYS_clone,
                ", 0x10000011, 0, 0, 0, 0",
                libc::EPERM,
            ),
            ("clone3", libc::SYS_clone3, ", 0, 0", libc::ENOSYS),
            ("mount", libc::SYS_mount, ", 0, 0, 0, 0, 0", libc::EPERM),
            (
                "open_tree",
                libc::SYS_open_tree,
                ", -100, 0, 0",
                libc::EPERM,
            ),
            ("setns", libc::SYS_setns, ", 0, 0", libc::EPERM),
            ("ptrace", libc::SYS_ptrace, ", 0, 0, 0, 0", libc::EPERM),
            ("bpf", libc::SYS_bpf, ", 0, 0, 0", libc::EPERM),
            ("keyctl", libc::SYS_keyctl, ", 0, 0, 0, 0, 0", libc::EPERM),
            ("userfaultfd", libc::SYS_userfaultfd, ", 0", libc::EPERM),
            (
                "io_uring_setup",
                libc::SYS_io_uring_setup,
                ", 1, 0",
                libc::ENOSYS,
            ),
            (
                "personality",
                libc::SYS_personality,
                ", 0x40000",
                libc::EPERM,
            ),
            (
                "packet socket",
                libc::SYS_socket,
                ", 17, 3, 0",
                libc::EAFNOSUPPORT,
            ),
            ("vsock", libc::SYS_socket, ", 40, 1, 0", libc::EAFNOSUPPORT),
            (
                "audit socket",
                libc::SYS_socket,
                ", 16, 3, 9",
                libc::EAFNOSUPPORT,
            ),
            ("route socket", libc::SYS_socket, ", 16, 3, 0", 0),
            ("getpid", libc::SYS_getpid, "", 0),
        ];
        for (name, number, arguments, errno) in cases {
            let output = bench.run(call(number, arguments)).await;
            assert_eq!(
                output.stdout,
                errno.to_string(),
                "{name}: {}",
                output.stderr
            );
        }
        let output = bench
            .run(shell("unshare -Ur true; mount -t tmpfs none /tmp"))
            .await;
        assert_ne!(output.exit.code, Some(0));
    });
}

fn devices_work() {
    with(|bench| async move {
        let script = "head -c 3 /dev/zero | wc -c; head -c 8 /dev/urandom | wc -c; \
                      echo x > /dev/null; echo x > /dev/full || echo full; ls /dev; \
                      mknod /tmp/null c 1 3 || echo none";
        let mut spec = shell(script);
        spec.shape.user = launcher::User::Ids { uid: 0, gid: 0 };
        let text = bench.run(spec).await.stdout;
        let words: Vec<_> = text.split_whitespace().collect();
        let devices = "fd full null random shm stderr stdin stdout tty urandom zero";
        let expected: Vec<_> = ["3", "8", "full"]
            .into_iter()
            .chain(devices.split(' '))
            .collect();
        assert_eq!(words[..words.len() - 1], expected);
        assert_eq!(words.last(), Some(&"none"));
    });
}

fn standard_streams_open_again() {
    with(|bench| async move {
        let output = bench
            .run(shell("echo a > /dev/stdout; echo b > /dev/stderr; cat"))
            .await;
        assert_eq!(
            (output.stdout.as_str(), output.stderr.as_str()),
            ("a\n", "b\n")
        );
    });
}

fn binds_are_read_only() {
    with(|bench| async move {
        let code = bench.data.path().join("code");
        std::fs::create_dir(&code).unwrap();
        std::fs::write(code.join("handler"), "code").unwrap();
        std::fs::write(bench.data.path().join("one"), "file").unwrap();
        let mut spec = shell(
            "cat /var/task/handler /etc/one; stat -c %u /var/task/handler; echo x > /var/task/handler",
        );
        spec.shape.binds.push(bind(&code, "/var/task"));
        spec.shape
            .binds
            .push(bind(bench.data.path().join("one"), "/etc/one"));
        spec.working_dir = "/var/task".to_owned();
        let output = bench.run(spec).await;
        assert_eq!(output.stdout, "codefile0\n", "{}", output.stderr);
        assert!(output.stderr.contains("Read-only"), "{}", output.stderr);
    });
}

/// Where libuv looks, whichever version the host has: its group is the root of what a sandbox sees.
fn what_is_told_of_the_control_group_is_seen() {
    with(|bench| async move {
        let told = bench.data.path().join("told");
        std::fs::create_dir_all(told.join("memory")).unwrap();
        std::fs::write(told.join("memory.max"), "2\n").unwrap();
        std::fs::write(told.join("memory/memory.limit_in_bytes"), "1\n").unwrap();
        let mut spec = shell(
            "if grep -q ^0::/ /proc/self/cgroup && ! grep -q :memory: /proc/self/cgroup; then \
             path=$(cut -c4- /proc/self/cgroup)/memory.max; else \
             path=memory$(sed -n s/.*:memory://p /proc/self/cgroup)/memory.limit_in_bytes; fi; \
             cat /sys/fs/cgroup/$path; echo x > /sys/fs/cgroup/$path; mkdir /sys/fs/cgroup/x; ls /sys",
        );
        spec.shape.binds.push(bind(&told, "/sys/fs/cgroup"));
        let output = bench.run(spec).await;
        let (number, seen) = output.stdout.split_once('\n').unwrap();
        assert!(["1", "2"].contains(&number), "{}", output.stdout);
        assert_eq!(seen, "fs\n", "{}", output.stderr);
        assert_eq!(
            output.stderr.matches("Read-only").count(),
            2,
            "{}",
            output.stderr
        );
    });
}

fn volumes_keep_what_is_written() {
    with(|bench| async move {
        let with_volume = |script: &str, read_only: bool| {
            let mut spec = shell(script);
            spec.shape.volumes.push(Volume {
                source: bench.data.path().join("volume"),
                target: "/data".into(),
                read_only,
            });
            spec
        };
        std::fs::create_dir(bench.data.path().join("volume")).unwrap();
        let mut first = bench
            .start(with_volume("echo one > /data/x; echo; sleep 60", false))
            .await
            .unwrap();
        crate::bench::first_line(&mut first).await;
        // While the first runs, the second has other host ids, and yet is the same user.
        let output = bench
            .run(with_volume("cat /data/x; echo two > /data/x", false))
            .await;
        assert_eq!(output.stdout, "one\n", "{}", output.stderr);
        assert_eq!(output.exit.code, Some(0), "{}", output.stderr);
        let output = bench
            .run(with_volume("cat /data/x; echo three > /data/x", true))
            .await;
        assert_eq!(output.stdout, "two\n");
        assert!(output.stderr.contains("Read-only"), "{}", output.stderr);
    });
}

fn neighbours_share_no_user_id() {
    with(|bench: Bench| async move {
        let mut uids = Vec::new();
        let mut sandboxes = Vec::new();
        for _ in 0..3 {
            let sandbox = bench.start(shell("sleep 60")).await.unwrap();
            let status = std::fs::read_to_string(format!("/proc/{}/status", sandbox.pid)).unwrap();
            let line = status
                .lines()
                .find(|line| line.starts_with("Uid:"))
                .unwrap();
            uids.push(
                line.split_whitespace()
                    .nth(1)
                    .unwrap()
                    .parse::<u32>()
                    .unwrap(),
            );
            sandboxes.push(sandbox);
        }
        uids.sort_unstable();
        uids.dedup();
        assert_eq!(uids.len(), 3);
        assert!(uids.iter().all(|uid| is_nobodys(*uid)), "{uids:?}");
    });
}
