//! Functions' own zygotes, which run user code, and the sandboxes that are forked from them.

use crate::Case;
use crate::bench::{
    Bench, Output, Spec, are_gone, bind, cgroups, children, field, finish, first_line, is_nobodys,
    kill, lives, namespace, parent, shell, status, until, with,
};
use launcher::{Armed, Assignment, Sandbox, Snapshot, Stem, Work};
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;

pub(crate) const CASES: &[Case] = &[
    ("a_snapshot_has_no_more_than_its_forks_need", snapshot),
    ("what_is_restored_is_contained_as_any_sandbox", contained),
    ("restored_sandboxes_are_apart", apart),
    ("a_snapshots_user_code_gets_nowhere", attacks),
    ("a_restored_sandboxs_end_is_told", ends),
    (
        "a_snapshots_end_is_told_and_its_forks_live_on",
        snapshots_end,
    ),
    ("a_fork_that_keeps_its_privilege_is_refused", keeps),
    ("a_fork_that_is_not_in_its_sandbox_is_refused", elsewhere),
    ("children_that_nobody_knows_are_reaped", strangers),
    ("a_snapshot_that_does_not_listen_holds_up_nobody", deaf),
    ("memory_ends_a_snapshot", memory),
    ("nothing_is_mounted_once_user_code_is_inside", late),
];

const SOURCES: [(&str, &str); 4] = [
    (
        "snapshot.py",
        include_str!("../../../runtime/bootstrap/snapshot.py"),
    ),
    (
        "zygote.py",
        include_str!("../../../runtime/bootstrap/zygote.py"),
    ),
    (
        "bootstrap.py",
        include_str!("../../../runtime/bootstrap/bootstrap.py"),
    ),
    (
        "stem.py",
        include_str!("../../../runtime/bootstrap/stem.py"),
    ),
];
const HOOKS: &str = include_str!("../../../runtime/bootstrap/modules/snapshot_restore_py.py");
/// `CAP_SYS_ADMIN` and `CAP_SYS_CHROOT` (capability.h).
const KEPT: &str = "0000000000240000";
const NONE: &str = "0000000000000000";

/// A function's own zygote, and what its forks are.
struct Own {
    bench: Bench,
    snapshot: Snapshot,
    spec: Spec,
}

fn spec(bench: &Bench, script: &str) -> Spec {
    let folder = |name: &str| {
        let folder = bench.data.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        folder
    };
    let (bootstrap, task) = (folder("bootstrap"), folder("task"));
    for (name, text) in SOURCES {
        std::fs::write(bootstrap.join(name), text).unwrap();
    }
    std::fs::write(task.join("snapshot_restore_py.py"), HOOKS).unwrap();
    std::fs::write(task.join("app.py"), script).unwrap();
    let mut spec = shell("true");
    spec.shape.binds = vec![bind(bootstrap, "/opt/bootstrap"), bind(task, "/var/task")];
    spec.limits.memory = 256 << 20;
    spec
}

impl Own {
    /// One whose module is this script.
    async fn new(bench: Bench, script: &str) -> Self {
        Self::program(bench, script, "snapshot.py").await
    }

