//! The functions as they are now, each with the pool of its current revision.

use crate::pool::Pool;
use crate::{Error, Result};
use model::{Function, FunctionName, InstanceStatus};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

/// Follows the store: changed only after the store was.
#[derive(Default)]
pub(crate) struct Functions {
    pools: RwLock<BTreeMap<FunctionName, Arc<Pool>>>,
    /// Older revisions whose instances still end their calls.
    retired: Mutex<Vec<Weak<Pool>>>,
}

impl Functions {
    /// The pool of a function's current revision.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn pool(&self, name: &FunctionName) -> Result<Arc<Pool>> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        pools
            .get(name)
            .cloned()
            .ok_or_else(|| Error::no_function(name))
    }

    /// The function, if it is there.
    pub(crate) fn find(&self, name: &FunctionName) -> Option<Arc<Function>> {
        self.pool(name).ok().map(|pool| pool.function().clone())
    }

    /// Puts a revision in the place of the one before, which is retired.
    pub(crate) fn put(&self, pool: Arc<Pool>) {
        let name = pool.function().spec.name.clone();
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        let before = pools.insert(name, pool);
        drop(pools);
        if let Some(before) = before {
            self.retire(&before);
        }
    }

    /// Takes a function away and retires its pool.
    pub(crate) fn remove(&self, name: &FunctionName) {
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        let before = pools.remove(name);
        drop(pools);
        if let Some(before) = before {
            before.unreserve();
            self.retire(&before);
        }
    }

    /// All pools by name.
    pub(crate) fn all(&self) -> Vec<Arc<Pool>> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        pools.values().cloned().collect()
    }

    /// Instances of every revision.
    pub(crate) fn statuses(&self) -> Vec<InstanceStatus> {
        let mut pools = self.all();
        pools.extend(self.retired().iter().filter_map(Weak::upgrade));
        pools.iter().flat_map(|pool| pool.statuses()).collect()
    }

    fn retire(&self, pool: &Arc<Pool>) {
        pool.retire();
        let mut retired = self.retired();
        // A pool lives as long as one of its instances does.
        retired.retain(|pool| pool.strong_count() > 0);
        retired.push(Arc::downgrade(pool));
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Weak<Pool>>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
