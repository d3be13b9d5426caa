//! How often and when an event is tried again.

use serde::{Deserialize, Serialize};

/// How much of a wait is left to chance, so that what failed together does not come back together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// All of it: from nothing to the whole wait.
    #[default]
    Full,
    /// The upper half.
    Half,
    /// Nothing.
    None,
}

impl Jitter {
    /// The share of a wait that is waited, from a number of 0 to 1.
    pub fn share(self, random: f64) -> f64 {
        let random = random.clamp(0.0, 1.0);
        match self {
            Self::Full => random,
            Self::Half => 0.5 + 0.5 * random,
            Self::None => 1.0,
        }
    }
}

impl std::str::FromStr for Jitter {
    type Err = crate::Invalid;
    fn from_str(text: &str) -> Result<Self, crate::Invalid> {
        match text {
            "full" => Ok(Self::Full),
            "half" => Ok(Self::Half),
            "none" => Ok(Self::None),
            _ => Err(crate::Invalid::new("jitter", "must be full, half or none")),
        }
    }
}

/// Retries of durable events. Lambda's defaults: two retries, after one and two minutes at most, six hours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts in all, the first included: 1 to 100; 3 by default.
    pub max_attempts: u32,
    /// Milliseconds before the second attempt at most; each later wait is twice the one before.
    pub base_delay: u64,
    /// Longest wait between attempts, in milliseconds.
    pub max_delay: u64,
    /// Milliseconds after acceptance past which no further attempt is made.
    pub max_age: u64,
    /// How much of each wait is left to chance.
    pub jitter: Jitter,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            base_delay: 60_000,
            max_delay: 3_600_000,
            max_age: 21_600_000,
            jitter: Jitter::Full,
        }
    }
}
