//! What a sandbox finds of the one before it in the same slot: nothing.

use crate::Case;
use crate::bench::{
    Bench, Output, Spec, bind, cgroups, finish, first_line, namespace, open_files, parent, program,
    shell, until, with,
};
use crate::zygote::Nursery;
use launcher::{Assignment, Sandbox, Stem, Volume, Work};
use rustix::fs::{Advice, fadvise};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

pub(crate) const CASES: &[Case] = &[
    ("the_next_in_a_slot_sees_nothing_of_the_last", sees_nothing),
    (
        "an_ipc_namespace_serves_again_if_nothing_is_left_in_it",
        namespaces,
    ),
    ("forks_follow_each_other_in_a_slot", forks),
    ("counters_of_a_slot_start_again", counters),
    (
        "files_that_the_last_one_read_are_not_charged_to_the_next",
        residue,
    ),
    ("a_slot_that_was_frozen_is_thawed", thawed),
    ("a_network_that_is_not_quiet_is_not_used_again", not_quiet),
    (
        "three_hundred_starts_of_all_kinds_leak_nothing",
        mixed_starts,
    ),
];

/// By what one recognises a slot: its cgroups, and its network.
type Slot = (Vec<PathBuf>, PathBuf);

/// The slot that a process of the host is in.
fn slot(pid: u32) -> Slot {
    (cgroups(pid), namespace(pid, "net"))
}

/// Whether this machine's cgroups serve one sandbox after the other: those of version 1 do.
fn recycles(slot: &Slot) -> bool {
    slot.0.iter().all(|group| group.join("tasks").exists())
}

/// Starts it, reads all of its output, and tells its slot.
async fn run(bench: &Bench, spec: Spec) -> (Output, Slot) {
    let armed = bench.arm(&spec, Stem::None).await.unwrap();
    let slot = slot(armed.pid());
    let sandbox = armed.assign(spec.assignment()).unwrap();
    (finish(sandbox).await, slot)
}

/// One that goes on until it is killed.
async fn lasting(bench: &Bench) -> (Sandbox, Slot) {
    let sandbox = bench.start(shell("sleep 1000")).await.unwrap();
    let slot = slot(sandbox.pid);
    (sandbox, slot)
}

/// Everything a program could leave. Each line fails if what it makes cannot be made.
const DIRTY: &str = r#"
import ctypes, os, socket, sys, time
for folder in ('/tmp', '/dev/shm'):
    os.makedirs(folder + '/left/deep')
    open(folder + '/left/file', 'w').write('secret')
abstract = socket.socket(socket.AF_UNIX)
abstract.bind('\0left')
abstract.listen()
bound = socket.socket(socket.AF_UNIX)
bound.bind('/tmp/left/socket')
bound.listen()
c = ctypes.CDLL(None, use_errno=True)
def made(answer):
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
CREATE = 0o1000
made(c.shmget(4711, 4096, CREATE | 0o666))
made(c.semget(4711, 1, CREATE | 0o666))
made(c.msgget(4711, CREATE | 0o666))
made(c.mq_open(b'/left', os.O_CREAT | os.O_RDWR, 0o666, None))
listener = socket.socket()
listener.bind(('127.0.0.1', 5555))
listener.listen()
for _ in range(20):
    client = socket.create_connection(('127.0.0.1', 5555))
    server, _ = listener.accept()
    server.send(b'unread')
    server.close()
    client.close()
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(('0.0.0.0', 6666))
if os.fork() == 0:
    os.setsid()
    time.sleep(1000)
print(sorted(os.environ), 'dirty', flush=True)
os._exit(0)
"#;

/// Looks for all of it, and prints what it finds.
const LOOK: &str = r#"
import ctypes, os, socket
print(os.listdir('/tmp'), os.listdir('/dev/shm'))
unix = socket.socket(socket.AF_UNIX)
print(unix.connect_ex('\0left'), len(open('/proc/net/unix').readlines()) - 1)
c = ctypes.CDLL(None, use_errno=True)
queue = c.mq_open(b'/left', os.O_RDWR)
print(c.shmget(4711, 4096, 0), c.semget(4711, 1, 0), c.msgget(4711, 0), queue)
del unix
print(*(len(open('/proc/net/' + name).readlines()) - 1 for name in ('tcp', 'tcp6', 'udp')))
listener = socket.socket()
listener.bind(('127.0.0.1', 5555))
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(('127.0.0.1', 6666))
print(len([name for name in os.listdir('/proc') if name.isdigit()]), sorted(os.environ))
"#;

