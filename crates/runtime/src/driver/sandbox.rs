//! The driver `sandbox`: instances made by the launcher.

use super::body::Body;
use super::bytecode::Bytecode;
use super::contained::Contained;
use super::files::{Files, Laid};
use super::kind::{self, Kind, Preload, Stem};
use super::pins::Pins;
use super::plan::{self, Plan, Sources};
use super::shelf::{Announced, Bounds, Makers, Shelves, Taken};
use super::snapshots::{Init, Snapshots, Workplace};
use super::surroundings::{Parts, Surroundings, blame};
use super::warmth::Warmth;
use super::zygotes::{Ready, Zygotes};
use crate::environment::is_shared;
use crate::{Error, InstanceSpec, Options, Result, bootstrap};
use launcher::{Launcher, Work};
use model::{RuntimeName, Snapshot};
use std::cell::Cell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Makes instances. A cheap handle.
#[derive(Clone)]
pub(crate) struct SandboxDriver {
    shelves: Shelves,
    zygotes: Zygotes,
    snapshots: Snapshots,
    pins: Pins,
    warmth: Warmth,
    bytecode: Bytecode,
    surroundings: Surroundings,
    files: Files,
    /// Which code brings modules of its own that zygotes have imported.
    shadowing: Arc<Mutex<HashMap<(PathBuf, Preload), bool>>>,
}

/// What is kept ready for a function for as long as this exists.
pub(crate) struct Kept {
    _announced: Announced,
    _files: Option<Arc<Laid>>,
    _pinned: Arc<()>,
    _compiled: Option<Arc<()>>,
}

impl SandboxDriver {
    /// With nothing made ahead yet.
    pub(crate) fn new(options: &Options, launcher: Launcher, surroundings: Surroundings) -> Self {
        let files = Files::new(&options.secrets);
        let bounds = Bounds {
            armed: options.armed,
            stems: options.stems,
        };
        let bootstraps = surroundings.bootstraps.clone();
        let pins = Pins::new(launcher.clone(), options.pin, bootstraps);
        let zygotes = Zygotes::new(launcher.clone(), options.preload.clone(), pins.clone());
        let place = Workplace {
            launcher: launcher.clone(),
            storage: surroundings.storage.clone(),
            inbound: surroundings.inbound.clone(),
            outbound: surroundings.outbound.clone(),
        };
        let snapshots = Snapshots::new(place, zygotes.notify());
        let makers = Makers {
            zygotes: zygotes.clone(),
            snapshots: snapshots.clone(),
            pins: pins.clone(),
        };
        Self {
            bytecode: Bytecode::new(launcher.clone(), surroundings.storage.clone()),
            shelves: Shelves::new(launcher, makers, bounds),
            snapshots,
            zygotes,
            pins,
            warmth: Warmth::new(surroundings.storage.clone()),
            surroundings,
            files,
            shadowing: Arc::default(),
        }
    }

    /// See [`crate::Runtime::prepare`].
    pub(crate) async fn prepare(&self, spec: &InstanceSpec) -> Result<Kept> {
        let files = self.files.lay(spec).await?;
        let sources = self.sources(spec, files.as_deref()).await?;
        let plan = plan::plan(spec, &sources)?;
        self.warmth.starting(&spec.code, &plan.assignment.work);
        let interpreter = sources.interpreter.as_ref();
        let interpreter = interpreter.map(|one| one.program.as_path());
        let compiled = self.bytecode.ensure(spec, &plan, interpreter);
        let (kind, _) = self.kind(spec, &sources, &plan);
        let announced = self.shelves.announce(kind.with_plain(), &spec.limits);
        if let Stem::Snapshot(_) = kind.stem {
            // How it fails, its first call is told.
            let _ = self.snapshots.begin(&kind);
        }
        Ok(Kept {
            _announced: announced,
            _files: files,
            _pinned: self.pin(spec.runtime, &sources),
            _compiled: compiled,
        })
    }

    /// See [`crate::Runtime::set_scarce`].
    pub(crate) fn set_scarce(&self, scarce: bool) {
        self.shelves.set_scarce(scarce);
        self.warmth.set_scarce(scarce);
        self.bytecode.set_scarce(scarce);
    }

    /// What the runtime reads is kept in memory while it is in use, also if none of it waits that could tell.
    fn pin(&self, runtime: RuntimeName, sources: &Sources) -> Arc<()> {
        let used = self.pins.used(runtime);
        if let (RuntimeName::Nodejs20, Some(interpreter)) = (runtime, &sources.interpreter) {
            self.pins.suppose_node(|| {
                let script = Path::new(bootstrap::FOLDER).join("index.js");
                let own = [interpreter.program.clone(), script];
                interpreter.mapped.iter().cloned().chain(own).collect()
            });
        }
        used
    }

