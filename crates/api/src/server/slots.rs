//! A bound on how many connections instances have: in all, those of one program, and each.

use model::InstanceId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections. A cheap handle.
#[derive(Clone)]
pub(super) struct Slots {
    counts: Arc<Mutex<Counts>>,
    most: usize,
    most_program: usize,
    most_each: usize,
}

#[derive(Default)]
struct Counts {
    all: usize,
    programs: HashMap<String, usize>,
    each: HashMap<InstanceId, usize>,
}

/// A place; free again when dropped.
pub(super) struct Slot {
    counts: Arc<Mutex<Counts>>,
    program: String,
    instance: InstanceId,
}

impl Slots {
    pub(super) fn new(most: usize, most_program: usize, most_each: usize) -> Self {
        Self {
            counts: Arc::default(),
            most,
            most_program,
            most_each,
        }
    }

    /// A place for a connection of this instance of a function or service; `None` if there is none
    /// left.
    pub(super) fn take(&self, program: String, instance: &InstanceId) -> Option<Slot> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counts.each.get(instance).copied().unwrap_or(0);
        let of_program = counts.programs.get(&program).copied().unwrap_or(0);
        let full = counts.all >= self.most || of_program >= self.most_program;
        if full || own >= self.most_each {
            return None;
        }
        counts.all += 1;
        counts.programs.insert(program.clone(), of_program + 1);
        counts.each.insert(instance.clone(), own + 1);
        Some(Slot {
            counts: self.counts.clone(),
            program,
            instance: instance.clone(),
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        let of_program = counts.programs.remove(&self.program).unwrap_or(1);
        if of_program > 1 {
            counts
                .programs
                .insert(std::mem::take(&mut self.program), of_program - 1);
        }
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
        let slots = Slots::new(3, 3, 2);
        let (one, two) = (InstanceId::generate(), InstanceId::generate());
        let take = |instance| slots.take("function:f".to_owned(), instance);
        let held = [take(&one).unwrap(), take(&one).unwrap()];
        assert!(take(&one).is_none());
        let other = take(&two).unwrap();
        assert!(take(&two).is_none());
        drop(held);
        assert!(take(&one).is_some());
        drop(other);
        let counts = slots.counts.lock().unwrap();
        assert!(counts.each.is_empty() && counts.programs.is_empty());
    }

    #[test]
    fn the_instances_of_one_program_cannot_take_the_places_of_others() {
        let slots = Slots::new(4, 2, 1);
        let take = |program: &str| slots.take(program.to_owned(), &InstanceId::generate());
        let _held = [take("function:f").unwrap(), take("function:f").unwrap()];
        assert!(take("function:f").is_none());
        assert!(take("service:s").is_some());
    }
}