fn namespaces() {
    with(|bench| async move {
        const KINDS: [&str; 3] = ["ipc", "uts", "cgroup"];
        let run = async |script: &str| {
            let armed = bench
                .arm(&program(&["/usr/bin/python3", "-c", script]), Stem::None)
                .await
                .unwrap();
            let pid = armed.pid();
            // While it is open, no other namespace gets its number.
            let open =
                KINDS.map(|kind| std::fs::File::open(format!("/proc/{pid}/ns/{kind}")).unwrap());
            let found = (slot(pid), KINDS.map(|kind| namespace(pid, kind)), open);
            let spec = program(&["/usr/bin/python3", "-c", script]);
            let output = finish(armed.assign(spec.assignment()).unwrap()).await;
            (found, output.stdout)
        };
        let ((first, before, _open), _) = run("").await;
        let ((second, after, _also_open), said) = run(DIRTY).await;
        assert!(said.ends_with("dirty\n"));
        let again = recycles(&first);
        assert_eq!(first == second, again);
        for (index, kind) in KINDS.iter().enumerate() {
            assert_eq!(before[index] == after[index], again, "{kind}");
        }
        let ((third, last, _), _) = run("").await;
        assert_eq!(second == third, again);
        assert_ne!(after[0], last[0], "something was left in it");
    });
}

fn sees_nothing() {
    with(|bench| async move {
        let mut first = program(&["/usr/bin/python3", "-c", DIRTY]);
        first
            .environment
            .push(("SECRET".to_owned(), "x".to_owned()));
        let (output, before) = run(&bench, first).await;
        assert!(output.stdout.contains("SECRET"), "{}", output.stderr);
        assert!(output.stdout.ends_with("dirty\n"), "{}", output.stderr);
        let look = program(&["/usr/bin/python3", "-c", LOOK]);
        let (output, after) = run(&bench, look).await;
        assert_eq!(before == after, recycles(&before), "{before:?} {after:?}");
        let refused = libc::ECONNREFUSED;
        // One UNIX socket is its own.
        let expected = format!("[] []\n{refused} 1\n-1 -1 -1 -1\n0 0 0\n1 ['LC_CTYPE', 'PATH']\n");
        assert_eq!(output.stdout, expected, "{}", output.stderr);
    });
}

fn forks() {
    with(|bench| async move {
        let nursery = Nursery::new(bench).await;
        let (mut slots, mut held, mut again) = (Vec::new(), Vec::new(), true);
        for _ in 0..2 {
            let armed = nursery.arm().await.unwrap();
            let found = slot(armed.pid());
            again &= recycles(&found);
            slots.push(found);
            // Else the kernel gives its number to the next one.
            let network = format!("/proc/{}/ns/net", armed.pid());
            held.push(std::fs::File::open(network).unwrap());
            let exit = finish(nursery.assign(armed, "raise SystemExit\n"))
                .await
                .exit;
            assert_eq!(exit.code, Some(0));
        }
        assert_eq!(slots[0] == slots[1], again, "{slots:?}");
    });
}

