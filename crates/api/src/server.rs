//! The server: listeners, connections, and which request goes through which door.

mod connection;
mod dispatch;
mod expectation;
mod signed_body;
mod slots;

use crate::auth::Auth;
use crate::doors::Doors;
use crate::{RootCredential, lambda, s3, scheduler};
use dispatch::App;
use engine::{Door, Engine, Inbound};
use model::{InstanceId, Networks, Owner};
use slots::Slots;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Most connections of clients at a time; the next one waits to be accepted.
const MAX_CLIENTS: usize = 4096;

/// Most connections out of all instances at a time; past it a new one is closed.
const MAX_INSTANCE_CONNECTIONS: usize = 4096;

/// Most connections out of all instances of one function or service at a time.
const MAX_CONNECTIONS_PROGRAM: usize = MAX_INSTANCE_CONNECTIONS / 4;

/// Most connections out of one instance at a time, so that none can use up what all share.
const MAX_CONNECTIONS_EACH: usize = 128;

/// How long to wait before accepting again when the machine has no descriptors left.
const BREATH: Duration = Duration::from_millis(100);

/// Where a connection comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The client port.
    Client,
    /// The platform door inside an instance.
    Instance {
        /// Whose it is.
        owner: Owner,
        /// Which instance.
        instance: InstanceId,
        /// The networks that it is on.
        networks: Networks,
    },
}

/// Settings of the server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The region that signatures must name; others are accepted too and not compared.
    pub region: String,
    /// Largest code archive or image that is taken in, in bytes.
    pub max_upload: u64,
}

/// The server.
pub struct Server {
    app: Arc<App>,
    engine: Engine,
}

/// What the connections of one run share.
#[derive(Clone)]
struct Run {
    app: Arc<App>,
    engine: Engine,
    tasks: TaskTracker,
    /// No new requests.
    stop: CancellationToken,
    /// The grace is over.
    kill: CancellationToken,
}

impl Server {
    /// Puts the doors together.
    pub fn new(options: ServerOptions, engine: Engine, root: RootCredential) -> Self {
        let doors = Doors {
            engine: engine.clone(),
            auth: Auth::new(root, engine.clone()),
            options,
        };
        let app = Arc::new(App {
            auth: doors.auth.clone(),
            s3: s3::S3Door::new(&doors),
            lambda: lambda::router(doors.clone()),
            scheduler: scheduler::router(doors.clone()),
            sqs: crate::sqs::router(doors.clone()),
            events: crate::events::router(doors.clone()),
            control: crate::control::router(doors.clone()),
            doors,
            bodies: signed_body::Budget::default(),
        });
        Self { app, engine }
    }

    /// Serves the client port and the connections out of instances until `stop` resolves; then takes
    /// no new connections and gives those under way until `grace` to end. Calls under way need both
    /// while they end, so `stop` should resolve after [`Engine::drain`].
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        inbound: mpsc::Receiver<Inbound>,
        stop: impl Future<Output = ()> + Send + 'static,
        grace: Duration,
    ) -> std::io::Result<()> {
        let run = Run {
            app: self.app,
            engine: self.engine,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
        };
        // Dropped before its end, this future takes its connections along.
        let _ends = run.kill.clone().drop_guard();
        let gateway = tokio::spawn(take_inbound(run.clone(), inbound));
        let result = tokio::select! {
            result = accept(&run, &listener) => result,
            () = stop => Ok(()),
        };
        drop(listener);
        run.stop.cancel();
        run.tasks.close();
        if tokio::time::timeout(grace, run.tasks.wait()).await.is_err() {
            let left = run.tasks.len();
            tracing::warn!(left, "connections did not end in time and are closed");
        }
        run.kill.cancel();
        run.tasks.wait().await;
        gateway.abort();
        result
    }
}

/// Accepts clients for ever; returns only with an error.
async fn accept(run: &Run, listener: &TcpListener) -> std::io::Result<()> {
    let places = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return Ok(());
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (task, run) = (run.clone(), run.clone());
                task.tasks.spawn(async move {
                    connection::serve(&run, stream, Origin::Client).await;
                    drop(place);
                });
            }
            Err(error) if passes(&error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(BREATH).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Errors of one connection, or of a machine that is short of something for a moment.
fn passes(error: &std::io::Error) -> bool {
    // EMFILE, ENFILE, ENOBUFS and ENOMEM have no kind of their own.
    const SHORT: [i32; 4] = [24, 23, 105, 12];
    let short = error
        .raw_os_error()
        .is_some_and(|code| SHORT.contains(&code));
    let kind = matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::Interrupted
            | ErrorKind::WouldBlock
            | ErrorKind::TimedOut
    );
    short || kind
}

/// Takes connections out of instances until the server ends.
async fn take_inbound(run: Run, mut inbound: mpsc::Receiver<Inbound>) {
    let slots = Slots::new(
        MAX_INSTANCE_CONNECTIONS,
        MAX_CONNECTIONS_PROGRAM,
        MAX_CONNECTIONS_EACH,
    );
    while let Some(connection) = inbound.recv().await {
        let Some(slot) = slots.take(connection.owner.log_key(), &connection.instance) else {
            let instance = &connection.instance;
            tracing::warn!(%instance, "too many connections at a time; one is closed");
            continue;
        };
        let (task, run) = (run.clone(), run.clone());
        task.tasks.spawn(async move {
            match connection.door {
                Door::Platform => {
                    let origin = Origin::Instance {
                        owner: connection.owner,
                        instance: connection.instance,
                        networks: connection.networks,
                    };
                    connection::serve(&run, connection.stream, origin).await;
                }
                Door::Service { name, port } => {
                    tokio::select! {
                        () = reach(&run.engine, &connection.networks, connection.stream, &name, port) => {}
                        () = run.kill.cancelled() => {}
                    }
                }
            }
            drop(slot);
        });
    }
}

/// Joins a connection to a replica of the service that it asked for. The listener is as old as the instance, and the
/// service may have left its networks since.
async fn reach(
    engine: &Engine,
    networks: &Networks,
    mut from: TcpStream,
    name: &model::ServiceName,
    port: u16,
) {
    let connecting = async {
        engine.check_service_reach(networks, name)?;
        engine.connect_service(name, Some(port)).await
    };
    let mut to = match connecting.await {
        Ok(to) => to,
        Err(error) => {
            tracing::debug!(%name, port, %error, "a service could not be reached");
            return;
        }
    };
    if let Err(error) = tokio::io::copy_bidirectional(&mut from, &mut to).await {
        tracing::debug!(%name, port, %error, "a connection to a service broke off");
    }
}
