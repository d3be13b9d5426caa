//! The instances of one function's revision, and the calls that wait for one.
//!
//! Late binding: a waiting call takes whatever is ready first, a freed instance or a new one. Each
//! waiting call causes one start (each `per_instance` of them, where an instance answers several), as
//! far as there may be more; so nobody waits without something under way that will serve him. The
//! fullest instance that has room is handed out first, then the one that was idle for the shortest
//! time, so that the others age out. Idle ones are frozen, and thawed when they are handed out.

mod keeper;
mod lease;
mod reclaim;
mod start;
mod table;

pub(crate) use lease::{Lease, unavailable};

use crate::node::Node;
use crate::places::PoolId;
use crate::prototype::Prototype;
use crate::scaler::{self, Action};
use bytes::Bytes;
use lease::Worker;
use model::{Contract, Ending, Fresh, Function, InstanceStatus};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::Table;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;

/// How long a program of the `http` contract has between SIGTERM and SIGKILL. Lambda's contract has
/// no such notice.
const HTTP_GRACE: Duration = Duration::from_secs(2);

/// Most events that are leased though every instance is busy.
const AHEAD: usize = 4;

/// What a waiting call is given.
pub(crate) enum Grant {
    /// An instance.
    Ready(Lease),
    /// The start that was made for it failed.
    Failed(StartFailure),
    /// This revision is no longer the function's: ask again.
    Moved,
}

/// A start that failed.
#[derive(Debug, Clone)]
pub(crate) struct StartFailure {
    /// How.
    pub(crate) ending: Ending,
    /// The last that it logged.
    pub(crate) log_tail: Bytes,
}

/// Why a call got nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Nothing is reserved for the function: it takes no calls.
    Off,
    /// So many wait already.
    Full(usize),
    /// It waited as long as it would.
    Late,
}

/// The pool of one revision.
pub(crate) struct Pool {
    /// Tells the pools of the machine apart.
    id: PoolId,
    function: Arc<Function>,
    /// The published version that it runs; `None` for `$LATEST`.
    version: Option<u64>,
    prototype: Prototype,
    node: Arc<Node>,
    /// Bounds how many of the node's starts this function asks for at a time.
    turn: Semaphore,
    table: Mutex<Table>,
    /// Wakes the keeper when the time of its next look may have moved.
    changed: Notify,
}

/// The first answer to a call.
enum Asked {
    Now(Grant),
    Later(oneshot::Receiver<Grant>),
}

impl Pool {
    /// The pool of what was declared last, and the task that keeps it: `min_instances` up, idle ones
    /// not longer than they may be. `leads`: calls without a qualifier go to it.
    pub(crate) fn open(
        function: Arc<Function>,
        leads: bool,
        prototype: Prototype,
        node: Arc<Node>,
    ) -> Arc<Self> {
        let spec = &function.spec;
        node.places.reserve(&spec.name, spec.scaling.reserved);
        Self::begin(function, None, leads, prototype, node)
    }

    /// The pool of a published version. Its places are counted as its function's.
    pub(crate) fn open_version(
        function: Arc<Function>,
        version: u64,
        prototype: Prototype,
        node: Arc<Node>,
    ) -> Arc<Self> {
        Self::begin(function, Some(version), false, prototype, node)
    }

    fn begin(
        function: Arc<Function>,
        version: Option<u64>,
        leads: bool,
        prototype: Prototype,
        node: Arc<Node>,
    ) -> Arc<Self> {
        let pool = Arc::new(Self {
            id: PoolId::next(),
            version,
            turn: Semaphore::new(node.starts_each),
            function,
            prototype,
            node,
            table: Mutex::new(Table::new(leads)),
            changed: Notify::new(),
        });
        pool.node.register(&pool);
        tokio::spawn(keeper::keep(pool.clone()));
        pool
    }

    /// Says whether this is the pool that calls without a qualifier go to: only that one keeps
    /// `min_instances` up and has sandboxes made ahead before its first call. One that does not any
    /// more stops its idle instances.
    pub(crate) fn lead(self: &Arc<Self>, leads: bool) {
        let mut table = self.table();
        if table.leads != leads {
            table.leads = leads;
            if !leads {
                let idle = table.idle.len();
                self.discard_oldest(&mut table, idle);
            }
            self.replan(&mut table);
            drop(table);
            self.changed.notify_one();
        }
    }

