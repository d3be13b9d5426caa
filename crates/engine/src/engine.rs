//! The engine: its parts put together, started and drained.

use crate::buses::Buses;
use crate::dispatch::{self, Dispatcher};
use crate::functions::Functions;
use crate::line::{Line, Released};
use crate::mapping::Mappings;
use crate::node::Node;
use crate::overtaken::Deployments;
use crate::pool::Pool;
use crate::prototype::Prototype;
use crate::queues::{self, Bells};
use crate::schedule::{self, Scheduler};
use crate::secrets::{self, SecretKeys, Vault};
use crate::service::Services;
use crate::upstream::Upstreams;
use crate::webhooks::Webhooks;
use crate::working::Working;
use crate::{Error, Result, cancellations, follow, pressure, purge, registry, replays};
use model::{Chain, Driver, EventId, FunctionName, InstanceId, InstanceStatus, Pressure};
use runtime::Runtime;
use state::{Retention, State};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long calls that were broken off may take to settle, and instances to be stopped.
const SETTLE: Duration = Duration::from_secs(5);
/// What a service has to end in at least, though calls used all of the grace.
const LEAST_GRACE: Duration = Duration::from_secs(1);
/// And at most: one that does not heed SIGTERM would else hold up every shutdown for all of it.
const MOST_GRACE: Duration = crate::service::GRACE;

/// Settings of the engine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most starts under way at once on this machine: four times the processors by default.
    pub max_starts: usize,
    /// Starts in a second on this machine, once `start_burst` is used up: 2 000 by default.
    pub start_rate: u32,
    /// Starts that may be made at once before `start_rate` counts: 500 by default.
    pub start_burst: u32,
    /// Most instances of functions at a time on this machine: 1 000 by default. Past it, the idle
    /// instance that was used least recently makes room.
    pub max_instances: usize,
    /// Most attempts of events under way at once: 256 by default.
    pub max_attempts: usize,
    /// How long ended events and runs are kept, and how many bytes of them: 7 days and 10 GiB by
    /// default.
    pub retention: Retention,
    /// How deep a chain of events may be that cause each other: 16 by default. What is deeper is a
    /// dead letter without an attempt, so that a loop ends.
    pub max_depth: u32,
    /// Most published versions that are kept of a function: 100 by default, 1 000 at most. Past it the
    /// oldest go that no alias names.
    pub max_versions: u32,
    /// The region in events and ARNs: `us-east-1` by default.
    pub region: String,
    /// Whether webhooks may lead to private networks and the host itself; not by default.
    pub private_webhooks: bool,
    /// How long a blob of the registry is kept that was pushed, mounted or asked for and that no manifest
    /// names yet, and an upload that nobody goes on with: 24 hours by default.
    pub registry_grace: Duration,
    /// What secrets are sealed by; without, a random key that is kept nowhere.
    pub secret_keys: Option<SecretKeys>,
}

impl Default for Options {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            max_starts: processors * 4,
            start_rate: 2_000,
            start_burst: 500,
            max_instances: 1_000,
            max_attempts: 256,
            retention: Retention {
                age: Duration::from_secs(7 * 24 * 3600),
                bytes: 10 << 30,
            },
            max_depth: model::MAX_DEPTH,
            max_versions: 100,
            region: "us-east-1".to_owned(),
            private_webhooks: false,
            registry_grace: Duration::from_secs(24 * 3600),
            secret_keys: None,
        }
    }
}

/// What every part of the engine shares.
pub(crate) struct Corridor {
    pub(crate) state: State,
    pub(crate) vault: Arc<Vault>,
    pub(crate) storage: Storage,
    pub(crate) node: Arc<Node>,
    pub(crate) functions: Functions,
    pub(crate) services: Services,
    pub(crate) buses: Buses,
    pub(crate) webhooks: Webhooks,
    pub(crate) upstreams: Upstreams,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) scheduler: Scheduler,
    /// Who waits for messages of queues.
    pub(crate) bells: Bells,
    /// What reads queues for functions.
    pub(crate) mappings: Mappings,
    /// See [`Options::max_depth`].
    pub(crate) max_depth: u32,
    /// See [`Options::max_versions`].
    pub(crate) max_versions: u32,
    /// Held by whoever changes functions, services, buckets or buses, so that each change sees the one
    /// before complete.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// What is deployed now.
    pub(crate) deployments: Deployments,
    /// Rung when a target was deleted, whose events are to be cancelled.
    pub(crate) deleted: tokio::sync::Notify,
    /// Rung when a tag of the registry was moved, which functions may follow.
    pub(crate) pushed: tokio::sync::Notify,
    /// Which instance works on which event.
    pub(crate) working: Working,
    /// Calls and attempts of events under way.
    pub(crate) attempts: TaskTracker,
    /// Cancelled when no new work is taken any more.
    pub(crate) draining: CancellationToken,
}

