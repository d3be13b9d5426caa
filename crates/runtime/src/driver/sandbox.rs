//! The driver `sandbox`: instances made by the launcher.

use super::contained::{Contained, Peak, Talk};
use super::plan::{self, Plan, Sources};
use crate::contract::lambda::RuntimeApi;
use crate::egress::Outbound;
use crate::gateway::Gate;
use crate::host::Host;
use crate::logs::Capture;
use crate::{Door, Error, Inbound, InstanceSpec, Options, Result, bootstrap};
use launcher::{Launcher, Sandbox, Volume};
use model::{Code, Egress, Owner, RuntimeName};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::Storage;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Makes instances. A cheap handle.
#[derive(Clone)]
pub(crate) struct SandboxDriver {
    launcher: Launcher,
    storage: Storage,
    inbound: mpsc::Sender<Inbound>,
    host: Host,
    bootstraps: PathBuf,
    region: Arc<str>,
    egress: Arc<Egress>,
    outbound: Outbound,
}

impl SandboxDriver {
    /// Writes the bootstraps, and begins to look for interpreters.
    pub(crate) async fn new(
        options: Options,
        launcher: Launcher,
        storage: Storage,
        inbound: mpsc::Sender<Inbound>,
    ) -> Result<Self> {
        let folder = options.folder;
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
            launcher,
            storage,
            inbound,
            host,
            bootstraps,
            region: options.region.into(),
            egress: Arc::new(options.egress),
            outbound: Outbound::new(options.dns),
        })
    }

    /// See [`crate::Runtime::check`].
    pub(crate) fn check(&self, runtime: RuntimeName) -> Result<()> {
        self.host.interpreter(runtime).map(drop)
    }

    /// See [`crate::Runtime::start`].
    pub(crate) async fn start(&self, spec: InstanceSpec) -> Result<Contained> {
        let begun = Instant::now();
        let sources = self.sources(&spec).await?;
        let Plan {
            sandbox,
            api,
            doors,
        } = plan::plan(&spec, &sources)?;
        let sandbox = self.launcher.start(sandbox).await.map_err(blame)?;
        let start = begun.elapsed();
        let mut instance = self.assemble(spec, sandbox, api, doors, start)?;
        instance.get_ready().await?;
        Ok(instance)
    }

    async fn sources(&self, spec: &InstanceSpec) -> Result<Sources> {
        let folder = match &spec.code {
            Code::Zip { digest, .. } => self.storage.ensure_code(digest).await?,
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
            Some(known) => Some(known),
            None => blocking(move || host.interpreter(runtime)).await?,
        };
        Ok(Sources {
            folder,
            bootstraps: self.bootstraps.clone(),
            interpreter,
            volumes,
            region: self.region.to_string(),
            egress: self.launcher.can_egress() && *self.egress_of(spec) != Egress::None,
        })
    }

    /// The policy of an instance.
    fn egress_of<'a>(&'a self, spec: &'a InstanceSpec) -> &'a Egress {
        spec.egress.as_ref().unwrap_or(&self.egress)
    }

    /// Puts everything that belongs to a new sandbox around it.
    fn assemble(
        &self,
        spec: InstanceSpec,
        mut sandbox: Sandbox,
        api: bool,
        doors: Vec<Door>,
        start: Duration,
    ) -> Result<Contained> {
        let (storage, key) = (self.storage.clone(), spec.owner.log_key());
        let capture = Capture::start(
            spec.id.clone(),
            sandbox.stdout.take(),
            sandbox.stderr.take(),
            Box::new(move |lines| storage.append_logs(&key, lines)),
        )
        .map_err(Error::Register)?;
        let mut listeners = std::mem::take(&mut sandbox.listeners).into_iter();
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
                door,
                inbound: self.inbound.clone(),
            };
            let accepting = tokio::spawn(gate.accept(register(listener)?));
            gates.push(AbortOnDropHandle::new(accepting));
        }
        let egress = self.egress_of(&spec).clone();
        let outlet = sandbox.egress.take().map(|sockets| {
            self.outbound
                .open(sockets, egress, &spec.owner, capture.notes())
        });
        Ok(Contained {
            _outlet: outlet.transpose()?,
            id: spec.id,
            sandbox,
            talk,
            capture,
            _gates: gates,
            memory: spec.limits.memory,
            start,
            init: Duration::ZERO,
            calls: 0,
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
fn blame(error: launcher::Error) -> Error {
    match &error {
        launcher::Error::Step { step, .. } if step.starts_with("executing") => {
            plan::invalid_entrypoint(&error.to_string())
        }
        _ => Error::Launcher(error),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Only if the server is shutting down, or the work panicked.
        Err(error) => Err(Error::Missing(format!("the work was not done: {error}"))),
    }
}
