//! A private Docker Engine.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than it takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// It ends with this.
pub(crate) struct Dockerd {
    pub(crate) host: String,
    process: Child,
    socket: PathBuf,
    folder: TempDir,
}

impl Dockerd {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        // A socket's path must be short.
        let socket = PathBuf::from(format!("/tmp/rouse-test-{}.sock", std::process::id()));
        let host = format!("unix://{}", socket.display());
        let log = File::create(folder.path().join("log")).unwrap();
        let at = |name: &str| folder.path().join(name);
        let process = Command::new("dockerd")
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .args(["-H", &host, "--iptables=false", "--bridge=none"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("dockerd cannot be run: install Debian's docker.io");
        let mut engine = Self {
            host,
            process,
            socket,
            folder,
        };
        engine.wait();
        engine
    }

    fn wait(&mut self) {
        let begun = Instant::now();
        let said = |folder: &TempDir| std::fs::read_to_string(folder.path().join("log")).unwrap();
        while std::os::unix::net::UnixStream::connect(&self.socket).is_err() {
            let ended = self.process.try_wait().unwrap();
            let late = begun.elapsed() > PATIENCE;
            assert!(ended.is_none() && !late, "dockerd: {}", said(&self.folder));
            #[expect(clippy::disallowed_methods, reason = "there is no other thread yet")]
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}
