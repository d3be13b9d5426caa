//! A bound on how many connections instances have, in all and each.

use model::InstanceId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections. A cheap handle.
#[derive(Clone)]
pub(super) struct Slots {
    counts: Arc<Mutex<Counts>>,
    most: usize,
    most_each: usize,
}

#[derive(Default)]
struct Counts {
    all: usize,
    each: HashMap<InstanceId, usize>,
}

/// A place; free again when dropped.
pub(super) struct Slot {
    counts: Arc<Mutex<Counts>>,
    instance: InstanceId,
}

impl Slots {
    pub(super) fn new(most: usize, most_each: usize) -> Self {
        Self {
            counts: Arc::default(),
            most,
            most_each,
        }
    }

    /// A place for a connection of this instance; `None` if there is none left.
    pub(super) fn take(&self, instance: &InstanceId) -> Option<Slot> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counts.each.get(instance).copied().unwrap_or(0);
        if counts.all >= self.most || own >= self.most_each {
            return None;
        }
        counts.all += 1;
        counts.each.insert(instance.clone(), own + 1);
        Some(Slot {
            counts: self.counts.clone(),
            instance: instance.clone(),
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        let own = counts.each.remove(&self.instance).unwrap_or(1);
        if own > 1 {
            counts.each.insert(self.instance.clone(), own - 1);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_instance_cannot_take_the_places_of_all() {
        let slots = Slots::new(3, 2);
        let (one, two) = (InstanceId::generate(), InstanceId::generate());
        let held = [slots.take(&one).unwrap(), slots.take(&one).unwrap()];
        assert!(slots.take(&one).is_none());
        let other = slots.take(&two).unwrap();
        assert!(slots.take(&two).is_none());
        drop(held);
        assert!(slots.take(&one).is_some());
        drop(other);
        assert!(slots.counts.lock().unwrap().each.is_empty());
    }
}
