//! The functions as they are now, each with the pool of its current revision.

use crate::pool::Pool;
use crate::{Error, Result};
use model::{Function, FunctionName, InstanceStatus};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

/// Follows the store: changed only after the store was.
#[derive(Default)]
pub(crate) struct Functions {
    entries: RwLock<BTreeMap<FunctionName, Entry>>,
    /// Older revisions whose instances still end their calls.
    retired: Mutex<Vec<Weak<Pool>>>,
}

/// A function as it is, and the pool of its revision, which may have begun before what does not
/// concern instances was changed.
struct Entry {
    function: Arc<Function>,
    pool: Arc<Pool>,
}

impl Functions {
    /// The pool of a function's current revision.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn pool(&self, name: &FunctionName) -> Result<Arc<Pool>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries
            .get(name)
            .map(|entry| entry.pool.clone())
            .ok_or_else(|| Error::no_function(name))
    }

    /// The function, if it is there.
    pub(crate) fn find(&self, name: &FunctionName) -> Option<Arc<Function>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(name).map(|entry| entry.function.clone())
    }

    /// All functions by name.
    pub(crate) fn list(&self) -> Vec<Arc<Function>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries
            .values()
            .map(|entry| entry.function.clone())
            .collect()
    }

    /// Puts what does not concern instances in the place of what was; they go on.
    pub(crate) fn amend(&self, function: Function) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(&function.spec.name) {
            entry.function = Arc::new(function);
        }
    }

    /// Puts a revision in the place of the one before, which is retired.
    pub(crate) fn put(&self, pool: Arc<Pool>) {
        let function = pool.function().clone();
        let name = function.spec.name.clone();
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let before = entries.insert(name, Entry { function, pool });
        drop(entries);
        if let Some(before) = before {
            self.retire(&before.pool);
        }
    }

    /// Takes a function away and retires its pool.
    pub(crate) fn remove(&self, name: &FunctionName) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let before = entries.remove(name);
        drop(entries);
        if let Some(before) = before {
            before.pool.unreserve();
            self.retire(&before.pool);
        }
    }

    /// All pools by name.
    pub(crate) fn all(&self) -> Vec<Arc<Pool>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.values().map(|entry| entry.pool.clone()).collect()
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
