//! Pushes to tags that functions follow.

use crate::{ContentDigest, Timestamp};
use serde::{Deserialize, Serialize};

/// Longest reason of a failure that is kept, in characters.
pub const MAX_PUSH_FAILURE: usize = 1_000;

/// A push to a tag that a function follows, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Push {
    /// The image's name that the function follows, such as `localhost:4566/shop/thumbnail:prod`.
    pub reference: String,
    /// The manifest or index that was pushed.
    pub digest: ContentDigest,
    /// When the tag was moved to it.
    pub pushed: Timestamp,
    /// When it was known what becomes of it.
    pub settled: Timestamp,
    /// By whom: a principal's key.
    pub by: String,
    /// The version that it became, or that was the same already.
    pub version: Option<u64>,
    /// Why it became none, [`MAX_PUSH_FAILURE`] characters at most; what served before goes on.
    pub failure: Option<String>,
}

impl Push {
    /// Whether this is the push that moved a tag to `digest` then.
    pub fn is_of(&self, reference: &str, digest: &ContentDigest, pushed: Timestamp) -> bool {
        self.reference == reference && self.digest == *digest && self.pushed == pushed
    }
}
