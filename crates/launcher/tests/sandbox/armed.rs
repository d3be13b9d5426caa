//! Sandboxes that wait for their assignment, and programs that wait in them.

use crate::Case;
use crate::bench::{
    Bench, Spec, are_empty, are_gone, bind, cgroups, finish, first_line, is_nobodys, kill, lives,
    namespace, program, shell, status, until, with,
};
use launcher::{Assignment, Error, Stem, Volume, Work};

pub(crate) const CASES: &[Case] = &[
    ("an_armed_sandbox_waits_contained", waits_contained),
    ("an_armed_sandbox_takes_what_is_assigned", takes_assigned),
    ("a_refused_assignment_is_named", refused_assignments),
    ("an_armed_sandbox_that_is_dropped_leaves_nothing", dropped),
    (
        "an_armed_sandbox_that_is_killed_is_told",
        killed_while_armed,
    ),
    ("a_program_stem_hears_its_message", stem_hears),
    ("a_stem_that_never_gets_ready_is_told", stem_never_ready),
    ("a_frozen_sandbox_uses_no_processor", freezer),
    ("a_frozen_sandbox_can_be_ended", ending_of_the_frozen),
    ("a_shape_is_right_the_second_time", same_shape_again),
    ("a_volume_beneath_tmp_works_twice", volume_beneath_tmp),
];

/// Writes one byte, reads one message, and prints what it sees.
const STEM: &str = "open my $s, '+<&=', 3 or die; syswrite $s, '1'; sysread $s, my $m, 200000; \
     print \"$m \", length $m, \"\\n\"; open my $f, '<', '/var/task/hello' or exit; print <$f>";

fn stem(script: &str) -> Stem {
    Stem::Program {
        argv: ["/usr/bin/perl", "-e", script].map(str::to_owned).into(),
        environment: Vec::new(),
    }
}

/// A folder with the file `hello`, which says `text`.
fn code(bench: &Bench, text: &str) -> std::path::PathBuf {
    let folder = bench.data.path().join(format!("code-{text}"));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("hello"), format!("{text}\n")).unwrap();
    folder
}

fn waits_contained() {
    with(|bench| async move {
        let armed = bench.arm(&shell("true"), Stem::None).await.unwrap();
        let pid = armed.pid();
        // It tells that it waits one step before its filter is there, and executes one step after.
        until("the filter", || status(pid, "Seccomp") == "2").await;
        assert_eq!(status(pid, "NoNewPrivs"), "1");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(pid, set), "0000000000000000", "{set}");
        }
        assert_eq!(status(pid, "Groups"), "");
        for id in status(pid, "Uid").split(' ') {
            assert!(is_nobodys(id.parse().unwrap()), "{id}");
        }
        for kind in ["mnt", "net", "ipc", "uts", "pid", "user", "cgroup"] {
            assert_ne!(namespace(pid, kind), namespace(std::process::id(), kind));
        }
        let groups = cgroups(pid);
        assert!(!groups.is_empty());
        let root = std::path::PathBuf::from(format!("/proc/{pid}/root"));
        assert!(root.join("usr/bin").is_dir() && root.join("tmp").is_dir());
        assert!(!root.join("etc/shadow").exists());
        let data = bench.data.path().strip_prefix("/").unwrap();
        assert!(!root.join(data).exists());
        assert!(armed.is_alive());
    });
}

fn takes_assigned() {
    with(|bench| async move {
        let mut spec = shell(
            "pwd; env; cat /var/task/hello; echo x 2>/dev/null >/var/task/x || echo refused; \
             head -c 3000000 /dev/zero 2>/dev/null >/tmp/x; stat -c %s /tmp/x; sleep 1000",
        );
        spec.shape.places = vec!["/var/task".into()];
        let armed = bench.arm(&spec, Stem::None).await.unwrap();
        spec.environment
            .push(("STAGE".to_owned(), "a b".to_owned()));
        spec.limits.memory = 64 << 20;
        spec.limits.pids = 17;
        spec.limits.tmp = 1 << 20;
        spec.working_dir = "/var".to_owned();
        let assignment = Assignment {
            code: vec![bind(code(&bench, "one"), "/var/task")],
            ..spec.assignment()
        };
        let pid = armed.pid();
        let mut sandbox = armed.assign(assignment).unwrap();
        sandbox.begun().await.unwrap();
        assert_eq!(sandbox.pid, pid);
        let mut lines = Vec::new();
        while lines.last().map(String::as_str) != Some("1048576") {
            lines.push(first_line(&mut sandbox).await);
            assert!(lines.len() < 20, "{lines:?}");
        }
        for line in ["/var", "STAGE=a b", "PATH=/usr/bin:/bin", "one", "refused"] {
            assert!(lines.iter().any(|l| l == line), "{line} in {lines:?}");
        }
        let read = |name: &str| {
            let mut files = cgroups(pid).into_iter().map(|folder| folder.join(name));
            files.find_map(|file| std::fs::read_to_string(file).ok())
        };
        let memory = read("memory.limit_in_bytes").or_else(|| read("memory.max"));
        assert_eq!(memory.as_deref().map(str::trim), Some("67108864"));
        assert_eq!(read("pids.max").as_deref().map(str::trim), Some("17"));
    });
}

