//! What a program may use, and what it used.

use crate::Case;
use crate::bench::{cgroups, first_line, program, shell, with};

const MIB: u64 = 1024 * 1024;

pub(crate) const CASES: &[Case] = &[
    ("memory_ends_what_takes_more", memory_ends_what_takes_more),
    ("tmp_counts_as_memory_and_has_a_size", tmp_has_a_size),
    ("processes_are_bounded", processes_are_bounded),
    ("files_are_bounded", files_are_bounded),
    ("processor_time_is_bounded_and_measured", processor_time),
    (
        "what_the_kernel_counts_by_user_is_not_shared",
        counts_by_user,
    ),
];

fn memory_ends_what_takes_more() {
    with(|bench| async move {
        let hungry = [
            "/usr/bin/perl",
            "-e",
            "my $x = 'x' x (1 << 28); print length $x",
        ];
        let mut spec = program(&hungry);
        spec.limits.memory = 32 * MIB;
        let output = bench.run(spec).await;
        assert!(output.exit.out_of_memory, "{:?}", output.exit);
        assert_eq!(output.exit.signal, Some(9));
        let peak = output.exit.usage.memory_peak;
        assert!((16 * MIB..=32 * MIB).contains(&peak), "{peak}");

        // A child is killed, the program lives on: it is told all the same.
        let mut spec = shell("perl -e 'my $x = \"x\" x (1 << 28)'; echo survived");
        spec.limits.memory = 32 * MIB;
        let output = bench.run(spec).await;
        assert_eq!(output.stdout, "survived\n");
        assert_eq!(output.exit.code, Some(0));
        assert!(output.exit.out_of_memory);

        let output = bench.run(program(&hungry[..1])).await;
        assert!(!output.exit.out_of_memory);
    });
}

fn tmp_has_a_size() {
    with(|bench| async move {
        let mut spec = shell("head -c 3000000 /dev/zero > /tmp/x; stat -c %s /tmp/x");
        spec.limits.tmp = MIB;
        let output = bench.run(spec).await;
        assert!(output.stderr.contains("No space left"), "{}", output.stderr);
        assert_eq!(output.stdout, format!("{MIB}\n"));

        let mut spec = shell("head -c 60000000 /dev/zero > /tmp/x");
        spec.limits.memory = 32 * MIB;
        let exit = bench.run(spec).await.exit;
        assert!(exit.out_of_memory || exit.code != Some(0), "{exit:?}");

        let script = "perl -e 'for (1..100000) { open(F, \">/tmp/$_\") or print(\"$!\"), exit }'";
        let mut spec = shell(script);
        spec.limits.tmp = MIB;
        assert_eq!(bench.run(spec).await.stdout, "No space left on device");
    });
}

fn processes_are_bounded() {
    with(|bench| async move {
        let mut spec = shell("for i in 1 2 3 4 5 6 7 8 9; do sleep 60 & done; echo all");
        spec.limits.pids = 6;
        let output = bench.run(spec).await;
        assert!(output.stderr.contains("fork"), "{}", output.stderr);
        assert!(!output.stdout.contains("all"));
    });
}

fn files_are_bounded() {
    with(|bench| async move {
        let mut spec = shell("ulimit -n; ulimit -Hn; ulimit -c");
        spec.shape.files = 64;
        assert_eq!(bench.run(spec).await.stdout, "64\n64\n0\n");
    });
}

fn processor_time() {
    with(|bench| async move {
        let mut spec =
            shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; sleep 60");
        spec.limits.cpu = 250;
        let mut sandbox = bench.start(spec).await.unwrap();
        let pid = sandbox.pid;
        let read = |name: &str| {
            let file = cgroups(pid)
                .into_iter()
                .find_map(|folder| std::fs::read_to_string(folder.join(name)).ok());
            file.map(|text| text.trim().to_owned())
        };
        let v1 = read("cpu.cfs_quota_us");
        let v2 = read("cpu.max");
        assert!(
            v1.as_deref() == Some("25000") || v2.as_deref() == Some("25000 100000"),
            "{v1:?} {v2:?}"
        );
        first_line(&mut sandbox).await;
        let usage = sandbox.usage().await.unwrap();
        assert!(usage.cpu > 0 && usage.memory_peak > 0, "{usage:?}");
        sandbox.kill();
        let exit = sandbox.exited().await;
        assert!(exit.usage.cpu >= usage.cpu, "{exit:?}");
    });
}

/// One that takes all it can get of them takes nothing from its neighbour, nor from the host's root.
fn counts_by_user() {
    with(|bench| async move {
        let inotify = libc::SYS_inotify_init1;
        let take = format!("$|=1; $n++ while syscall({inotify},0) >= 0; print \"$n\\n\"; sleep 60");
        let mut greedy = bench.start(program(&["perl", "-e", &take])).await.unwrap();
        assert_ne!(first_line(&mut greedy).await, "0");
        let ask = format!("print syscall({inotify},0) >= 0 ? 'some' : \"none: $!\"");
        let output = bench.run(program(&["perl", "-e", &ask])).await;
        assert_eq!(output.stdout, "some");
        let outside = std::process::Command::new("perl")
            .args(["-e", &ask])
            .output();
        assert_eq!(outside.unwrap().stdout, b"some");
        // There are none of those that all of the machine shares.
        let aio = format!(
            "my $context = \"\\0\" x 8; print syscall({},1,$context) < 0 && $! == {} ? 'none' : 'some'",
            libc::SYS_io_setup,
            libc::ENOSYS
        );
        let output = bench.run(program(&["perl", "-e", &aio])).await;
        assert_eq!(output.stdout, "none", "{}", output.stderr);
    });
}
