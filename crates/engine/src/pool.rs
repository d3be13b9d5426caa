//! The instances of one function's revision, and the calls that wait for one.
//!
//! Late binding: a waiting call takes whatever is ready first, a freed instance or a new one. Each
//! waiting call causes one start, up to `max_instances`; so nobody waits without something under way
//! that will serve him. An instance serves one call at a time and is handed out newest first, so
//! that the oldest ones age out.

mod keeper;
mod lease;
mod start;
mod table;

pub(crate) use lease::{Lease, unavailable};

use crate::node::Node;
use crate::prototype::Prototype;
use crate::scaler::{self, Action};
use bytes::Bytes;
use lease::Worker;
use model::{Contract, Ending, Function, InstanceStatus};
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
    /// So many wait already.
    Full(usize),
    /// It waited as long as it would.
    Late,
}

/// The pool of one revision.
pub(crate) struct Pool {
    function: Arc<Function>,
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
    /// A pool and the task that keeps it: `min_instances` up, idle ones not longer than they may be.
    pub(crate) fn open(
        function: Arc<Function>,
        prototype: Prototype,
        node: Arc<Node>,
    ) -> Arc<Self> {
        let pool = Arc::new(Self {
            turn: Semaphore::new(node.starts_each),
            function,
            prototype,
            node,
            table: Mutex::new(Table::default()),
            changed: Notify::new(),
        });
        tokio::spawn(keeper::keep(pool.clone()));
        pool
    }

    /// Whose instances these are.
    pub(crate) fn function(&self) -> &Arc<Function> {
        &self.function
    }

    /// Whether no instance can ever be made from it, because its image is gone.
    pub(crate) fn is_broken(&self) -> bool {
        self.prototype.is_broken()
    }

    /// An instance, waited for at most `patience`. In all, `max_instances` calls run or start and
    /// `queue` more wait.
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
        while let Some(idle) = table.idle.pop() {
            if idle.worker.is_alive() {
                table.begin(&idle.worker);
                let lease = Lease::new(idle.worker, self.clone(), false);
                return Ok(Asked::Now(Grant::Ready(lease)));
            }
            self.discard(&mut table, idle.worker);
        }
        let scaling = &self.function.spec.scaling;
        let bound = scaling.max_instances as usize + scaling.queue as usize;
        if table.busy.len() + table.waiters.len() >= bound {
            return Err(Refused::Full(table.waiters.len()));
        }
        let (sender, receiver) = oneshot::channel();
        table.waiters.push_back(sender);
        self.replan(&mut table);
        Ok(Asked::Later(receiver))
    }

    /// How many events may be under way for this function at most: one for each instance, and a few
    /// ahead, so that an instance finds its next one while the last one is being settled.
    pub(crate) fn places(&self) -> usize {
        let scaling = &self.function.spec.scaling;
        scaling.max_instances as usize + (scaling.queue as usize).min(AHEAD)
    }

    /// How many of those places calls have left.
    pub(crate) fn room(&self) -> usize {
        let table = self.table();
        self.places()
            .saturating_sub(table.busy.len() + table.waiters.len())
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
        while let Some(idle) = table.idle.pop() {
            self.discard(&mut table, idle.worker);
        }
        self.replan(&mut table);
    }

    /// Its instances, as seen now.
    pub(crate) fn statuses(&self) -> Vec<InstanceStatus> {
        self.table().statuses(&self.function)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the scaler and carries out what it says.
    fn replan(self: &Arc<Self>, table: &mut Table) {
        let scaling = &self.function.spec.scaling;
        let actions = scaler::plan(&table.view(scaling), table.demand(), Instant::now());
        for action in actions {
            match action {
                Action::Start(count) => (0..count).for_each(|_| start::begin(self, table)),
                Action::StopOldest(count) => {
                    let count = count.min(table.idle.len());
                    let oldest: Vec<_> = table.idle.drain(..count).collect();
                    for idle in oldest {
                        self.discard(table, idle.worker);
                    }
                }
            }
        }
    }

    /// Takes an instance back after a call.
    fn give_back(self: &Arc<Self>, worker: Worker, fit: bool) {
        let mut table = self.table();
        table.busy.remove(worker.id());
        if fit && worker.is_alive() && !table.retired && worker.generation == table.generation {
            self.place(&mut table, worker, false);
        } else {
            self.discard(&mut table, worker);
            self.replan(&mut table);
        }
    }

    /// Gives a ready instance to whoever waits longest, or lets it wait.
    fn place(self: &Arc<Self>, table: &mut Table, mut worker: Worker, cold: bool) {
        while let Some(waiter) = table.waiters.pop_front() {
            table.begin(&worker);
            let lease = Lease::new(worker, self.clone(), cold);
            let Err(Grant::Ready(lease)) = waiter.send(Grant::Ready(lease)) else {
                return;
            };
            // That call went away; the instance was not touched.
            let Some(untouched) = lease.into_worker() else {
                return;
            };
            table.busy.remove(untouched.id());
            worker = untouched;
        }
        if worker.generation != table.generation {
            self.discard(table, worker);
            return;
        }
        table.rest(worker);
        if table.idle.len() == 1 {
            self.changed.notify_one();
        }
    }

    /// Stops an instance that is in no list any more.
    fn discard(self: &Arc<Self>, table: &mut Table, worker: Worker) {
        let id = worker.id().clone();
        table.stopping.insert(id.clone(), worker.facts());
        let grace = match self.function.spec.contract {
            Contract::Lambda => Duration::ZERO,
            Contract::Http => HTTP_GRACE,
        };
        let pool = self.clone();
        self.node.tasks.spawn(async move {
            worker.instance.stop(grace).await;
            pool.table().stopping.remove(&id);
        });
    }
}

#[cfg(test)]
mod tests;
