//! The driver `sandbox`: instances made by the launcher.

use super::contained::{Calls, Contained, Peak, Talk};
use super::kind::{self, Kind, Preload, Stem};
use super::pins::Pins;
use super::plan::{self, Plan, Sources};
use super::shelf::{Announced, Bounds, Makers, Shelves, Taken};
use super::snapshots::{Init, Snapshots, Workplace};
use super::warmth::Warmth;
use super::zygotes::{Ready, Zygotes};
use crate::contract::lambda::RuntimeApi;
use crate::egress::Outbound;
use crate::environment::is_shared;
use crate::gateway::Gate;
use crate::host::Host;
use crate::logs::Capture;
use crate::{Door, Error, Inbound, InstanceSpec, Options, Result, bootstrap};
use launcher::{Launcher, Sandbox, Volume, Work};
use model::{Code, Contract, Digest, Egress, Owner, RuntimeName, Snapshot, StartKind};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use storage::Storage;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Makes instances. A cheap handle.
#[derive(Clone)]
pub(crate) struct SandboxDriver {
    shelves: Shelves,
    zygotes: Zygotes,
    snapshots: Snapshots,
    pins: Pins,
    warmth: Warmth,
    /// Where unpacked code is.
    code: Arc<Mutex<HashMap<Digest, PathBuf>>>,
    /// Which code brings modules of its own that zygotes have imported.
    shadowing: Arc<Mutex<HashMap<PathBuf, bool>>>,
    storage: Storage,
    inbound: mpsc::Sender<Inbound>,
    host: Host,
    bootstraps: PathBuf,
    region: Arc<str>,
    /// Whether this machine can let instances reach out.
    can_egress: bool,
    egress: Arc<Egress>,
    outbound: Outbound,
}

