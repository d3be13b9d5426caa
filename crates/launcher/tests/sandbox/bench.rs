//! A launcher of its own for each case, and what the cases ask of it.

use launcher::{
    Armed, Assignment, Bind, Error, Exit, Launcher, Root, Sandbox, Shape, Stem, User, Work,
};
use std::fs::File;
use std::future::Future;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use tempfile::TempDir;

/// Long enough for anything here on an emulated machine; nothing waits for it when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

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

/// A sandbox and what runs in it at once.
pub(crate) struct Spec {
    pub(crate) shape: Shape,
    pub(crate) argv: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) working_dir: String,
    pub(crate) limits: model::Limits,
}

impl Spec {
    pub(crate) fn assignment(&self) -> Assignment {
        Assignment {
            code: Vec::new(),
            work: Work::Execute {
                argv: self.argv.clone(),
                environment: self.environment.clone(),
                working_dir: self.working_dir.clone(),
            },
            limits: self.limits.clone(),
        }
    }

    pub(crate) async fn start(self, launcher: &Launcher) -> launcher::Result<Sandbox> {
        let assignment = self.assignment();
        launcher.start(self.shape, assignment).await
    }
}

/// `/bin/sh -c script` on the host's folders, as user 1000.
pub(crate) fn shell(script: &str) -> Spec {
    program(&["/bin/sh", "-c", script])
}

pub(crate) fn program(argv: &[&str]) -> Spec {
    let folders = ["/usr", "/bin", "/lib", "/lib64", "/sbin"];
    let there = folders
        .into_iter()
        .filter(|folder| Path::new(folder).exists());
    Spec {
        shape: Shape {
            hostname: "box".to_owned(),
            root: Root::Host {
                binds: there.map(|folder| bind(folder, folder)).collect(),
            },
            binds: Vec::new(),
            places: Vec::new(),
            volumes: Vec::new(),
            user: User::Ids {
                uid: 1000,
                gid: 1000,
            },
            hosts: Vec::new(),
            listen: Vec::new(),
            serves: false,
            egress: false,
            files: 1024,
        },
        argv: argv.iter().map(|&text| text.to_owned()).collect(),
        environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        working_dir: "/".to_owned(),
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
    pub(crate) async fn start(&self, spec: Spec) -> launcher::Result<Sandbox> {
        spec.start(&self.launcher).await
    }

    /// Makes it, and lets it wait for its assignment.
    pub(crate) async fn arm(&self, spec: &Spec, stem: Stem) -> launcher::Result<Armed> {
        let (shape, limits) = (spec.shape.clone(), spec.limits.clone());
        self.launcher.arm(shape, stem, limits).await
    }

    /// Starts it, reads all it writes, and awaits its end.
    pub(crate) async fn run(&self, spec: Spec) -> Output {
        let sandbox = self.start(spec).await.expect("it starts");
        finish(sandbox).await
    }

    /// Why it does not start: step and reason.
    pub(crate) async fn refusal(&self, spec: Spec) -> (String, String) {
        match self.start(spec).await {
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

/// What `/proc/PID/status` says of a process of the host; words are separated by one blank.
pub(crate) fn status(pid: u32, name: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    field(&text, name)
}

/// A line of a text of `/proc/PID/status`.
pub(crate) fn field(text: &str, name: &str) -> String {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let words = value.unwrap_or_default().split_whitespace();
    words.collect::<Vec<_>>().join(" ")
}

/// Which namespace of this kind a process is in.
pub(crate) fn namespace(pid: u32, kind: &str) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap()
}

/// Kills a process of the host.
pub(crate) fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
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

/// The cgroup folders that a process is in, of those that a launcher made.
pub(crate) fn cgroups(pid: u32) -> Vec<PathBuf> {
    let lines = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounts: Vec<&str> = mounts
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| line.split(' ').nth(4))
        .collect();
    let groups = lines.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let groups: Vec<&str> = groups.filter(|group| group.contains("/rouse-")).collect();
    let mut found: Vec<PathBuf> = mounts
        .iter()
        .flat_map(|mount| groups.iter().map(move |group| format!("{mount}{group}")))
        .map(PathBuf::from)
        .filter(|folder| folder.is_dir())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Whether no process is in any of these.
pub(crate) fn are_empty(groups: &[PathBuf]) -> bool {
    groups.iter().all(|group| {
        let processes = std::fs::read_to_string(group.join("cgroup.procs"));
        processes.unwrap_or_default().is_empty()
    })
}

/// Whether the folders are not there any more.
pub(crate) fn are_gone(groups: &[PathBuf]) -> bool {
    groups.iter().all(|group| !group.exists())
}

/// Processes whose parent is `pid`.
pub(crate) fn children(pid: u32) -> usize {
    let file = format!("/proc/{pid}/task/{pid}/children");
    std::fs::read_to_string(file)
        .unwrap()
        .split_whitespace()
        .count()
}

/// Open files of a process.
pub(crate) fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count()
}

/// Whether no user and no service of the host has this id, as this process sees it: root gives those from
/// 0x7000_0000 on, an ordinary user subordinate ones, which begin at 1 inside.
pub(crate) fn is_nobodys(id: u32) -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let is_host = map.trim_end().ends_with("4294967295");
    id >= if is_host { 0x7000_0000 } else { 1 }
}
