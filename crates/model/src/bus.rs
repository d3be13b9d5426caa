//! Buses, their rules, and what the rules wake (Amazon EventBridge's words).

use crate::{BusName, Delivery, Invalid, RuleName, Target, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most buses (EventBridge's quota).
pub const MAX_BUSES: usize = 100;
/// Most rules of one bus (EventBridge's quota).
pub const MAX_RULES: usize = 300;
/// Most targets of one rule (EventBridge's quota).
pub const MAX_RULE_TARGETS: usize = 5;
/// Most tags of one bus, rule or queue (AWS's bound).
pub const MAX_TAGS: usize = 50;
/// How deep a chain of events may be that cause each other, unless the server is told otherwise.
pub const MAX_DEPTH: u32 = 16;

/// A bus as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bus {
    /// Its name.
    pub name: BusName,
    /// For people; 512 bytes at most.
    #[serde(default)]
    pub description: String,
    /// For people and tools.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last changed.
    pub modified: Timestamp,
}

/// A rule as it is kept: which events of its bus wake what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Of which bus.
    pub bus: BusName,
    /// Its name, one of its kind on its bus.
    pub name: RuleName,
    /// For people; 512 bytes at most.
    #[serde(default)]
    pub description: String,
    /// The event pattern, as it was given.
    pub pattern: String,
    /// A rule that is not enabled fits nothing.
    pub enabled: bool,
    /// What it wakes: at most [`MAX_RULE_TARGETS`].
    #[serde(default)]
    pub targets: Vec<RuleTarget>,
    /// The role that an AWS client gave; kept and given back, no more.
    #[serde(default)]
    pub role: String,
    /// For people and tools.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The key of the target whose manifest declares this rule; it goes when the manifest does not
    /// declare it any more.
    #[serde(default)]
    pub owner: Option<String>,
    /// When it was made.
    pub created: Timestamp,
}

/// One target of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTarget {
    /// Names it within the rule: 1 to 64 of `A-Z a-z 0-9 . - _`.
    pub id: String,
    /// Its ARN as it was given.
    pub arn: String,
    /// What the ARN names.
    pub target: Target,
    /// The role that an AWS client gave; kept and given back, no more.
    #[serde(default)]
    pub role: Option<String>,
    /// JSON that it is told in place of the event.
    #[serde(default)]
    pub input: Option<String>,
    /// The part of the event that it is told.
    #[serde(default)]
    pub input_path: Option<String>,
    /// A template that is filled from the event.
    #[serde(default)]
    pub transformer: Option<Transformer>,
    /// How what it is told is retried, and where its dead letters go.
    #[serde(default)]
    pub delivery: Delivery,
}

/// A template and its variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transformer {
    /// Where in the event each variable is.
    pub paths: BTreeMap<String, String>,
    /// The template.
    pub template: String,
}

impl RuleTarget {
    /// Checks the id; what is told is checked where it is compiled.
    ///
    /// # Errors
    /// Names the rule of the id.
    pub fn check(&self) -> Result<(), Invalid> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if self.id.is_empty() || self.id.len() > 64 || !self.id.bytes().all(legal) {
            let reason = "must be 1 to 64 letters, digits, '.', '-' or '_'";
            return Err(Invalid::new("target id", reason));
        }
        Ok(())
    }
}