/// What is kept ready for a function for as long as this exists.
pub(crate) struct Kept {
    _announced: Announced,
    _pinned: Arc<()>,
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
        let bounds = Bounds {
            armed: options.armed,
            stems: options.stems,
        };
        let pins = Pins::new(launcher.clone(), options.pin, bootstraps.clone());
        let zygotes = Zygotes::new(launcher.clone(), options.preload, pins.clone());
        let outbound = Outbound::new(options.dns);
        let place = Workplace {
            launcher: launcher.clone(),
            storage: storage.clone(),
            inbound: inbound.clone(),
            outbound: outbound.clone(),
        };
        let snapshots = Snapshots::new(place, zygotes.notify());
        let makers = Makers {
            zygotes: zygotes.clone(),
            snapshots: snapshots.clone(),
            pins: pins.clone(),
        };
        Ok(Self {
            can_egress: launcher.can_egress(),
            shelves: Shelves::new(launcher, makers, bounds),
            snapshots,
            zygotes,
            pins,
            warmth: Warmth::new(storage.clone()),
            code: Arc::default(),
            shadowing: Arc::default(),
            storage,
            inbound,
            host,
            bootstraps,
            region: options.region.into(),
            egress: Arc::new(options.egress),
            outbound,
        })
    }

    /// See [`crate::Runtime::check`].
    pub(crate) fn check(&self, runtime: RuntimeName) -> Result<()> {
        self.host.interpreter(runtime).map(drop)
    }

    /// See [`crate::Runtime::prepare`].
    pub(crate) async fn prepare(&self, spec: &InstanceSpec) -> Result<Kept> {
        let sources = self.sources(spec).await?;
        let plan = plan::plan(spec, &sources)?;
        self.warmth.starting(&spec.code, &plan.assignment.work);
        let kind = self.kind(spec, &sources, &plan);
        let plain = Kind {
            shape: plan.shape,
            stem: Stem::None,
        };
        // Where the stems do not suffice, a program starts afresh.
        let kinds = match kind.stem {
            Stem::None => vec![plain],
            Stem::Snapshot(_) => vec![kind.clone()],
            Stem::Python(_) | Stem::Node { .. } => vec![kind.clone(), plain],
        };
        let announced = self.shelves.announce(kinds, &spec.limits);
        if let Stem::Snapshot(_) = kind.stem {
            // How it fails, its first call is told.
            let _ = self.snapshots.begin(&kind);
        }
        Ok(Kept {
            _announced: announced,
            _pinned: self.pins.used(spec.runtime),
        })
    }

    /// See [`crate::Runtime::set_scarce`].
    pub(crate) fn set_scarce(&self, scarce: bool) {
        self.shelves.set_scarce(scarce);
        self.warmth.set_scarce(scarce);
    }

    /// Which prepared sandbox fits. Starts the zygote that it needs.
    fn kind(&self, spec: &InstanceSpec, sources: &Sources, plan: &Plan) -> Kind {
        let shape = plan.shape.clone();
        let Work::Execute {
            argv, environment, ..
        } = &plan.assignment.work
        else {
            let stem = Stem::None;
            return Kind { shape, stem };
        };
        if spec.snapshot == Snapshot::Init {
            let stem = Stem::Snapshot(Arc::new(self.init(spec, plan, argv, environment)));
            return Kind { shape, stem };
        }
        let zygote = |preload| {
            let interpreter = sources.interpreter.as_ref()?;
            let zygotes = &self.zygotes;
            zygotes.get(&shape, preload, &interpreter.program, environment)
        };
        let full = match (spec.runtime, spec.contract) {
            (RuntimeName::Python311, Contract::Lambda) => zygote(Preload::Modules),
            _ => None,
        };
        let shadows = full.is_some_and(|full| self.shadows(&sources.folder, &full));
        let has_libraries = sources.folder.join("lib").exists();
        let stem = kind::stem(spec, argv, environment, has_libraries, shadows);
        if stem == Stem::Python(Preload::Bootstrap) {
            zygote(Preload::Bootstrap);
        }
        Kind { shape, stem }
    }

    /// What the function's own zygote is made from.
    fn init(
        &self,
        spec: &InstanceSpec,
        plan: &Plan,
        argv: &[String],
        environment: &[(String, String)],
    ) -> Init {
        let shared = environment.iter().filter(|(name, _)| is_shared(name));
        Init {
            owner: spec.owner.clone(),
            argv: argv.to_vec(),
            environment: shared.cloned().collect(),
            limits: spec.limits.clone(),
            doors: plan.doors.clone(),
            egress: self.egress_of(spec).clone(),
        }
    }

    /// See [`crate::Runtime::start`].
    pub(crate) async fn start(&self, spec: InstanceSpec) -> Result<Contained> {
        let begun = Instant::now();
        self.pins.used(spec.runtime);
        let sources = self.sources(&spec).await?;
        let plan = plan::plan(&spec, &sources)?;
        self.warmth.starting(&spec.code, &plan.assignment.work);
        let kind = self.kind(&spec, &sources, &plan);
        let Taken {
            armed,
            has_stem,
            start,
        } = self.shelves.take(kind, &spec.limits).await?;
        let Plan {
            mut assignment,
            api,
            doors,
            ..
        } = plan;
        if has_stem && let Work::Execute { environment, .. } = &assignment.work {
            let news = |name: &str| spec.snapshot == Snapshot::None || !is_shared(name);
            let told = environment.iter().filter(|(name, _)| news(name));
            assignment.work = Work::Tell(message(told)?);
        }
        let sandbox = armed.assign(assignment).map_err(blame)?;
        let made = (start, begun.elapsed());
        let mut instance = self.assemble(spec, sandbox, api, doors, made)?;
        instance.get_ready().await?;
        Ok(instance)
    }

    /// Whether the code in `folder` brings modules of its own; looked at once.
    fn shadows(&self, folder: &Path, zygote: &Ready) -> bool {
        let known = || {
            self.shadowing
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(known) = known().get(folder) {
            return *known;
        }
        let shadows = kind::shadows(folder, &zygote.imported);
        let mut known = known();
        known.retain(|folder, _| folder.exists());
        known.insert(folder.to_owned(), shadows);
        shadows
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

    async fn sources(&self, spec: &InstanceSpec) -> Result<Sources> {
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
            volumes,
            region: self.region.to_string(),
            egress: self.can_egress && *self.egress_of(spec) != Egress::None,
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
        (start_kind, start): (StartKind, Duration),
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
            version: spec.owner.version(),
            code: spec.code,
            warmth: self.warmth.clone(),
            id: spec.id,
            sandbox,
            talk,
            capture,
            _gates: gates,
            memory: spec.limits.memory,
            start,
            start_kind,
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

/// What a stem is told: the variables of the function that it is for, as far as it lacks them.
fn message<'a>(environment: impl Iterator<Item = &'a (String, String)>) -> Result<Vec<u8>> {
    let environment: HashMap<&String, &String> =
        environment.map(|(name, value)| (name, value)).collect();
    let message = serde_json::json!({ "environment": environment });
    serde_json::to_vec(&message).map_err(|error| Error::Missing(error.to_string()))
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

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Only if the server is shutting down, or the work panicked.
        Err(error) => Err(Error::Missing(format!("the work was not done: {error}"))),
    }
}
