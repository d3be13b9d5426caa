//! The server's side: asking the launcher for sandboxes.

use crate::entry::Connection;
use crate::error::{Error, Failure, Result};
use crate::network::EGRESS_SOCKETS;
use crate::wire::{self, MESSAGE_MAX, Reply, Request};
use crate::{Exit, SandboxSpec, Usage};
use rustix::net::RecvFlags;
use std::collections::HashMap;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Requests that may await their answer at one time; more wait for their turn. It bounds the queue
/// to the launcher, together with the sandboxes that exist: each adds a kill and a termination.
const IN_FLIGHT: usize = 256;

/// What answers a request, or says that a sandbox has started.
type Answer = std::result::Result<(Reply, Vec<OwnedFd>), Failure>;

/// Asks the launcher. A cheap handle. When the last one and the last [`Sandbox`] are dropped, the
/// launcher ends.
#[derive(Clone)]
pub struct Launcher {
    requests: mpsc::UnboundedSender<Vec<u8>>,
    shared: Arc<Shared>,
    turns: Arc<Semaphore>,
    egress: bool,
}

struct Shared {
    tables: Mutex<Tables>,
    next: AtomicU64,
    gone: watch::Sender<Option<String>>,
}

/// Sandboxes and requests share one series of numbers.
#[derive(Default)]
struct Tables {
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    exits: HashMap<u64, watch::Sender<Option<Exit>>>,
    closed: bool,
}

impl Shared {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        // No code panics while it holds the lock, and the tables are whole at every moment.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, number: u64, answer: Answer) {
        if let Some(waiting) = self.tables().answers.remove(&number) {
            // Who asked may have gone away.
            let _ = waiting.send(answer);
        }
    }

    fn take(&self, reply: Reply, fds: Vec<OwnedFd>) {
        match reply {
            Reply::Started { sandbox: n, .. }
            | Reply::Socket { request: n }
            | Reply::Usage { request: n, .. } => self.answer(n, Ok((reply, fds))),
            Reply::Refused { request, failure } => self.answer(request, Err(failure)),
            Reply::Failed { sandbox, failure } => {
                self.tables().exits.remove(&sandbox);
                self.answer(sandbox, Err(failure));
            }
            Reply::Exited { sandbox, exit } => {
                let watched = self.tables().exits.remove(&sandbox);
                if let Some(watched) = watched {
                    watched.send_replace(Some(exit));
                }
            }
            Reply::Ready { .. } | Reply::Missing { .. } => {}
        }
    }

    /// Nobody will answer any more.
    fn close(&self, reason: String) {
        self.gone.send_replace(Some(reason));
        let mut tables = self.tables();
        tables.closed = true;
        tables.answers.clear();
        tables.exits.clear();
    }

    fn reason(&self) -> String {
        let reason = self.gone.borrow().clone();
        reason.unwrap_or_else(|| "its socket is closed".to_owned())
    }
}

