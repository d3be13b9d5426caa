//! Scaling: how many instances of a function, and how long they are kept.

use crate::{Invalid, MAX_QUEUE};
use serde::{Deserialize, Serialize};

/// How many instances, and how long they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scaling {
    /// Instances that stay started though nothing is asked: 0 to 1 000.
    pub min_instances: u32,
    /// Most instances at a time: 1 to 1 000; 100 by default.
    pub max_instances: u32,
    /// Milliseconds that an idle instance is kept: 30 000 by default.
    pub keep_alive: u64,
    /// Most calls that may wait for an instance; past it a call is throttled. 1 000 at most.
    pub queue: u32,
    /// Calls that one instance answers at once: 1 to 1 000; 1 by default. Above 1 only with the
    /// `http` contract.
    pub per_instance: u32,
    /// So many of the machine's places for instances are kept for this function, and it has no more:
    /// it takes the place of `max_instances`. 0 to 1 000; with 0 every call is throttled. `None` (the
    /// default): it shares what is not reserved (AWS Lambda's reserved concurrency).
    pub reserved: Option<u32>,
    /// Milliseconds after which an idle instance is frozen, so that nothing of it runs until its next
    /// call: 200 by default; 0 right after the call; `None` never.
    pub freeze_after: Option<u64>,
}

impl Scaling {
    /// Most instances at a time: what is reserved, else `max_instances`.
    pub fn most(&self) -> usize {
        self.reserved.unwrap_or(self.max_instances) as usize
    }

    /// Instances that stay started: `min_instances`, as far as there may be so many.
    pub fn least(&self) -> usize {
        (self.min_instances as usize).min(self.most())
    }

    /// Calls that all instances together answer at once.
    pub fn calls(&self) -> usize {
        self.most() * self.per_instance as usize
    }

    /// Whether each setting is within its bounds.
    ///
    /// # Errors
    /// Names the first that is not.
    pub(crate) fn check(&self) -> Result<(), Invalid> {
        if !(1..=1000).contains(&self.per_instance) {
            return Err(Invalid::new("scaling.per_instance", "must be 1 to 1000"));
        }
        if self.reserved.is_some_and(|reserved| reserved > 1000) {
            return Err(Invalid::new("scaling.reserved", "must be 0 to 1000"));
        }
        if !(1..=1000).contains(&self.max_instances) {
            return Err(Invalid::new("scaling.max_instances", "must be 1 to 1000"));
        }
        if self.min_instances > self.max_instances {
            return Err(Invalid::new(
                "scaling.min_instances",
                "is above max_instances",
            ));
        }
        if self.queue as usize > MAX_QUEUE {
            return Err(Invalid::new(
                "scaling.queue",
                format!("is above {MAX_QUEUE}"),
            ));
        }
        Ok(())
    }
}

impl Default for Scaling {
    fn default() -> Self {
        Self {
            min_instances: 0,
            max_instances: 100,
            keep_alive: 30_000,
            queue: 100,
            per_instance: 1,
            reserved: None,
            freeze_after: Some(200),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_takes_the_place_of_the_most() {
        let scaling = Scaling {
            min_instances: 5,
            max_instances: 10,
            per_instance: 4,
            ..Scaling::default()
        };
        assert_eq!(
            (scaling.most(), scaling.least(), scaling.calls()),
            (10, 5, 40)
        );
        for (reserved, expected) in [(0, (0, 0, 0)), (2, (2, 2, 8)), (20, (20, 5, 80))] {
            let scaling = Scaling {
                reserved: Some(reserved),
                ..scaling.clone()
            };
            assert_eq!((scaling.most(), scaling.least(), scaling.calls()), expected);
        }
    }
}
