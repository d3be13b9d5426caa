//! Forks of the Python zygote that functions have.

use crate::Case;
use crate::bench::{
    Bench, Spec, bind, cgroups, field, finish, first_line, kill, lives, namespace, parent, shell,
    status, until, with,
};
use launcher::{Armed, Assignment, Sandbox, Stem, Work, Zygote};
use std::future::Future;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

pub(crate) const CASES: &[Case] = &[
    ("a_fork_is_contained_as_any_sandbox", contained),
    ("forks_are_apart", apart),
    ("a_fork_has_its_functions_variables_only", variables),
    ("a_forks_end_is_told", ends),
    ("a_zygotes_end_is_told_and_its_forks_live_on", zygotes_end),
    ("memory_ends_a_fork", memory),
    ("a_zygote_that_never_gets_ready_is_told", never_ready),
    ("forks_that_a_zygote_did_not_tell_of_are_reaped", untold),
    ("a_fork_is_given_once_its_zygote_has_told_of_it", early),
];

const ZYGOTE: &str = include_str!("../../../runtime/bootstrap/zygote.py");
const BOOTSTRAP: &str = include_str!("../../../runtime/bootstrap/bootstrap.py");
const STEM: &str = include_str!("../../../runtime/bootstrap/stem.py");
const HOOKS: &str = include_str!("../../../runtime/bootstrap/modules/snapshot_restore_py.py");
const VARIABLES: [(&str, &str); 4] = [
    ("PATH", "/usr/bin:/bin"),
    // No function of these tests has it.
    ("TZ", "EST5"),
    ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001"),
    ("ROUSE_PRELOAD", "random,uuid,ssl,no_such_module"),
];

/// A zygote, and what its forks are.
pub(crate) struct Nursery {
    bench: Bench,
    pub(crate) zygote: Zygote,
    spec: Spec,
}

fn python(bench: &Bench) -> Spec {
    let folder = bench.data.path().join("bootstrap");
    std::fs::create_dir_all(folder.join("modules")).unwrap();
    std::fs::write(folder.join("zygote.py"), ZYGOTE).unwrap();
    std::fs::write(folder.join("modules/snapshot_restore_py.py"), HOOKS).unwrap();
    std::fs::write(folder.join("bootstrap.py"), BOOTSTRAP).unwrap();
    std::fs::write(folder.join("stem.py"), STEM).unwrap();
    let mut spec = shell("true");
    spec.shape.binds = vec![bind(folder, "/opt/bootstrap")];
    spec.shape.places = vec!["/var/task".into()];
    spec
}

impl Nursery {
    pub(crate) async fn new(bench: Bench) -> Self {
        let mut spec = python(&bench);
        let argv = ["/usr/bin/python3", "/opt/bootstrap/zygote.py"].map(str::to_owned);
        let variables = VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let shape = spec.shape.clone();
        let zygote = bench.launcher.zygote(shape, argv.into(), variables.into());
        let zygote = zygote.await.expect("a zygote");
        // A fork connects there before it says that it waits.
        spec.shape.listen = vec![([127, 0, 0, 1], 9001).into()];
        spec.limits.memory = 256 << 20;
        Self {
            bench,
            zygote,
            spec,
        }
    }

    pub(crate) async fn arm(&self) -> launcher::Result<Armed> {
        let zygote = self.zygote.number();
        self.bench.arm(&self.spec, Stem::Fork { zygote }).await
    }

    /// Gives a fork a function whose module is this script.
    pub(crate) fn assign(&self, armed: Armed, script: &str) -> Sandbox {
        let folder = tempfile::tempdir_in(self.bench.data.path()).unwrap().keep();
        let readable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&folder, readable).unwrap();
        std::fs::write(folder.join("app.py"), script).unwrap();
        let message = r#"{"environment": {"PATH": "/usr/bin:/bin", "_HANDLER": "app.handle",
            "LAMBDA_TASK_ROOT": "/var/task", "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9001"}}"#;
        let assignment = Assignment {
            code: vec![bind(folder, "/var/task")],
            work: Work::Tell(message.as_bytes().to_vec()),
            limits: self.spec.limits.clone(),
        };
        armed.assign(assignment).unwrap()
    }

    async fn start(&self, script: &str) -> Sandbox {
        self.assign(self.arm().await.unwrap(), script)
    }

    async fn run(&self, script: &str) -> crate::bench::Output {
        finish(self.start(script).await).await
    }
}

fn with_nursery<F: Future<Output = ()>>(case: impl FnOnce(Nursery) -> F) {
    with(|bench| async move { case(Nursery::new(bench).await).await });
}

