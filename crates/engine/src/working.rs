//! Which instance works on which event, so that what it does meanwhile has a cause.

use model::{EventId, InstanceId};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The calls under way whose cause matters.
#[derive(Default)]
pub(crate) struct Working {
    /// Of each call: the event that it serves, if any.
    calls: Mutex<HashMap<InstanceId, Vec<Option<EventId>>>>,
}

impl Working {
    /// Says, as long as the result lives, that an instance works on a call for `event`.
    pub(crate) fn begin(&self, instance: InstanceId, event: Option<EventId>) -> Work<'_> {
        self.calls()
            .entry(instance.clone())
            .or_default()
            .push(event);
        Work {
            working: self,
            instance,
            event,
        }
    }

    /// The event that an instance works on, if it is the only thing that it works on.
    pub(crate) fn event(&self, instance: &InstanceId) -> Option<EventId> {
        match self.calls().get(instance)?.as_slice() {
            [only] => *only,
            _ => None,
        }
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<InstanceId, Vec<Option<EventId>>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way.
pub(crate) struct Work<'a> {
    working: &'a Working,
    instance: InstanceId,
    event: Option<EventId>,
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        let mut calls = self.working.calls();
        let Some(own) = calls.get_mut(&self.instance) else {
            return;
        };
        if let Some(at) = own.iter().position(|event| *event == self.event) {
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
        let (one, two) = (EventId::generate(), EventId::generate());
        let first = working.begin(instance.clone(), Some(one));
        assert_eq!(working.event(&instance), Some(one));
        let second = working.begin(instance.clone(), Some(two));
        let third = working.begin(instance.clone(), None);
        assert_eq!(working.event(&instance), None);
        drop(first);
        drop(third);
        assert_eq!(working.event(&instance), Some(two));
        drop(second);
        assert_eq!(working.event(&instance), None);
        assert!(working.calls().is_empty());
    }
}
