//! One replica: started, checked, started again, until it is told to stop.

use super::dependencies::Neighbours;
use super::health::{Backoff, Health, Judgement, check};
use crate::node::Node;
use crate::prototype::Prototype;
use model::{
    Condition, InstanceId, InstanceState, InstanceStatus, Owner, ReplicaStatus, Restart, Service,
    Timestamp,
};
use runtime::{Instance, Runtime};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{RwLock, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// What a replica has in which to end when it is replaced or removed (Docker's default).
pub(crate) const GRACE: Duration = Duration::from_secs(10);
/// How long connecting to a replica may take.
const CONNECT: Duration = Duration::from_secs(2);

/// Where a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waiting for services that it depends on.
    Waiting,
    /// Waiting to be started, being started, or not yet well.
    Starting,
    /// Well.
    Healthy,
    /// Failed its checks; about to be started again, if it shall be.
    Unhealthy,
    /// Ended; waiting to be started again.
    BackingOff,
    /// Ended with status 0, and not to be started again.
    Completed,
    /// Ended otherwise, and not to be started again.
    Failed,
    /// Told to stop.
    Stopped,
}

/// How an instance ended whose program has done its work ([`Instance::exited`]).
const SUCCESS: &str = "exit status 0";

impl Phase {
    fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::BackingOff => "backing_off",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// What is seen of a replica.
struct Seen {
    phase: Phase,
    restarts: u32,
    last_exit: Option<String>,
    /// Its instance: identity, process id (0 while it starts) and since when.
    instance: Option<(InstanceId, u32, Timestamp)>,
}

/// One replica of one revision of a service.
pub(super) struct Replica {
    pub(super) index: u32,
    service: Arc<Service>,
    prototype: Prototype,
    neighbours: Neighbours,
    seen: Mutex<Seen>,
    /// Read by whoever connects; taken out by whoever stops it.
    instance: RwLock<Option<Instance>>,
    stop: CancellationToken,
    grace: Mutex<Duration>,
    ended: watch::Sender<bool>,
    /// The service's: told of each change.
    changed: watch::Sender<()>,
}

/// How one run of a replica ended.
struct Ended {
    how: String,
    healthy_for: Duration,
}

impl Replica {
    pub(super) fn new(
        index: u32,
        service: Arc<Service>,
        prototype: Prototype,
        neighbours: Neighbours,
        changed: watch::Sender<()>,
    ) -> Arc<Self> {
        Arc::new(Self {
            index,
            service,
            prototype,
            neighbours,
            seen: Mutex::new(Seen {
                phase: Phase::Starting,
                restarts: 0,
                last_exit: None,
                instance: None,
            }),
            instance: RwLock::new(None),
            stop: CancellationToken::new(),
            grace: Mutex::new(GRACE),
            // Until it is begun there is nothing to wait for.
            ended: watch::Sender::new(true),
            changed,
        })
    }

    /// Begins to run it, once.
    pub(super) fn begin(self: &Arc<Self>, node: &Arc<Node>) {
        if self.ended.send_replace(false) {
            node.tasks.spawn(self.clone().run(node.clone()));
        }
    }

    /// Stops it and waits until nothing of it is left.
    pub(super) async fn stop(&self, grace: Duration) {
        *self.grace.lock().unwrap_or_else(PoisonError::into_inner) = grace;
        self.stop.cancel();
        // Fails only if the sender is gone, and that is our own.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
        self.set(Phase::Stopped);
    }

    /// Of which revision of its service it is.
    pub(super) fn revision(&self) -> u64 {
        self.service.revision
    }

    pub(super) fn phase(&self) -> Phase {
        self.seen().phase
    }

    /// Whether what somebody waits for has happened.
    pub(super) fn has_reached(&self, condition: Condition) -> bool {
        let seen = self.seen();
        match (condition, seen.phase) {
            (Condition::Started, Phase::Waiting | Phase::Stopped) => false,
            (Condition::Started, Phase::Starting) => {
                // One that has run before has been started.
                seen.restarts > 0 || seen.instance.as_ref().is_some_and(|(_, pid, _)| *pid != 0)
            }
            (Condition::Started, _) => true,
            (Condition::Healthy, phase) => phase == Phase::Healthy,
            (Condition::Completed, phase) => phase == Phase::Completed,
        }
    }

    /// Connects to a port of it.
    pub(super) async fn connect(&self, port: u16) -> std::io::Result<(InstanceId, TcpStream)> {
        let connecting = async {
            let instance = self.instance.read().await;
            let Some(instance) = instance.as_ref() else {
                return Err(std::io::ErrorKind::NotConnected.into());
            };
            let stream = instance.connect(port).await?;
            Ok((instance.id().clone(), stream))
        };
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(result) => result,
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        }
    }

    pub(super) fn status(&self) -> ReplicaStatus {
        let seen = self.seen();
        ReplicaStatus {
            index: self.index,
            state: seen.phase.word().to_owned(),
            restarts: seen.restarts,
            last_exit: seen.last_exit.clone(),
        }
    }

    /// Its instance, if it has one now.
    pub(super) fn instance_status(&self, runtime: &Runtime) -> Option<InstanceStatus> {
        let seen = self.seen();
        let (id, pid, started) = seen.instance.clone()?;
        Some(InstanceStatus {
            id,
            owner: self.owner(),
            state: match seen.phase {
                Phase::Starting => InstanceState::Starting,
                Phase::Healthy => InstanceState::Idle,
                _ => InstanceState::Stopping,
            },
            pid,
            started,
            calls: 0,
            driver: runtime.driver(self.service.spec.driver),
        })
    }