/// It is killed while it forks: each sandbox that was to have one is told so, and ends.
fn untold() {
    with(|mut bench| async move {
        for turn in 0..120_u64 {
            let nursery = Nursery::new(bench).await;
            let mut arming = tokio::task::JoinSet::new();
            for _ in 0..8 {
                let launcher = nursery.bench.launcher.clone();
                let (shape, limits) = (nursery.spec.shape.clone(), nursery.spec.limits.clone());
                let zygote = nursery.zygote.number();
                arming.spawn(async move {
                    // Who has got one keeps it.
                    if let Ok(armed) = launcher.arm(shape, Stem::Fork { zygote }, limits).await {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        assert!(armed.is_alive(), "it was given, and killed");
                    }
                });
            }
            tokio::time::sleep(Duration::from_micros(500 + 250 * turn)).await;
            drop(nursery.zygote);
            let ended = tokio::time::timeout(Duration::from_secs(60), arming.join_all());
            ended.await.expect("a sandbox stays");
            bench = nursery.bench;
        }
    });
}

fn contained() {
    with_nursery(|nursery| async move {
        let greeting = String::from_utf8_lossy(nursery.zygote.greeting()).into_owned();
        assert!(
            greeting.starts_with("{\"modules\": [") && greeting.contains("\"ssl\""),
            "{greeting}"
        );
        let zygote = nursery.zygote.pid();
        assert_ne!(
            namespace(zygote, "mnt"),
            namespace(std::process::id(), "mnt")
        );
        assert_ne!(
            namespace(zygote, "net"),
            namespace(std::process::id(), "net")
        );

        let armed = nursery.arm().await.unwrap();
        let pid = armed.pid();
        assert_eq!(status(pid, "Seccomp"), "2");
        for id in status(pid, "Uid").split(' ') {
            assert!(id.parse::<u32>().unwrap() >= 65_536, "{id}");
        }
        assert_eq!(parent(pid), parent(zygote), "the launcher is its parent");
        for kind in ["mnt", "net", "ipc", "uts", "pid", "user", "cgroup"] {
            assert_ne!(
                namespace(pid, kind),
                namespace(std::process::id(), kind),
                "{kind}"
            );
            let shared = namespace(pid, kind) == namespace(zygote, kind);
            assert!(!shared, "{kind} is the zygote's");
        }
        let groups = cgroups(pid);
        assert!(!groups.is_empty());
        assert!(groups.iter().all(|group| !cgroups(zygote).contains(group)));

        let script = "import os\nprint(open('/proc/self/status').read())\n\
             print('Processes:', *sorted(n for n in os.listdir('/proc') if n.isdigit()))\n\
             print('Files:', *sorted(os.listdir('/proc/self/fd')))\n\
             print('Variables:', *sorted(os.environ))\n\
             print('Folder:', os.getcwd(), *os.listdir('.'))\nos._exit(0)\n";
        let mut sandbox = nursery.assign(armed, script);
        sandbox.begun().await.unwrap();
        let output = finish(sandbox).await;
        let told = |name: &str| field(&output.stdout, name);
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(told(set), "0000000000000000", "{set}: {}", output.stderr);
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
        assert_eq!(
            told("Variables"),
            "AWS_LAMBDA_RUNTIME_API LAMBDA_TASK_ROOT PATH _HANDLER"
        );
        assert!(told("Folder").starts_with("/var/task"), "{}", output.stdout);
    });
}

/// That `ssl` differs does not show that a fork reseeds it: OpenSSL 3 does so by itself once its process has
/// another number than before, also after a bare clone.
fn apart() {
    const SCRIPT: &str = "import os, random, ssl, time, uuid\n\
         print(os.listdir('/tmp'), os.listdir('/dev/shm'), \
             len([n for n in os.listdir('/proc') if n.isdigit()]), end='|')\n\
         for f in ('/tmp/x', '/dev/shm/x'): open(f, 'w').write('x')\n\
         print(random.random(), uuid.uuid4(), ssl.RAND_bytes(8).hex(), os.urandom(8).hex(), \
             sep='|')\ntime.sleep(1000)\n";
    with_nursery(|nursery| async move {
        let mut lines = Vec::new();
        let mut alive = Vec::new();
        for _ in 0..3 {
            let mut sandbox = nursery.start(SCRIPT).await;
            lines.push(first_line(&mut sandbox).await);
            alive.push(sandbox);
        }
        let mut seen = std::collections::HashSet::new();
        for line in &lines {
            let mut parts = line.split('|');
            assert_eq!(parts.next(), Some("[] [] 2"), "{lines:?}");
            let random: Vec<_> = parts.collect();
            assert_eq!(random.len(), 4, "{lines:?}");
            assert!(
                random.into_iter().all(|value| seen.insert(value)),
                "{lines:?}"
            );
        }
        let [first, second, ..] = alive.as_slice() else {
            panic!("three of them");
        };
        assert_ne!(namespace(first.pid, "net"), namespace(second.pid, "net"));
        assert_ne!(status(first.pid, "Uid"), status(second.pid, "Uid"));
        assert_ne!(cgroups(first.pid), cgroups(second.pid));
    });
}