    /// One that runs another program than the bootstrap.
    async fn program(bench: Bench, script: &str, program: &str) -> Self {
        let mut spec = spec(&bench, script);
        let argv = ["/usr/bin/python3".to_owned(), in_bootstrap(program)];
        let variables = [
            ("PATH", "/usr/bin:/bin"),
            ("PYTHONPATH", "/opt/bootstrap"),
            ("LAMBDA_TASK_ROOT", "/var/task"),
            ("_HANDLER", "app.handle"),
            ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (shape, limits) = (spec.shape.clone(), spec.limits.clone());
        let launcher = &bench.launcher;
        let snapshot = launcher.snapshot(shape, argv.into(), variables.into(), limits);
        let snapshot = snapshot.await.expect("a snapshot");
        // A fork connects there before it says that it waits.
        spec.shape.listen = vec![([127, 0, 0, 1], 9001).into()];
        Self {
            bench,
            snapshot,
            spec,
        }
    }

    async fn greeting(&mut self) -> String {
        if let Ok(greeting) = self.snapshot.greeting().await {
            return String::from_utf8(greeting).unwrap();
        }
        let exit = self.snapshot.exit().await;
        let mut said = String::new();
        let stderr = self.snapshot.sandbox().stderr.take().expect("a pipe");
        std::io::Read::read_to_string(&mut std::fs::File::from(stderr), &mut said).unwrap();
        format!("{}: {said}", exit.describe())
    }

    async fn arm(&self) -> launcher::Result<Armed> {
        let snapshot = self.snapshot.number();
        self.bench
            .arm(&self.spec, Stem::Restored { snapshot })
            .await
    }

    fn assign(&self, armed: Armed) -> Sandbox {
        let message = r#"{"environment": {"MINE": "1"}}"#;
        let assignment = Assignment {
            code: Vec::new(),
            work: Work::Tell(message.as_bytes().to_vec()),
            limits: self.spec.limits.clone(),
        };
        armed.assign(assignment).unwrap()
    }

    async fn start(&self) -> Sandbox {
        let armed = self.arm().await;
        match armed {
            Ok(armed) => self.assign(armed),
            Err(error) => panic!("{error}"),
        }
    }

    async fn run(&self) -> Output {
        finish(self.start().await).await
    }

    async fn refusal(&self) -> String {
        self.arm().await.err().expect("it is refused").to_string()
    }
}

fn in_bootstrap(program: &str) -> String {
    match program.starts_with('/') {
        true => program.to_owned(),
        false => format!("/opt/bootstrap/{program}"),
    }
}

/// A function that runs `init` once and `restored` in each instance.
fn function(init: &str, restored: &str) -> String {
    let body = restored.replace('\n', "\n    ");
    format!(
        "import os, sys\nfrom snapshot_restore_py import register_after_restore\n{init}\n\
         def handle(event, context): pass\n\
         @register_after_restore\ndef restored():\n    {body}\n"
    )
}

fn with_own<F: Future<Output = ()>>(script: &str, case: impl FnOnce(Own) -> F) {
    with(|bench| async move {
        let mut own = Own::new(bench, script).await;
        assert_eq!(own.greeting().await, r#"{"ready": true}"#);
        case(own).await;
    });
}

fn snapshot() {
    with_own(&function("", "pass"), |own| async move {
        let pid = own.snapshot.pid();
        for (set, expected) in [
            ("CapInh", KEPT),
            ("CapPrm", KEPT),
            ("CapEff", KEPT),
            ("CapBnd", NONE),
            ("CapAmb", KEPT),
            ("Seccomp", "2"),
            ("NoNewPrivs", "1"),
            ("Groups", ""),
        ] {
            assert_eq!(status(pid, set), expected, "{set}");
        }
        for id in status(pid, "Uid").split(' ') {
            assert!(is_nobodys(id.parse().unwrap()), "{id}");
        }
        let host = std::process::id();
        for kind in ["mnt", "net", "ipc", "uts", "pid", "user", "cgroup"] {
            assert_ne!(namespace(pid, kind), namespace(host, kind), "{kind}");
        }
        assert!(!cgroups(pid).is_empty());
    });
}

fn contained() {
    let script = function(
        "MADE = os.getpid()",
        "print(open('/proc/self/status').read())\n\
         print('Processes:', *sorted(n for n in os.listdir('/proc') if n.isdigit()))\n\
         print('Files:', *sorted(os.listdir('/proc/self/fd')))\n\
         print('Mine:', os.environ['MINE'], os.getcwd(), MADE != os.getpid())\n\
         os._exit(0)",
    );
    with_own(&script, |own| async move {
        let zygote = own.snapshot.pid();
        let armed = own.arm().await.unwrap();
        let pid = armed.pid();
        assert_eq!(parent(pid), parent(zygote), "the launcher is its parent");
        for kind in ["mnt", "net", "ipc", "uts", "pid", "user", "cgroup"] {
            let own = namespace(pid, kind);
            assert_ne!(own, namespace(std::process::id(), kind), "{kind}");
            // Privilege over its forks' namespaces is what it has by sharing this one.
            assert_eq!(own == namespace(zygote, kind), kind == "user", "{kind}");
        }
        let groups = cgroups(pid);
        assert!(!groups.is_empty());
        assert!(groups.iter().all(|group| !cgroups(zygote).contains(group)));

        let output = finish(own.assign(armed)).await;
        let told = |name: &str| field(&output.stdout, name);
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(
                told(set),
                NONE,
                "{set}: {} {}",
                output.stdout,
                output.stderr
            );
        }
        assert_eq!(told("Seccomp"), "2");
        assert_eq!(told("NoNewPrivs"), "1");
        assert_eq!(told("Uid"), "1000 1000 1000 1000");
        assert_eq!(told("Gid"), "1000 1000 1000 1000");
        assert_eq!(told("Groups"), "");
        // The launcher's process that holds the namespaces, and itself.
        assert_eq!(told("Processes"), format!("1 {}", told("Pid")));
        // The standard streams, the connection to the Runtime API, and the folder that is read.
        assert_eq!(told("Files").split(' ').count(), 5, "{}", told("Files"));
        assert_eq!(told("Mine"), "1 /var/task True");
    });
}

fn apart() {
    let script = function(
        "import random, ssl, time, uuid\nVALUE = random.random()",
        "print(os.listdir('/tmp'), os.listdir('/dev/shm'), VALUE,\n\
         \x20   len([n for n in os.listdir('/proc') if n.isdigit()]), sep='/', end='|')\n\
         for f in ('/tmp/x', '/dev/shm/x'): open(f, 'w').write('x')\n\
         print(random.random(), uuid.uuid4(), ssl.RAND_bytes(8).hex(), os.urandom(8).hex(),\n\
         \x20   sep='|')\ntime.sleep(1000)",
    );
    with_own(&script, |own| async move {
        let (mut lines, mut alive) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let mut sandbox = own.start().await;
            lines.push(first_line(&mut sandbox).await);
            alive.push(sandbox);
        }
        let (mut seen, mut shared) = (std::collections::HashSet::new(), None);
        for line in &lines {
            let (told, random) = line.split_once('|').unwrap();
            assert!(told.starts_with("[]/[]/") && told.ends_with("/2"), "{told}");
            // What was made once is the same in all.
            assert_eq!(*shared.get_or_insert(told), told);
            let random: Vec<_> = random.split('|').collect();
            assert_eq!(random.len(), 4, "{lines:?}");
            assert!(
                random.into_iter().all(|value| seen.insert(value)),
                "{lines:?}"
            );
        }
        let [first, second, ..] = alive.as_slice() else {
            panic!("three of them");
        };
        for kind in ["mnt", "net", "ipc", "uts", "pid", "cgroup"] {
            assert_ne!(
                namespace(first.pid, kind),
                namespace(second.pid, kind),
                "{kind}"
            );
        }
        assert_ne!(cgroups(first.pid), cgroups(second.pid));
    });
}

