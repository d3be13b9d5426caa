//! Where something stands in the chain of what caused it.

use crate::EventId;
use serde::{Deserialize, Serialize};

/// The place of a message, or of a call of a function, in the chain of what caused it. The default is the
/// beginning of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Chain {
    /// The last event before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<EventId>,
    /// How many events and calls for messages stand before it.
    pub depth: u32,
}

impl Chain {
    /// The place of what is caused by it.
    #[must_use]
    pub fn next(self) -> Self {
        Self {
            depth: self.depth.saturating_add(1),
            ..self
        }
    }

    /// Whether it is the beginning of a chain.
    pub fn is_beginning(&self) -> bool {
        *self == Self::default()
    }

    /// The place of what is done for all of these: that of the deepest.
    pub fn deepest(all: impl IntoIterator<Item = Self>) -> Self {
        let all = all.into_iter();
        all.max_by_key(|chain| chain.depth).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_caused_is_deeper_and_the_deepest_counts() {
        let cause = Some(EventId::generate());
        let first = Chain { cause, depth: 3 };
        assert_eq!(first.next(), Chain { cause, depth: 4 });
        let all = [Chain::default(), first, Chain::default().next()];
        assert_eq!(Chain::deepest(all), first);
        assert!(Chain::deepest([]).is_beginning());
    }
}
