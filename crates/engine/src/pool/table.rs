//! What a pool knows of its instances; all of it changes under one lock.

use super::lease::{Facts, Worker};
use super::{Grant, scaler};
use model::{Function, InstanceId, InstanceState, InstanceStatus, Owner, Scaling, Timestamp};
use scaler::{Demand, View};
use std::collections::{BTreeMap, HashMap, VecDeque};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// An instance that waits for a call.
pub(super) struct Idle {
    pub(super) worker: Worker,
    pub(super) since: Instant,
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
    pub(super) busy: HashMap<InstanceId, Facts>,
    /// Instances that are being stopped.
    pub(super) stopping: HashMap<InstanceId, Facts>,
    /// The revision is no longer the function's.
    pub(super) retired: bool,
    /// Grows with each recycling; instances of an older one are not kept.
    pub(super) generation: u64,
    /// Failed starts in a row.
    pub(super) failures: u32,
    /// Before this, no start is made that no call waits for.
    pub(super) hold_until: Option<Instant>,
}

impl Table {
    pub(super) fn begin(&mut self, worker: &Worker) {
        self.busy.insert(worker.id().clone(), worker.facts());
    }

    pub(super) fn rest(&mut self, worker: Worker) {
        self.idle.push(Idle {
            worker,
            since: Instant::now(),
        });
    }

    pub(super) fn view(&self, scaling: &Scaling) -> View {
        View {
            starting: self.starting.len(),
            busy: self.busy.len(),
            idle: self.idle.iter().map(|idle| idle.since).collect(),
            scaling: scaling.clone(),
            retired: self.retired,
            hold_until: self.hold_until,
        }
    }

    pub(super) fn demand(&self) -> Demand {
        Demand {
            waiting: self.waiters.len(),
        }
    }

    pub(super) fn statuses(&self, function: &Function) -> Vec<InstanceStatus> {
        let status = |id: &InstanceId, state, facts: &Facts| InstanceStatus {
            id: id.clone(),
            owner: Owner::Function {
                name: function.spec.name.clone(),
                revision: function.revision,
            },
            state,
            pid: facts.pid,
            started: facts.started,
            calls: facts.calls,
        };
        let starting = self.starting.iter().map(|(id, started)| {
            let facts = Facts {
                pid: 0,
                started: *started,
                calls: 0,
            };
            status(id, InstanceState::Starting, &facts)
        });
        let idle = self.idle.iter().map(|idle| {
            let worker = &idle.worker;
            status(worker.id(), InstanceState::Idle, &worker.facts())
        });
        let busy = self.busy.iter();
        let busy = busy.map(|(id, facts)| status(id, InstanceState::Busy, facts));
        let stopping = self.stopping.iter();
        let stopping = stopping.map(|(id, facts)| status(id, InstanceState::Stopping, facts));
        starting.chain(idle).chain(busy).chain(stopping).collect()
    }
}
