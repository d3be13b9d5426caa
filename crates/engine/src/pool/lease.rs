//! An instance in somebody's hands, given back when it is dropped.

use super::Pool;
use crate::places::Place;
use model::{Ending, InstanceId, Invocation, Outcome, Timestamp};
use runtime::Instance;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An instance and what the pool knows of it. Shared by the calls that it answers.
pub(super) struct Worker {
    pub(super) instance: Instance,
    pub(super) started: Timestamp,
    /// That ended.
    pub(super) calls: AtomicU64,
    /// The pool's generation when it was started.
    pub(super) generation: u64,
    /// Its place on the machine.
    pub(super) place: Place,
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
            calls: self.calls.load(Ordering::Relaxed),
        }
    }
}

/// The right to one call of an instance.
pub(crate) struct Lease {
    /// `Some` until it is given back.
    worker: Option<Arc<Worker>>,
    pool: Arc<Pool>,
    cold: bool,
    /// A call was begun and has not ended.
    under_way: bool,
}

impl Lease {
    pub(super) fn new(worker: Arc<Worker>, pool: Arc<Pool>, cold: bool) -> Self {
        Self {
            worker: Some(worker),
            pool,
            cold,
            under_way: false,
        }
    }

    /// Whether the instance had just been started, or is used for this call alone.
    pub(crate) fn cold(&self) -> bool {
        self.cold
    }

    /// Which instance.
    pub(crate) fn id(&self) -> Option<InstanceId> {
        self.worker.as_ref().map(|worker| worker.id().clone())
    }

    /// Whether other calls may be under way in the same instance.
    pub(crate) fn is_shared(&self) -> bool {
        self.pool.function.spec.scaling.per_instance > 1
    }

    /// Calls the instance and fills in what only the pool knows: cold, start kind, start and init. If
    /// this future is dropped before its end, the instance is given no further call, since nobody
    /// knows where it is.
    pub(crate) async fn call(&mut self, invocation: Invocation) -> Outcome {
        let Some(worker) = self.worker.as_ref() else {
            return unavailable("the instance was given back already".to_owned());
        };
        self.under_way = true;
        let mut outcome = worker.instance.call(invocation).await;
        self.under_way = false;
        outcome.version = self.pool.version;
        worker.calls.fetch_add(1, Ordering::Relaxed);
        if self.cold {
            outcome.cold = true;
            outcome.start_kind = Some(worker.instance.start_kind());
            (outcome.timing.start, outcome.timing.init) = worker.instance.start_timing();
        }
        outcome
    }

    /// Takes the instance out without giving it back.
    pub(super) fn into_worker(mut self) -> Option<Arc<Worker>> {
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
        version: None,
        instance: None,
        memory_peak: 0,
        log_tail: bytes::Bytes::new(),
    }
}
