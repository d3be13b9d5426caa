//! How programs end, and how they do not begin.

use crate::Case;
use crate::bench::{
    are_empty, cgroups, children, finish, first_line, lives, parent, program, shell, until, with,
};

pub(crate) const CASES: &[Case] = &[
    ("exit_codes_are_told", exit_codes_are_told),
    ("kill_is_told", kill_is_told),
    ("terminate_reaches_a_handler", terminate_reaches_a_handler),
    (
        "children_that_stay_are_killed",
        children_that_stay_are_killed,
    ),
    ("a_dropped_sandbox_is_killed", a_dropped_sandbox_is_killed),
    (
        "a_cancelled_start_leaves_nothing",
        a_cancelled_start_leaves_nothing,
    ),
    (
        "what_cannot_be_executed_is_named",
        what_cannot_be_executed_is_named,
    ),
    ("steps_that_fail_are_named", steps_that_fail_are_named),
    ("an_ended_sandbox_answers_so", an_ended_sandbox_answers_so),
];

fn exit_codes_are_told() {
    with(|bench| async move {
        for code in [0, 1, 7, 255] {
            let exit = bench.run(shell(&format!("exit {code}"))).await.exit;
            assert_eq!(
                (exit.code, exit.signal, exit.out_of_memory),
                (Some(code), None, false)
            );
        }
        let exit = bench
            .run(shell("sh -c 'kill -SEGV $$'; exit $?"))
            .await
            .exit;
        assert_eq!(exit.describe(), "exit status 139");
    });
}

fn kill_is_told() {
    with(|bench| async move {
        let sandbox = bench.start(shell("sleep 1000")).await.unwrap();
        sandbox.kill();
        sandbox.kill();
        let (one, two) = tokio::join!(sandbox.exited(), sandbox.exited());
        assert_eq!(one, two);
        assert_eq!(one.describe(), "signal 9 (SIGKILL)");
        assert!(!one.out_of_memory);
        assert!(!lives(sandbox.pid));
    });
}

fn terminate_reaches_a_handler() {
    with(|bench| async move {
        let script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done";
        let mut sandbox = bench.start(shell(script)).await.unwrap();
        assert_eq!(first_line(&mut sandbox).await, "ready");
        sandbox.terminate();
        assert_eq!(sandbox.exited().await.code, Some(5));

        // Without a handler the first process of a pid namespace does not notice; kill still ends it.
        let deaf = shell("echo ready; exec sleep 1000");
        let mut deaf = bench.start(deaf).await.unwrap();
        first_line(&mut deaf).await;
        deaf.terminate();
        deaf.kill();
        assert_eq!(deaf.exited().await.signal, Some(9));
    });
}

fn children_that_stay_are_killed() {
    with(|bench| async move {
        let spec = shell(
            "setsid sleep 1000 >/dev/null 2>&1 & sleep 1000 >/dev/null 2>&1 & sleep 0.5; exit 3",
        );
        let sandbox = bench.start(spec).await.unwrap();
        let groups = cgroups(sandbox.pid);
        assert!(!groups.is_empty());
        assert_eq!(finish(sandbox).await.exit.code, Some(3));
        assert!(are_empty(&groups));
    });
}

fn a_dropped_sandbox_is_killed() {
    with(|bench| async move {
        let sandbox = bench.start(shell("sleep 1000")).await.unwrap();
        let pid = sandbox.pid;
        assert!(lives(pid));
        let groups = cgroups(pid);
        assert!(!groups.is_empty() && !are_empty(&groups));
        drop(sandbox);
        until("the end of a dropped sandbox", || {
            !lives(pid) && are_empty(&groups)
        })
        .await;
    });
}

fn a_cancelled_start_leaves_nothing() {
    with(|bench| async move {
        let sandbox = bench.start(shell("sleep 1000")).await.unwrap();
        let launcher = parent(sandbox.pid);
        sandbox.kill();
        sandbox.exited().await;
        for microseconds in [0, 50, 200, 1000, 3000, 6000] {
            let spec = shell("sleep 1000");
            let wait = std::time::Duration::from_micros(microseconds);
            drop(tokio::time::timeout(wait, bench.start(spec)).await);
            // What comes after it in the same queue shows that it was dealt with.
            bench.run(shell("true")).await;
            until("the end of a cancelled start", || children(launcher) == 0).await;
        }
    });
}

fn what_cannot_be_executed_is_named() {
    with(|bench| async move {
        let script = bench.data.path().join("script");
        let write = |text: &str, mode: u32| {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::write(&script, text).unwrap();
            std::fs::set_permissions(&script, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let bound = || {
            let mut spec = program(&["/var/task"]);
            spec.shape
                .binds
                .push(crate::bench::bind(&script, "/var/task"));
            spec
        };
        let (step, reason) = bench.refusal(program(&["/no/such"])).await;
        assert_eq!(
            (step.as_str(), reason.as_str()),
            ("executing /no/such", "no such file")
        );
        let (step, reason) = bench.refusal(program(&["nosuch"])).await;
        assert_eq!(
            (step.as_str(), reason.as_str()),
            ("executing nosuch", "not found in PATH")
        );
        write("#!/no/such\n", 0o755);
        let (_, reason) = bench.refusal(bound()).await;
        assert!(reason.contains("interpreter"), "{reason}");
        write("#!/bin/sh\n", 0o644);
        let (_, reason) = bench.refusal(bound()).await;
        assert!(reason.contains("permission denied"), "{reason}");
        write("nothing", 0o755);
        let (_, reason) = bench.refusal(bound()).await;
        assert!(reason.contains("not a program"), "{reason}");
    });
}

fn steps_that_fail_are_named() {
    with(|bench| async move {
        let mut spec = shell("true");
        spec.working_dir = "/no/such".to_owned();
        let (step, _) = bench.refusal(spec).await;
        assert_eq!(step, "entering the working directory /no/such");

        let mut spec = shell("true");
        spec.shape
            .binds
            .push(crate::bench::bind("/no/such/source", "/code"));
        let (step, _) = bench.refusal(spec).await;
        assert!(step.contains("/code"), "{step}");

        let mut spec = shell("true");
        spec.shape.listen = vec![([127, 0, 0, 1], 80).into(); 2];
        let (step, reason) = bench.refusal(spec).await;
        assert_eq!(step, "listening on 127.0.0.1:80 inside");
        assert!(reason.contains("in use"), "{reason}");

        let mut spec = shell("true");
        spec.argv.clear();
        let error = bench.start(spec).await.err().unwrap();
        assert_eq!(error.kind(), model::Kind::Invalid);
    });
}

fn an_ended_sandbox_answers_so() {
    with(|bench| async move {
        let sandbox = bench.start(shell("true")).await.unwrap();
        sandbox.exited().await;
        let error = sandbox.socket().await.err().unwrap();
        assert!(error.to_string().contains("ended"), "{error}");
        assert!(sandbox.usage().await.is_err());
        sandbox.terminate();
        sandbox.kill();
    });
}
