//! How an instance comes to be, by what was made ahead.

use crate::rig::{Rig, answer, call};
use model::{InstanceId, RuntimeName, Snapshot, StartKind};
use runtime::{Instance, InstanceSpec, Options, Runtime};
use serde_json::json;
use std::collections::HashSet;
use std::time::Duration;

crate::tests!(
    a_function_takes_the_stem_that_waits,
    without_stems_python_is_forked_and_node_starts_afresh,
    a_program_starts_in_the_sandbox_that_waits,
    what_is_kept_ready_is_given_up_while_memory_is_scarce,
    forks_of_a_zygote_that_has_numpy_draw_different_numbers,
    a_function_may_have_modules_of_the_names_of_a_zygotes,
    a_function_in_a_fork_can_fork,
);

const PYTHON: &str = "def handler(event, context): return event\n";
const NODE: &str = "exports.handler = async (event) => event;";
const PROVIDED: &str = "#!/usr/bin/python3\n\
    import os, urllib.request as r\n\
    api = 'http://%s/2018-06-01/runtime/' % os.environ['AWS_LAMBDA_RUNTIME_API']\n\
    while True:\n\
    \x20   call = r.urlopen(api + 'invocation/next')\n\
    \x20   id = call.headers['Lambda-Runtime-Aws-Request-Id']\n\
    \x20   r.urlopen(api + 'invocation/%s/response' % id, call.read())\n";

/// That makes so much ahead. It pins nothing: the launcher has one list, which is the rig's.
async fn runtime(rig: &Rig, armed: usize, stems: usize) -> Runtime {
    let options = |options: Options| Options {
        armed,
        stems,
        pin: 0,
        ..options
    };
    rig.with(options).await
}

async fn provided(rig: &Rig) -> InstanceSpec {
    let files = [("bootstrap", PROVIDED, true)];
    rig.function(RuntimeName::Provided, "unused.handler", &files)
        .await
}

/// One more instance of the function, which works.
async fn start(runtime: &Runtime, spec: &InstanceSpec) -> Instance {
    let id = InstanceId::generate();
    let spec = InstanceSpec { id, ..spec.clone() };
    let instance = runtime.start(spec).await.unwrap();
    assert_eq!(answer(&call(&instance, "1").await), json!(1));
    instance
}

/// Starts instances until one is of this kind; those before it, while it is not made yet, are of the others.
async fn until(runtime: &Runtime, spec: &InstanceSpec, wanted: StartKind, before: &[StartKind]) {
    loop {
        let instance = start(runtime, spec).await;
        let kind = instance.start_kind();
        instance.stop(Duration::ZERO).await;
        if kind == wanted {
            return;
        }
        assert!(before.contains(&kind), "{kind:?} before {wanted:?}");
    }
}

/// The next ones are all of this kind, while those before live.
async fn always(runtime: &Runtime, spec: &InstanceSpec, wanted: StartKind) {
    let mut alive = Vec::new();
    for _ in 0..3 {
        let instance = start(runtime, spec).await;
        assert_eq!(instance.start_kind(), wanted);
        alive.push(instance);
    }
}

async fn a_function_takes_the_stem_that_waits(rig: &Rig) {
    use StartKind::{Armed, Cold, Fork, Stem};
    let runtime = runtime(rig, 1, 1).await;
    let python = rig.python(PYTHON).await;
    until(&runtime, &python, Stem, &[Cold, Armed, Fork]).await;
    let node = rig.node(NODE).await;
    until(&runtime, &node, Stem, &[Cold, Armed]).await;
}

async fn without_stems_python_is_forked_and_node_starts_afresh(rig: &Rig) {
    use StartKind::{Cold, Fork};
    let runtime = runtime(rig, 0, 0).await;
    let python = rig.python(PYTHON).await;
    // Until the zygote is ready.
    until(&runtime, &python, Fork, &[Cold]).await;
    always(&runtime, &python, Fork).await;
    always(&runtime, &rig.node(NODE).await, Cold).await;
}

async fn a_program_starts_in_the_sandbox_that_waits(rig: &Rig) {
    use StartKind::{Armed, Cold};
    let provided = provided(rig).await;
    let ahead = runtime(rig, 1, 0).await;
    until(&ahead, &provided, Armed, &[Cold]).await;
    // An interpreter without a stem is such a program.
    until(&ahead, &rig.node(NODE).await, Armed, &[Cold]).await;
    let nothing = runtime(rig, 0, 1).await;
    always(&nothing, &provided, Cold).await;
}

/// How many processes may open so many files, which is one function's of one test.
fn processes(files: u32) -> usize {
    let folders = std::fs::read_dir("/proc").unwrap().flatten();
    let bounds =
        folders.filter_map(|entry| std::fs::read_to_string(entry.path().join("limits")).ok());
    let files = files.to_string();
    let is_own = |bounds: &String| {
        let mut lines = bounds.lines();
        let line = lines.find_map(|line| line.strip_prefix("Max open files"));
        line.and_then(|line| line.split_whitespace().next()) == Some(files.as_str())
    };
    bounds.filter(is_own).count()
}

