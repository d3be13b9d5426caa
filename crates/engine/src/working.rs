//! Which instance works on what, so that what it does meanwhile has a cause.

use model::{Chain, InstanceId};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The calls under way whose cause matters.
#[derive(Default)]
pub(crate) struct Working {
    /// Of each call: where it stands in a chain, if it is for an event or for messages.
    calls: Mutex<HashMap<InstanceId, Vec<Option<Chain>>>>,
}

impl Working {
    /// Says, as long as the result lives, that an instance works on a call that stands there.
    pub(crate) fn begin(&self, instance: InstanceId, chain: Option<Chain>) -> Work<'_> {
        self.calls()
            .entry(instance.clone())
            .or_default()
            .push(chain);
        Work {
            working: self,
            instance,
            chain,
        }
    }

    /// Where the call stands that an instance works on, if it is the only one.
    pub(crate) fn chain(&self, instance: &InstanceId) -> Option<Chain> {
        match self.calls().get(instance)?.as_slice() {
            [only] => *only,
            _ => None,
        }
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<InstanceId, Vec<Option<Chain>>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way.
pub(crate) struct Work<'a> {
    working: &'a Working,
    instance: InstanceId,
    chain: Option<Chain>,
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        let mut calls = self.working.calls();
        let Some(own) = calls.get_mut(&self.instance) else {
            return;
        };
        if let Some(at) = own.iter().position(|chain| *chain == self.chain) {
            own.swap_remove(at);
        }
        if own.is_empty() {
            calls.remove(&self.instance);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_calls_none_is_the_cause() {
        let working = Working::default();
        let instance = InstanceId::generate();
        let chain = |depth| Chain { cause: None, depth };
        let (one, two) = (chain(0), chain(1));
        let first = working.begin(instance.clone(), Some(one));
        assert_eq!(working.chain(&instance), Some(one));
        let second = working.begin(instance.clone(), Some(two));
        let third = working.begin(instance.clone(), None);
        assert_eq!(working.chain(&instance), None);
        drop(first);
        drop(third);
        assert_eq!(working.chain(&instance), Some(two));
        drop(second);
        assert_eq!(working.chain(&instance), None);
        assert!(working.calls().is_empty());
    }
}
