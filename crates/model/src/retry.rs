//! How often and when an event is tried again.

use serde::{Deserialize, Serialize};

/// Retries of durable events. Lambda's defaults: two retries, after one and two minutes, six hours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts in all, the first included: 1 to 100; 3 by default.
    pub max_attempts: u32,
    /// Milliseconds before the second attempt; each later wait is twice the one before, with jitter.
    pub base_delay: u64,
    /// Longest wait between attempts, in milliseconds.
    pub max_delay: u64,
    /// Milliseconds after acceptance past which no further attempt is made.
    pub max_age: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            base_delay: 60_000,
            max_delay: 3_600_000,
            max_age: 21_600_000,
        }
    }
}
