//! Each way in which a function can go wrong: a clear outcome, and its neighbour unharmed.

use crate::rig::{MIB, Rig, answer, call, invocation, tail};
use model::{Ending, MAX_PAYLOAD, RuntimeName};
use runtime::{Error, Instance};
use std::time::Duration;

crate::tests!(
    one_that_throws_fails_and_lives_on,
    one_that_exits_has_crashed,
    one_that_is_killed_by_a_signal_has_crashed,
    one_that_answers_and_exits_has_answered,
    one_that_hangs_is_killed_at_its_timeout,
    one_that_floods_its_log_answers_and_its_log_is_bounded,
    one_that_answers_too_much_is_told_so,
    one_that_answers_no_json_fails,
    children_that_stay_do_not_hold_the_answer_and_end_with_the_instance,
    one_that_fills_its_memory_is_killed_and_named,
    a_child_that_fills_the_memory_fails_the_call_only,
    one_that_fills_its_disk_fails_and_lives_on,
    one_that_forks_without_end_is_held,
    one_that_cannot_be_loaded_says_why,
    one_that_ends_before_it_is_ready_says_how,
    code_without_its_program_is_named,
    one_that_asks_again_without_an_answer_fails,
);

/// A healthy instance beside each test: it must answer after whatever happened.
async fn neighbour(rig: &Rig) -> Instance {
    rig.start(rig.node("exports.handler = async () => 'well';").await)
        .await
}

async fn is_well(neighbour: Instance) {
    assert_eq!(answer(&call(&neighbour, "{}").await), "well");
    neighbour.stop(Duration::from_secs(10)).await;
}

async fn one_that_throws_fails_and_lives_on(rig: &Rig) {
    let spec = rig
        .node("exports.handler = async (e) => { if (e.bad) throw new TypeError('no photo'); return 1; };")
        .await;
    let instance = rig.start(spec).await;
    let outcome = call(&instance, r#"{"bad":true}"#).await;
    assert_eq!(outcome.ending.error().unwrap(), "TypeError: no photo");
    assert!(tail(&outcome).contains("Status: error\tError Type: TypeError"));
    assert!(instance.is_alive());
    assert_eq!(answer(&call(&instance, "{}").await), 1);
}

async fn one_that_exits_has_crashed(rig: &Rig) {
    let neighbour = neighbour(rig).await;
    let spec = rig
        .node("exports.handler = async () => { console.log('bye'); process.exit(7); };")
        .await;
    let instance = rig.start(spec).await;
    let outcome = call(&instance, "{}").await;
    let how = "exit status 7".to_owned();
    assert_eq!(outcome.ending, Ending::Crashed { how });
    assert!(tail(&outcome).contains("bye\n"));
    assert!(!instance.is_alive());
    assert_eq!(instance.exited().await, "exit status 7");
    is_well(neighbour).await;
}

async fn one_that_is_killed_by_a_signal_has_crashed(rig: &Rig) {
    // The first process of a sandbox cannot signal itself to death, but it can fault.
    let spec = rig
        .python(
            "import ctypes, resource\n\
             resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n\
             def handler(event, context): return ctypes.string_at(0)\n",
        )
        .await;
    let instance = rig.start(spec).await;
    let outcome = call(&instance, "{}").await;
    let how = "signal 11 (SIGSEGV)".to_owned();
    assert_eq!(outcome.ending, Ending::Crashed { how });
}

async fn one_that_answers_and_exits_has_answered(rig: &Rig) {
    let bootstrap = "#!/usr/bin/python3\n\
        import os, urllib.request as r\n\
        api = 'http://%s/2018-06-01/runtime/' % os.environ['AWS_LAMBDA_RUNTIME_API']\n\
        call = r.urlopen(api + 'invocation/next')\n\
        id = call.headers['Lambda-Runtime-Aws-Request-Id']\n\
        r.urlopen(api + 'invocation/%s/response' % id, b'1')\n\
        os._exit(3)\n";
    let files = [("bootstrap", bootstrap, true)];
    let spec = rig.function(RuntimeName::Provided, "a.b", &files).await;
    let instance = rig.start(spec).await;
    assert_eq!(answer(&call(&instance, "{}").await), 1);
    assert_eq!(instance.exited().await, "exit status 3");
    assert!(!instance.is_alive());
}

async fn one_that_hangs_is_killed_at_its_timeout(rig: &Rig) {
    let neighbour = neighbour(rig).await;
    for text in [
        "exports.handler = () => { console.log('looping'); for (;;); };",
        "exports.handler = () => { console.log('looping'); return new Promise((r) => setTimeout(r, 1e9)); };",
    ] {
        let instance = rig.start(rig.node(text).await).await;
        let mut late = invocation("{}");
        late.timeout = 700;
        let outcome = instance.call(late).await;
        assert_eq!(outcome.ending, Ending::TimedOut { after: 700 });
        let log = tail(&outcome);
        assert!(log.contains("looping\n"), "{log}");
        assert!(log.contains("Task timed out after 0.70 seconds\n"), "{log}");
        assert!(!instance.is_alive());
    }
    is_well(neighbour).await;
}

async fn one_that_floods_its_log_answers_and_its_log_is_bounded(rig: &Rig) {
    let neighbour = neighbour(rig).await;
    let spec = rig
        .node(
            "exports.handler = async () => {
                const line = 'x'.repeat(999) + '\\n';
                for (let i = 0; i < 16000; i++) process.stdout.write(line);
                console.log('y'.repeat(100000));
                return 'done';
            };",
        )
        .await;
    let instance = rig.start(spec).await;
    let flood = invocation("{}");
    let id = flood.request_id.clone();
    let outcome = instance.call(flood).await;
    assert_eq!(answer(&outcome), "done");
    assert!(outcome.log_tail.len() <= 4096);
    let text = tail(&outcome);
    assert!(text.contains("bytes of log were dropped"), "{text}");
    let lines = rig.log(&id).await;
    let bytes: usize = lines.iter().map(|line| line.text.len()).sum();
    assert!(bytes <= 5 * 1024 * 1024, "{bytes}");
    // The next call has an account of its own.
    assert_eq!(answer(&call(&instance, "{}").await), "done");
    is_well(neighbour).await;
}