/// Assigns to a sandbox with this stem; the words of why not.
async fn refusal(bench: &Bench, spec: &Spec, stem: Stem, assignment: Assignment) -> String {
    let armed = bench.arm(spec, stem).await.unwrap();
    let (pid, groups) = (armed.pid(), cgroups(armed.pid()));
    let mut sandbox = armed.assign(assignment).unwrap();
    let why = sandbox.begun().await.expect_err("it is refused");
    assert!(matches!(why, Error::Step { .. }), "{why:?}");
    assert!(!sandbox.is_alive());
    until("the end", || !lives(pid) && are_gone(&groups)).await;
    why.to_string()
}

fn refused_assignments() {
    with(|bench| async move {
        let mut spec = shell("true");
        spec.shape.places = vec!["/var/task".into()];
        let folder = code(&bench, "refused");
        let at = |source: &std::path::Path, target: &str| Assignment {
            code: vec![bind(source, target)],
            ..spec.assignment()
        };
        let tell = Assignment {
            work: Work::Tell(b"hello".to_vec()),
            ..spec.assignment()
        };
        let nothing = program(&["/no/such"]).assignment();
        let waiting = "open my $s, '+<&=', 3; syswrite $s, '1'; sleep 1000";
        let cases = [
            (Stem::None, at(&folder, "/var/other"), "no such place"),
            (Stem::None, at(&folder.join("x"), "/var/task"), "binding"),
            (Stem::None, nothing, "/no/such"),
            (Stem::None, tell, "no stem"),
            (stem(waiting), spec.assignment(), "cannot execute"),
        ];
        for (stem, assignment, words) in cases {
            let why = refusal(&bench, &spec, stem, assignment).await;
            assert!(why.contains(words), "{words} in {why}");
        }
        let long = Assignment {
            work: Work::Tell(vec![0; 128 * 1024 + 1]),
            ..spec.assignment()
        };
        let armed = bench.arm(&spec, stem(waiting)).await.unwrap();
        let pid = armed.pid();
        assert!(matches!(armed.assign(long), Err(Error::Invalid(_))));
        until("the end", || !lives(pid)).await;
        assert_eq!(bench.run(shell("echo on")).await.stdout, "on\n");
    });
}

fn dropped() {
    with(|bench| async move {
        for stem in [Stem::None, stem(STEM)] {
            let armed = bench.arm(&shell("true"), stem).await.unwrap();
            let (pid, groups) = (armed.pid(), cgroups(armed.pid()));
            drop(armed);
            until("the end", || !lives(pid) && are_empty(&groups)).await;
        }
    });
}

fn killed_while_armed() {
    with(|bench| async move {
        for stem in [Stem::None, stem(STEM)] {
            let spec = shell("true");
            let armed = bench.arm(&spec, stem.clone()).await.unwrap();
            kill(armed.pid());
            assert_eq!(armed.exited().await.signal, Some(9));
            assert!(!armed.is_alive());
            let mut late = armed.assign(spec.assignment()).unwrap();
            assert!(late.begun().await.is_err());
        }
    });
}

fn stem_hears() {
    with(|bench| async move {
        let mut spec = shell("true");
        spec.shape.places = vec!["/var/task".into()];
        let armed = bench.arm(&spec, stem(STEM)).await.unwrap();
        assert_eq!(status(armed.pid(), "Seccomp"), "2");
        let assignment = Assignment {
            code: vec![bind(code(&bench, "told"), "/var/task")],
            work: Work::Tell(b"hello".to_vec()),
            ..spec.assignment()
        };
        let mut sandbox = armed.assign(assignment).unwrap();
        sandbox.begun().await.unwrap();
        let output = finish(sandbox).await;
        assert_eq!(output.stdout, "hello 5\ntold\n", "{}", output.stderr);
        assert_eq!(output.exit.code, Some(0));

        let armed = bench.arm(&spec, stem(STEM)).await.unwrap();
        let long = Assignment {
            work: Work::Tell(vec![b'x'; 128 * 1024]),
            ..spec.assignment()
        };
        let output = finish(armed.assign(long).unwrap()).await;
        assert!(output.stdout.ends_with(" 131072\n"), "{}", output.stderr);
    });
}

fn stem_never_ready() {
    with(|bench| async move {
        let spec = shell("true");
        let missing = Stem::Program {
            argv: vec!["/no/such".to_owned()],
            environment: Vec::new(),
        };
        for (stem, words) in [
            (stem("exit 3"), "before it was ready"),
            (missing, "/no/such"),
            (Stem::Fork { zygote: 12_345 }, "zygote"),
        ] {
            let why = bench.arm(&spec, stem).await.err().expect("it is refused");
            assert!(why.to_string().contains(words), "{words} in {why}");
        }
        assert_eq!(bench.run(shell("echo on")).await.stdout, "on\n");
    });
}

