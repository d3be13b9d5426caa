//! The engine: its parts put together, started and drained.

use crate::Result;
use model::InstanceStatus;
use runtime::Runtime;
use state::State;
use std::time::Duration;
use storage::Storage;

/// Settings of the engine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most starts under way at once on this machine: twice the processors by default.
    pub max_starts: usize,
    /// Most attempts of events under way at once: 256 by default.
    pub max_attempts: usize,
    /// How long ended events and runs are kept: 7 days by default.
    pub retention: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            max_starts: processors * 2,
            max_attempts: 256,
            retention: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// The engine. A cheap handle.
#[derive(Clone)]
pub struct Engine {}

impl Engine {
    /// Puts the parts together and starts dispatch, scaler and services.
    ///
    /// # Errors
    /// Of the store.
    pub async fn start(
        options: Options,
        state: State,
        storage: Storage,
        runtime: Runtime,
    ) -> Result<Self> {
        let _ = (options, state, storage, runtime);
        todo!()
    }

    /// Takes no new work, lets what is under way end for at most `grace`, stops every instance and
    /// service. Leased events that did not end are given back unspent.
    pub async fn drain(&self, grace: Duration) {
        let _ = grace;
        todo!()
    }

    /// Every instance, as seen now.
    pub fn instances(&self) -> Vec<InstanceStatus> {
        todo!()
    }

    /// The event that an instance works on now, if it does: the cause of what it does meanwhile.
    pub fn current_event(&self, instance: &model::InstanceId) -> Option<model::EventId> {
        let _ = instance;
        todo!()
    }

    /// Finds who has this access key id among functions and services.
    ///
    /// # Errors
    /// Of the store.
    pub async fn find_credential(&self, access_key_id: &str) -> Result<Option<model::Credential>> {
        let _ = access_key_id;
        todo!()
    }

    /// The storage below.
    pub fn storage(&self) -> &Storage {
        todo!()
    }
}
