//! What went wrong, without saying over which protocol.

use serde::{Deserialize, Serialize};

/// The transport-free kind of an error. Each protocol door turns it into its own dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The request is malformed or breaks a rule; sending it again will not help.
    Invalid,
    /// The named thing does not exist.
    NotFound,
    /// The named thing exists already, or was changed by someone else meanwhile.
    Conflict,
    /// Who asks is not known.
    Unauthenticated,
    /// Who asks is known and may not.
    Forbidden,
    /// A documented bound on size was passed.
    TooLarge,
    /// A documented bound on rate, concurrency or queue length was passed; try later.
    Throttled,
    /// The thing asked for needs something that is not ready or not there; try later.
    Unavailable,
    /// The request is well formed and this version does not serve it.
    Unsupported,
    /// The disk is full.
    StorageFull,
    /// A fault of ours.
    Internal,
}

/// A value breaks a rule. `field` names the place, `reason` the rule and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// Where: a field path such as `functions.thumbnail.timeout`.
    pub field: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl Invalid {
    /// Names the place and the rule that was broken.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }
}