async fn one_that_answers_too_much_is_told_so(rig: &Rig) {
    let neighbour = neighbour(rig).await;
    let spec = rig
        .node("exports.handler = async (e) => 'x'.repeat(e.length - 2);")
        .await;
    let instance = rig.start(spec).await;
    let just = call(&instance, &format!(r#"{{"length":{MAX_PAYLOAD}}}"#)).await;
    assert_eq!(answer(&just).as_str().unwrap().len(), MAX_PAYLOAD - 2);
    let more = call(&instance, &format!(r#"{{"length":{}}}"#, MAX_PAYLOAD + 1)).await;
    let limit = MAX_PAYLOAD as u64;
    assert_eq!(more.ending, Ending::ResponseTooLarge { limit });
    assert!(instance.is_alive());
    let after = call(&instance, r#"{"length":4}"#).await;
    assert_eq!(answer(&after), "xx");
    is_well(neighbour).await;
}

async fn one_that_answers_no_json_fails(rig: &Rig) {
    let node = "exports.handler = async () => { const a = {}; a.a = a; return a; };";
    let python = "def handler(event, context): return object()\n";
    for spec in [rig.node(node).await, rig.python(python).await] {
        let instance = rig.start(spec).await;
        let outcome = call(&instance, "{}").await;
        assert_eq!(outcome.ending.error_type(), Some("Runtime.MarshalError"));
        assert!(instance.is_alive());
    }
}

async fn children_that_stay_do_not_hold_the_answer_and_end_with_the_instance(rig: &Rig) {
    let spec = rig
        .python(
            "import subprocess\n\
             def handler(event, context):\n\
             \x20   child = subprocess.Popen(['/bin/sleep', str(event)], start_new_session=True)\n\
             \x20   return child.pid\n",
        )
        .await;
    let instance = rig.start(spec).await;
    // A length that no other process of this machine sleeps for.
    let seconds = (1_000_000 + std::process::id()).to_string();
    for _ in 0..2 {
        let child = answer(&call(&instance, &seconds).await);
        assert!(child.as_u64().unwrap() > 1);
    }
    // The kernel shows a command a moment after its program has begun.
    while sleepers(&seconds) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    instance.stop(Duration::from_secs(10)).await;
    assert_eq!(sleepers(&seconds), 0);
}

/// Processes of this machine that were started as `sleep SECONDS`.
fn sleepers(seconds: &str) -> usize {
    let command = format!("sleep\0{seconds}\0");
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .filter(|found| found.ends_with(command.as_bytes()))
        .count()
}

async fn one_that_fills_its_memory_is_killed_and_named(rig: &Rig) {
    let neighbour = neighbour(rig).await;
    let spec = rig
        .python("def handler(event, context): return len(bytearray(1 << 30))\n")
        .await;
    let limit = spec.limits.memory;
    let instance = rig.start(spec).await;
    let outcome = call(&instance, "{}").await;
    assert_eq!(outcome.ending, Ending::OutOfMemory { limit });
    assert!(outcome.memory_peak > limit / 2, "{}", outcome.memory_peak);
    assert!(tail(&outcome).contains("Runtime.OutOfMemory"));
    assert!(!instance.is_alive());
    is_well(neighbour).await;
}

async fn a_child_that_fills_the_memory_fails_the_call_only(rig: &Rig) {
    let spec = rig
        .python(
            "import subprocess, sys\n\
             def handler(event, context):\n\
             \x20   if event: return 'well'\n\
             \x20   subprocess.run([sys.executable, '-c', 'bytearray(1 << 30)'], check=True)\n",
        )
        .await;
    let instance = rig.start(spec).await;
    let outcome = call(&instance, "{}").await;
    assert_eq!(outcome.ending.error_type(), Some("CalledProcessError"));
    assert!(instance.is_alive());
    assert_eq!(answer(&call(&instance, "1").await), "well");
}

async fn one_that_fills_its_disk_fails_and_lives_on(rig: &Rig) {
    let neighbour = neighbour(rig).await;
    let mut spec = rig
        .python(
            "import os\n\
             def handler(event, context):\n\
             \x20   try:\n\
             \x20       with open('/tmp/fill', 'wb') as f:\n\
             \x20           while True: f.write(bytes(1 << 20))\n\
             \x20   finally: os.unlink('/tmp/fill')\n",
        )
        .await;
    spec.limits.tmp = 16 * MIB;
    let instance = rig.start(spec).await;
    for _ in 0..2 {
        let error = call(&instance, "{}").await.ending.error().unwrap();
        assert_eq!(error, "OSError: [Errno 28] No space left on device");
    }
    assert!(instance.is_alive());
    is_well(neighbour).await;
}

async fn one_that_forks_without_end_is_held(rig: &Rig) {
    let neighbour = neighbour(rig).await;
    let mut spec = rig
        .python(
            "import os, time\n\
             def handler(event, context):\n\
             \x20   while True:\n\
             \x20       if os.fork() == 0: time.sleep(1000)\n",
        )
        .await;
    spec.limits.pids = 32;
    let instance = rig.start(spec).await;
    let ending = call(&instance, "{}").await.ending;
    assert_eq!(ending.error_type(), Some("BlockingIOError"));
    instance.stop(Duration::from_secs(10)).await;
    is_well(neighbour).await;
}

/// How a start failed, and the last of its log.
async fn init_error(rig: &Rig, spec: runtime::InstanceSpec) -> (Ending, String) {
    match rig.runtime.start(spec).await.map(|_| ()) {
        Err(Error::Init {
            ending, log_tail, ..
        }) => (*ending, String::from_utf8(log_tail.to_vec()).unwrap()),
        other => panic!("{other:?}"),
    }
}

async fn one_that_cannot_be_loaded_says_why(rig: &Rig) {
    let spec = rig.node("require('gm')").await;
    let (ending, log) = init_error(rig, spec).await;
    assert_eq!(ending.error_type(), Some("Runtime.ImportModuleError"));
    assert!(ending.error().unwrap().contains("Cannot find module 'gm'"));
    assert!(log.contains("Cannot find module 'gm'"), "{log}");
    assert!(log.contains("INIT_REPORT"), "{log}");
}

async fn one_that_ends_before_it_is_ready_says_how(rig: &Rig) {
    let spec = rig
        .python("import os\nprint('ouch', flush=True)\nos._exit(5)\n")
        .await;
    let (ending, log) = init_error(rig, spec).await;
    assert_eq!(
        ending.error().unwrap(),
        "Runtime.ExitError: it ended before it was ready: exit status 5"
    );
    assert!(log.contains("ouch\n"), "{log}");
    let spec = rig.python("x = bytearray(1 << 30)\n").await;
    let limit = spec.limits.memory;
    let (ending, _) = init_error(rig, spec).await;
    assert_eq!(ending, Ending::OutOfMemory { limit });
}

async fn code_without_its_program_is_named(rig: &Rig) {
    let absent = [("readme.txt", "hello", false)];
    let broken = [("bootstrap", "#!/no/such/interpreter\n", true)];
    let locked = [("bootstrap", "#!/bin/sh\n", false)];
    for (files, said) in [
        (absent, "no executable file named bootstrap"),
        (broken, "executing /var/task/bootstrap"),
        (locked, "chmod +x bootstrap"),
    ] {
        let spec = rig.function(RuntimeName::Provided, "a.b", &files).await;
        let (ending, _) = init_error(rig, spec).await;
        assert_eq!(ending.error_type(), Some("Runtime.InvalidEntrypoint"));
        let error = ending.error().unwrap();
        assert!(error.contains(said), "{error}");
    }
}

async fn one_that_asks_again_without_an_answer_fails(rig: &Rig) {
    let bootstrap = "#!/usr/bin/python3\n\
        import os, urllib.request as r\n\
        while True:\n\
        \x20   r.urlopen('http://127.0.0.1:9001/2018-06-01/runtime/invocation/next').read()\n";
    let files = [("bootstrap", bootstrap, true)];
    let spec = rig.function(RuntimeName::Provided, "a.b", &files).await;
    let instance = rig.start(spec).await;
    for _ in 0..2 {
        let ending = call(&instance, "{}").await.ending;
        assert_eq!(ending.error_type(), Some("Runtime.NoResponse"));
    }
}
