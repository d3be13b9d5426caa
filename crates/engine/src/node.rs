//! What every instance on this machine shares: the runtime, the bounds on instances and starts, how
//! short of memory it is, the names of services.

use crate::bucket::Bucket;
use crate::places::{Asked, Place, Places};
use crate::pool::Pool;
use crate::{Options, reclaim};
use model::{Networks, Pressure, ServiceName};
use runtime::{Peer, Runtime};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A service that instances on its networks reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Neighbour {
    /// Its own name.
    pub(crate) name: ServiceName,
    /// Its ports.
    pub(crate) ports: Vec<u16>,
    /// Where it is, and its other names there.
    pub(crate) networks: Networks,
}

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
    /// Bounds how many starts there are in a second.
    pace: Mutex<Bucket>,
    /// Places for instances of functions.
    pub(crate) places: Places,
    /// How short of memory the machine is.
    pub(crate) pressure: watch::Sender<Pressure>,
    /// Starts and stops under way.
    pub(crate) tasks: TaskTracker,
    /// Cancelled when what is under way shall end now.
    pub(crate) kill: CancellationToken,
    /// Every pool that has instances or may get some.
    pools: Mutex<Vec<Weak<Pool>>>,
    neighbours: RwLock<Vec<Neighbour>>,
}

impl Node {
    pub(crate) fn new(runtime: Runtime, options: &Options) -> Self {
        let max_starts = options.max_starts.max(1);
        let pace = Bucket::new(options.start_rate, options.start_burst, Instant::now());
        Self {
            runtime,
            starts: Semaphore::new(max_starts),
            service_starts: Semaphore::new(max_starts),
            starts_each: (max_starts / 2).max(1),
            pace: Mutex::new(pace),
            places: Places::new(options.max_instances),
            pressure: watch::Sender::new(Pressure::Calm),
            tasks: TaskTracker::new(),
            kill: CancellationToken::new(),
            pools: Mutex::default(),
            neighbours: RwLock::default(),
        }
    }

    /// Waits until one more start is within the rate.
    pub(crate) async fn pace(&self) -> Token<'_> {
        let wait = self.bucket().take(Instant::now());
        // Made before the wait: whoever goes away meanwhile leaves it to the next.
        let token = Token {
            node: self,
            spent: false,
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        token
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for an instance of a function. While there is none, idle instances of others are
    /// stopped to make room, those that were used least recently.
    pub(crate) async fn place(&self, pool: &Arc<Pool>) -> Place {
        loop {
            let granted = match self.places.ask(&pool.function().spec.name, pool.id()) {
                Asked::Now(place) => return place,
                Asked::Later(granted) => granted,
            };
            self.make_room(pool);
            if let Ok(place) = granted.await {
                return place;
            }
        }
    }

    /// Another version of the same function gives up one that nobody uses; else others do.
    fn make_room(&self, asking: &Arc<Pool>) {
        let name = &asking.function().spec.name;
        let (siblings, mut pools): (Vec<_>, Vec<_>) = self
            .pools()
            .into_iter()
            .partition(|pool| pool.function().spec.name == *name);
        for pool in siblings.iter().filter(|pool| !Arc::ptr_eq(pool, asking)) {
            if pool.give_up(1, !self.places.is_shared(name)) > 0 {
                self.places.leave(name, 1);
                return;
            }
        }
        pools.retain(|pool| {
            let other = &pool.function().spec.name;
            self.places.is_shared(other)
        });
        for (pool, count) in reclaim::stop_idle(&pools, self.places.missing(), false) {
            self.places.leave(&pool.function().spec.name, count);
        }
    }

    /// Whether the machine runs short of memory.
    pub(crate) fn is_short(&self) -> bool {
        *self.pressure.borrow() > Pressure::Calm
    }

    pub(crate) fn register(&self, pool: &Arc<Pool>) {
        let pools = self.pools.lock();
        let mut pools = pools.unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    /// The pools that are there.
    pub(crate) fn pools(&self) -> Vec<Arc<Pool>> {
        let pools = self.pools.lock();
        let pools = pools.unwrap_or_else(PoisonError::into_inner);
        pools.iter().filter_map(Weak::upgrade).collect()
    }

    /// The services that an instance on these networks that is started now can reach by name. Another name that is a
    /// service's own, or was given before, is that one's.
    pub(crate) fn peers(&self, networks: &Networks) -> Vec<Peer> {
        let known = self.neighbours.read();
        let known = known.unwrap_or_else(PoisonError::into_inner);
        let known = || known.iter().filter(|one| one.networks.meet(networks));
        let mut taken: BTreeSet<_> = known().map(|one| one.name.clone()).collect();
        let peers = known().map(|one| Peer {
            name: one.name.clone(),
            aliases: one
                .networks
                .aliases_for(networks)
                .into_iter()
                .filter(|alias| taken.insert(alias.clone()))
                .collect(),
            ports: one.ports.clone(),
        });
        peers.collect()
    }

    /// Replaces the services; tells whether they changed.
    pub(crate) fn set_neighbours(&self, neighbours: Vec<Neighbour>) -> bool {
        let mut kept = self
            .neighbours
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let changed = *kept != neighbours;
        *kept = neighbours;
        changed
    }
}

/// The right to one start. Dropped unspent, the next one has it.
pub(crate) struct Token<'a> {
    node: &'a Node,
    spent: bool,
}

impl Token<'_> {
    /// The start is made.
    pub(crate) fn spend(mut self) {
        self.spent = true;
    }
}

impl Drop for Token<'_> {
    fn drop(&mut self) {
        if !self.spent {
            self.node.bucket().put_back();
        }
    }
}
