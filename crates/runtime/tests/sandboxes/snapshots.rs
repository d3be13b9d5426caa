//! Functions that are initialised once, and whose instances are forks of that (`snapshot: init`).

use crate::rig::{MIB, Rig, answer, call};
use model::{Ending, InstanceId, Snapshot, StartKind};
use runtime::{Door, Error, Instance, InstanceSpec};
use std::collections::HashSet;
use std::time::Duration;
use storage::LogQuery;

crate::tests!(
    an_initialisation_is_done_once_for_all_instances,
    random_numbers_of_restored_instances_differ,
    hooks_run_in_their_order_once_before_and_in_each_after,
    a_function_may_bring_the_hooks_itself,
    what_an_initialisation_changes_does_not_touch_the_platforms_connection,
    a_hook_that_fails_is_named,
    an_initialisation_that_fails_is_what_every_start_is_told,
    an_initialisation_that_takes_too_much_memory_is_named,
    an_initialisation_that_takes_too_long_is_ended,
    threads_of_an_initialisation_are_refused,
    an_initialisation_reaches_the_platform_and_no_instance_has_its_connection,
    instances_outlive_what_they_were_forked_from,
    nothing_is_left_of_a_function_that_is_gone,
);

async fn function(rig: &Rig, text: &str) -> InstanceSpec {
    let mut spec = rig.python(text).await;
    spec.snapshot = Snapshot::Init;
    spec.environment
        .insert("MARK".to_owned(), InstanceId::generate().to_string());
    spec
}

/// One more instance of the same function.
async fn start(rig: &Rig, spec: &InstanceSpec) -> Instance {
    rig.start(InstanceSpec {
        id: InstanceId::generate(),
        ..spec.clone()
    })
    .await
}

/// How its start fails: the ending, and the end of its log.
async fn failure(rig: &Rig, spec: &InstanceSpec) -> (Ending, String) {
    let failed = rig.runtime.start(spec.clone()).await.err();
    match failed.expect("it fails") {
        Error::Init {
            ending, log_tail, ..
        } => (*ending, String::from_utf8(log_tail.to_vec()).unwrap()),
        other => panic!("{other}"),
    }
}

/// How many lines of the function's log are this one.
async fn lines(rig: &Rig, text: &str) -> usize {
    let query = LogQuery {
        key: "function:thumbnail".into(),
        since: None,
        request: None,
        tail: 10_000,
    };
    let lines = rig.storage.read_logs(query).await.unwrap();
    lines.iter().filter(|line| line.text == text).count()
}

/// Processes that have this function's environment; with `zygote`, only what others are forked from.
fn processes(spec: &InstanceSpec, zygote: bool) -> Vec<i32> {
    let mark = format!("MARK={}", spec.environment["MARK"]);
    let read = |pid: i32, file: &str| std::fs::read(format!("/proc/{pid}/{file}"));
    let folders = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = folders.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let environment = read(*pid, "environ").unwrap_or_default();
        let status = read(*pid, "status").unwrap_or_default();
        let status = String::from_utf8_lossy(&status).into_owned();
        let marked = environment.split(|byte| *byte == 0);
        marked.into_iter().any(|pair| pair == mark.as_bytes())
            && (!zygote || status.contains("CapEff:\t0000000000240000"))
    })
    .collect()
}

