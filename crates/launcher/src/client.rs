//! The server's side: asking the launcher for sandboxes.

use crate::cgroup::Version;
use crate::entry::Connection;
use crate::error::{Error, Failure, Result};
use crate::network::EGRESS_SOCKETS;
use crate::wire::{self, MESSAGE_MAX, Reply, Request};
use crate::{Assignment, Exit, Shape, Stem, Usage, spec};
use model::Limits;
use rustix::net::RecvFlags;
use std::collections::HashMap;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
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
    /// The tasks that read and write keep it.
    socket: Weak<AsyncFd<OwnedFd>>,
    requests: mpsc::UnboundedSender<Vec<u8>>,
    shared: Arc<Shared>,
    turns: Arc<Semaphore>,
    egress: bool,
}

struct Shared {
    /// Messages that wait for room in the socket.
    queued: AtomicUsize,
    tables: Mutex<Tables>,
    next: AtomicU64,
    gone: watch::Sender<Option<String>>,
}

/// Sandboxes and requests share one series of numbers.
#[derive(Default)]
struct Tables {
    answers: HashMap<u64, oneshot::Sender<Answer>>,
    /// Of sandboxes that were assigned: whether the work has begun.
    begun: HashMap<u64, oneshot::Sender<std::result::Result<(), Failure>>>,
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

    fn begin(&self, sandbox: u64, how: std::result::Result<(), Failure>) {
        if let Some(waiting) = self.tables().begun.remove(&sandbox) {
            // Who asked may have gone away.
            let _ = waiting.send(how);
        }
    }

    fn take(&self, reply: Reply, fds: Vec<OwnedFd>) {
        match reply {
            Reply::Armed { sandbox: n, .. }
            | Reply::Socket { request: n }
            | Reply::Usage { request: n, .. } => self.answer(n, Ok((reply, fds))),
            Reply::Refused { request, failure } => self.answer(request, Err(failure)),
            Reply::Started { sandbox } => self.begin(sandbox, Ok(())),
            Reply::Failed { sandbox, failure } => {
                // Who hears of the end shall know why.
                self.begin(sandbox, Err(failure.clone()));
                self.answer(sandbox, Err(failure));
                self.tables().exits.remove(&sandbox);
            }
            Reply::Exited { sandbox, exit } => {
                let watched = {
                    let mut tables = self.tables();
                    tables.begun.remove(&sandbox);
                    tables.answers.remove(&sandbox);
                    tables.exits.remove(&sandbox)
                };
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
        tables.begun.clear();
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
            queued: AtomicUsize::new(0),
            tables: Mutex::new(Tables::default()),
            next: AtomicU64::new(1),
            gone: watch::Sender::new(None),
        });
        let weak = Arc::downgrade(&socket);
        tokio::spawn(write(Arc::clone(&socket), queue, Arc::clone(&shared)));
        let reading = read(socket, Arc::clone(&shared), connection.process);
        tokio::spawn(reading);
        Ok(Self {
            socket: weak,
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

    /// Sends at once if there is room, which there nearly always is; else after what waits already.
    ///
    /// # Errors
    /// When the launcher is gone.
    fn send(&self, bytes: Vec<u8>) -> Result<()> {
        let gone = || Error::Gone(self.shared.reason());
        let socket = self.socket.upgrade().ok_or_else(gone)?;
        if self.shared.queued.load(Ordering::Acquire) == 0 {
            match wire::send(socket.get_ref(), &bytes, &[]) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::AGAIN) => {}
                Err(_) => return Err(gone()),
            }
        }
        self.shared.queued.fetch_add(1, Ordering::AcqRel);
        self.requests.send(bytes).map_err(|_| gone())
    }

    /// Sends what needs no answer.
    fn tell(&self, request: &Request) {
        if let Ok(bytes) = wire::encode(request) {
            // If the launcher is gone, so is what was to be told.
            let _ = self.send(bytes);
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
        self.send(bytes)?;
        match receiver.await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(gone()),
        }
    }

    /// Makes a sandbox that waits for its assignment. `limits`: those that the assignment is likely to
    /// have, which then costs less. Cancelled, nothing of it is left.
    ///
    /// # Errors
    /// `Step` names the step that failed; nothing of the sandbox is left then.
    pub async fn arm(&self, shape: Shape, stem: Stem, limits: Limits) -> Result<Armed> {
        shape
            .check()
            .and_then(|()| stem.check())
            .and_then(|()| limits.check().map_err(|error| error.to_string()))
            .map_err(Error::Invalid)?;
        let listeners = shape.listen.len();
        let egress = if shape.egress { EGRESS_SOCKETS } else { 0 };
        let sandbox = self.number();
        let request = Request::Arm {
            sandbox,
            shape: Box::new(shape),
            stem,
            limits: Box::new(limits),
        };
        let (mut sandbox, freezer, fds, _) = self.make(sandbox, &request).await?;
        if fds.len() != listeners + egress + 2 + usize::from(freezer.is_some()) {
            return Err(Error::Step {
                step: "receiving the sandbox's sockets".to_owned(),
                reason: NO_ROOM.to_owned(),
            });
        }
        let mut fds = fds.into_iter();
        sandbox.stdout = fds.next();
        sandbox.stderr = fds.next();
        sandbox.freezer = freezer.and_then(|version| Some((fds.next()?, version)));
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
        Ok(Armed { sandbox })
    }

    /// Starts a zygote and waits until it can be forked.
    ///
    /// # Errors
    /// `Step` names the step that failed; nothing of the zygote is left then.
    pub async fn zygote(
        &self,
        shape: Shape,
        argv: Vec<String>,
        environment: Vec<(String, String)>,
    ) -> Result<Zygote> {
        shape
            .check()
            .and_then(|()| spec::check_program(&argv, &environment))
            .map_err(Error::Invalid)?;
        let sandbox = self.number();
        let request = Request::Zygote {
            sandbox,
            shape: Box::new(shape),
            argv,
            environment,
        };
        let (sandbox, _, _, greeting) = self.make(sandbox, &request).await?;
        Ok(Zygote {
            process: sandbox,
            greeting,
        })
    }

    async fn make(
        &self,
        number: u64,
        request: &Request,
    ) -> Result<(Sandbox, Option<Version>, Vec<OwnedFd>, Vec<u8>)> {
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
            freezer: None,
            frozen: AtomicBool::new(false),
            begun: None,
            exit,
            terminated: AtomicBool::new(false),
            killed: AtomicBool::new(false),
        };
        let answer = self.ask(number, request, Some(watched)).await;
        if answer.is_err() {
            // Nothing is there to be killed.
            sandbox.killed.store(true, Ordering::Relaxed);
        }
        match answer? {
            (
                Reply::Armed {
                    pid,
                    freezer,
                    greeting,
                    ..
                },
                fds,
            ) => {
                sandbox.pid = pid;
                Ok((sandbox, freezer, fds, greeting))
            }
            _ => Err(Error::Gone("it answered something else".to_owned())),
        }
    }