    /// Whose instances these are.
    pub(crate) fn function(&self) -> &Arc<Function> {
        &self.function
    }

    /// Whether no instance can ever be made from it, because its image is gone.
    pub(crate) fn is_broken(&self) -> bool {
        self.prototype.is_broken()
    }

    /// Calls that one instance answers at once.
    fn per_instance(&self) -> usize {
        self.function.spec.scaling.per_instance as usize
    }

    fn is_fresh(&self) -> bool {
        self.function.spec.fresh == Fresh::Always
    }

    /// An instance, waited for at most `patience`. In all, as many calls run or start as the function
    /// may have instances (times `per_instance`), and `queue` more wait.
    pub(crate) async fn acquire(self: &Arc<Self>, patience: Duration) -> Result<Grant, Refused> {
        let mut receiver = match self.ask()? {
            Asked::Now(grant) => return Ok(grant),
            Asked::Later(receiver) => receiver,
        };
        match tokio::time::timeout(patience, &mut receiver).await {
            Ok(Ok(grant)) => Ok(grant),
            // The sender is only dropped with the table.
            Ok(Err(_)) => Ok(Grant::Moved),
            Err(_) => {
                drop(receiver);
                let mut table = self.table();
                table.waiters.retain(|waiter| !waiter.is_closed());
                Err(Refused::Late)
            }
        }
    }

    fn ask(self: &Arc<Self>) -> Result<Asked, Refused> {
        let mut table = self.table();
        if table.retired {
            return Ok(Asked::Now(Grant::Moved));
        }
        let scaling = &self.function.spec.scaling;
        if scaling.most() == 0 {
            return Err(Refused::Off);
        }
        if let Some(worker) = self.take(&mut table) {
            table.begin(&worker, self.per_instance());
            let lease = Lease::new(worker, self.clone(), self.is_fresh());
            return Ok(Asked::Now(Grant::Ready(lease)));
        }
        let bound = scaling.calls() + scaling.queue as usize;
        if table.active + table.waiters.len() >= bound {
            return Err(Refused::Full(table.waiters.len()));
        }
        let (sender, receiver) = oneshot::channel();
        table.waiters.push_back(sender);
        if !table.used {
            table.used = true;
            self.changed.notify_one();
        }
        self.replan(&mut table);
        Ok(Asked::Later(receiver))
    }

    /// An instance that is ready for a call, if there is one.
    fn take(self: &Arc<Self>, table: &mut Table) -> Option<Arc<Worker>> {
        if let Some(worker) = table.fullest_with_room().filter(|worker| worker.is_alive()) {
            return Some(worker);
        }
        while let Some(idle) = table.idle.pop() {
            if idle.worker.is_alive() {
                if idle.frozen {
                    idle.worker.instance.thaw();
                }
                return Some(idle.worker);
            }
            self.discard(table, idle.worker);
        }
        None
    }

    /// How many events may be under way for this function at most: as many as its instances answer
    /// at once, and a few ahead, so that an instance finds its next one while the last one is being
    /// settled. None while nothing is reserved for it.
    pub(crate) fn places(&self) -> usize {
        let scaling = &self.function.spec.scaling;
        match scaling.calls() {
            0 => 0,
            calls => calls + (scaling.queue as usize).min(AHEAD),
        }
    }

    /// How many of those places calls have left.
    pub(crate) fn room(&self) -> usize {
        let table = self.table();
        self.places()
            .saturating_sub(table.active + table.waiters.len())
    }

    /// Ends this revision: idle instances stop, busy ones when their call ends, and whoever waits
    /// asks again.
    pub(crate) fn retire(self: &Arc<Self>) {
        let mut table = self.table();
        table.retired = true;
        for waiter in table.waiters.drain(..) {
            // One that went away needs no answer.
            let _ = waiter.send(Grant::Moved);
        }
        self.replan(&mut table);
        drop(table);
        self.changed.notify_one();
    }

    /// Replaces every instance by the next start: idle ones stop now, busy ones after their call.
    pub(crate) fn recycle(self: &Arc<Self>) {
        let mut table = self.table();
        table.generation += 1;
        table.spend_busy();
        while let Some(idle) = table.idle.pop() {
            self.discard(&mut table, idle.worker);
        }
        self.replan(&mut table);
        drop(table);
        self.changed.notify_one();
    }