async fn until_processes(files: u32, done: impl Fn(usize) -> bool) {
    while !done(processes(files)) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn what_is_kept_ready_is_given_up_while_memory_is_scarce(rig: &Rig) {
    use StartKind::{Armed, Cold, Fork, Stem};
    // By the bound of files its sandboxes are told from all others, a zygote's too.
    for (mut spec, files, (armed, stems), ready, made) in [
        (rig.python(PYTHON).await, 701, (0, 2), Stem, Fork),
        (rig.node(NODE).await, 702, (0, 2), Stem, Cold),
        (provided(rig).await, 703, (2, 0), Armed, Cold),
    ] {
        let runtime = runtime(rig, armed, stems).await;
        spec.limits.files = files;
        until(&runtime, &spec, ready, &[Cold, Fork]).await;
        until_processes(files, |count| count > 0).await;
        runtime.set_scarce(true);
        until_processes(files, |count| count == 0).await;
        always(&runtime, &spec, made).await;
        until_processes(files, |count| count == 0).await;
        runtime.set_scarce(false);
        until(&runtime, &spec, ready, &[Cold, Fork]).await;
    }
}

/// Debian's python3-numpy. Its global generator is seeded once, by the zygote's import.
const NUMPY: &str = "import sys\n\
    PRELOADED = 'numpy.random' in sys.modules\n\
    import numpy\n\
    import ssl\n\
    def handler(event, context):\n\
    \x20   secret = ssl.RAND_bytes(8).hex()\n\
    \x20   return [PRELOADED, numpy.random.random(), numpy.random.randint(2 ** 62), secret, numpy.random.normal()]\n";

async fn forks_of_a_zygote_that_has_numpy_draw_different_numbers(rig: &Rig) {
    let options = |options: Options| Options {
        armed: 0,
        stems: 0,
        pin: 0,
        preload: vec!["numpy".to_owned(), "ssl".to_owned()],
        ..options
    };
    let runtime = rig.with(options).await;
    let spec = rig.python(NUMPY).await;
    let (mut seen, mut forks) = (HashSet::new(), 0);
    while forks < 3 {
        let id = InstanceId::generate();
        let spec = InstanceSpec { id, ..spec.clone() };
        let instance = runtime.start(spec).await.unwrap();
        if instance.start_kind() != StartKind::Fork {
            continue;
        }
        forks += 1;
        let told = answer(&call(&instance, "1").await);
        assert_eq!(told[0], json!(true), "the zygote has no numpy");
        for number in &told.as_array().unwrap()[1..] {
            assert!(seen.insert(number.to_string()), "{number} twice");
        }
    }
}

async fn a_function_may_have_modules_of_the_names_of_a_zygotes(rig: &Rig) {
    use StartKind::{Armed, Cold, Fork, Stem};
    let runtime = runtime(rig, 0, 1).await;
    until(&runtime, &rig.python(PYTHON).await, Stem, &[Cold, Fork]).await;
    let hidden = [("bootstrap.py", PYTHON, false)];
    let hidden = rig.function(RuntimeName::Python311, "bootstrap.handler", &hidden);
    until(&runtime, &hidden.await, Stem, &[Cold, Fork]).await;
    let own = [("platform.py", PYTHON, false)];
    let mut own = rig
        .function(RuntimeName::Python311, "platform.handler", &own)
        .await;
    // Both zygotes have one; the second is started for it.
    for _ in 0..20 {
        let kind = start(&runtime, &own).await.start_kind();
        assert!(matches!(kind, Cold | Armed), "{kind:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    own.snapshot = Snapshot::Init;
    start(&runtime, &own).await;
}

/// Forks while another thread holds the lock of a log handler, which only `logging`'s hook makes anew; only that of
/// `threading` forgets the thread.
const FORKS: &str = "import logging, os, pickle, signal, threading\n\
    def handler(event, context):\n\
    \x20   held, done = threading.Event(), threading.Event()\n\
    \x20   def hold():\n\
    \x20       with logging.root.handlers[0].lock:\n\
    \x20           held.set()\n\
    \x20           done.wait()\n\
    \x20   thread = threading.Thread(target=hold)\n\
    \x20   thread.start()\n\
    \x20   held.wait()\n\
    \x20   read, write = os.pipe()\n\
    \x20   if os.fork() == 0:\n\
    \x20       signal.alarm(20)\n\
    \x20       logging.error('told')\n\
    \x20       alone = threading.enumerate() == [threading.main_thread()]\n\
    \x20       os.write(write, str(alone).encode())\n\
    \x20       os._exit(0)\n\
    \x20   os.close(write)\n\
    \x20   os.wait()\n\
    \x20   done.set()\n\
    \x20   thread.join()\n\
    \x20   same = pickle.loads(pickle.dumps(context)).aws_request_id == context.aws_request_id\n\
    \x20   return [os.read(read, 64).decode(), same]\n";

async fn a_function_in_a_fork_can_fork(rig: &Rig) {
    let runtime = runtime(rig, 0, 0).await;
    let spec = rig.python(FORKS).await;
    loop {
        let id = InstanceId::generate();
        let spec = InstanceSpec { id, ..spec.clone() };
        let instance = runtime.start(spec).await.unwrap();
        let told = answer(&call(&instance, "1").await);
        assert_eq!(told, json!(["True", true]));
        if instance.start_kind() == StartKind::Fork {
            return;
        }
    }
}