fn variables() {
    const SCRIPT: &str = "import os, subprocess, time\n\
         told = subprocess.run(['/usr/bin/env'], capture_output=True, text=True).stdout.split()\n\
         print(*sorted(os.environ), *sorted(word.partition('=')[0] for word in told), \
             time.tzname[0] == 'EST', flush=True)\ntime.sleep(1000)\n";
    with_nursery(|nursery| async move {
        let mut sandbox = nursery.start(SCRIPT).await;
        let names = "AWS_LAMBDA_RUNTIME_API LAMBDA_TASK_ROOT PATH _HANDLER";
        let wanted = format!("{names} {names} False");
        assert_eq!(first_line(&mut sandbox).await, wanted);
    });
}

fn ends() {
    with_nursery(|nursery| async move {
        let output = nursery.run("print('bye')\nraise SystemExit(3)\n").await;
        assert_eq!(
            (output.stdout.as_str(), output.exit.code),
            ("bye\n", Some(3))
        );
        for signal in [9, 11] {
            let script = format!("import os\nos.kill(os.getpid(), {signal})\n");
            let exit = nursery.run(&script).await.exit;
            assert_eq!((exit.code, exit.signal), (None, Some(signal)));
        }
        // A child that stays does not keep the sandbox.
        let script = "import os, time\nif os.fork() == 0:\n  time.sleep(1000)\nos._exit(4)\n";
        assert_eq!(nursery.run(script).await.exit.code, Some(4));
        let sandbox = nursery.start("import time\ntime.sleep(1000)\n").await;
        sandbox.kill();
        assert_eq!(sandbox.exited().await.signal, Some(9));
        assert!(!lives(sandbox.pid));
        // Its own process is told to end, not the one that holds the namespaces.
        let script = "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(5))\n\
             print('ready', flush=True)\ntime.sleep(1000)\n";
        let mut sandbox = nursery.start(script).await;
        first_line(&mut sandbox).await;
        sandbox.terminate();
        assert_eq!(sandbox.exited().await.code, Some(5));
    });
}

fn zygotes_end() {
    with_nursery(|nursery| async move {
        let armed = nursery.arm().await.unwrap();
        let exit = nursery.zygote.exit();
        kill(nursery.zygote.pid());
        assert_eq!(exit.await.signal, Some(9));
        assert!(armed.is_alive());
        let output = finish(nursery.assign(armed, "print('still')\nraise SystemExit\n")).await;
        assert_eq!(output.stdout, "still\n", "{}", output.stderr);
        let why = nursery.arm().await.err().expect("no fork of the dead");
        assert!(why.to_string().contains("zygote"), "{why}");

        let Nursery { bench, zygote, .. } = nursery;
        drop(zygote);
        let nursery = Nursery::new(bench).await;
        let pid = nursery.zygote.pid();
        let sandbox = nursery.start("import time\ntime.sleep(1000)\n").await;
        drop(nursery);
        until("the zygote's end", || !lives(pid)).await;
        assert!(lives(sandbox.pid));
    });
}

fn memory() {
    with_nursery(|nursery| async move {
        let exit = nursery.run("x = bytearray(1 << 29)\n").await.exit;
        assert!(exit.out_of_memory, "{exit:?}");
        assert_eq!(exit.signal, Some(9));
        // The next one, perhaps in its slot, is not blamed for it; nor did the zygote suffer.
        let exit = nursery.run("raise SystemExit\n").await.exit;
        assert!(!exit.out_of_memory && exit.code == Some(0), "{exit:?}");
    });
}

/// Says for its fork that it waits, and only later which process that is: itself.
const EARLY: &str = "
import os, socket, sys, time
control = socket.socket(fileno=3)
control.recv(1 << 16)
control.send(b'{}')
_, ends, _, _ = socket.recv_fds(control, 1 << 16, 32)
os.write(ends[0], b'1')
time.sleep(0.3)
if sys.argv[1] == 'tells':
    control.send(str(os.getpid()).encode())
    time.sleep(1000)
";

fn early() {
    with(|bench| async move {
        let spec = python(&bench);
        for word in ["tells", "ends"] {
            let argv = ["/usr/bin/python3", "-c", EARLY, word].map(str::to_owned);
            let zygote = bench
                .launcher
                .zygote(spec.shape.clone(), argv.into(), Vec::new());
            let zygote = zygote.await.expect("a zygote");
            let number = zygote.number();
            let armed = bench.arm(&spec, Stem::Fork { zygote: number }).await;
            match (word, armed) {
                ("tells", Ok(armed)) => assert_eq!(armed.pid(), zygote.pid()),
                ("ends", Err(_)) => {}
                (_, other) => panic!("{word}: {}", other.is_ok()),
            }
        }
    });
}

fn never_ready() {
    with(|bench| async move {
        let shape = python(&bench).shape;
        for (argv, words) in [
            (&["/bin/false"][..], "exit status 1"),
            (&["/no/such"], "/no/such"),
            (
                &["/usr/bin/python3", "-c", "import os; os.abort()"],
                "SIGABRT",
            ),
        ] {
            let argv = argv.iter().map(|&text| text.to_owned()).collect();
            let zygote = bench.launcher.zygote(shape.clone(), argv, Vec::new());
            let why = zygote.await.err().expect("it is refused").to_string();
            assert!(why.contains(words), "{words} in {why}");
        }
    });
}
