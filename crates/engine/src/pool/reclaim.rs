//! What a pool gives up when the machine needs it for something else.

use super::Pool;
use crate::places::PoolId;
use std::sync::Arc;
use tokio::time::Instant;

impl Pool {
    /// Since when each of the instances waits that can be given up, the longest first. With `all`,
    /// those that `min_instances` keeps too.
    pub(crate) fn spare(&self, all: bool) -> Vec<Instant> {
        let table = self.table();
        let spare = match all {
            true => table.idle.len(),
            false => table.spare(&self.function),
        };
        let idle = table.idle.iter().take(spare);
        idle.map(|idle| idle.since).collect()
    }

    /// Stops the `count` instances that were idle for the longest time, or as many as there are to be
    /// given up by now. Gives how many.
    pub(crate) fn give_up(self: &Arc<Self>, count: usize, all: bool) -> usize {
        let mut table = self.table();
        let spare = match all {
            true => table.idle.len(),
            false => table.spare(&self.function),
        };
        let count = count.min(spare);
        self.discard_oldest(&mut table, count);
        count
    }

    /// What tells it apart from the machine's other pools.
    pub(crate) fn id(&self) -> PoolId {
        self.id
    }

    /// The published version that it runs; `None` for what was declared last.
    pub(crate) fn version(&self) -> Option<u64> {
        self.version
    }

    /// For a function that is removed: nothing is kept for it any more.
    pub(crate) fn unreserve(&self) {
        let name = &self.function.spec.name;
        self.node.places.reserve(name, None);
    }

    /// Lets the keeper look now.
    pub(crate) fn look(&self) {
        self.changed.notify_one();
    }
}