impl Launcher {
    /// Takes the connection into the running tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be registered.
    pub fn new(connection: Connection) -> Result<Self> {
        let failed = |error: io::Error| Error::Step {
            step: "connecting to the launcher".to_owned(),
            reason: error.to_string(),
        };
        for warning in &connection.warnings {
            tracing::warn!("{warning}");
        }
        rustix::io::ioctl_fionbio(&connection.socket, true).map_err(|e| failed(e.into()))?;
        // SAFETY: an `OwnedFd` names the same open descriptor for as long as it exists, and the
        // `AsyncFd` owns it until both are dropped.
        let socket = unsafe { AsyncFd::register(connection.socket) };
        let socket = Arc::new(socket.map_err(|error| failed(error.into()))?);
        let (requests, queue) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            tables: Mutex::new(Tables::default()),
            next: AtomicU64::new(1),
            gone: watch::Sender::new(None),
        });
        tokio::spawn(write(Arc::clone(&socket), queue));
        tokio::spawn(read(socket, Arc::clone(&shared), connection.process));
        Ok(Self {
            requests,
            shared,
            turns: Arc::new(Semaphore::new(IN_FLIGHT)),
            egress: connection.egress,
        })
    }

    /// Whether sandboxes can reach out on this machine; if not, the log has said why.
    pub fn can_egress(&self) -> bool {
        self.egress
    }

    fn number(&self) -> u64 {
        self.shared.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends what needs no answer.
    fn tell(&self, request: &Request) {
        if let Ok(bytes) = wire::encode(request) {
            // If the launcher is gone, so is what was to be told.
            let _ = self.requests.send(bytes);
        }
    }

    /// Sends a request and waits for its answer.
    /// The end of a sandbox that it starts is told to `exit`.
    async fn ask(
        &self,
        number: u64,
        request: &Request,
        exit: Option<watch::Sender<Option<Exit>>>,
    ) -> Result<(Reply, Vec<OwnedFd>)> {
        let bytes = wire::encode(request).map_err(|error| Error::Invalid(error.to_string()))?;
        let gone = || Error::Gone(self.shared.reason());
        let _turn = self.turns.acquire().await.map_err(|_| gone())?;
        let (sender, receiver) = oneshot::channel();
        {
            let mut tables = self.shared.tables();
            if tables.closed {
                drop(tables);
                return Err(gone());
            }
            tables.answers.insert(number, sender);
            if let Some(exit) = exit {
                tables.exits.insert(number, exit);
            }
        }
        self.requests.send(bytes).map_err(|_| gone())?;
        match receiver.await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(gone()),
        }
    }

    /// Makes a sandbox and starts its program. Cancelled, nothing of it is left.
    ///
    /// # Errors
    /// `Step` names the step that failed; nothing of the sandbox is left then.
    pub async fn start(&self, spec: SandboxSpec) -> Result<Sandbox> {
        spec.check().map_err(Error::Invalid)?;
        let egress = if spec.egress { EGRESS_SOCKETS } else { 0 };
        let listeners = spec.listen.len();
        let number = self.number();
        let (watched, exit) = watch::channel(None);
        // Made before it is asked for: dropped at any moment, it kills.
        let mut sandbox = Sandbox {
            pid: 0,
            listeners: Vec::new(),
            egress: None,
            stdout: None,
            stderr: None,
            number,
            launcher: self.clone(),
            exit,
            terminated: AtomicBool::new(false),
            killed: AtomicBool::new(false),
        };
        let request = Request::Start {
            sandbox: number,
            spec: Box::new(spec),
        };
        let answer = self.ask(number, &request, Some(watched)).await;
        if answer.is_err() {
            // Nothing is there to be killed.
            sandbox.killed.store(true, Ordering::Relaxed);
        }
        let (reply, fds) = answer?;
        if let Reply::Started { pid, .. } = reply {
            sandbox.pid = pid;
        }
        if fds.len() != listeners + egress + 2 {
            return Err(Error::Step {
                step: "receiving the sandbox's sockets".to_owned(),
                reason: "this process has no more room for open files; raise its limit \
                         (ulimit -n)"
                    .to_owned(),
            });
        }
        let mut fds = fds.into_iter();
        sandbox.stdout = fds.next();
        sandbox.stderr = fds.next();
        sandbox.listeners = fds
            .by_ref()
            .take(listeners)
            .map(TcpListener::from)
            .collect();
        if let (Some(connections), Some(dns), Some(datagrams)) =
            (fds.next(), fds.next(), fds.next())
        {
            sandbox.egress = Some(Egress {
                connections: connections.into(),
                dns: dns.into(),
                datagrams: datagrams.into(),
            });
        }
        Ok(sandbox)
    }

    /// Resolves when the launcher has ended, which it never should; says how.
    pub async fn gone(&self) -> String {
        let mut gone = self.shared.gone.subscribe();
        // The sender lives in `shared`, which this handle keeps.
        let _ = gone.wait_for(Option::is_some).await;
        self.shared.reason()
    }

    /// Ends the launcher and with it every sandbox; resolves when nothing of them is left.
    pub async fn stop(&self) {
        // An empty message closes the sending half.
        let _ = self.requests.send(Vec::new());
        self.gone().await;
    }
}

/// Sends what is queued, until every handle is gone; then closes the sending half.
async fn write(socket: Arc<AsyncFd<OwnedFd>>, mut queue: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(bytes) = queue.recv().await
        && !bytes.is_empty()
    {
        loop {
            let Ok(mut ready) = socket.writable().await else {
                return;
            };
            match ready.try_io(|fd| Ok(wire::send(fd.get_ref(), &bytes, &[])?)) {
                Ok(Ok(())) => break,
                // The reader sees the same end, and tells everybody.
                Ok(Err(_)) => return,
                Err(_would_block) => {}
            }
        }
    }
    let _ = rustix::net::shutdown(socket.get_ref(), rustix::net::Shutdown::Write);
}

/// Hands out what the launcher says, until it ends.
async fn read(socket: Arc<AsyncFd<OwnedFd>>, shared: Arc<Shared>, mut process: Child) {
    let mut buffer = vec![0; MESSAGE_MAX];
    loop {
        let Ok(mut ready) = socket.readable().await else {
            break;
        };
        let received =
            ready.try_io(|fd| wire::receive(fd.get_ref(), &mut buffer, RecvFlags::DONTWAIT));
        match received {
            Ok(Ok(Some((reply, fds)))) => shared.take(reply, fds),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::error!("the launcher was not understood: {error}");
            }
            Ok(Ok(None) | Err(_)) => break,
            Err(_would_block) => {}
        }
    }
    // Its end of the socket closes as it ends, so this does not wait long.
    let ended = tokio::task::spawn_blocking(move || process.wait()).await;
    let reason = match ended {
        Ok(Ok(status)) => status.to_string(),
        _ => "its socket is closed".to_owned(),
    };
    shared.close(reason);
}

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

/// A running sandbox. Dropped, it is killed.
pub struct Sandbox {
    /// Process id of its first process as the host sees it.
    pub pid: u32,
    /// The listeners that were asked for, in order; take them. They are non-blocking.
    pub listeners: Vec<TcpListener>,
    /// What takes all that it sends elsewhere, if that was asked for; take it.
    pub egress: Option<Egress>,
    /// Its standard output; take it.
    pub stdout: Option<OwnedFd>,
    /// Its standard error; take it.
    pub stderr: Option<OwnedFd>,
    number: u64,
    launcher: Launcher,
    exit: watch::Receiver<Option<Exit>>,
    terminated: AtomicBool,
    killed: AtomicBool,
}

impl Sandbox {
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
            reason: "this process has no more room for open files; raise its limit (ulimit -n)"
                .to_owned(),
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
            let sandbox = self.number;
            self.launcher.tell(&Request::Kill { sandbox });
        }
    }

    /// Resolves when its first process has ended and nothing of it is left; any number of waiters.
    /// If the launcher is gone, so is the sandbox: killed.
    pub async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
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
