//! A sandbox as the server holds it.

use super::{Launcher, NO_ROOM};
use crate::cgroup::Version;
use crate::error::{Error, Failure, Result};
use crate::wire::{Reply, Request};
use crate::{Exit, Usage};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{oneshot, watch};

/// The sockets inside a sandbox that take what it sends elsewhere. They are non-blocking.
#[derive(Debug)]
pub struct Egress {
    /// Accepts each TCP connection to an IPv4 address outside 127.0.0.0/8: the accepted socket's local
    /// address is where the program wanted to go.
    pub connections: TcpListener,
    /// DNS over TCP, at 127.0.0.53:53, which the sandbox's `/etc/resolv.conf` names.
    pub dns: TcpListener,
    /// DNS over UDP, at the same address.
    pub datagrams: UdpSocket,
}

/// Waits for an end. If the launcher is gone, so is the sandbox: killed.
pub(super) async fn exit_of(mut exit: watch::Receiver<Option<Exit>>) -> Exit {
    let known = match exit.wait_for(Option::is_some).await {
        Ok(exit) => exit.clone(),
        Err(_) => None,
    };
    known.unwrap_or(Exit {
        code: None,
        signal: Some(9),
        out_of_memory: false,
        usage: Usage::default(),
    })
}

/// A sandbox that has its work. Dropped, it is killed.
pub struct Sandbox {
    /// Process id of its program as the host sees it.
    pub pid: u32,
    /// The listeners that were asked for, in order; take them. They are non-blocking.
    pub listeners: Vec<TcpListener>,
    /// What takes all that it sends elsewhere, if that was asked for; take it.
    pub egress: Option<Egress>,
    /// Its standard output; take it.
    pub stdout: Option<OwnedFd>,
    /// Its standard error; take it.
    pub stderr: Option<OwnedFd>,
    pub(super) number: u64,
    pub(super) launcher: Launcher,
    pub(super) freezer: Option<(OwnedFd, Version)>,
    pub(super) memory_peak: Option<OwnedFd>,
    pub(super) frozen: AtomicBool,
    pub(super) begun: Option<oneshot::Receiver<std::result::Result<(), Failure>>>,
    pub(super) exit: watch::Receiver<Option<Exit>>,
    pub(super) terminated: AtomicBool,
    pub(super) killed: AtomicBool,
}

impl Sandbox {
    /// Resolves when its program is executed, or its stem was told; asked again, at once.
    ///
    /// # Errors
    /// `Step` names the step that failed; nothing of the sandbox is left then.
    pub fn begun(&mut self) -> impl Future<Output = Result<()>> + Send + 'static {
        let begun = self.begun.take();
        async move {
            let Some(begun) = begun else {
                return Ok(());
            };
            match begun.await {
                Ok(begun) => Ok(begun?),
                Err(_) => Err(Error::Step {
                    step: "starting the program".to_owned(),
                    reason: "the sandbox ended before it began".to_owned(),
                }),
            }
        }
    }

    /// Whether it has not ended yet.
    pub fn is_alive(&self) -> bool {
        self.exit.has_changed().is_ok() && self.exit.borrow().is_none()
    }

    /// Stops all of its processes until [`Self::thaw`], if the machine has a freezer. A signal is
    /// heeded only then, but for those that this library sends.
    pub fn freeze(&self) {
        if !self.frozen.swap(true, Ordering::AcqRel) {
            self.tell_frozen(true);
        }
    }

    /// Lets its processes run on.
    pub fn thaw(&self) {
        if self.frozen.swap(false, Ordering::AcqRel) {
            // At once. If it has ended, whoever has its cgroup now is thawed in vain at most; to freeze
            // is the launcher's alone, who knows whose cgroup it is.
            if let Some((file, version)) = &self.freezer {
                let word: &[u8] = match version {
                    Version::V1 => b"THAWED",
                    Version::V2 => b"0",
                };
                // It fails only if the group is gone.
                let _ = rustix::io::pwrite(file, word, 0);
            }
            // A freeze that is still on its way comes before this.
            self.tell_frozen(false);
        }
    }

    fn tell_frozen(&self, frozen: bool) {
        let sandbox = self.number;
        self.launcher.tell(&Request::Freeze { sandbox, frozen });
    }

    /// The most memory that it used so far, in bytes, if the kernel tells. Asks the kernel and not the
    /// launcher, so that it can be asked with each call.
    pub fn memory_peak(&self) -> Option<u64> {
        let file = self.memory_peak.as_ref()?;
        let mut text = [0; 32];
        let length = rustix::io::pread(file, &mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..length)?).ok()?;
        text.trim().parse().ok()
    }

    /// An unconnected TCP socket inside its network namespace, close-on-exec and non-blocking.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn socket(&self) -> Result<OwnedFd> {
        let request = self.launcher.number();
        let question = Request::Socket {
            request,
            sandbox: self.number,
        };
        let (_, fds) = self.launcher.ask(request, &question, None).await?;
        fds.into_iter().next().ok_or_else(|| Error::Step {
            step: "receiving a socket".to_owned(),
            reason: NO_ROOM.to_owned(),
        })
    }

    /// Asks its first process to end (SIGTERM). A program that has no handler for it is killed: it
    /// would not notice, since the kernel spares the first process of a pid namespace. One that has a
    /// handler may take its time: follow with [`Self::kill`].
    pub fn terminate(&self) {
        if !self.terminated.swap(true, Ordering::Relaxed) {
            let sandbox = self.number;
            self.launcher.tell(&Request::Terminate { sandbox });
        }
    }

    /// Kills all of it.
    pub fn kill(&self) {
        if !self.killed.swap(true, Ordering::Relaxed) {
            // If the launcher is gone, its end has killed all; what is frozen heeds that only now.
            self.thaw();
            let sandbox = self.number;
            self.launcher.tell(&Request::Kill { sandbox });
        }
    }

    /// Resolves when its first process has ended and nothing of it is left; any number of waiters.
    /// If the launcher is gone, so is the sandbox: killed.
    pub async fn exited(&self) -> Exit {
        exit_of(self.exit.clone()).await
    }

    /// What it used so far.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn usage(&self) -> Result<Usage> {
        let request = self.launcher.number();
        let question = Request::Usage {
            request,
            sandbox: self.number,
        };
        match self.launcher.ask(request, &question, None).await?.0 {
            Reply::Usage { usage, .. } => Ok(usage),
            _ => Err(Error::Gone("it answered something else".to_owned())),
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.exit.borrow().is_none() {
            self.kill();
        }
    }
}
