//! Choosing events of the past, and replaying those that were chosen.

use crate::{EventId, EventState, Invalid, Qualifier, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Most characters of a target or a source that events are chosen by.
const MAX_TEXT: usize = 1_024;

/// Which events of the past are meant. What is not said is not looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventQuery {
    /// Of this target key ([`crate::Target::key`]), or of all paths of a bare `service:NAME`.
    pub target: Option<String>,
    /// From exactly this source.
    pub source: Option<String>,
    /// In one of these states; empty for all.
    pub states: Vec<EventState>,
    /// Accepted at this time or later.
    pub since: Option<Timestamp>,
    /// Accepted before this time.
    pub until: Option<Timestamp>,
}

impl EventQuery {
    /// Whether it can be meant.
    ///
    /// # Errors
    /// `Invalid` when a text is too long or the times contradict each other.
    pub fn check(&self) -> Result<(), Invalid> {
        for (what, text) in [("target", &self.target), ("source", &self.source)] {
            if text.as_ref().is_some_and(|text| text.len() > MAX_TEXT) {
                return Err(Invalid::new(what, "has 1 024 bytes at most"));
            }
        }
        match (self.since, self.until) {
            (Some(since), Some(until)) if until <= since => {
                Err(Invalid::new("until", "must be later than since"))
            }
            _ => Ok(()),
        }
    }

    /// Whether an event that was accepted then, there and is now in this state is meant. Its target is
    /// not looked at.
    pub fn fits(&self, accepted: Timestamp, source: &str, state: EventState) -> bool {
        self.since.is_none_or(|since| accepted >= since)
            && self.until.is_none_or(|until| accepted < until)
            && self.source.as_ref().is_none_or(|wanted| wanted == source)
            && (self.states.is_empty() || self.states.contains(&state))
    }
}

/// A replay's identity, which its caller may choose: a UUID. What was begun under it is not begun again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplayId(pub uuid::Uuid);

impl ReplayId {
    /// A new one.
    pub fn generate() -> Self {
        Self(uuid::Uuid::now_v7())
    }
}

impl fmt::Display for ReplayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ReplayId {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parsed = text.parse();
        Ok(Self(parsed.map_err(|_| {
            Invalid::new("replay id", "must be a UUID")
        })?))
    }
}

/// Where a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayState {
    /// Events are being accepted again; it goes on after a restart.
    Running,
    /// All were.
    Done,
    /// It was stopped by its owner; what was accepted until then stays.
    Cancelled,
}

impl ReplayState {
    /// As it is kept and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

impl FromStr for ReplayState {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::Running, Self::Done, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| Invalid::new("state", "must be running, done or cancelled"))
    }
}

/// What a replay is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayOrder {
    /// Which events.
    pub query: EventQuery,
    /// At most so many, the oldest first; all without it.
    pub limit: Option<u64>,
    /// Which version of the function they are for now, which must be what the query's target is; without
    /// it, each goes where the old one went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Qualifier>,
}

/// A replay of all events that a query means, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// Names it.
    pub id: ReplayId,
    /// What it does.
    #[serde(flatten)]
    pub order: ReplayOrder,
    /// Events from this one on are not meant: it is as old as the replay.
    pub before: EventId,
    /// Events up to this one were looked at.
    pub after: Option<EventId>,
    /// Where it is.
    pub state: ReplayState,
    /// When it began.
    pub started: Timestamp,
    /// When it was done.
    pub ended: Option<Timestamp>,
    /// Events that were accepted again.
    pub replayed: u64,
    /// Events that were left out, since what they wake is not there any more.
    pub skipped: u64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_query_means_what_it_says() {
        let query = EventQuery {
            source: Some("s3:a".into()),
            states: vec![EventState::Dead],
            since: Some(Timestamp(5)),
            until: Some(Timestamp(9)),
            ..EventQuery::default()
        };
        assert!(query.fits(Timestamp(5), "s3:a", EventState::Dead));
        assert!(!query.fits(Timestamp(4), "s3:a", EventState::Dead));
        assert!(!query.fits(Timestamp(9), "s3:a", EventState::Dead));
        assert!(!query.fits(Timestamp(5), "s3:b", EventState::Dead));
        assert!(!query.fits(Timestamp(5), "s3:a", EventState::Succeeded));
        assert!(EventQuery::default().fits(Timestamp(0), "", EventState::Leased));
    }

    #[test]
    fn times_must_not_contradict_and_texts_are_bounded() {
        let query = |since, until| EventQuery {
            since: Some(Timestamp(since)),
            until: Some(Timestamp(until)),
            ..EventQuery::default()
        };
        assert!(query(1, 2).check().is_ok());
        assert!(query(2, 2).check().is_err());
        let long = EventQuery {
            source: Some("x".repeat(1_025)),
            ..EventQuery::default()
        };
        assert!(long.check().is_err());
    }

    #[test]
    fn a_state_is_written_as_it_is_read() {
        for state in [
            ReplayState::Running,
            ReplayState::Done,
            ReplayState::Cancelled,
        ] {
            assert_eq!(state.as_str().parse::<ReplayState>(), Ok(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }
}
