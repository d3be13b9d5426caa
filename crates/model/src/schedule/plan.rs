//! A schedule as it is kept, and what is due of it.

use super::{AfterCompletion, CatchUp, ScheduleSpec};
use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Most ticks that `catch_up: all` makes up for at a time: the latest ones.
pub const MAX_CATCH_UP: usize = 100;

/// A tick that is later than this was missed: the server was down, asleep, or its clock was set.
const LATE: Duration = Duration::from_secs(5);

/// A tick, and when its event comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// The time that the timetable says.
    pub tick: Timestamp,
    /// The same, or a moment within the window that begins there.
    pub at: Timestamp,
}

/// A schedule as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// What was declared.
    pub spec: ScheduleSpec,
    /// When it was first made.
    pub created: Timestamp,
    /// When it was last changed.
    pub modified: Timestamp,
    /// Where a rate counts from: when it was made, or its timetable changed.
    pub origin: Timestamp,
    /// The last tick that was decided: every one up to here is done with.
    pub cursor: Timestamp,
    /// The next one; none while disabled and after the last.
    pub next: Option<Due>,
}

/// What is to be done about a schedule now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// Ticks whose events are made, oldest first.
    pub fire: Vec<Timestamp>,
    /// Whether ticks were missed that make none.
    pub dropped: bool,
    /// The schedule afterwards; `None` if it is deleted.
    pub schedule: Option<Schedule>,
}

impl Schedule {
    /// A new one.
    pub fn new(spec: ScheduleSpec, now: Timestamp) -> Self {
        let mut schedule = Self {
            spec,
            created: now,
            modified: now,
            origin: now,
            // A rate's first tick is now.
            cursor: Timestamp(now.0 - 1),
            next: None,
        };
        schedule.next = schedule.due();
        schedule
    }

    /// The same with another declaration. Ticks that came while it was disabled did not happen; a tick
    /// is neither lost nor doubled by a change of anything but its time.
    pub fn changed(&self, spec: ScheduleSpec, now: Timestamp) -> Self {
        let retimed = spec.timetable != self.spec.timetable;
        let goes_on = !retimed && self.spec.enabled && spec.enabled;
        let mut schedule = Self {
            created: self.created,
            modified: now,
            origin: if retimed { now } else { self.origin },
            cursor: if goes_on {
                self.cursor
            } else {
                self.cursor.max(Timestamp(now.0 - 1))
            },
            next: None,
            spec,
        };
        schedule.next = schedule.due();
        schedule
    }

    /// What is due at `now`. Asked twice, the second time nothing is.
    pub fn advance(&self, now: Timestamp) -> Advance {
        let mut schedule = self.clone();
        let (mut fire, mut dropped) = (Vec::new(), false);
        if self.next.is_none_or(|due| due.at > now) {
            return Advance {
                fire,
                dropped,
                schedule: Some(schedule),
            };
        }
        // There is none if the rules of its zone changed meanwhile; then only the next one is found.
        if let Some(newest) = self.newest(now) {
            let mut tick = Some(newest);
            while let Some(at) = tick.filter(|tick| self.is_wanted(*tick, &fire, now)) {
                fire.push(at);
                tick = self.last(Timestamp(at.0 - 1));
            }
            fire.reverse();
            dropped = tick.is_some();
            schedule.cursor = newest;
        }
        schedule.next = schedule.due();
        let deleted =
            schedule.next.is_none() && self.spec.after_completion == AfterCompletion::Delete;
        Advance {
            fire,
            dropped,
            schedule: (!deleted).then_some(schedule),
        }
    }

    /// Whether a tick makes an event, after those that are newer.
    fn is_wanted(&self, tick: Timestamp, newer: &[Timestamp], now: Timestamp) -> bool {
        let late = || now > self.moment(tick).after(LATE);
        match self.spec.catch_up {
            CatchUp::Skip => newer.len() < MAX_CATCH_UP && !late(),
            CatchUp::Once => newer.is_empty(),
            CatchUp::All => newer.len() < MAX_CATCH_UP,
        }
    }

    /// The newest tick whose moment has come.
    fn newest(&self, now: Timestamp) -> Option<Timestamp> {
        let newest = self.last(now)?;
        if self.moment(newest) <= now {
            return Some(newest);
        }
        // Moments are in the order of their ticks, so that of the one before has come.
        self.last(Timestamp(newest.0 - 1))
    }

    /// The last tick up to a time that is not decided yet.
    fn last(&self, until: Timestamp) -> Option<Timestamp> {
        self.spec.timetable.last(self.origin, self.cursor, until)
    }

    fn due(&self) -> Option<Due> {
        if !self.spec.enabled {
            return None;
        }
        let tick = self.spec.timetable.next(self.origin, self.cursor)?;
        let at = self.moment(tick);
        Some(Due { tick, at })
    }

    /// When the event of a tick comes: somewhere within the window, and before the next tick. It is
    /// the same whenever it is asked for.
    fn moment(&self, tick: Timestamp) -> Timestamp {
        let Some(window) = self.spec.window else {
            return tick;
        };
        let window = u64::from(window) * 60_000;
        let next = self.spec.timetable.next(self.origin, tick);
        let room = next.map_or(window, |next| next.since(tick).min(window));
        let drawn = draw(&self.spec.key.to_string(), tick) % room.max(1);
        tick.after(Duration::from_millis(drawn))
    }
}

/// A number for a tick of a schedule that looks drawn at random: FNV-1a over the name, mixed with the
/// tick by the finalizer of SplitMix64.
fn draw(name: &str, tick: Timestamp) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes().chain(tick.0.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
pub(super) mod tests;
