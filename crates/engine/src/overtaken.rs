//! Deployments under way, and whether another one that declares the same began meanwhile.

use model::Deployment;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What deployments under way declare.
#[derive(Default)]
pub(crate) struct Deployments(Mutex<Vec<Arc<Declared>>>);

struct Declared {
    keys: BTreeSet<String>,
    overtaken: AtomicBool,
}

impl Deployments {
    /// Begins one: those under way that declare something of the same (see [`keys`]) are overtaken from
    /// now on.
    pub(crate) fn begin(&self, keys: BTreeSet<String>) -> UnderWay<'_> {
        let mut all = self.all();
        let same = |other: &&Arc<Declared>| !other.keys.is_disjoint(&keys);
        for other in all.iter().filter(same) {
            other.overtaken.store(true, Ordering::Release);
        }
        let declared = Arc::new(Declared {
            keys,
            overtaken: AtomicBool::new(false),
        });
        all.push(declared.clone());
        UnderWay {
            all: self,
            declared,
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Declared>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A deployment until it ends.
pub(crate) struct UnderWay<'a> {
    all: &'a Deployments,
    declared: Arc<Declared>,
}

impl UnderWay<'_> {
    /// Whether a newer deployment has begun that declares something of the same.
    pub(crate) fn is_overtaken(&self) -> bool {
        self.declared.overtaken.load(Ordering::Acquire)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let own = |other: &Arc<Declared>| Arc::ptr_eq(other, &self.declared);
        self.all.all().retain(|other| !own(other));
    }
}

/// The keys of everything that a deployment declares: functions, services, queues, buckets.
pub(crate) fn keys(deployment: &Deployment) -> BTreeSet<String> {
    let queues = deployment.queues.iter();
    let queues = queues.map(|spec| format!("queue:{}", spec.name));
    let buckets = deployment.buckets.iter();
    let buckets = buckets.map(|spec| format!("bucket:{}", spec.name));
    let owners = crate::declared::owners(deployment).into_iter();
    owners.chain(queues).chain(buckets).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_of_the_same_that_began_later_overtakes() {
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        let all = Deployments::default();
        let first = all.begin(keys(&["function:f", "queue:q"]));
        drop(all.begin(keys(&["function:g"])));
        assert!(!first.is_overtaken());
        let second = all.begin(keys(&["queue:q"]));
        assert!(first.is_overtaken() && !second.is_overtaken());
        drop(first);
        drop(second);
        assert!(all.all().is_empty());
    }
}