/// Each line is what was tried, and what the kernel answered.
const ATTACKS: &str = r#"
import ctypes, errno, signal, socket
libc = ctypes.CDLL(None, use_errno=True)
def tried(name, answer):
    code = ctypes.get_errno() if answer == -1 else 0
    print(name, errno.errorcode.get(code, 'done'), flush=True)
def attempt(name, what):
    try:
        what()
        print(name, 'done', flush=True)
    except OSError as error:
        print(name, errno.errorcode[error.errno], flush=True)
for kind in ('user', 'mnt', 'net', 'pid', 'ipc', 'uts', 'cgroup'):
    fd = os.open(f'/proc/self/ns/{kind}', os.O_RDONLY)
    tried(f'setns-{kind}', libc.setns(fd, 0))
tried('mount', libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None))
tried('umount', libc.umount2(b'/proc', 2))
tried('unshare', libc.unshare(0x10000000))
tried('unshare-net', libc.unshare(0x40000000))
tried('chroot', libc.chroot(b'/tmp'))
tried('sethostname', libc.sethostname(b'x', 1))
tried('ptrace', libc.ptrace(16, 1, 0, 0))
tried('bpf', libc.syscall(321 if os.uname().machine == 'x86_64' else 280, 0, 0, 0))
tried('setuid', libc.setresuid(0, 0, 0))
tried('packet', libc.socket(17, 3, 0))
attempt('mknod', lambda: os.mknod('/tmp/disk', 0o60666, os.makedev(8, 0)))
attempt('priority', lambda: os.setpriority(os.PRIO_PROCESS, 0, -5))
attempt('write-sysctl', lambda: open('/proc/sys/kernel/hostname', 'w').write('x'))
attempt('write-usr', lambda: open('/usr/x', 'w'))
attempt('host-port', lambda: socket.create_connection(('127.0.0.1', 22), 1))
print('processes', *sorted(int(n) for n in os.listdir('/proc') if n.isdigit()), flush=True)
attempt('kill-all', lambda: os.kill(-1, signal.SIGKILL))
"#;

