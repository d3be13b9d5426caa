//! A driver without containers, for tests of what is above: the test says how each call ends.

use model::{Ending, Invocation};
use std::sync::Arc;
use std::time::Duration;

/// How a start goes.
#[derive(Debug, Clone)]
pub struct FakeStart {
    /// How long it takes.
    pub takes: Duration,
    /// `Some`: it fails with this.
    pub fails: Option<Ending>,
}

/// How a call goes: how long it takes, how it ends, and whether the instance lives on.
type OnCall = dyn Fn(&Invocation) -> (Duration, Ending, bool) + Send + Sync;
type OnStart = dyn Fn(&crate::InstanceSpec) -> FakeStart + Send + Sync;

/// The script of a fake runtime. Uses tokio's clock, so that a paused one works.
#[derive(Clone)]
pub struct Fake {
    pub(crate) on_start: Arc<OnStart>,
    pub(crate) on_call: Arc<OnCall>,
}

impl Fake {
    /// From two scripts.
    pub fn new(
        on_start: impl Fn(&crate::InstanceSpec) -> FakeStart + Send + Sync + 'static,
        on_call: impl Fn(&Invocation) -> (Duration, Ending, bool) + Send + Sync + 'static,
    ) -> Self {
        Self {
            on_start: Arc::new(on_start),
            on_call: Arc::new(on_call),
        }
    }
}
