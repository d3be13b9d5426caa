//! What every instance is put together from, whichever driver makes its container.

use super::body::Body;
use super::contained::{Calls, Contained, Peak, Talk};
use super::plan::{self, Sources};
use super::warmth::Warmth;
use crate::contract::lambda::RuntimeApi;
use crate::egress::Outbound;
use crate::gateway::Gate;
use crate::host::Host;
use crate::logs::Capture;
use crate::{Door, Error, Inbound, InstanceSpec, Options, Result, bootstrap};
use launcher::Volume;
use model::{Code, Digest, Egress, Owner, RuntimeName, StartKind};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use storage::Storage;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// See the module. A cheap handle.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// Where unpacked code is.
    code: Arc<Mutex<HashMap<Digest, PathBuf>>>,
    pub(super) storage: Storage,
    pub(super) inbound: mpsc::Sender<Inbound>,
    host: Host,
    pub(super) bootstraps: PathBuf,
    region: Arc<str>,
    /// Whether this machine can let instances reach out.
    can_egress: bool,
    egress: Arc<Egress>,
    pub(super) outbound: Outbound,
}

/// A new container and its ends.
pub(super) struct Parts {
    pub(super) body: Body,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    /// In the order in which they were planned.
    pub(super) listeners: Vec<std::net::TcpListener>,
    /// What takes all that it sends elsewhere.
    pub(super) egress: Option<launcher::Egress>,
    /// Told of its first answer.
    pub(super) warmth: Option<Warmth>,
    /// From what it was made, and how long that took.
    pub(super) made: (StartKind, Duration),
}

impl Surroundings {
    /// Writes the bootstraps, and begins to look for interpreters.
    ///
    /// # Errors
    /// When the bootstraps cannot be written.
    pub(crate) async fn new(
        options: &Options,
        can_egress: bool,
        storage: Storage,
        inbound: mpsc::Sender<Inbound>,
    ) -> Result<Self> {
        let folder = options.folder.clone();
        let bootstraps = blocking(move || bootstrap::write(&folder)).await?;
        let host = Host::default();
        let looking = host.clone();
        tokio::task::spawn_blocking(move || {
            for runtime in [RuntimeName::Nodejs20, RuntimeName::Python311] {
                if let Err(error) = looking.interpreter(runtime) {
                    tracing::info!("{error}");
                }
            }
        });
        Ok(Self {
            code: Arc::default(),
            storage,
            inbound,
            host,
            bootstraps,
            region: options.region.as_str().into(),
            can_egress,
            egress: Arc::new(options.egress.clone()),
            outbound: Outbound::new(options.dns.clone()),
        })
    }

    /// See [`crate::Runtime::check`].
    pub(crate) fn check(&self, runtime: RuntimeName) -> Result<()> {
        self.host.interpreter(runtime).map(drop)
    }

    async fn code(&self, digest: &Digest) -> Result<PathBuf> {
        let known = {
            let code = self.code.lock().unwrap_or_else(PoisonError::into_inner);
            code.get(digest).cloned()
        };
        // It is swept when no function uses it any more, and may come again.
        if let Some(folder) = known
            && folder.exists()
        {
            return Ok(folder);
        }
        let folder = self.storage.ensure_code(digest).await?;
        let mut code = self.code.lock().unwrap_or_else(PoisonError::into_inner);
        code.retain(|_, folder| folder.exists());
        code.insert(digest.clone(), folder.clone());
        Ok(folder)
    }

    /// What of this machine an instance is made from.
    pub(super) async fn sources(&self, spec: &InstanceSpec) -> Result<Sources> {
        let folder = match &spec.code {
            Code::Zip { digest, .. } => self.code(digest).await?,
            Code::Image { digest, .. } => self.storage.image_root(digest)?,
        };
        let mut volumes = Vec::with_capacity(spec.volumes.len());
        for mount in &spec.volumes {
            volumes.push(Volume {
                source: self.storage.ensure_volume(&mount.volume).await?,
                target: PathBuf::from(&mount.target),
                read_only: mount.read_only,
            });
        }
        let (host, runtime) = (self.host.clone(), spec.runtime);
        let interpreter = match host.known(runtime) {
            Some(known) => known,
            None => blocking(move || host.interpreter(runtime)).await?,
        };
        Ok(Sources {
            folder,
            bootstraps: self.bootstraps.clone(),
            interpreter,
            bounds: None,
            volumes,
            region: self.region.to_string(),
            egress: self.can_egress && *self.egress_of(spec) != Egress::None,
        })
    }

    /// The policy of an instance.
    pub(super) fn egress_of<'a>(&'a self, spec: &'a InstanceSpec) -> &'a Egress {
        spec.egress.as_ref().unwrap_or(&self.egress)
    }

    /// Puts everything that belongs to a new container around it. `api`: the first listener is the Runtime
    /// API's; `doors`: what the others are for.
    pub(super) fn assemble(
        &self,
        spec: InstanceSpec,
        parts: Parts,
        api: bool,
        doors: Vec<Door>,
    ) -> Result<Contained> {
        let (storage, key) = (self.storage.clone(), spec.owner.log_key());
        let capture = Capture::start(
            spec.id.clone(),
            spec.owner.number(),
            parts.stdout,
            parts.stderr,
            Box::new(move |lines| storage.append_logs(&key, lines)),
        )
        .map_err(Error::Register)?;
        let mut listeners = parts.listeners.into_iter();
        let first = if api { listeners.next() } else { None };
        let talk = match (first, &spec.owner) {
            (Some(listener), _) => Talk::Lambda(RuntimeApi::serve(register(listener)?)),
            (None, Owner::Function { .. }) => Talk::Http {
                port: spec.port,
                client: None,
            },
            (None, Owner::Service { .. }) => Talk::Resident,
        };
        let mut gates = Vec::with_capacity(doors.len());
        for (listener, door) in listeners.zip(doors) {
            let gate = Gate {
                owner: spec.owner.clone(),
                instance: spec.id.clone(),
                networks: spec.networks.clone(),
                door,
                inbound: self.inbound.clone(),
            };
            let accepting = tokio::spawn(gate.accept(register(listener)?));
            gates.push(AbortOnDropHandle::new(accepting));
        }
        let egress = self.egress_of(&spec).clone();
        let outlet = parts.egress.map(|sockets| {
            self.outbound
                .open(sockets, egress, &spec.owner, capture.notes())
        });
        Ok(Contained {
            _outlet: outlet.transpose()?,
            version: spec.owner.version(),
            code: spec.code,
            warmth: parts.warmth,
            announced: None,
            files: None,
            id: spec.id,
            body: parts.body,
            talk,
            capture,
            _gates: gates,
            memory: spec.limits.memory,
            start: parts.made.1,
            start_kind: parts.made.0,
            init: Duration::ZERO,
            calls: Calls::default(),
            peak: Peak::default(),
        })
    }
}

/// Takes a listener into tokio.
fn register(listener: std::net::TcpListener) -> Result<TcpListener> {
    listener.set_nonblocking(true).map_err(Error::Register)?;
    TcpListener::from_std(listener).map_err(Error::Register)
}

/// A program that cannot be executed is the deployer's fault, not the platform's.
pub(super) fn blame(error: launcher::Error) -> Error {
    match &error {
        launcher::Error::Step { step, .. } if step.starts_with("executing") => {
            plan::invalid_entrypoint(&error.to_string())
        }
        _ => Error::Launcher(error),
    }
}

/// Does work that blocks.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Only if the server is shutting down, or the work panicked.
        Err(error) => Err(Error::Missing(format!("the work was not done: {error}"))),
    }
}