    /// Its instances, as seen now.
    pub(crate) fn statuses(&self) -> Vec<InstanceStatus> {
        let driver = self.node.runtime.driver(self.function.spec.driver);
        self.table().statuses(&self.function, self.version, driver)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the scaler and carries out what it says.
    fn replan(self: &Arc<Self>, table: &mut Table) {
        let view = table.view(&self.function, self.node.is_short());
        let actions = scaler::plan(&view, table.demand(), Instant::now());
        for action in actions {
            match action {
                Action::Start(count) => (0..count).for_each(|_| start::begin(self, table)),
                Action::StopOldest(count) => self.discard_oldest(table, count),
                Action::FreezeOldest(count) => table.freeze_oldest(count),
            }
        }
    }

    /// Takes an instance back after a call; `fit`: it may be given another one.
    fn give_back(self: &Arc<Self>, worker: Arc<Worker>, fit: bool) {
        let mut table = self.table();
        let used = worker.calls.load(Ordering::Relaxed) > 0;
        let kept = !table.retired && worker.generation == table.generation;
        let fit = fit && kept && worker.is_alive() && !(self.is_fresh() && used);
        let (left, fit) = table.end(&worker, fit, self.per_instance());
        if left > 0 {
            if fit {
                self.serve(&mut table, &worker, false);
            }
            return;
        }
        let needed = !table.waiters.is_empty();
        if fit && !(needed && self.is_wanted_back(&table, true)) {
            self.place(&mut table, worker, self.is_fresh());
        } else {
            self.discard(&mut table, worker);
            self.replan(&mut table);
        }
    }

    /// Whether another function has more right to the place of an instance that has no call. One that
    /// is `needed` goes only if this function has more than its share.
    fn is_wanted_back(&self, table: &Table, needed: bool) -> bool {
        let places = &self.node.places;
        if places.is_short() && places.is_siblings_turn(&self.function.spec.name, self.id) {
            return true;
        }
        places.is_short()
            && (needed || table.spare(&self.function) > 0)
            && places.is_wanted_back(&self.function.spec.name, needed)
    }

    /// Gives a ready instance to those who wait longest, as many as it has room for.
    fn serve(self: &Arc<Self>, table: &mut Table, worker: &Arc<Worker>, cold: bool) {
        while table.has_room(worker, self.per_instance()) {
            let Some(waiter) = table.waiters.pop_front() else {
                return;
            };
            table.begin(worker, self.per_instance());
            let lease = Lease::new(worker.clone(), self.clone(), cold);
            if let Err(Grant::Ready(lease)) = waiter.send(Grant::Ready(lease)) {
                // That call went away; the instance was not touched.
                drop(lease.into_worker());
                table.end(worker, true, self.per_instance());
            }
        }
    }

    /// Gives a ready instance that has no call to those who wait, or lets it wait.
    fn place(self: &Arc<Self>, table: &mut Table, worker: Arc<Worker>, cold: bool) {
        self.serve(table, &worker, cold);
        if table.is_busy(&worker) {
            return;
        }
        table.rest(worker);
        let outdated = |idle: &table::Idle| idle.worker.generation != table.generation;
        let goes = table.idle.last().is_some_and(outdated) || self.is_wanted_back(table, false);
        if goes && let Some(idle) = table.idle.pop() {
            self.discard(table, idle.worker);
            return;
        }
        self.wake_keeper(table);
    }

    /// Stops the longest idle instances.
    fn discard_oldest(self: &Arc<Self>, table: &mut Table, count: usize) {
        let count = count.min(table.idle.len());
        let oldest: Vec<_> = table.idle.drain(..count).collect();
        for idle in oldest {
            self.discard(table, idle.worker);
        }
    }

    /// Stops an instance that is in no list any more, and gives its place back.
    fn discard(self: &Arc<Self>, table: &mut Table, worker: Arc<Worker>) {
        let id = worker.id().clone();
        table.stopping.insert(id.clone(), worker.facts());
        let grace = match self.function.spec.contract {
            Contract::Lambda => Duration::ZERO,
            Contract::Http => HTTP_GRACE,
        };
        let pool = self.clone();
        self.node.tasks.spawn(async move {
            // It has no call, so nobody else holds it; should somebody, it is killed when he lets go.
            if let Some(Worker {
                instance, place, ..
            }) = Arc::into_inner(worker)
            {
                instance.stop(grace).await;
                pool.table().stopping.remove(&id);
                drop(place);
            } else {
                pool.table().stopping.remove(&id);
            }
        });
    }
}

#[cfg(test)]
mod tests;