fn counters() {
    const GREEDY: &str = "import subprocess, sys\n\
         sum(i for i in range(3000000))\n\
         take = [sys.executable, '-c', 'x = bytearray(1 << 28)']\n\
         print(subprocess.run(take).returncode)";
    with(|bench| async move {
        let mut greedy = program(&["/usr/bin/python3", "-c", GREEDY]);
        greedy.limits.memory = 96 << 20;
        let (output, before) = run(&bench, greedy).await;
        assert_eq!(output.stdout, "-9\n", "{}", output.stderr);
        assert!(output.exit.out_of_memory, "{:?}", output.exit);
        let used = output.exit.usage;
        assert!(used.memory_peak > 48 << 20, "{used:?}");

        let (output, after) = run(&bench, shell("true")).await;
        assert_eq!(before == after, recycles(&before), "{before:?} {after:?}");
        assert!(!output.exit.out_of_memory, "{:?}", output.exit);
        let next = output.exit.usage;
        assert!(next.memory_peak < used.memory_peak / 2, "{used:?} {next:?}");
        assert!(next.cpu < used.cpu, "{used:?} {next:?}");
        // Its limits are those that it was given.
        let script = "import subprocess, sys\n\
             print(subprocess.run([sys.executable, '-c', 'x = bytearray(1 << 27)']).returncode)";
        let mut roomy = program(&["/usr/bin/python3", "-c", script]);
        roomy.limits.memory = 512 << 20;
        assert_eq!(run(&bench, roomy).await.0.stdout, "0\n");
    });
}

/// What a group of version 1 has been charged for outlives its processes: the pages of files that they were
/// the first to read.
fn residue() {
    const FILE: u64 = 32 << 20;
    const READ: &str =
        "for _ in iter(lambda file=open('/opt/file', 'rb'): file.read(1 << 20), b''): pass";
    // On a disk, since what is in memory only is its writer's.
    let folder = tempfile::TempDir::new_in("/var/tmp").unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, vec![1; FILE as usize]).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    with(|bench| async move {
        let seeing = |mut spec: Spec| {
            spec.shape.binds = vec![bind(path.clone(), "/opt/file")];
            spec
        };
        let reader = seeing(program(&["/usr/bin/python3", "-c", READ]));
        let (output, before) = run(&bench, reader).await;
        assert_eq!(output.exit.code, Some(0), "{}", output.stderr);
        let used = output.exit.usage;
        assert!(used.memory_peak > FILE, "{used:?}");
        // The same group, from which they were taken: one that cannot be emptied is not used again.
        let (output, after) = run(&bench, seeing(shell("true"))).await;
        assert_eq!(before == after, recycles(&before), "{before:?} {after:?}");
        let next = output.exit.usage;
        assert!(next.memory_peak < FILE / 2, "{used:?} {next:?}");
    });
}

fn thawed() {
    with(|bench| async move {
        let (sandbox, before) = lasting(&bench).await;
        sandbox.freeze();
        sandbox.kill();
        sandbox.exited().await;
        drop(sandbox);
        let (output, after) = run(&bench, shell("echo runs")).await;
        assert_eq!(before == after, recycles(&before), "{before:?} {after:?}");
        assert_eq!(output.stdout, "runs\n");
    });
}

fn not_quiet() {
    with(|bench| async move {
        let (sandbox, before) = lasting(&bench).await;
        let kept = sandbox.socket().await.unwrap();
        sandbox.kill();
        sandbox.exited().await;
        drop(sandbox);
        let mut alive = Vec::new();
        // At once, and after the launcher's patience: then with another network.
        for pause in [0, 2500] {
            tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
            let (next, slot) = lasting(&bench).await;
            assert_ne!(slot.1, before.1);
            alive.push(next);
        }
        drop(kept);
        // Once it is closed, the next slot's network is used again.
        let (sandbox, before) = lasting(&bench).await;
        let kept = sandbox.socket().await.unwrap();
        sandbox.kill();
        sandbox.exited().await;
        drop((sandbox, kept));
        let (_next, slot) = lasting(&bench).await;
        assert_eq!(slot == before, recycles(&before));
    });
}

/// What the launcher holds: open files, mounts, network namespaces, cgroups of its sandboxes.
#[derive(Debug)]
struct Held {
    files: usize,
    mounts: usize,
    networks: usize,
    groups: usize,
}