    async fn run(self: Arc<Self>, node: Arc<Node>) {
        tokio::select! {
            () = self.wait() => {}
            () = self.stop.cancelled() => {}
        }
        let mut backoff = Backoff::default();
        while !self.stop.is_cancelled() {
            self.set(Phase::Starting);
            let ended = self.live(&node).await;
            if self.stop.is_cancelled() {
                break;
            }
            let name = &self.service.spec.name;
            tracing::info!(service = %name, replica = self.index, how = %ended.how, "replica ended");
            let success = ended.how == SUCCESS;
            let restarts = self.seen().restarts;
            if !self.service.spec.restart.again(success, restarts) {
                self.seen().last_exit = Some(ended.how);
                self.set(if success {
                    Phase::Completed
                } else {
                    Phase::Failed
                });
                self.stop.cancelled().await;
                break;
            }
            let wait = backoff.next(ended.healthy_for);
            {
                let mut seen = self.seen();
                seen.last_exit = Some(ended.how);
                seen.restarts = seen.restarts.saturating_add(1);
            }
            self.set(Phase::BackingOff);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.cancelled() => {}
            }
        }
        self.set(Phase::Stopped);
        self.ended.send_replace(true);
    }

    /// Waits for what the service depends on, one after the other: all that has happened stays so, but for health,
    /// which is not asked of it a second time.
    pub(super) async fn wait(&self) {
        for dependency in &self.service.spec.depends_on {
            self.neighbours
                .reached(dependency, || {
                    self.set(Phase::Waiting);
                    self.seen().last_exit = Some(format!(
                        "waits for \"{}\" {}",
                        dependency.service, dependency.condition
                    ));
                })
                .await;
        }
        self.seen().last_exit = None;
    }

    /// One run, from start to end.
    async fn live(&self, node: &Node) -> Ended {
        let failed = |how| Ended {
            how,
            healthy_for: Duration::ZERO,
        };
        let started = tokio::select! {
            started = self.start(node) => started,
            () = self.stop.cancelled() => Err("stopped".to_owned()),
        };
        let instance = match started {
            Ok(instance) => instance,
            Err(how) => {
                self.seen().instance = None;
                return failed(how);
            }
        };
        if let Some((_, pid, _)) = &mut self.seen().instance {
            *pid = instance.pid();
        }
        self.changed.send_replace(());
        *self.instance.write().await = Some(instance);
        let ended = self.watch().await;
        // Whoever connects now finds nothing, and whoever is connecting has ended after CONNECT.
        let instance = self.instance.write().await.take();
        if let Some(instance) = instance {
            let grace = *self.grace.lock().unwrap_or_else(PoisonError::into_inner);
            instance.stop(grace).await;
        }
        self.seen().instance = None;
        ended
    }

    async fn start(&self, node: &Node) -> Result<Instance, String> {
        let _permit = node
            .service_starts
            .acquire()
            .await
            .map_err(|error| error.to_string())?;
        node.pace().await.spend();
        let id = InstanceId::generate();
        self.seen().instance = Some((id.clone(), 0, Timestamp::now()));
        let spec = self.prototype.spec(id, node).await;
        let mut spec = spec.map_err(|ending| ending.error().unwrap_or_default())?;
        spec.owner = self.owner();
        let started = node.runtime.start(spec).await;
        started.map_err(|error| error.to_string())
    }

    /// Checks the running instance until it ends, fails its checks or is told to stop.
    async fn watch(&self) -> Ended {
        let instance = self.instance.read().await;
        let Some(instance) = instance.as_ref() else {
            return Ended {
                how: "it is gone".to_owned(),
                healthy_for: Duration::ZERO,
            };
        };
        let spec = &self.service.spec;
        let begun = Instant::now();
        let mut healthy_since: Option<Instant> = None;
        let mut health = Health::default();
        let exited = instance.exited();
        tokio::pin!(exited);
        let how = loop {
            let checked = tokio::select! {
                how = &mut exited => break how,
                () = self.stop.cancelled() => break "stopped".to_owned(),
                checked = check(instance, spec) => checked,
            };
            match health.count(checked.is_ok(), begun.elapsed(), spec) {
                Judgement::Same => {}
                Judgement::Healthy => {
                    healthy_since = Some(Instant::now());
                    self.set(Phase::Healthy);
                }
                // As with Docker, one that is never started again is not ended either.
                Judgement::Unhealthy if spec.restart == Restart::No => {
                    self.set(Phase::Unhealthy);
                    health = Health::default();
                }
                Judgement::Unhealthy => {
                    self.set(Phase::Unhealthy);
                    let why = checked.err().unwrap_or_default();
                    break format!("failed its health check: {why}");
                }
            }
            tokio::select! {
                how = &mut exited => break how,
                () = self.stop.cancelled() => break "stopped".to_owned(),
                () = tokio::time::sleep(health.interval(spec)) => {}
            }
        };
        Ended {
            how,
            healthy_for: healthy_since.map_or(Duration::ZERO, |since| since.elapsed()),
        }
    }

    fn owner(&self) -> Owner {
        Owner::Service {
            name: self.service.spec.name.clone(),
            replica: self.index,
        }
    }

    fn set(&self, phase: Phase) {
        let changed = {
            let mut seen = self.seen();
            std::mem::replace(&mut seen.phase, phase) != phase
        };
        if changed {
            self.changed.send_replace(());
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
