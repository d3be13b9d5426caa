//! Which events a rule wants, and what of them its target is told: event patterns and input
//! transformers, as Amazon EventBridge documents them. Pure functions over JSON, no I/O.
//!
//! [`Pattern`] is compiled once and matches by walking pattern and event side by side, so its time is
//! bounded by the size of both: `$or` is not expanded, and wildcards never go back.

mod address;
mod compile;
mod filter;
mod input;
mod matching;
mod number;
mod path;
mod tree;
mod wildcard;

pub use filter::{Filter, MAX_FILTERS};
pub use input::{Input, MAX_TEMPLATE, MAX_VARIABLES, RuleWords};
pub use matching::Pattern;
pub use path::Path;

/// Longest pattern that is taken, in bytes (EventBridge's and Lambda's bound).
pub const MAX_PATTERN: usize = 4096;

/// A pattern, a path or a template breaks a rule. The text is the reason, in AWS's words where AWS
/// has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}