impl Held {
    fn of(launcher: u32, parents: &[PathBuf]) -> Self {
        let files = std::fs::read_dir(format!("/proc/{launcher}/fd")).unwrap();
        let links = files.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        let networks = links.filter(|link| link.to_string_lossy().starts_with("net:["));
        let mounts = std::fs::read_to_string(format!("/proc/{launcher}/mountinfo")).unwrap();
        let folders = parents
            .iter()
            .flat_map(|parent| std::fs::read_dir(parent).unwrap());
        Self {
            files: open_files(launcher),
            mounts: mounts.lines().count(),
            networks: networks.count(),
            groups: folders
                .filter(|entry| entry.as_ref().unwrap().path().is_dir())
                .count(),
        }
    }
}

/// One start of the kind `turn` says, to its end.
async fn one(bench: &Bench, nursery: &Nursery, turn: usize) {
    const STEM: &str = "open my $s, '+<&=', 3; syswrite $s, '1'; sysread $s, my $m, 9";
    let perl = |script: &str| Stem::Program {
        argv: ["/usr/bin/perl", "-e", script].map(str::to_owned).into(),
        environment: Vec::new(),
    };
    let spec = shell("true");
    match turn % 10 {
        0 => assert!(bench.start(program(&["/no/such"])).await.is_err()),
        1 => drop(bench.arm(&spec, Stem::None).await.unwrap()),
        2 => {
            let armed = bench.arm(&spec, perl(STEM)).await.unwrap();
            let told = Assignment {
                work: Work::Tell(b"go".to_vec()),
                ..spec.assignment()
            };
            assert_eq!(finish(armed.assign(told).unwrap()).await.exit.code, Some(0));
        }
        3 => assert!(bench.arm(&spec, perl("exit 1")).await.is_err()),
        4 => {
            let mut spec = shell("true");
            spec.shape.volumes.push(Volume {
                source: bench.data.path().join("volume"),
                target: "/tmp/v".into(),
                read_only: false,
            });
            assert_eq!(bench.run(spec).await.exit.code, Some(0));
        }
        5 | 6 => {
            let armed = nursery.arm().await.unwrap();
            let sandbox = nursery.assign(armed, "raise SystemExit(6)\n");
            assert_eq!(sandbox.exited().await.code, Some(6));
        }
        7 => drop(nursery.arm().await.unwrap()),
        8 => {
            let mut spec = shell("sleep 1000");
            spec.shape.places = vec!["/var/task".into()];
            let assignment = Assignment {
                code: vec![bind(bench.data.path().join("volume"), "/var/task")],
                ..spec.assignment()
            };
            let armed = bench.arm(&spec, Stem::None).await.unwrap();
            let sandbox = armed.assign(assignment).unwrap();
            sandbox.kill();
            sandbox.exited().await;
        }
        _ => {
            let mut spec = shell("echo x");
            spec.shape.listen = vec![([127, 0, 0, 1], 9001).into()];
            spec.shape.serves = true;
            let mut sandbox = bench.start(spec).await.unwrap();
            assert_eq!(first_line(&mut sandbox).await, "x");
            sandbox.exited().await;
        }
    }
}

fn mixed_starts() {
    with(|bench| async move {
        std::fs::create_dir(bench.data.path().join("volume")).unwrap();
        let nursery = Nursery::new(Bench {
            launcher: bench.launcher.clone(),
            data: bench.data.clone(),
        });
        let nursery = nursery.await;
        let launcher = parent(nursery.zygote.pid());
        let mut parents: Vec<PathBuf> = cgroups(nursery.zygote.pid());
        for folder in &mut parents {
            folder.pop();
        }
        for turn in 0..20 {
            one(&bench, &nursery, turn).await;
        }
        // Settled: what was made for these is kept for the next ones.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let (ours, before) = (open_files(std::process::id()), Held::of(launcher, &parents));
        for turn in 0..300 {
            one(&bench, &nursery, turn).await;
        }
        let mut held = None;
        until("the launcher's peace", || {
            let after = Held::of(launcher, &parents);
            // A few slots more or less: one that is dropped may still be ending when the next starts.
            let few = after.networks <= before.networks + 4 && after.groups <= before.groups + 24;
            let flat = few && after.files <= before.files + 80 && after.mounts == before.mounts;
            held = Some(after);
            flat
        })
        .await;
        assert!(
            open_files(std::process::id()) <= ours + 2,
            "{ours} {held:?}"
        );
    });
}