fn attacks() {
    with(|bench| async move {
        let mut own = Own::new(bench, &function(ATTACKS, "os._exit(7)")).await;
        assert_eq!(own.greeting().await, r#"{"ready": true}"#);
        let stdout = own.snapshot.sandbox().stdout.take().expect("a pipe");
        // It lives on, and serves.
        assert_eq!(own.run().await.exit.code, Some(7));
        own.snapshot.sandbox().kill();
        let mut text = String::new();
        let mut file = std::fs::File::from(stdout);
        std::io::Read::read_to_string(&mut file, &mut text).unwrap();
        for (name, expected) in [
            // The kernel refuses its own, and what belongs to the host's users.
            ("setns-user", "EINVAL"),
            ("setns-mnt", "EPERM"),
            ("setns-net", "EPERM"),
            ("setns-pid", "EPERM"),
            ("setns-ipc", "EPERM"),
            ("setns-uts", "EPERM"),
            ("setns-cgroup", "EPERM"),
            ("mount", "EPERM"),
            ("umount", "EPERM"),
            ("unshare", "EPERM"),
            ("unshare-net", "EPERM"),
            ("chroot", "EPERM"),
            ("sethostname", "EPERM"),
            ("ptrace", "EPERM"),
            ("bpf", "EPERM"),
            ("setuid", "EPERM"),
            ("packet", "EAFNOSUPPORT"),
            ("mknod", "EPERM"),
            ("priority", "EACCES"),
            ("write-sysctl", "EROFS"),
            ("write-usr", "EROFS"),
            ("host-port", "ECONNREFUSED"),
            ("processes", "1 2"),
            // Nobody is there but the first process of its pid namespace, which is spared.
            ("kill-all", "ESRCH"),
        ] {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            assert_eq!(line.map(str::trim), Some(expected), "{name} in {text}");
        }
    });
}

fn ends() {
    with_own(&function("", "os._exit(3)"), |own| async move {
        let armed = own.arm().await.unwrap();
        let groups = cgroups(armed.pid());
        assert_eq!(finish(own.assign(armed)).await.exit.code, Some(3));
        until("the cgroups' end", || are_gone(&groups)).await;
        let armed = own.arm().await.unwrap();
        let pid = armed.pid();
        let sandbox = own.assign(armed);
        sandbox.kill();
        sandbox.exited().await;
        assert!(!lives(pid));
    });
    let script = function("", "os.kill(os.getpid(), 11)");
    with_own(&script, |own| async move {
        assert_eq!(own.run().await.exit.signal, Some(11));
        drop(own.arm().await.unwrap());
        assert_eq!(own.run().await.exit.signal, Some(11));
    });
}

fn snapshots_end() {
    let script = function("import time", "print('mine')\ntime.sleep(1000)");
    with_own(&script, |own| async move {
        let armed = own.arm().await.unwrap();
        let (zygote, pid) = (own.snapshot.pid(), armed.pid());
        let launcher = parent(zygote);
        let exit = own.snapshot.exit();
        kill(zygote);
        assert_eq!(exit.await.signal, Some(9));
        assert!(!own.snapshot.is_alive());
        let why = own.refusal().await;
        assert!(why.contains("ended"), "{why}");
        let mut sandbox = own.assign(armed);
        assert_eq!(first_line(&mut sandbox).await, "mine");
        drop(own.snapshot);
        assert!(lives(pid));
        sandbox.kill();
        sandbox.exited().await;
        // With its last fork goes what it has left.
        until("the end of all", || children(launcher) == 0).await;
    });
    with_own(&function("", "pass"), |own| async move {
        let pid = own.snapshot.pid();
        let launcher = parent(pid);
        drop(own.snapshot);
        until("the end of all", || children(launcher) == 0).await;
        assert!(!lives(pid));
    });
}

/// A zygote that is told what to do with each fork by the function's module.
const HOSTILE: &str = "import os, socket, sys\nimport zygote\n\
     sys.path.insert(0, '/var/task')\nimport app\n\
     control = socket.socket(fileno=3)\nfilter = control.recv(65536)\nfork = zygote.Fork()\n\
     control.send(b'{}')\n\
     while True:\n\
     \x20   message, fds, _, _ = socket.recv_fds(control, 64, 32)\n\
     \x20   if not message: break\n\
     \x20   app.serve(fork, filter, *fds)\n\
     \x20   for fd in fds: os.close(fd)\n";

fn with_hostile<F: Future<Output = ()>>(script: &str, case: impl FnOnce(Own) -> F) {
    with(|bench| async move {
        let mut folder = spec(&bench, "").shape.binds;
        std::fs::write(folder.remove(0).source.join("hostile.py"), HOSTILE).unwrap();
        let mut own = Own::program(bench, script, "hostile.py").await;
        assert_eq!(own.greeting().await, "{}");
        case(own).await;
    });
}

const JOIN: &str = "import os, socket, sys, time\nimport zygote\n\
     def join(fork, filter, control, sandbox, groups, seal=True):\n\
     \x20   zygote.check(zygote.libc.setns(sandbox, zygote.NEWPID), 'pid')\n\
     \x20   if fork() != 0: return False\n\
     \x20   for group in groups: os.write(group, b'0')\n\
     \x20   zygote.check(zygote.libc.setns(sandbox, 0x4e020000), 'setns')\n\
     \x20   if seal: zygote.Seal(filter)()\n\
     \x20   return True\n\
     def say(control): socket.socket(fileno=os.dup(control)).send(b'1')\n";

fn keeps() {
    let script = "def serve(fork, filter, control, sandbox, out, err, *groups):\n\
         \x20   if join(fork, filter, control, sandbox, groups, seal=False):\n\
         \x20       say(control); time.sleep(1000)\n";
    with_hostile(&format!("{JOIN}{script}"), |own| async move {
        let why = own.refusal().await;
        assert!(why.contains("CapInh"), "{why}");
    });
    // The same, well-behaved.
    let script = script.replace(", seal=False", "");
    with_hostile(&format!("{JOIN}{script}"), |own| async move {
        own.arm().await.expect("it is as it should be");
    });
}

fn elsewhere() {
    for (serve, words) in [
        ("say(control)", "pid namespace"),
        (
            "if join(fork, filter, control, sandbox, ()): say(control); time.sleep(1000)",
            "cgroups",
        ),
        (
            "if os.fork() == 0: say(control); time.sleep(1000)",
            "not a child",
        ),
        ("pass", "ended before it was ready"),
    ] {
        let script =
            format!("{JOIN}def serve(fork, filter, control, sandbox, *rest):\n    {serve}\n");
        with_hostile(&script, |own| async move {
            let why = own.refusal().await;
            assert!(why.contains(words), "{words} in {why}");
            // Whoever else is there does not suffer.
            let output = own.bench.run(shell("echo well")).await;
            assert_eq!(output.stdout, "well\n");
        });
    }
}

fn strangers() {
    let script = "def serve(fork, filter, control, sandbox, out, err, *groups):\n\
         \x20   for _ in range(200):\n\
         \x20       if fork() == 0: os._exit(0)\n\
         \x20   if join(fork, filter, control, sandbox, groups):\n\
         \x20       say(control); time.sleep(1000)\n";
    with_hostile(&format!("{JOIN}{script}"), |own| async move {
        let armed = own.arm().await.unwrap();
        let launcher = parent(own.snapshot.pid());
        // The two that wait, the zygote and its fork.
        until("the strangers' end", || children(launcher) == 4).await;
        drop((armed, own.snapshot));
        until("the end of all", || children(launcher) == 0).await;
    });
}

fn deaf() {
    let script = "def serve(*arguments):\n    time.sleep(1000)\n";
    with_hostile(&format!("{JOIN}{script}"), |own| async move {
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (launcher, shape) = (own.bench.launcher.clone(), own.spec.shape.clone());
            let (limits, snapshot) = (own.spec.limits.clone(), own.snapshot.number());
            let stem = Stem::Restored { snapshot };
            asked.spawn(async move { launcher.arm(shape, stem, limits).await.map(drop) });
        }
        let launcher = parent(own.snapshot.pid());
        until("the sandboxes for its forks", || children(launcher) > 4).await;
        let output = own.bench.run(shell("echo well")).await;
        assert_eq!(output.stdout, "well\n");
        asked.shutdown().await;
        // It and the process that waits beside it.
        until("the end of what is not wanted any more", || {
            children(launcher) == 2
        })
        .await;
    });
}

fn memory() {
    with(|bench| async move {
        let own = Own::new(bench, "x = bytearray(1 << 29)\n").await;
        let exit = own.snapshot.exit().await;
        assert!(exit.out_of_memory && exit.signal == Some(9), "{exit:?}");
    });
    let script = function("", "x = bytearray(1 << 29)");
    with_own(&script, |own| async move {
        let exit = own.run().await.exit;
        assert!(exit.out_of_memory && exit.signal == Some(9), "{exit:?}");
        assert!(own.snapshot.is_alive());
    });
}

fn late() {
    with_own(&function("", "pass"), |own| async move {
        let armed = own.arm().await.unwrap();
        let mut limits = own.spec.limits.clone();
        limits.tmp = 1 << 20;
        let assignment = Assignment {
            code: Vec::new(),
            work: Work::Tell(b"{}".to_vec()),
            limits,
        };
        let mut sandbox = armed.assign(assignment).unwrap();
        let why = sandbox.begun().await.unwrap_err().to_string();
        assert!(why.contains("nothing is mounted"), "{why}");
    });
}