    /// Makes a sandbox and gives it its work at once; waits until that has begun.
    ///
    /// # Errors
    /// `Step` names the step that failed; nothing of the sandbox is left then.
    pub async fn start(&self, shape: Shape, assignment: Assignment) -> Result<Sandbox> {
        assignment.check().map_err(Error::Invalid)?;
        let limits = assignment.limits.clone();
        let armed = self.arm(shape, Stem::None, limits).await?;
        let mut sandbox = armed.assign(assignment)?;
        sandbox.begun().await?;
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
async fn write(
    socket: Arc<AsyncFd<OwnedFd>>,
    mut queue: mpsc::UnboundedReceiver<Vec<u8>>,
    shared: Arc<Shared>,
) {
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
        shared.queued.fetch_sub(1, Ordering::AcqRel);
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

const NO_ROOM: &str = "this process has no more room for open files; raise its limit (ulimit -n)";

/// A sandbox that waits for its assignment. Dropped, it is killed.
pub struct Armed {
    sandbox: Sandbox,
}

impl Armed {
    /// Whether it still waits.
    pub fn is_alive(&self) -> bool {
        self.sandbox.is_alive()
    }

    /// Resolves when it has ended though nothing was assigned to it.
    pub async fn exited(&self) -> Exit {
        self.sandbox.exited().await
    }

    /// Process id of the process that waits, as the host sees it.
    pub fn pid(&self) -> u32 {
        self.sandbox.pid
    }

    /// Gives it its work. Whether that could begin, [`Sandbox::begun`] tells.
    ///
    /// # Errors
    /// When the assignment is out of bounds, or too long all together.
    pub fn assign(mut self, assignment: Assignment) -> Result<Sandbox> {
        assignment.check().map_err(Error::Invalid)?;
        let number = self.sandbox.number;
        let request = Request::Assign {
            sandbox: number,
            assignment: Box::new(assignment),
        };
        let bytes = wire::encode(&request).map_err(|error| Error::Invalid(error.to_string()))?;
        let (sender, receiver) = oneshot::channel();
        let shared = &self.sandbox.launcher.shared;
        {
            let mut tables = shared.tables();
            // One that has ended already never begins: dropping the sender tells that.
            if tables.exits.contains_key(&number) {
                tables.begun.insert(number, sender);
            }
        }
        self.sandbox.begun = Some(receiver);
        self.sandbox.launcher.send(bytes)?;
        Ok(self.sandbox)
    }
}

/// A program that can be forked into sandboxes ([`Stem::Fork`]). Dropped, it is killed; its forks live
/// on.
pub struct Zygote {
    process: Sandbox,
    greeting: Vec<u8>,
}

impl Zygote {
    /// What [`Stem::Fork`] names it by.
    pub fn number(&self) -> u64 {
        self.process.number
    }

    /// Its process id as the host sees it.
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// What it said when it was ready.
    pub fn greeting(&self) -> &[u8] {
        &self.greeting
    }

    /// Resolves when it has ended; does not keep it.
    pub fn exit(&self) -> impl Future<Output = Exit> + Send + 'static {
        exit_of(self.process.exit.clone())
    }
}

/// Waits for an end. If the launcher is gone, so is the sandbox: killed.
async fn exit_of(mut exit: watch::Receiver<Option<Exit>>) -> Exit {
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
    number: u64,
    launcher: Launcher,
    freezer: Option<(OwnedFd, Version)>,
    frozen: AtomicBool,
    begun: Option<oneshot::Receiver<std::result::Result<(), Failure>>>,
    exit: watch::Receiver<Option<Exit>>,
    terminated: AtomicBool,
    killed: AtomicBool,
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
