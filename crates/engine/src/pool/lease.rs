//! An instance in somebody's hands, given back when it is dropped.

use super::Pool;
use model::{Ending, InstanceId, Invocation, Outcome, Timestamp};
use runtime::Instance;
use std::sync::Arc;

/// An instance and what the pool knows of it.
pub(super) struct Worker {
    pub(super) instance: Instance,
    pub(super) started: Timestamp,
    pub(super) calls: u64,
    /// The pool's generation when it was started.
    pub(super) generation: u64,
}

/// What is shown of an instance.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) pid: u32,
    pub(super) started: Timestamp,
    pub(super) calls: u64,
}

impl Worker {
    pub(super) fn id(&self) -> &InstanceId {
        self.instance.id()
    }

    pub(super) fn is_alive(&self) -> bool {
        self.instance.is_alive()
    }

    pub(super) fn facts(&self) -> Facts {
        Facts {
            pid: self.instance.pid(),
            started: self.started,
            calls: self.calls,
        }
    }
}

/// The right to call one instance, alone.
pub(crate) struct Lease {
    /// `Some` until it is given back.
    worker: Option<Worker>,
    pool: Arc<Pool>,
    cold: bool,
    /// A call was begun and has not ended.
    under_way: bool,
}

impl Lease {
    pub(super) fn new(worker: Worker, pool: Arc<Pool>, cold: bool) -> Self {
        Self {
            worker: Some(worker),
            pool,
            cold,
            under_way: false,
        }
    }

    /// Whether the instance was started for the call that holds this.
    pub(crate) fn cold(&self) -> bool {
        self.cold
    }

    /// Which instance.
    pub(crate) fn id(&self) -> Option<InstanceId> {
        self.worker.as_ref().map(|worker| worker.id().clone())
    }

    /// Calls the instance and fills in what only the pool knows: cold, start and init. If this
    /// future is dropped before its end, the instance is stopped, since nobody knows where it is.
    pub(crate) async fn call(&mut self, invocation: Invocation) -> Outcome {
        let Some(worker) = self.worker.as_mut() else {
            return unavailable("the instance was given back already".to_owned());
        };
        self.under_way = true;
        let mut outcome = worker.instance.call(invocation).await;
        self.under_way = false;
        worker.calls += 1;
        let (start, init) = worker.instance.start_timing();
        outcome.cold = self.cold;
        outcome.start_kind = self.cold.then(|| worker.instance.start_kind());
        (outcome.timing.start, outcome.timing.init) =
            if self.cold { (start, init) } else { (0, 0) };
        outcome
    }

    /// Takes the instance out without giving it back.
    pub(super) fn into_worker(mut self) -> Option<Worker> {
        self.worker.take()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            self.pool.give_back(worker, !self.under_way);
        }
    }
}

/// An outcome without an instance.
pub(crate) fn unavailable(reason: String) -> Outcome {
    Outcome {
        ending: Ending::Unavailable { reason },
        timing: model::Timing::default(),
        cold: false,
        start_kind: None,
        instance: None,
        memory_peak: 0,
        log_tail: bytes::Bytes::new(),
    }
}
