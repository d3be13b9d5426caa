//! The functions as they are now, each with the pool of its current revision and those of its
//! published versions.

use crate::line::{Line, Released};
use crate::pool::Pool;
use crate::{Error, Result};
use model::{Alias, AliasName, EventInvoke, Function, FunctionName, InstanceStatus, Qualifier};
use std::collections::BTreeMap;
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};

/// Follows the store: changed only after the store was.
#[derive(Default)]
pub(crate) struct Functions {
    entries: RwLock<Entries>,
    /// Older revisions whose instances still end their calls.
    retired: Mutex<Vec<Weak<Pool>>>,
}

type Entries = BTreeMap<FunctionName, Entry>;

/// A function as it is, and the pool of its revision, which may have begun before what does not
/// concern instances was changed.
struct Entry {
    function: Arc<Function>,
    pool: Arc<Pool>,
    line: Line,
}

impl Entry {
    /// Tells its pools which of them calls without a qualifier go to.
    fn lead(&self) {
        self.line.lead();
        self.pool.lead(self.line.leading().is_none());
    }
}

/// What a call goes to.
pub(crate) enum Found {
    /// An open pool.
    Pool(Arc<Pool>),
    /// A version that may have no pool yet, and its function.
    Version(Arc<Released>, Arc<Function>),
}

