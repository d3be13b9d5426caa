//! The server's side: asking the launcher for sandboxes.

mod armed;
mod foreign;
mod gate;
mod pin;
mod sandbox;
mod shared;
mod snapshot;
mod zygote;

pub use armed::Armed;
pub use foreign::{Belongings, Foreign, Furniture};
pub use gate::{Gate, Handed, Visitor};
pub use pin::Pinned;
pub use sandbox::{Egress, Sandbox};
pub use snapshot::Snapshot;
pub use zygote::Zygote;

use crate::entry::Connection;
use crate::error::{Error, Failure, Result};
use crate::network::EGRESS_SOCKETS;
use crate::wire::{self, GroupFiles, Reply, Request};
use crate::{Assignment, Exit, Shape, Stem, assignment};
use model::Limits;
use shared::{Shared, Tables, read, write};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Requests that may await their answer at one time; more wait for their turn. It bounds the queue
/// to the launcher, together with the sandboxes that exist: each adds a kill and a termination.
const IN_FLIGHT: usize = 256;

/// An encoded message, and the descriptor that goes with it.
type Packet = (Vec<u8>, Option<OwnedFd>);

/// What answers a request, or says that a sandbox has started.
type Answer = std::result::Result<(Reply, Vec<OwnedFd>), Failure>;

/// Asks the launcher. A cheap handle. When the last one and the last [`Sandbox`] are dropped, the
/// launcher ends.
#[derive(Clone)]
pub struct Launcher {
    /// The tasks that read and write keep it.
    socket: Weak<AsyncFd<OwnedFd>>,
    requests: mpsc::UnboundedSender<Packet>,
    shared: Arc<Shared>,
    turns: Arc<Semaphore>,
    egress: bool,
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
    fn send(&self, bytes: Vec<u8>, fd: Option<OwnedFd>) -> Result<()> {
        let gone = || Error::Gone(self.shared.reason());
        let socket = self.socket.upgrade().ok_or_else(gone)?;
        if self.shared.queued.load(Ordering::Acquire) == 0 {
            let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
            match wire::send(socket.get_ref(), &bytes, &fds) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::AGAIN) => {}
                Err(_) => return Err(gone()),
            }
        }
        self.shared.queued.fetch_add(1, Ordering::AcqRel);
        self.requests.send((bytes, fd)).map_err(|_| gone())
    }

    /// Sends what needs no answer.
    fn tell(&self, request: &Request) {
        if let Ok(bytes) = wire::encode(request) {
            // If the launcher is gone, so is what was to be told.
            let _ = self.send(bytes, None);
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
        self.ask_with(number, request, None, exit).await
    }

    /// As [`Self::ask`], with a descriptor.
    async fn ask_with(
        &self,
        number: u64,
        request: &Request,
        fd: Option<OwnedFd>,
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
        self.send(bytes, fd)?;
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
        if let Stem::Snapshot { .. } = stem {
            let reason = "a snapshot waits for no assignment: ask for it as such";
            return Err(Error::Invalid(reason.to_owned()));
        }
        let (sandbox, _) = self.armed(shape, stem, limits).await?;
        Ok(Armed { sandbox })
    }

    /// Makes a sandbox with its ends; what else it comes with is given beside it.
    async fn armed(
        &self,
        shape: Shape,
        stem: Stem,
        limits: Limits,
    ) -> Result<(Sandbox, Vec<OwnedFd>)> {
        shape
            .check()
            .and_then(|()| stem.check())
            .and_then(|()| limits.check().map_err(|error| error.to_string()))
            .map_err(Error::Invalid)?;
        let listeners = shape.listen.len();
        let egress = if shape.egress { EGRESS_SOCKETS } else { 0 };
        let control = usize::from(matches!(stem, Stem::Snapshot { .. }));
        let sandbox = self.number();
        let request = Request::Arm {
            sandbox,
            shape: Box::new(shape),
            stem,
            limits: Box::new(limits),
        };
        let (mut sandbox, files, fds, _) = self.make(sandbox, &request).await?;
        if fds.len() != listeners + egress + 2 + files.count() + control {
            return Err(Error::Step {
                step: "receiving the sandbox's sockets".to_owned(),
                reason: NO_ROOM.to_owned(),
            });
        }
        let mut fds = fds.into_iter();
        sandbox.stdout = fds.next();
        sandbox.stderr = fds.next();
        sandbox.freezer = files
            .freezer
            .and_then(|version| Some((fds.next()?, version)));
        sandbox.memory_peak = if files.memory_peak { fds.next() } else { None };
        sandbox.listeners = fds
            .by_ref()
            .take(listeners)
            .map(TcpListener::from)
            .collect();
        if egress > 0
            && let (Some(connections), Some(dns), Some(datagrams)) =
                (fds.next(), fds.next(), fds.next())
        {
            sandbox.egress = Some(Egress {
                connections: connections.into(),
                dns: dns.into(),
                datagrams: datagrams.into(),
            });
        }
        Ok((sandbox, fds.collect()))
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
            .and_then(|()| assignment::check_program(&argv, &environment))
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
    ) -> Result<(Sandbox, GroupFiles, Vec<OwnedFd>, Vec<u8>)> {
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
            memory_peak: None,
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
                    files,
                    greeting,
                    ..
                },
                fds,
            ) => {
                sandbox.pid = pid;
                Ok((sandbox, files, fds, greeting))
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
        let _ = self.requests.send((Vec::new(), None));
        self.gone().await;
    }
}

const NO_ROOM: &str = "this process has no more room for open files; raise its limit (ulimit -n)";
