//! A container of Docker's as the server holds it.

use super::engine::Place;
use super::keeper::{self, Order, Started};
use launcher::{Exit, Foreign, Handed, Usage};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, watch};

/// SIGTERM among the signals of `/proc/PID/status`.
const TERM: u64 = 1 << 14;

/// See the module. Dropped, it is killed and removed.
pub(crate) struct Container {
    pid: u32,
    begun: Option<Handed>,
    network: Option<Foreign>,
    memory_peak: Option<OwnedFd>,
    frozen: AtomicBool,
    orders: mpsc::UnboundedSender<Order>,
    exit: watch::Receiver<Option<Exit>>,
}

impl Container {
    /// Looks after a container that was started, until nothing is left of it.
    pub(super) fn keep(
        place: Place,
        number: String,
        pid: u32,
        folder: PathBuf,
        memory: u64,
    ) -> Self {
        // No more wait than states that follow each other: each call changes the state or sends nothing.
        let (orders, queue) = mpsc::unbounded_channel();
        let (ended, exit) = watch::channel(None);
        let started = Started {
            docker: place.docker,
            number,
            process: open_process(pid),
            folder,
            memory,
        };
        tokio::spawn(keeper::keep(started, queue, ended));
        Self {
            pid,
            begun: None,
            network: None,
            memory_peak: peak_file(pid),
            frozen: AtomicBool::new(false),
            orders,
            exit,
        }
    }

    /// Its program was told what to become, and its network is furnished.
    pub(super) fn begin(&mut self, handed: Handed, network: Foreign) {
        self.begun = Some(handed);
        self.network = Some(network);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Resolves when its program is executed; asked again, at once.
    pub(crate) fn begun(&mut self) -> impl Future<Output = launcher::Result<()>> + Send + 'static {
        let begun = self.begun.take();
        async move {
            match begun {
                Some(handed) => handed.begun().await,
                None => Ok(()),
            }
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.exit.has_changed().is_ok() && self.exit.borrow().is_none()
    }

    pub(crate) fn freeze(&self) {
        if !self.frozen.swap(true, Ordering::AcqRel) {
            self.order(Order::Freeze);
        }
    }

    pub(crate) fn thaw(&self) {
        if self.frozen.swap(false, Ordering::AcqRel) {
            self.order(Order::Thaw);
        }
    }

    pub(crate) fn terminate(&self) {
        self.thaw();
        // The kernel spares the first process of a pid namespace that has no handler.
        let order = match heeds(self.pid) {
            true => Order::Terminate,
            false => Order::Kill,
        };
        self.order(order);
    }

    pub(crate) fn kill(&self) {
        self.thaw();
        self.order(Order::Kill);
    }

    /// If nobody takes it, the container has ended.
    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// The most memory that it used so far, in bytes, if the kernel tells.
    pub(crate) fn memory_peak(&self) -> Option<u64> {
        let mut text = [0; 32];
        let length = rustix::io::pread(self.memory_peak.as_ref()?, &mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..length)?).ok()?;
        text.trim().parse().ok()
    }

    /// An unconnected TCP socket inside its network namespace, non-blocking.
    pub(crate) async fn socket(&self) -> launcher::Result<OwnedFd> {
        match &self.network {
            Some(network) if self.is_alive() => network.socket().await,
            _ => Err(launcher::Error::Gone("the container has ended".to_owned())),
        }
    }

    /// Resolves when nothing of it is left; any number of waiters.
    pub(crate) async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        let known = match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone(),
            // The server is ending.
            Err(_) => None,
        };
        known.unwrap_or(Exit {
            code: None,
            signal: Some(9),
            out_of_memory: false,
            usage: Usage::default(),
        })
    }
}

/// A descriptor of the process, by which the kernel may tell how it ended.
fn open_process(pid: u32) -> Option<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Whether a process has a handler for SIGTERM.
fn heeds(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask & TERM != 0)
}

/// The file of a process's cgroup that tells the most memory that it used.
fn peak_file(pid: u32) -> Option<OwnedFd> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = peak_path(&groups)?;
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Its path, from `/proc/PID/cgroup`: with version 1 of the controller `memory`, else with version 2.
fn peak_path(groups: &str) -> Option<PathBuf> {
    let parts = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1).map(str::to_owned);
        parts.next().zip(parts.next())
    };
    let groups: Vec<(String, String)> = groups.lines().filter_map(parts).collect();
    let of = |name: &str| {
        let named = |kind: &str| kind.split(',').any(|one| one == name);
        let found = groups.iter().find(|(kind, _)| named(kind))?;
        Some(found.1.trim_start_matches('/').to_owned())
    };
    let root = Path::new("/sys/fs/cgroup");
    match of("memory") {
        Some(path) => Some(
            root.join("memory")
                .join(path)
                .join("memory.max_usage_in_bytes"),
        ),
        None => Some(root.join(of("")?).join("memory.peak")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_found_with_both_versions() {
        let one = "5:cpu,cpuacct:/docker/a\n4:memory:/docker/a\n0::/system\n";
        let two = "0::/system.slice/docker-a.scope\n";
        let path = |groups| peak_path(groups).map(|path| path.display().to_string());
        let expected = "/sys/fs/cgroup/memory/docker/a/memory.max_usage_in_bytes";
        assert_eq!(path(one).as_deref(), Some(expected));
        let expected = "/sys/fs/cgroup/system.slice/docker-a.scope/memory.peak";
        assert_eq!(path(two).as_deref(), Some(expected));
        assert_eq!(path("nonsense"), None);
    }
}
