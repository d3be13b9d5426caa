//! What was done to aliases: the history that a rollback goes back in.

use crate::{Alias, AliasName, Digest, Share, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most moves that are kept of all aliases of a function, the newest.
pub const MAX_ALIAS_MOVES: u32 = 1_000;

/// Where the calls of an alias go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Routing {
    /// The version that it names.
    pub version: u64,
    /// Another version that gets a part of its calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<Share>,
}

impl Routing {
    /// Where an alias leads now.
    pub fn of(alias: &Alias) -> Self {
        Self {
            version: alias.version,
            share: alias.share.clone(),
        }
    }

    /// Whether calls go the same ways. A weight that was written and read is the same within its last
    /// digits.
    pub fn is_like(&self, other: &Self) -> bool {
        let shares = match (&self.share, &other.share) {
            (None, None) => true,
            (Some(one), Some(two)) => {
                one.version == two.version && (one.weight - two.weight).abs() < 1e-9
            }
            _ => false,
        };
        self.version == other.version && shares
    }

    /// All versions that it names.
    pub fn versions(&self) -> impl Iterator<Item = u64> {
        let second = self.share.as_ref().map(|share| share.version);
        std::iter::once(self.version).chain(second)
    }
}

/// One change of where an alias leads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AliasMove {
    /// Counts the moves of all aliases of the function, from 1.
    pub number: u64,
    /// Which alias.
    pub alias: AliasName,
    /// When.
    pub at: Timestamp,
    /// By whom: a principal's key.
    pub by: String,
    /// Where it led before; `None` if it was made.
    pub from: Option<Routing>,
    /// Where it led from then on; `None` if it was removed.
    pub to: Option<Routing>,
    /// Whether it was a step back in this history.
    pub back: bool,
    /// The digest of the code or image of the version that it names first from then on.
    pub digest: Option<Digest>,
    /// That version's labels `org.opencontainers.image.*`.
    pub labels: BTreeMap<String, String>,
}

/// Where an alias that leads to `now` led one step before, by its moves in their order. A step back is no
/// step of its own: what it undid is not come back to, so that one after another leads further back.
/// Passed over is what names a version that is not there any more (`there` says).
pub fn step_back(
    moves: &[AliasMove],
    now: Option<&Routing>,
    there: impl Fn(u64) -> bool,
) -> Option<Routing> {
    // Moves before the kept ones are not known, but where they led to is.
    let mut steps: Vec<&Routing> = moves
        .first()
        .and_then(|one| one.from.as_ref())
        .into_iter()
        .collect();
    for one in moves {
        let Some(to) = &one.to else {
            continue;
        };
        if one.back {
            // Back to the last time that it led there.
            let last = steps.iter().rposition(|step| step.is_like(to));
            steps.truncate(last.unwrap_or(0));
        }
        steps.push(to);
    }
    let mut earlier = steps.into_iter().rev();
    let is_now = |step: &Routing| now.is_some_and(|now| now.is_like(step));
    let found = earlier.find(|step| !is_now(step) && step.versions().all(&there));
    found.cloned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn to(version: u64) -> Routing {
        Routing {
            version,
            share: None,
        }
    }

    fn moved(to: Option<Routing>, back: bool) -> AliasMove {
        AliasMove {
            number: 1,
            alias: AliasName::live(),
            at: Timestamp(1),
            by: "root".into(),
            from: None,
            to,
            back,
            digest: None,
            labels: BTreeMap::new(),
        }
    }

    /// Goes back until there is nothing before, and tells the way.
    fn way_back(moves: &mut Vec<AliasMove>) -> Vec<u64> {
        let mut way = Vec::new();
        loop {
            let now = moves.last().unwrap().to.clone();
            let Some(back) = step_back(moves, now.as_ref(), |_| true) else {
                return way;
            };
            way.push(back.version);
            moves.push(moved(Some(back), true));
        }
    }

    #[test]
    fn one_step_after_another_leads_further_back() {
        let forward = |version| moved(Some(to(version)), false);
        let mut moves: Vec<AliasMove> = [1, 2, 3].map(forward).into();
        assert_eq!(way_back(&mut moves), [2, 1]);
        // From here a new version is a step of its own, and what was undone is not on the way.
        moves.push(forward(4));
        assert_eq!(way_back(&mut moves), [1]);
        let shared = Routing {
            share: Some(Share {
                version: 2,
                weight: 0.1,
            }),
            ..to(1)
        };
        let moves = [forward(1), moved(Some(shared.clone()), false), forward(2)];
        let back = |there: &dyn Fn(u64) -> bool| step_back(&moves, Some(&to(2)), there);
        assert_eq!(back(&|_| true), Some(shared), "with its weights");
        assert_eq!(back(&|version| version != 2), Some(to(1)));
        assert_eq!(back(&|_| false), None);
    }

    #[test]
    fn what_the_first_kept_move_led_away_from_can_be_gone_back_to() {
        let first = AliasMove {
            from: Some(to(1)),
            ..moved(Some(to(2)), false)
        };
        let mut moves = vec![first, moved(Some(to(5)), false)];
        assert_eq!(way_back(&mut moves), [2, 1]);
    }

    #[test]
    fn an_alias_that_was_removed_can_be_gone_back_to() {
        let moves = [moved(Some(to(3)), false), moved(None, false)];
        assert_eq!(step_back(&moves, None, |_| true), Some(to(3)));
        assert_eq!(step_back(&[], Some(&to(1)), |_| true), None);
    }

    proptest! {
        #[test]
        fn the_way_back_ends_and_visits_what_was(versions in proptest::collection::vec(1..5u64, 1..20)) {
            let mut moves: Vec<AliasMove> = Vec::new();
            for version in &versions {
                // As it is recorded: only what changes something.
                let now = moves.last().and_then(|one| one.to.clone());
                if now != Some(to(*version)) {
                    moves.push(moved(Some(to(*version)), false));
                }
            }
            let mut expected: Vec<u64> = moves.iter().map(|one| one.to.clone().unwrap().version).collect();
            expected.pop();
            expected.reverse();
            let way = way_back(&mut moves);
            prop_assert!(way.len() <= expected.len());
            let mut rest = expected.iter();
            prop_assert!(way.iter().all(|step| rest.any(|one| one == step)), "{way:?} of {expected:?}");
        }
    }
}