    /// Which prepared sandbox fits, and whether that is certain. Starts the zygote that it needs: until that is
    /// ready, nobody knows what it has imported.
    fn kind(&self, spec: &InstanceSpec, sources: &Sources, plan: &Plan) -> (Kind, bool) {
        let shape = plan.shape.clone();
        let Work::Execute {
            argv, environment, ..
        } = &plan.assignment.work
        else {
            let stem = Stem::None;
            return (Kind { shape, stem }, true);
        };
        if spec.snapshot == Snapshot::Init {
            let stem = Stem::Snapshot(Arc::new(self.init(spec, plan, argv, environment)));
            return (Kind { shape, stem }, true);
        }
        let zygote = |preload| {
            let interpreter = sources.interpreter.as_ref()?;
            let zygotes = &self.zygotes;
            let environment = || kind::environment_of_zygote(spec, interpreter, &sources.region);
            zygotes.get(&shape, preload, &interpreter.program, environment)
        };
        let is_certain = Cell::new(true);
        let shadows = |preload| match zygote(preload) {
            Some(found) => self.shadows(&sources.folder, preload, &found),
            None => {
                is_certain.set(false);
                false
            }
        };
        let has_libraries = sources.folder.join("lib").exists();
        let stem = kind::stem(spec, argv, environment, has_libraries, shadows);
        (Kind { shape, stem }, is_certain.get())
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
            networks: spec.networks.clone(),
            argv: argv.to_vec(),
            environment: shared.cloned().collect(),
            limits: spec.limits.clone(),
            doors: plan.doors.clone(),
            egress: self.surroundings.egress_of(spec).clone(),
        }
    }

    /// See [`crate::Runtime::start`].
    pub(crate) async fn start(&self, spec: InstanceSpec) -> Result<Contained> {
        let begun = Instant::now();
        let files = self.files.lay(&spec).await?;
        let sources = self.sources(&spec, files.as_deref()).await?;
        self.pin(spec.runtime, &sources);
        let plan = plan::plan(&spec, &sources)?;
        self.warmth.starting(&spec.code, &plan.assignment.work);
        let (mut kind, is_certain) = self.kind(&spec, &sources, &plan);
        // What is made ahead with them goes when the last instance that has them does.
        let announce = |_: &Arc<Laid>| self.shelves.announce(kind.with_plain(), &spec.limits);
        let announced = files.as_ref().map(announce);
        if !is_certain {
            // A zygote may become ready this moment, of which it is not known whether it fits.
            kind.stem = Stem::None;
        }
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
        let mut sandbox = armed.assign(assignment).map_err(blame)?;
        let made = (start, begun.elapsed());
        let parts = Parts {
            stdout: sandbox.stdout.take(),
            stderr: sandbox.stderr.take(),
            listeners: std::mem::take(&mut sandbox.listeners),
            egress: sandbox.egress.take(),
            body: Body::Sandbox(sandbox),
            warmth: Some(self.warmth.clone()),
            made,
        };
        let mut instance = self.surroundings.assemble(spec, parts, api, doors)?;
        instance.announced = announced;
        instance.files = files;
        instance.get_ready().await?;
        Ok(instance)
    }

    /// Whether the code in `folder` brings modules of its own; looked at once.
    fn shadows(&self, folder: &Path, preload: Preload, zygote: &Ready) -> bool {
        let known = || {
            self.shadowing
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let key = (folder.to_owned(), preload);
        if let Some(known) = known().get(&key) {
            return *known;
        }
        let shadows = kind::shadows(folder, &zygote.imported);
        let mut known = known();
        known.retain(|(folder, _), _| folder.exists());
        known.insert(key, shadows);
        shadows
    }

    /// With the secrets and configs that were laid out, and the bounds of a Node.js.
    async fn sources(&self, spec: &InstanceSpec, files: Option<&Laid>) -> Result<Sources> {
        let mut sources = self.surroundings.sources(spec).await?;
        if let Some(memory) = plan::bounds_of_node(spec, machine_memory()) {
            sources.bounds = Some(bootstrap::bounds(&sources.bootstraps, memory)?);
        }
        let files = files.into_iter().flat_map(Laid::volumes);
        sources.volumes.extend(files);
        Ok(sources)
    }
}

/// What a stem is told: the variables of the function that it is for, as far as it lacks them.
fn message<'a>(environment: impl Iterator<Item = &'a (String, String)>) -> Result<Vec<u8>> {
    let environment: HashMap<&String, &String> =
        environment.map(|(name, value)| (name, value)).collect();
    let message = serde_json::json!({ "environment": environment });
    serde_json::to_vec(&message).map_err(|error| Error::Missing(error.to_string()))
}

/// Bytes that this machine has.
fn machine_memory() -> u64 {
    let about = rustix::system::sysinfo();
    about.totalram * u64::from(about.mem_unit)
}