/// The engine. A cheap handle.
#[derive(Clone)]
pub struct Engine {
    pub(crate) corridor: Arc<Corridor>,
}

impl Engine {
    /// Puts the parts together and starts dispatch, scaler and services. Code that nothing refers to
    /// is removed first.
    ///
    /// # Errors
    /// Of the store.
    pub async fn start(
        options: Options,
        state: State,
        storage: Storage,
        runtime: Runtime,
    ) -> Result<Self> {
        let random = || SecretKeys::random().map_err(|error| Error::Random(error.to_string()));
        let keys = options.secret_keys.clone().map_or_else(random, Ok)?;
        let vault = Arc::new(Vault::new(state.clone(), keys));
        secrets::renew(&vault).await?;
        let corridor = Arc::new(Corridor {
            vault,
            node: Arc::new(Node::new(runtime, &options)),
            functions: Functions::default(),
            services: Services::default(),
            buses: Buses::new(&options.region),
            webhooks: Webhooks::new(options.private_webhooks),
            upstreams: Upstreams::default(),
            max_depth: options.max_depth,
            max_versions: options.max_versions.clamp(1, model::MAX_VERSIONS),
            dispatcher: Dispatcher::new(options.max_attempts),
            scheduler: Scheduler::new(options.region),
            bells: Bells::default(),
            mappings: Mappings::default(),
            changing: tokio::sync::Mutex::new(()),
            deployments: Deployments::default(),
            deleted: tokio::sync::Notify::new(),
            pushed: tokio::sync::Notify::new(),
            working: Working::default(),
            attempts: TaskTracker::new(),
            draining: CancellationToken::new(),
            state,
            storage,
        });
        let engine = Self { corridor };
        engine.load().await?;
        // Before the first upload can come in, so that nothing is taken for unused that is only new.
        let used = engine.digests_in_use().await?;
        match engine.corridor.storage.sweep_code(&used).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "removed unused code"),
            Err(error) => tracing::warn!(%error, "unused code could not be removed"),
        }
        let node = engine.corridor.node.clone();
        tokio::spawn(pressure::watch(node, pressure::read));
        tokio::spawn(dispatch::run(engine.corridor.clone()));
        tokio::spawn(schedule::run(engine.corridor.clone()));
        tokio::spawn(purge::run(engine.corridor.clone(), options.retention));
        tokio::spawn(cancellations::run(engine.corridor.clone()));
        tokio::spawn(queues::sweep(engine.corridor.clone()));
        tokio::spawn(registry::run(engine.clone(), options.registry_grace));
        tokio::spawn(follow::run(engine.corridor.clone()));
        queues::resume(&engine.corridor).await?;
        replays::resume(&engine.corridor).await?;
        engine.corridor.start_mappings().await?;
        Ok(engine)
    }

    /// Services first, so that functions find their names.
    async fn load(&self) -> Result<()> {
        let corridor = &self.corridor;
        let mut residents = Vec::new();
        for service in corridor.state.list_services().await? {
            residents.push(corridor.admit(service).await?);
        }
        corridor.renew_peers();
        for (resident, prototype) in residents {
            resident.apply(prototype, &corridor.node);
        }
        let mut lines = self.load_lines().await?;
        for function in corridor.state.list_functions().await? {
            let name = function.spec.name.clone();
            let line = lines.remove(&name).unwrap_or_default();
            let leads = line.leading().is_none();
            let prototype = Prototype::of_function(&corridor.vault, &function, None).await?;
            let pool = Pool::open(Arc::new(function), leads, prototype, corridor.node.clone());
            corridor.functions.admit(pool, line);
            corridor.open_leading(&name).await?;
        }
        corridor.warn_of_reservations();
        corridor.load_buses().await?;
        corridor.load_webhooks().await?;
        corridor.load_upstreams().await?;
        Ok(())
    }

    /// The versions and aliases of all functions.
    async fn load_lines(&self) -> Result<BTreeMap<FunctionName, Line>> {
        let state = &self.corridor.state;
        let mut lines: BTreeMap<FunctionName, Line> = BTreeMap::new();
        for (name, version) in state.list_versions().await? {
            lines.entry(name).or_default().put(Released::new(version));
        }
        for (name, alias) in state.list_aliases().await? {
            lines.entry(name).or_default().put_alias(alias);
        }
        for (name, qualifier, config) in state.list_event_invokes().await? {
            let line = lines.entry(name).or_default();
            line.put_invoke(qualifier, Some(config));
        }
        Ok(lines)
    }

    /// Takes no new work, lets what is under way end for at most `grace`, stops every instance and
    /// service. Leased events that did not end are given back unspent. What has not ended after
    /// `grace` is killed.
    pub async fn drain(&self, grace: Duration) {
        let corridor = &self.corridor;
        let deadline = Instant::now() + grace;
        corridor.draining.cancel();
        // A change under way ends; the next one finds that it is refused.
        let waited = tokio::time::timeout_at(deadline, corridor.changing.lock()).await;
        drop(waited);
        corridor.attempts.close();
        let ended = tokio::time::timeout_at(deadline, corridor.attempts.wait()).await;
        if ended.is_err() {
            let left = corridor.attempts.len();
            tracing::warn!(left, "calls that did not end in time are broken off");
        }
        corridor.node.kill.cancel();
        corridor.functions.all().iter().for_each(Pool::retire);
        // Calls that were broken off settle their events now; that takes one write each.
        let settled = tokio::time::timeout(SETTLE, corridor.attempts.wait()).await;
        if settled.is_err() {
            tracing::warn!("some events were not given back; they are taken up at the next start");
        }
        let left = deadline.saturating_duration_since(Instant::now());
        corridor
            .services
            .stop_all(left.clamp(LEAST_GRACE, MOST_GRACE))
            .await;
        corridor.node.tasks.close();
        if tokio::time::timeout(SETTLE, corridor.node.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some instances were still being stopped at the end");
        }
    }

    /// Every instance, as seen now.
    pub fn instances(&self) -> Vec<InstanceStatus> {
        let mut all = self.corridor.functions.statuses();
        let services = &self.corridor.services;
        all.extend(services.statuses(&self.corridor.node.runtime));
        all
    }

    /// What makes the containers of functions and services that do not choose, and where Docker Engine is looked for.
    pub fn drivers(&self) -> (Driver, &str) {
        let runtime = &self.corridor.node.runtime;
        (runtime.driver(None), runtime.docker_host())
    }

    /// The event that an instance works on now, if it does, or the last one before the messages that it works
    /// on: the cause of what it does meanwhile. Of several calls at once nobody can tell which one does it.
    pub fn current_event(&self, instance: &InstanceId) -> Option<EventId> {
        self.current_chain(instance)?.cause
    }

    /// Where the call stands in a chain that an instance works on now: one for an event or for messages of a
    /// queue. Of several at once nobody can tell which one does what.
    pub fn current_chain(&self, instance: &InstanceId) -> Option<Chain> {
        self.corridor.working.chain(instance)
    }

    /// How short of memory the machine is, from now on.
    pub fn pressure(&self) -> watch::Receiver<Pressure> {
        self.corridor.node.pressure.subscribe()
    }

    /// Finds who has this access key id among functions and services.
    ///
    /// # Errors
    /// Of the store.
    pub async fn find_credential(&self, access_key_id: &str) -> Result<Option<model::Credential>> {
        Ok(self.corridor.state.find_credential(access_key_id).await?)
    }

    /// The storage below.
    pub fn storage(&self) -> &Storage {
        &self.corridor.storage
    }
}
