//! How events for one version of a function are delivered.

use crate::{Destinations, RetryPolicy};
use serde::{Deserialize, Serialize};

/// What holds for events that say this qualifier, in the place of what holds for the function.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventInvoke {
    /// How often and how long they are tried. The waits between are the function's.
    pub retry: RetryPolicy,
    /// What is told of their end. The dead-letter queue is the function's.
    pub destinations: Destinations,
}

impl EventInvoke {
    /// With what is the function's.
    pub fn over(&self, function: &RetryPolicy) -> RetryPolicy {
        RetryPolicy {
            max_attempts: self.retry.max_attempts,
            max_age: self.retry.max_age,
            ..function.clone()
        }
    }

    /// What is told, with the dead-letter queue that is the function's.
    pub fn told(&self, function: &Destinations) -> Destinations {
        Destinations {
            dead_letter: function.dead_letter.clone(),
            ..self.destinations.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Target;

    #[test]
    fn waits_and_dead_letters_are_the_functions() {
        let mut config = EventInvoke::default();
        config.retry.max_attempts = 1;
        config.destinations.on_failure = Some(Target::Queue {
            name: "told".parse().unwrap(),
        });
        let function = RetryPolicy {
            base_delay: 5,
            max_attempts: 9,
            ..RetryPolicy::default()
        };
        let policy = config.over(&function);
        assert_eq!((policy.base_delay, policy.max_attempts), (5, 1));
        let own = Destinations {
            on_success: config.destinations.on_failure.clone(),
            dead_letter: Some("letters".parse().unwrap()),
            ..Destinations::default()
        };
        let told = config.told(&own);
        assert_eq!(told.on_success, None);
        assert_eq!(told.on_failure, config.destinations.on_failure);
        assert_eq!(told.dead_letter, own.dead_letter);
    }
}
