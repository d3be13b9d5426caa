//! A launcher of its own for each case, and what the cases ask of it.

use launcher::{Bind, Error, Exit, Launcher, Root, Sandbox, SandboxSpec, User};
use std::fs::File;
use std::future::Future;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// Long enough for anything here on a slow machine; nothing waits for it when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Bench {
    pub(crate) launcher: Launcher,
    pub(crate) data: Rc<TempDir>,
}

/// What a program wrote, and how it ended.
pub(crate) struct Output {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) exit: Exit,
}

/// Runs `case` with a fresh launcher, then ends that.
pub(crate) fn with<F: Future<Output = ()>>(case: impl FnOnce(Bench) -> F) {
    let data = TempDir::new().expect("a temporary folder");
    with_data(data, case);
}

pub(crate) fn with_data<F: Future<Output = ()>>(data: TempDir, case: impl FnOnce(Bench) -> F) {
    // Kept until the launcher has ended, whatever the case does with its own.
    let data = Rc::new(data);
    block_on(async {
        let launcher = connect(data.path());
        let bench = Bench {
            launcher: launcher.clone(),
            data: Rc::clone(&data),
        };
        case(bench).await;
        launcher.stop().await;
    });
}

pub(crate) fn connect(data: &Path) -> Launcher {
    let connection = launcher::spawn(data).expect("root, and all that a sandbox needs");
    Launcher::new(connection).expect("a connection")
}

pub(crate) fn block_on<T>(case: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let outcome = runtime.block_on(async { tokio::time::timeout(PATIENCE, case).await });
    runtime.shutdown_timeout(Duration::from_secs(5));
    outcome.expect("it hangs")
}

/// 32 hex digits that no other process uses.
pub(crate) fn id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{:016x}{number:016x}", std::process::id())
}

/// `/bin/sh -c script` on the host's folders, as user 1000.
pub(crate) fn shell(script: &str) -> SandboxSpec {
    program(&["/bin/sh", "-c", script])
}

pub(crate) fn program(argv: &[&str]) -> SandboxSpec {
    let folders = ["/usr", "/bin", "/lib", "/lib64", "/sbin"];
    let there = folders
        .into_iter()
        .filter(|folder| Path::new(folder).exists());
    SandboxSpec {
        id: id(),
        hostname: "box".to_owned(),
        root: Root::Host {
            binds: there.map(|folder| bind(folder, folder)).collect(),
        },
        binds: Vec::new(),
        volumes: Vec::new(),
        argv: argv.iter().map(|&text| text.to_owned()).collect(),
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        working_dir: "/".to_owned(),
        user: User::Ids {
            uid: 1000,
            gid: 1000,
        },
        hosts: Vec::new(),
        listen: Vec::new(),
        serves: false,
        egress: false,
        limits: model::Limits::default(),
    }
}

pub(crate) fn bind(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Bind {
    Bind {
        source: source.into(),
        target: target.into(),
    }
}

impl Bench {
    /// Starts it, reads all it writes, and awaits its end.
    pub(crate) async fn run(&self, spec: SandboxSpec) -> Output {
        let sandbox = self.launcher.start(spec).await.expect("it starts");
        finish(sandbox).await
    }

    /// Why it does not start: step and reason.
    pub(crate) async fn refusal(&self, spec: SandboxSpec) -> (String, String) {
        match self.launcher.start(spec).await {
            Ok(_) => panic!("it starts"),
            Err(Error::Step { step, reason }) => (step, reason),
            Err(other) => panic!("another error: {other}"),
        }
    }
}

pub(crate) async fn finish(mut sandbox: Sandbox) -> Output {
    let stdout = read(sandbox.stdout.take());
    let stderr = read(sandbox.stderr.take());
    Output {
        stdout: stdout.await.unwrap(),
        stderr: stderr.await.unwrap(),
        exit: sandbox.exited().await,
    }
}

fn read(pipe: Option<OwnedFd>) -> tokio::task::JoinHandle<String> {
    let mut file = File::from(pipe.expect("a pipe"));
    tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The first line that the program writes.
pub(crate) async fn first_line(sandbox: &mut Sandbox) -> String {
    let mut file = File::from(sandbox.stdout.take().expect("a pipe"));
    let read = tokio::task::spawn_blocking(move || {
        let mut line = Vec::new();
        let mut byte = [0];
        while file.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        (String::from_utf8_lossy(&line).into_owned(), file)
    });
    let (line, file) = read.await.unwrap();
    sandbox.stdout = Some(file.into());
    line
}

/// Whether the process `pid` of the host is there and not a zombie.
pub(crate) fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// The parent of `pid`.
pub(crate) fn parent(pid: u32) -> u32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = stat.rsplit_once(") ").unwrap().1;
    rest.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Waits until `done`; panics with `what` when it does not come.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / 20 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} does not happen");
}

/// The cgroup folders of this name, in all hierarchies.
pub(crate) fn cgroups(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = left.pop() {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        for entry in entries {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name() == name {
                found.push(entry.path());
            }
            left.push(entry.path());
        }
    }
    found
}

/// Open files of a process.
pub(crate) fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count()
}