impl Functions {
    /// The pool that calls without a qualifier go to, or most of them: that of the version that the
    /// leading alias names, if one leads and the pool is open; else that of what was declared last.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn pool(&self, name: &FunctionName) -> Result<Arc<Pool>> {
        self.read(name, |entry| {
            let leading = entry.line.leading().and_then(|alias| {
                let released = entry.line.version(alias.version)?;
                released.pool()
            });
            leading.unwrap_or_else(|| entry.pool.clone())
        })
    }

    /// The pool of what was declared last.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn latest(&self, name: &FunctionName) -> Result<Arc<Pool>> {
        self.read(name, |entry| entry.pool.clone())
    }

    /// What one call goes to. Without a qualifier, the alias that leads, else what was declared last;
    /// `chance` (at least 0 and less than 1) is asked to pick the version of an alias that has two.
    ///
    /// # Errors
    /// `NotFound`, the function or what the qualifier says.
    pub(crate) fn resolve(
        &self,
        name: &FunctionName,
        qualifier: Option<&Qualifier>,
        chance: impl Fn() -> f64,
    ) -> Result<Found> {
        let pick = |alias: &Alias| match alias.share {
            Some(_) => alias.pick(chance()),
            None => alias.version,
        };
        let found = self.read(name, |entry| {
            let number = match qualifier {
                Some(Qualifier::Latest) => return Some(Found::Pool(entry.pool.clone())),
                Some(Qualifier::Version(number)) => *number,
                Some(Qualifier::Alias(alias)) => pick(entry.line.alias(alias)?),
                None => match entry.line.leading() {
                    Some(alias) => pick(alias),
                    None => return Some(Found::Pool(entry.pool.clone())),
                },
            };
            let released = entry.line.version(number)?.clone();
            Some(Found::Version(released, entry.function.clone()))
        })?;
        found.ok_or_else(|| Error::no_version(name, qualifier))
    }

    /// A version, if it is there.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn version(&self, name: &FunctionName, number: u64) -> Result<Arc<Released>> {
        let found = self.read(name, |entry| entry.line.version(number).cloned())?;
        found.ok_or_else(|| Error::no_version(name, Some(&Qualifier::Version(number))))
    }

    /// All versions of a function by number.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn versions(&self, name: &FunctionName) -> Result<Vec<Arc<Released>>> {
        self.read(name, |entry| entry.line.versions().cloned().collect())
    }

    /// All aliases of a function by name.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn aliases(&self, name: &FunctionName) -> Result<Vec<Alias>> {
        self.read(name, |entry| entry.line.aliases().cloned().collect())
    }

    /// Whether calls without a qualifier go to what was declared last.
    pub(crate) fn is_unled(&self, name: &FunctionName) -> bool {
        let unled = self.read(name, |entry| entry.line.leading().is_none());
        unled.unwrap_or(true)
    }

    /// Puts a version among a function's, if the function is there.
    pub(crate) fn release(&self, name: &FunctionName, released: Arc<Released>) {
        if let Some(entry) = self.write().get_mut(name) {
            entry.line.put(released);
        }
    }

    /// Takes versions away and retires their pools.
    pub(crate) fn withdraw(&self, name: &FunctionName, numbers: &[u64]) {
        let mut entries = self.write();
        let Some(entry) = entries.get_mut(name) else {
            return;
        };
        let gone: Vec<_> = numbers
            .iter()
            .filter_map(|number| entry.line.remove(*number))
            .collect();
        drop(entries);
        gone.iter()
            .filter_map(|released| released.pool())
            .for_each(|pool| self.retire(&pool));
    }

    /// Retires the pool of a version, which opens a new one when it is needed, and gives the version.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn renew_version(&self, name: &FunctionName, number: u64) -> Result<Arc<Released>> {
        let mut entries = self.write();
        let entry = entries.get_mut(name);
        let pool = entry.and_then(|entry| entry.line.renew_version(number));
        drop(entries);
        if let Some(pool) = pool {
            self.retire(&pool);
        }
        self.version(name, number)
    }

    /// Puts an alias in the place of the one of its name.
    pub(crate) fn put_alias(&self, name: &FunctionName, alias: Alias) {
        if let Some(entry) = self.write().get_mut(name) {
            entry.line.put_alias(alias);
            entry.lead();
        }
    }

    /// Takes an alias away.
    pub(crate) fn remove_alias(&self, name: &FunctionName, alias: &AliasName) {
        if let Some(entry) = self.write().get_mut(name) {
            entry.line.remove_alias(alias);
            entry.lead();
        }
    }

    /// How events that say a qualifier are delivered, each.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn event_invokes(
        &self,
        name: &FunctionName,
    ) -> Result<BTreeMap<Qualifier, EventInvoke>> {
        self.read(name, |entry| entry.line.invokes().clone())
    }

    /// How events that say this qualifier are delivered, if that is said of it.
    pub(crate) fn event_invoke(
        &self,
        name: &FunctionName,
        qualifier: Option<&Qualifier>,
    ) -> Option<EventInvoke> {
        let qualifier = qualifier?;
        let found = self.read(name, |entry| entry.line.invokes().get(qualifier).cloned());
        found.ok().flatten()
    }

    /// Follows the store in how events that say a qualifier are delivered.
    pub(crate) fn put_event_invoke(
        &self,
        name: &FunctionName,
        qualifier: Qualifier,
        config: Option<EventInvoke>,
    ) {
        if let Some(entry) = self.write().get_mut(name) {
            entry.line.put_invoke(qualifier, config);
        }
    }

    /// Whether this version is still the function's, so that a pool that was just opened for it may
    /// stay; tells that pool whether it leads.
    pub(crate) fn adopts(&self, name: &FunctionName, released: &Arc<Released>) -> bool {
        let adopted = self.read(name, |entry| {
            let number = released.version().number;
            let same = |kept: &Arc<Released>| Arc::ptr_eq(kept, released);
            let adopted = entry.line.version(number).is_some_and(same);
            if adopted {
                entry.line.lead();
            }
            adopted
        });
        adopted.unwrap_or(false)
    }

    /// The function, if it is there.
    pub(crate) fn find(&self, name: &FunctionName) -> Option<Arc<Function>> {
        self.read(name, |entry| entry.function.clone()).ok()
    }

    /// All functions by name.
    pub(crate) fn list(&self) -> Vec<Arc<Function>> {
        let entries = self.entries();
        let functions = entries.values().map(|entry| entry.function.clone());
        functions.collect()
    }

    /// Puts what does not concern instances in the place of what was; they go on.
    pub(crate) fn amend(&self, function: Function) {
        if let Some(entry) = self.write().get_mut(&function.spec.name) {
            entry.function = Arc::new(function);
        }
    }

    /// Puts a function that was there before the server started.
    pub(crate) fn admit(&self, pool: Arc<Pool>, line: Line) {
        let function = pool.function().clone();
        let name = function.spec.name.clone();
        let entry = Entry {
            function,
            pool,
            line,
        };
        self.write().insert(name, entry);
    }

    /// Puts a revision in the place of the one before, which is retired. Versions keep their pools,
    /// unless the function's reservation changed.
    pub(crate) fn put(&self, pool: Arc<Pool>) {
        let function = pool.function().clone();
        let name = function.spec.name.clone();
        let reserved = function.spec.scaling.reserved;
        let mut old = Vec::new();
        let mut entries = self.write();
        let line = match entries.remove(&name) {
            Some(mut before) => {
                if before.function.spec.scaling.reserved != reserved {
                    old = before.line.renew();
                }
                old.push(before.pool);
                before.line
            }
            None => Line::default(),
        };
        let entry = Entry {
            function,
            pool,
            line,
        };
        entries.insert(name, entry);
        drop(entries);
        old.iter().for_each(|pool| self.retire(pool));
    }

    /// Takes a function away and retires its pools.
    pub(crate) fn remove(&self, name: &FunctionName) {
        let before = self.write().remove(name);
        if let Some(mut before) = before {
            before.pool.unreserve();
            self.retire(&before.pool);
            before
                .line
                .renew()
                .iter()
                .for_each(|pool| self.retire(pool));
        }
    }

    /// All pools by name.
    pub(crate) fn all(&self) -> Vec<Arc<Pool>> {
        let entries = self.entries();
        let pools = entries.values().flat_map(|entry| {
            let versions = entry.line.versions().filter_map(|released| released.pool());
            std::iter::once(entry.pool.clone()).chain(versions)
        });
        pools.collect()
    }

    /// The numbers and declarations of all versions.
    pub(crate) fn specs_of_versions(&self) -> Vec<(u64, model::FunctionSpec)> {
        let entries = self.entries();
        let versions = entries.values().flat_map(|entry| entry.line.versions());
        let versions = versions.map(|released| released.version());
        versions
            .map(|version| (version.number, version.spec.clone()))
            .collect()
    }

    /// Digests of the code of all versions.
    pub(crate) fn digests(&self) -> Vec<model::Digest> {
        let entries = self.entries();
        let versions = entries.values().flat_map(|entry| entry.line.versions());
        versions
            .map(|released| released.version().digest().clone())
            .collect()
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

    fn read<T>(&self, name: &FunctionName, read: impl FnOnce(&Entry) -> T) -> Result<T> {
        let entries = self.entries();
        let entry = entries.get(name).ok_or_else(|| Error::no_function(name))?;
        Ok(read(entry))
    }

    fn entries(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn retired(&self) -> MutexGuard<'_, Vec<Weak<Pool>>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
