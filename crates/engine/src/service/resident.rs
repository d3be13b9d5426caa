//! One service: its replicas, the change from one revision to the next, and who gets a connection.

use super::dependencies::Neighbours;
use super::replica::{GRACE, Phase, Replica};
use crate::delivery::Connected;
use crate::node::Node;
use crate::prototype::Prototype;
use crate::{Error, Result};
use futures::future::join_all;
use model::{Condition, InstanceStatus, Service, ServiceName, ServiceStatus};
use runtime::Runtime;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a connection waits for a replica that is starting.
const WAIT: Duration = Duration::from_secs(10);

/// What of a service changes.
struct Now {
    service: Arc<Service>,
    /// Of the current revision, by index.
    replicas: Vec<Arc<Replica>>,
    /// Of revisions before, until their successors are well.
    leaving: Vec<Arc<Replica>>,
    /// No replica can be made: the image is gone.
    broken: bool,
    /// Cancelled when the next change begins.
    rolling: CancellationToken,
}

/// A service that is kept running.
pub(crate) struct Resident {
    now: Mutex<Now>,
    turn: AtomicUsize,
    changed: watch::Sender<()>,
    neighbours: Neighbours,
}

impl Resident {
    pub(super) fn new(service: Service, neighbours: Neighbours) -> Self {
        Self {
            now: Mutex::new(Now {
                service: Arc::new(service),
                replicas: Vec::new(),
                leaving: Vec::new(),
                broken: false,
                rolling: CancellationToken::new(),
            }),
            turn: AtomicUsize::new(0),
            changed: watch::Sender::new(()),
            neighbours,
        }
    }

    /// Rings at each change of one of its replicas, and when it is removed.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether each replica of the declared revision has come so far.
    pub(super) fn has_reached(&self, condition: Condition) -> bool {
        let now = self.now();
        let mut replicas = now.replicas.iter();
        let as_declared = now.replicas.len() == now.service.spec.replicas as usize;
        // Between declaration and start the replicas are those of the revision before.
        let revision = now.service.revision;
        let reached = |one: &Arc<Replica>| one.revision() == revision && one.has_reached(condition);
        as_declared && replicas.all(reached)
    }

    pub(crate) fn service(&self) -> Arc<Service> {
        self.now().service.clone()
    }

    /// Whether no replica can be made, because the image is gone. Deploying again mends it.
    pub(super) fn is_broken(&self) -> bool {
        self.now().broken
    }

    /// What is declared from now on; takes effect with [`Resident::apply`].
    pub(super) fn declare(&self, service: Service) {
        self.now().service = Arc::new(service);
    }

