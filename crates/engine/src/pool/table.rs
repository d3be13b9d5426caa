//! What a pool knows of its instances; all of it changes under one lock.

use super::Grant;
use super::lease::{Facts, Worker};
use crate::scaler::{Demand, Rest, View};
use model::{
    Driver, Fresh, Function, InstanceId, InstanceState, InstanceStatus, Owner, Scaling, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// An instance that waits for a call.
pub(super) struct Idle {
    pub(super) worker: Arc<Worker>,
    pub(super) since: Instant,
    pub(super) frozen: bool,
}

/// An instance that answers calls.
pub(super) struct Busy {
    worker: Arc<Worker>,
    /// Calls that it answers: at least one.
    active: usize,
    /// It is given no further call.
    spent: bool,
}

/// The lists of a pool. An instance is in one of them.
#[derive(Default)]
pub(super) struct Table {
    /// Calls that wait, the longest first.
    pub(super) waiters: VecDeque<oneshot::Sender<Grant>>,
    /// Starts queued or under way, and when they were asked for.
    pub(super) starting: BTreeMap<InstanceId, Timestamp>,
    /// Ready instances, the longest idle first; the last is handed out first.
    pub(super) idle: Vec<Idle>,
    /// Instances that were handed out.
    busy: HashMap<InstanceId, Busy>,
    /// Those of them that have room for another call, by the number of calls that they have.
    room: BTreeSet<(usize, InstanceId)>,
    /// Calls that all of them answer.
    pub(super) active: usize,
    /// Instances that are being stopped.
    pub(super) stopping: HashMap<InstanceId, Facts>,
    /// The revision is no longer the function's.
    pub(super) retired: bool,
    /// Calls without a qualifier come here.
    pub(super) leads: bool,
    /// A call has waited here.
    pub(super) used: bool,
    /// Grows with each recycling; instances of an older one are not kept.
    pub(super) generation: u64,
    /// Failed starts in a row.
    pub(super) failures: u32,
    /// Before this, no start is made that no call waits for.
    pub(super) hold_until: Option<Instant>,
    /// When the keeper looks next, if it will by itself.
    pub(super) look: Option<Instant>,
}

impl Table {
    pub(super) fn new(leads: bool) -> Self {
        Self {
            leads,
            ..Self::default()
        }
    }

    /// The instance with the most calls that has room for another, so that the others fall idle.
    pub(super) fn fullest_with_room(&self) -> Option<Arc<Worker>> {
        let (_, id) = self.room.last()?;
        self.busy.get(id).map(|busy| busy.worker.clone())
    }

    /// One more call for an instance that has room for it.
    pub(super) fn begin(&mut self, worker: &Arc<Worker>, per_instance: usize) {
        let id = worker.id();
        let busy = self.busy.entry(id.clone()).or_insert_with(|| Busy {
            worker: worker.clone(),
            active: 0,
            spent: false,
        });
        if per_instance > 1 {
            self.room.remove(&(busy.active, id.clone()));
        }
        busy.active += 1;
        self.active += 1;
        if !busy.spent && busy.active < per_instance {
            self.room.insert((busy.active, id.clone()));
        }
    }

    /// One call less; `fit` says whether the instance may be given another one. Gives how many are
    /// left, and whether it may.
    pub(super) fn end(
        &mut self,
        worker: &Arc<Worker>,
        fit: bool,
        per_instance: usize,
    ) -> (usize, bool) {
        let id = worker.id();
        let Some(busy) = self.busy.get_mut(id) else {
            return (0, fit);
        };
        if per_instance > 1 {
            self.room.remove(&(busy.active, id.clone()));
        }
        busy.active -= 1;
        self.active -= 1;
        busy.spent |= !fit;
        let (left, fit) = (busy.active, !busy.spent);
        if left == 0 {
            self.busy.remove(id);
        } else if fit {
            self.room.insert((left, id.clone()));
        }
        (left, fit)
    }

    /// Gives the instances that answer calls no further ones.
    pub(super) fn spend_busy(&mut self) {
        self.room.clear();
        self.busy.values_mut().for_each(|busy| busy.spent = true);
    }

    /// Whether it has neither an instance nor a call.
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
            && self.starting.is_empty()
            && self.idle.is_empty()
            && self.busy.is_empty()
    }

    pub(super) fn is_busy(&self, worker: &Worker) -> bool {
        self.busy.contains_key(worker.id())
    }

    pub(super) fn has_room(&self, worker: &Worker, per_instance: usize) -> bool {
        let busy = self.busy.get(worker.id());
        busy.is_none_or(|busy| !busy.spent && busy.active < per_instance)
    }

    pub(super) fn rest(&mut self, worker: Arc<Worker>) {
        self.idle.push(Idle {
            worker,
            since: Instant::now(),
            frozen: false,
        });
    }

    /// Freezes the longest idle instances.
    pub(super) fn freeze_oldest(&mut self, count: usize) {
        for idle in self.idle.iter_mut().take(count).filter(|idle| !idle.frozen) {
            idle.worker.instance.freeze();
            idle.frozen = true;
        }
    }

    /// How many idle instances may go without leaving fewer than the function keeps.
    pub(super) fn spare(&self, function: &Function) -> usize {
        self.view(function, false).spare()
    }

    /// What the scaler is to know; `short`: the machine runs short of memory.
    pub(super) fn view(&self, function: &Function, short: bool) -> View {
        let rest = |idle: &Idle| Rest {
            since: idle.since,
            frozen: idle.frozen,
        };
        View {
            starting: self.starting.len(),
            busy: self.busy.len(),
            idle: self.idle.iter().map(rest).collect(),
            scaling: self.scaling(function),
            fresh: function.spec.fresh == Fresh::Always,
            retired: self.retired,
            hold_until: self.hold_until,
            short,
        }
    }

    /// Only the pool that leads keeps instances that nobody asks for.
    fn scaling(&self, function: &Function) -> Scaling {
        let mut scaling = function.spec.scaling.clone();
        if !self.leads {
            scaling.min_instances = 0;
        }
        scaling
    }

    pub(super) fn demand(&self) -> Demand {
        Demand {
            waiting: self.waiters.len(),
        }
    }

    pub(super) fn statuses(
        &self,
        function: &Function,
        version: Option<u64>,
        driver: Driver,
    ) -> Vec<InstanceStatus> {
        let status = |id: &InstanceId, state, facts: &Facts| InstanceStatus {
            id: id.clone(),
            owner: Owner::Function {
                name: function.spec.name.clone(),
                revision: function.revision,
                version,
            },
            state,
            pid: facts.pid,
            started: facts.started,
            calls: facts.calls,
            driver,
        };
        let starting = self.starting.iter().map(|(id, started)| {
            let facts = Facts {
                pid: 0,
                started: *started,
                calls: 0,
            };
            status(id, InstanceState::Starting, &facts)
        });
        let live = |worker: &Worker, state| status(worker.id(), state, &worker.facts());
        let idle = self.idle.iter();
        let idle = idle.map(|idle| live(&idle.worker, InstanceState::Idle));
        let busy = self.busy.values();
        let busy = busy.map(|busy| live(&busy.worker, InstanceState::Busy));
        let stopping = self.stopping.iter();
        let stopping = stopping.map(|(id, facts)| status(id, InstanceState::Stopping, facts));
        starting.chain(idle).chain(busy).chain(stopping).collect()
    }
}