/// The one zygote of this function. A fork that is just made ahead looks like another until it has given up what the
/// zygote holds; two that stay are never one.
async fn zygote(spec: &InstanceSpec) -> i32 {
    loop {
        if let [one] = processes(spec, true).as_slice() {
            return *one;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn an_initialisation_is_done_once_for_all_instances(rig: &Rig) {
    let mark = InstanceId::generate();
    let spec = function(
        rig,
        &format!(
            "import os, uuid\nprint('initialising {mark}')\nMADE = str(uuid.uuid4())\nCALLS = 0\n\
             def handler(event, context):\n    global CALLS\n    CALLS += 1\n\
             \x20   return [MADE, CALLS, os.environ['AWS_LAMBDA_LOG_STREAM_NAME'],\n\
             \x20       os.environ['AWS_LAMBDA_INITIALIZATION_TYPE'], os.getcwd()]\n"
        ),
    )
    .await;
    let (mut made, mut streams, mut alive) = (HashSet::new(), HashSet::new(), Vec::new());
    for _ in 0..5 {
        let instance = start(rig, &spec).await;
        let kind = instance.start_kind();
        assert!(
            matches!(kind, StartKind::Fork | StartKind::Stem),
            "{kind:?}"
        );
        let first = answer(&call(&instance, "{}").await);
        made.insert(first[0].clone());
        assert_eq!(first[1], 1);
        assert_eq!(answer(&call(&instance, "{}").await)[1], 2);
        let stream = first[2].as_str().unwrap().to_owned();
        assert!(stream.ends_with(&instance.id().to_string()), "{stream}");
        streams.insert(stream);
        assert_eq!(
            (&first[3], &first[4]),
            (&"snap-start".into(), &"/var/task".into())
        );
        alive.push(instance);
    }
    assert_eq!((made.len(), streams.len()), (1, 5));
    assert_eq!(lines(rig, &format!("initialising {mark}")).await, 1);
}

async fn random_numbers_of_restored_instances_differ(rig: &Rig) {
    let spec = function(
        rig,
        "import os, random, ssl, uuid\nrandom.random()\n\
         def handler(event, context):\n\
         \x20   return [random.random(), str(uuid.uuid4()), ssl.RAND_bytes(8).hex(), os.urandom(8).hex()]\n",
    )
    .await;
    let (mut seen, mut alive) = (HashSet::new(), Vec::new());
    for _ in 0..3 {
        let instance = start(rig, &spec).await;
        let values = answer(&call(&instance, "{}").await);
        for value in values.as_array().unwrap() {
            assert!(seen.insert(value.to_string()), "{value} twice");
        }
        alive.push(instance);
    }
}

const HOOKS: &str = "from snapshot_restore_py import register_after_restore, register_before_snapshot\n\
     DONE = []\n\
     register_before_snapshot(DONE.append, 'before 1')\n\
     @register_before_snapshot\n\
     def second(): DONE.append('before 2')\n\
     register_after_restore(DONE.append, 'after 1')\n\
     @register_after_restore\n\
     def last(): DONE.append('after 2')\n\
     def handler(event, context): return DONE\n";

async fn hooks_run_in_their_order_once_before_and_in_each_after(rig: &Rig) {
    let spec = function(rig, HOOKS).await;
    for _ in 0..2 {
        let instance = start(rig, &spec).await;
        let done = answer(&call(&instance, "{}").await);
        let expected = ["before 2", "before 1", "after 1", "after 2"];
        assert_eq!(done, serde_json::json!(expected));
        // Not again with the next call.
        assert_eq!(answer(&call(&instance, "{}").await), done);
    }
    // Without a snapshot the module is there, and nothing runs.
    let instance = rig.start(rig.python(HOOKS).await).await;
    assert_eq!(answer(&call(&instance, "{}").await), serde_json::json!([]));
}

async fn a_function_may_bring_the_hooks_itself(rig: &Rig) {
    let own = "AFTER = []\ndef register_after_restore(function): AFTER.append((function, (), {}))\n\
         def get_after_restore(): return AFTER\n";
    let app = "from snapshot_restore_py import register_after_restore\nDONE = []\n\
         register_after_restore(lambda: DONE.append('own'))\n\
         def handler(event, context): return DONE\n";
    let files = [
        ("app.py", app, false),
        ("snapshot_restore_py.py", own, false),
    ];
    let python = model::RuntimeName::Python311;
    let mut spec = rig.function(python, "app.handler", &files).await;
    spec.snapshot = Snapshot::Init;
    let instance = rig.start(spec).await;
    assert_eq!(
        answer(&call(&instance, "{}").await),
        serde_json::json!(["own"])
    );
}

async fn what_an_initialisation_changes_does_not_touch_the_platforms_connection(rig: &Rig) {
    let text = "import builtins, socket\nsocket.setdefaulttimeout(0.01)\nbuiltins.open = None\n\
         def handler(event, context): return 'still there'\n";
    let instance = rig.start(function(rig, text).await).await;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let told = answer(&call(&instance, "{}").await);
        assert_eq!(told, serde_json::json!("still there"));
    }
}

async fn a_hook_that_fails_is_named(rig: &Rig) {
    for (hook, expected) in [
        ("register_before_snapshot", "Runtime.BeforeSnapshotError"),
        ("register_after_restore", "Runtime.AfterRestoreError"),
    ] {
        let spec = function(
            rig,
            &format!(
                "import snapshot_restore_py\n@snapshot_restore_py.{hook}\n\
                 def broken(): raise ValueError('no store')\ndef handler(event, context): pass\n"
            ),
        )
        .await;
        let (ending, log) = failure(rig, &spec).await;
        let error = ending.error().unwrap();
        assert_eq!(error, format!("{expected}: ValueError: no store"), "{log}");
    }
}

async fn an_initialisation_that_fails_is_what_every_start_is_told(rig: &Rig) {
    let mark = InstanceId::generate();
    let text = format!("print('trying {mark}')\nraise KeyError('no photo')\n");
    let spec = function(rig, &text).await;
    for _ in 0..3 {
        let (ending, log) = failure(rig, &spec).await;
        assert_eq!(ending.error().unwrap(), "KeyError: 'no photo'");
        assert!(log.contains("app.py\", line 2"), "{log}");
    }
    assert_eq!(lines(rig, &format!("trying {mark}")).await, 1);
}

async fn an_initialisation_that_takes_too_much_memory_is_named(rig: &Rig) {
    let mut spec = function(rig, "x = bytearray(1 << 28)\ndef handler(e, c): pass\n").await;
    spec.limits.memory = 64 * MIB;
    let limit = 64 * MIB;
    assert_eq!(failure(rig, &spec).await.0, Ending::OutOfMemory { limit });
    let spec = function(rig, "import os\nos._exit(3)\n").await;
    let error = failure(rig, &spec).await.0.error().unwrap();
    assert!(error.contains("exit status 3"), "{error}");
}

async fn an_initialisation_that_takes_too_long_is_ended(rig: &Rig) {
    let mut spec = function(rig, "import time\ntime.sleep(1000)\n").await;
    spec.limits.timeout = 1000;
    let (ending, _) = failure(rig, &spec).await;
    assert_eq!(ending, Ending::TimedOut { after: 10_000 });
    assert_eq!(processes(&spec, false), Vec::<i32>::new());
}

async fn threads_of_an_initialisation_are_refused(rig: &Rig) {
    let spec = function(
        rig,
        "import threading, time\nthreading.Thread(target=time.sleep, args=[1000], daemon=True).start()\n\
         def handler(event, context): pass\n",
    )
    .await;
    let error = failure(rig, &spec).await.0.error().unwrap();
    assert!(error.contains("has started 1 threads"), "{error}");
}

async fn an_initialisation_reaches_the_platform_and_no_instance_has_its_connection(rig: &Rig) {
    let spec = function(
        rig,
        "import os, socket\n\
         kept = socket.create_connection(('127.0.0.1', 4566))\nkept.sendall(b'hello')\n\
         def api():\n\
         \x20   try: socket.create_connection(('127.0.0.1', 9001))\n\
         \x20   except OSError as error: return type(error).__name__\n\
         API = api()\n\
         def handler(event, context): return [API, kept.recv(1).decode()]\n",
    )
    .await;
    let mut inbound = rig.inbound.lock().await;
    let (instance, arrived) = tokio::join!(start(rig, &spec), inbound.recv());
    let arrived = arrived.unwrap();
    assert_eq!(
        (arrived.owner, arrived.door),
        (spec.owner.clone(), Door::Platform)
    );
    let told = answer(&call(&instance, "{}").await);
    assert_eq!(told, serde_json::json!(["ConnectionRefusedError", ""]));
}

async fn instances_outlive_what_they_were_forked_from(rig: &Rig) {
    let spec = function(rig, "def handler(event, context): return 'well'\n").await;
    let instance = start(rig, &spec).await;
    let zygote = zygote(&spec).await;
    let pid = rustix::process::Pid::from_raw(zygote).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    while processes(&spec, true).contains(&zygote) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(answer(&call(&instance, "{}").await), "well");
    // There is another, if not at once.
    let second = loop {
        match rig.runtime.start(spec.clone()).await {
            Ok(second) => break second,
            Err(Error::Init { .. } | Error::Launcher(_)) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(answer(&call(&second, "{}").await), "well");
    assert_eq!(answer(&call(&instance, "{}").await), "well");
}

async fn nothing_is_left_of_a_function_that_is_gone(rig: &Rig) {
    let spec = function(rig, "def handler(event, context): return 'well'\n").await;
    let prepared = rig.runtime.prepare(&spec).await.unwrap();
    let instance = start(rig, &spec).await;
    zygote(&spec).await;
    drop(prepared);
    while !processes(&spec, true).is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(answer(&call(&instance, "{}").await), "well");
    instance.stop(Duration::from_secs(5)).await;
    while !processes(&spec, false).is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
