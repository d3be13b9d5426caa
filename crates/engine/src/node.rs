//! What every instance on this machine shares: the runtime, the bound on starts, the names of services.

use runtime::{Peer, Runtime};
use std::sync::{PoisonError, RwLock};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// This machine, as pools and replicas see it.
pub(crate) struct Node {
    /// Makes instances.
    pub(crate) runtime: Runtime,
    /// One permit for each start of a function's instance under way.
    pub(crate) starts: Semaphore,
    /// The same for replicas of services, so that a boot full of services does not keep functions
    /// waiting, nor the other way.
    pub(crate) service_starts: Semaphore,
    /// How many of `starts` one function may ask for at a time: half, so that a function whose
    /// initialisation hangs leaves room for its neighbours.
    pub(crate) starts_each: usize,
    /// Starts and stops under way.
    pub(crate) tasks: TaskTracker,
    /// Cancelled when what is under way shall end now.
    pub(crate) kill: CancellationToken,
    peers: RwLock<Vec<Peer>>,
}

impl Node {
    pub(crate) fn new(runtime: Runtime, max_starts: usize) -> Self {
        let max_starts = max_starts.max(1);
        Self {
            runtime,
            starts: Semaphore::new(max_starts),
            service_starts: Semaphore::new(max_starts),
            starts_each: (max_starts / 2).max(1),
            tasks: TaskTracker::new(),
            kill: CancellationToken::new(),
            peers: RwLock::new(Vec::new()),
        }
    }

    /// The services that an instance started now can reach by name.
    pub(crate) fn peers(&self) -> Vec<Peer> {
        self.peers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Replaces the names; tells whether they changed.
    pub(crate) fn set_peers(&self, peers: Vec<Peer>) -> bool {
        let mut kept = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *kept != peers;
        *kept = peers;
        changed
    }
}
