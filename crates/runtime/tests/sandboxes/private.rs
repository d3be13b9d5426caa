//! What is each instance's own: its limits, its Runtime API, its freedom to do harm.

use crate::rig::{MIB, Rig, answer, call};
use serde_json::json;
use std::time::Duration;

crate::tests!(
    an_instance_has_no_privilege_and_cannot_get_any,
    limits_are_seen_from_inside,
    a_runtime_api_is_reached_by_its_own_instance_only,
    a_frozen_instance_stands_still_and_goes_on,
    what_was_handed_over_stays_with_its_instance,
);

/// Seen from inside, as /proc tells it.
async fn an_instance_has_no_privilege_and_cannot_get_any(rig: &Rig) {
    let spec = rig
        .python(
            "import os, socket\n\
             def refused(work):\n\
             \x20   try: work(); return False\n\
             \x20   except OSError: return True\n\
             def handler(event, context):\n\
             \x20   status = dict(l.split(':\\t', 1) for l in open('/proc/self/status').read().splitlines() if ':\\t' in l)\n\
             \x20   seen = [int(status[k], 16) for k in ('CapEff', 'CapPrm', 'CapBnd')]\n\
             \x20   return {'caps': seen, 'no_new_privs': status['NoNewPrivs'], 'seccomp': status['Seccomp'],\n\
             \x20       'mounts': refused(lambda: os.mkdir('/var/task/x')),\n\
             \x20       'root': refused(lambda: os.mkdir('/x')), 'chown': refused(lambda: os.chown('/tmp', 0, 0)),\n\
             \x20       'raw': refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),\n\
             \x20       'docker': os.path.exists('/var/run/docker.sock'), 'first': os.getpid(),\n\
             \x20       'links': sorted(n for _, n in socket.if_nameindex())}\n",
        )
        .await;
    let instance = rig.start(spec).await;
    let seen = answer(&call(&instance, "{}").await);
    let expected = json!({
        "caps": [0, 0, 0], "no_new_privs": "1", "seccomp": "2", "mounts": true, "root": true,
        "chown": true, "raw": true, "docker": false, "first": seen["first"], "links": ["lo"],
    });
    assert_eq!(seen, expected);
}

async fn limits_are_seen_from_inside(rig: &Rig) {
    let mut spec = rig
        .python(
            "import os, resource\n\
             def handler(event, context):\n\
             \x20   tmp = os.statvfs('/tmp')\n\
             \x20   return {'files': resource.getrlimit(resource.RLIMIT_NOFILE)[1],\n\
             \x20       'tmp': tmp.f_blocks * tmp.f_frsize, 'core': resource.getrlimit(resource.RLIMIT_CORE)[0]}\n",
        )
        .await;
    spec.limits.files = 99;
    spec.limits.tmp = 8 * MIB;
    let instance = rig.start(spec).await;
    let seen = answer(&call(&instance, "{}").await);
    assert_eq!(
        (&seen["files"], &seen["tmp"]),
        (&json!(99), &json!(8 * MIB))
    );
}

/// A neighbour tries every address at which another's could be: loopback, the name of the machine, and each
/// address of the host.
async fn a_runtime_api_is_reached_by_its_own_instance_only(rig: &Rig) {
    let text = "import json, os, socket, urllib.request\n\
         def ask(host):\n\
         \x20   try: return urllib.request.urlopen('http://%s:9001/2018-06-01/runtime/invocation/x/response' % host, b'stolen', 3).status\n\
         \x20   except urllib.error.HTTPError as e: return json.load(e)['errorType']\n\
         \x20   except OSError as e: return 'nobody'\n\
         def handler(event, context):\n\
         \x20   return [os.environ['AWS_LAMBDA_RUNTIME_API']] + [ask(host) for host in event]\n";
    // It works on a call while its neighbour asks, so its API would take an answer.
    let waiting = "import time\n\
         def handler(event, context):\n\
         \x20   time.sleep(3); return 'own'\n";
    let victim = rig.start(rig.python(waiting).await).await;
    let neighbour = rig.start(rig.python(text).await).await;
    let hosts = json!(["127.0.0.1", crate::world::HOST, "localhost"]).to_string();
    let attack = call(&neighbour, &hosts);
    let (own, attack) = tokio::join!(call(&victim, "{}"), attack);
    assert_eq!(answer(&own), "own");
    // At loopback it finds its own API, which expects another id.
    let expected = json!([
        "127.0.0.1:9001",
        "InvalidRequestID",
        "nobody",
        "InvalidRequestID"
    ]);
    assert_eq!(answer(&attack), expected);
}

async fn a_frozen_instance_stands_still_and_goes_on(rig: &Rig) {
    let spec = rig
        .python(
            "import threading, time\n\
             ticks = [0]\n\
             def tick():\n\
             \x20   while True: ticks[0] += 1; time.sleep(0.01)\n\
             threading.Thread(target=tick, daemon=True).start()\n\
             def handler(event, context): return ticks[0]\n",
        )
        .await;
    let instance = rig.start(spec).await;
    let state = || std::fs::read_to_string(format!("/proc/{}/status", instance.pid())).unwrap();
    for _ in 0..2 {
        let before = answer(&call(&instance, "{}").await).as_u64().unwrap();
        instance.freeze();
        // A freezer stops what runs, whatever that is: a stopped process is in the state D or t, or sleeps
        // and uses no time.
        let frozen = || used(instance.pid());
        let mut seen = frozen();
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = frozen();
            if now == seen {
                break;
            }
            seen = now;
        }
        assert!(instance.is_alive(), "{}", state());
        instance.thaw();
        // It goes on from where it was.
        let after = answer(&call(&instance, "{}").await).as_u64().unwrap();
        assert!(after >= before, "{after} {before}");
    }
    instance.freeze();
    instance.stop(Duration::from_secs(10)).await;
}

/// How often the threads of a process were given a processor: each tick of a clock inside counts.
fn used(pid: u32) -> u64 {
    let folder = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let switches = |task: std::io::Result<std::fs::DirEntry>| {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        let count = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap();
            line.trim().parse::<u64>().unwrap()
        };
        count("voluntary_ctxt_switches:") + count("nonvoluntary_ctxt_switches:")
    };
    folder.map(switches).sum()
}

/// Environment, files and what was written belong to one instance.
async fn what_was_handed_over_stays_with_its_instance(rig: &Rig) {
    let text = "import os\n\
         def handler(event, context):\n\
         \x20   there = sorted(os.listdir('/tmp')); open('/tmp/' + event, 'w').close()\n\
         \x20   fds = [os.readlink('/proc/self/fd/' + n) for n in os.listdir('/proc/self/fd') if int(n) < 3]\n\
         \x20   return [there, os.environ.get('COLOUR'), [fd.split(':')[0] for fd in sorted(fds)], os.listdir('/var/task')]\n";
    let mut one = rig.python(text).await;
    one.environment.insert("COLOUR".into(), "a secret".into());
    let two = rig.python(text).await;
    let (one, two) = (rig.start(one).await, rig.start(two).await);
    let files = json!(["app.py"]);
    let ends = json!(["/dev/null", "pipe", "pipe"]);
    let seen = answer(&call(&one, "\"a\"").await);
    assert_eq!(seen, json!([[], "a secret", ends, files]));
    let seen = answer(&call(&two, "\"b\"").await);
    assert_eq!(seen, json!([[], null, ends, files]));
    let seen = answer(&call(&one, "\"c\"").await);
    assert_eq!(seen[0], json!(["a"]));
}