/// Whether the kernel says that the cgroup of this process is frozen, as a whole.
fn is_frozen(pid: u32) -> bool {
    cgroups(pid).iter().any(|folder| {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        read("freezer.state") == "FROZEN\n" || read("cgroup.events").contains("frozen 1")
    })
}

/// Whether nobody wants the cgroup of this process to be frozen.
fn is_free(pid: u32) -> bool {
    cgroups(pid).iter().any(|folder| {
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
        read("freezer.state") == "THAWED\n" || read("cgroup.freeze") == "0\n"
    })
}

/// Spins, and ends with 7 when it is asked to.
const SPIN: &str = "trap 'exit 7' TERM; while :; do :; done";

fn freezer() {
    with(|bench| async move {
        let sandbox = bench.start(shell(SPIN)).await.unwrap();
        let neighbour = bench.start(shell("sleep 1000")).await.unwrap();
        sandbox.freeze();
        until("the freeze", || is_frozen(sandbox.pid)).await;
        assert!(is_free(neighbour.pid));
        let before = sandbox.usage().await.unwrap().cpu;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert_eq!(sandbox.usage().await.unwrap().cpu, before);
        sandbox.thaw();
        while sandbox.usage().await.unwrap().cpu == before {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        // The last word counts, however fast they come.
        for _ in 0..50 {
            sandbox.freeze();
            sandbox.thaw();
        }
        sandbox.usage().await.unwrap();
        assert!(is_free(sandbox.pid));
    });
}

fn ending_of_the_frozen() {
    with(|bench| async move {
        for polite in [true, false] {
            // Once it is told that it runs the trap may not be there yet.
            let mut sandbox = bench
                .start(shell(&format!("trap 'exit 7' TERM; echo; {SPIN}")))
                .await
                .unwrap();
            first_line(&mut sandbox).await;
            sandbox.freeze();
            until("the freeze", || is_frozen(sandbox.pid)).await;
            if polite {
                sandbox.terminate();
                assert_eq!(sandbox.exited().await.code, Some(7));
            } else {
                sandbox.kill();
                assert_eq!(sandbox.exited().await.signal, Some(9));
            }
            // Whoever has its slot next is not frozen by what is said to the one that has ended.
            sandbox.freeze();
            let next = bench.start(shell(SPIN)).await.unwrap();
            next.usage().await.unwrap();
            assert!(is_free(next.pid));
            sandbox.thaw();
            sandbox.freeze();
            next.usage().await.unwrap();
            assert!(is_free(next.pid));
            next.kill();
            next.exited().await;
        }
    });
}

fn same_shape_again() {
    with(|bench| async move {
        let folder = bench.data.path().join("volume");
        std::fs::create_dir(&folder).unwrap();
        let script = "hostname; cat /etc/hosts; echo x 2>/dev/null >/etc/x || echo refused; \
                      echo more >>/data/log; wc -l </data/log; ls -A /tmp; echo x >/tmp/x";
        let mut spec = shell(script);
        spec.shape
            .hosts
            .push(("catalog".to_owned(), [127, 0, 1, 1].into()));
        spec.shape.volumes.push(Volume {
            source: folder,
            target: "/data".into(),
            read_only: false,
        });
        for turn in 1..=3 {
            let again = Spec {
                shape: spec.shape.clone(),
                ..shell(script)
            };
            let output = bench.run(again).await;
            let lines: Vec<_> = output.stdout.lines().collect();
            assert_eq!(lines[0], "box");
            assert!(lines.contains(&"127.0.1.1 catalog"), "{lines:?}");
            let end = ["refused".to_owned(), turn.to_string()];
            assert!(
                lines.ends_with(&end.each_ref().map(String::as_str)),
                "{lines:?}"
            );
        }
        // Another shape sees what is its own.
        let text = bench.run(shell("cat /etc/hosts; ls -A /")).await.stdout;
        assert!(
            !text.contains("catalog") && !text.contains("data"),
            "{text}"
        );
    });
}

fn volume_beneath_tmp() {
    with(|bench| async move {
        let folder = bench.data.path().join("volume");
        std::fs::create_dir(&folder).unwrap();
        for turn in 1..=2 {
            let mut spec =
                shell("ls -A /tmp; echo x >>/tmp/v/log; wc -l </tmp/v/log; echo x >/tmp/x");
            spec.shape.volumes.push(Volume {
                source: folder.clone(),
                target: "/tmp/v".into(),
                read_only: false,
            });
            let output = bench.run(spec).await;
            assert_eq!(output.stdout, format!("v\n{turn}\n"), "{}", output.stderr);
        }
    });
}