    /// Brings the replicas to what is declared, in the background and one after the other: a new one
    /// is well before the old one of its index stops, and as long as it is not, the old one serves
    /// on. With a writable volume, which two must not write, the old one stops first. The first
    /// replicas of a service all start at once.
    pub(crate) fn apply(self: &Arc<Self>, prototype: Prototype, node: &Arc<Node>) {
        let mut now = self.now();
        now.rolling.cancel();
        now.rolling = CancellationToken::new();
        now.broken = prototype.is_broken();
        let service = now.service.clone();
        let replica = |index| {
            let (service, changed) = (service.clone(), self.changed.clone());
            let neighbours = self.neighbours.clone();
            Replica::new(index, service, prototype.clone(), neighbours, changed)
        };
        let replicas: Vec<_> = (0..service.spec.replicas).map(replica).collect();
        let before = std::mem::replace(&mut now.replicas, replicas.clone());
        let first = before.is_empty() && now.leaving.is_empty();
        now.leaving.extend(before);
        let rolling = now.rolling.clone();
        drop(now);
        self.changed.send_replace(());
        if first {
            replicas.iter().for_each(|replica| replica.begin(node));
            return;
        }
        let (resident, node) = (self.clone(), node.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = resident.roll(&replicas, &node) => {}
                () = rolling.cancelled() => {}
            }
        });
    }

    async fn roll(&self, replicas: &[Arc<Replica>], node: &Arc<Node>) {
        let volumes = &self.service().spec.volumes;
        let alone = volumes.iter().any(|volume| !volume.read_only);
        for replica in replicas {
            if alone {
                // The old one serves until what the new one depends on is there.
                replica.wait().await;
                self.dismiss(|old| old.index == replica.index).await;
            }
            replica.begin(node);
            let mut changed = self.changed.subscribe();
            while !alone && !matches!(replica.phase(), Phase::Healthy | Phase::Completed) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
            self.dismiss(|old| old.index == replica.index).await;
        }
        self.dismiss(|_| true).await;
    }

    /// Stops those of the revisions before that are meant. They are listed until they have ended, so
    /// that a change that is broken off leaves none behind.
    async fn dismiss(&self, meant: impl Fn(&Replica) -> bool) {
        let leaving: Vec<_> = {
            let now = self.now();
            now.leaving
                .iter()
                .filter(|old| meant(old))
                .cloned()
                .collect()
        };
        join_all(leaving.iter().map(|old| old.stop(GRACE))).await;
        let gone = |old: &Arc<Replica>| leaving.iter().any(|left| Arc::ptr_eq(old, left));
        self.now().leaving.retain(|old| !gone(old));
    }

    /// Stops everything of it.
    pub(crate) async fn stop(&self, grace: Duration) {
        let all = {
            let now = self.now();
            now.rolling.cancel();
            [now.replicas.clone(), now.leaving.clone()].concat()
        };
        self.changed.send_replace(());
        join_all(all.iter().map(|replica| replica.stop(grace))).await;
    }

    /// A connection to a healthy replica, taking turns; waits for one that is starting.
    ///
    /// # Errors
    /// `NoReplica`, `Refused` (it has no port).
    pub(crate) async fn connect(&self, port: Option<u16>) -> Result<Connected> {
        let service = self.service();
        let name = &service.spec.name;
        let Some(port) = port.or(service.spec.ports.first().copied()) else {
            let reason = format!("service \"{name}\" declares no port; give it one under `ports`");
            return Err(Error::Refused(reason));
        };
        let found = tokio::time::timeout(WAIT, self.find(name, port)).await;
        match found {
            Ok(Some(connected)) => Ok(connected),
            Ok(None) | Err(_) => Err(Error::NoReplica(name.to_string())),
        }
    }

    /// `None` if no replica takes a connection and none is starting.
    async fn find(&self, name: &ServiceName, port: u16) -> Option<Connected> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let (healthy, starting) = self.candidates();
            for replica in healthy {
                match replica.connect(port).await {
                    Ok(connected) => return Some(connected),
                    Err(error) => {
                        let index = replica.index;
                        tracing::debug!(service = %name, index, port, %error, "cannot connect");
                    }
                }
            }
            if !starting || changed.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Healthy replicas, beginning with the one whose turn it is, and whether any is starting.
    fn candidates(&self) -> (Vec<Arc<Replica>>, bool) {
        let now = self.now();
        let all = now.replicas.iter().chain(&now.leaving);
        let mut healthy: Vec<_> = all
            .filter(|replica| replica.phase() == Phase::Healthy)
            .cloned()
            .collect();
        let starting = now
            .replicas
            .iter()
            .any(|replica| matches!(replica.phase(), Phase::Starting | Phase::Waiting));
        if !healthy.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % healthy.len();
            healthy.rotate_left(turn);
        }
        (healthy, starting)
    }

    pub(crate) fn status(&self) -> ServiceStatus {
        let now = self.now();
        ServiceStatus {
            service: Service::clone(&now.service),
            replicas: now
                .replicas
                .iter()
                .map(|replica| replica.status())
                .collect(),
        }
    }

    pub(crate) fn instances(&self, runtime: &Runtime) -> Vec<InstanceStatus> {
        let now = self.now();
        let all = now.replicas.iter().chain(&now.leaving);
        all.filter_map(|replica| replica.instance_status(runtime))
            .collect()
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
