//! Expressions on the line of time: zones, daylight saving, begin and end.

use super::expression::{Expression, Rule};
use crate::{Invalid, Timestamp};
use jiff::Unit;
use jiff::civil::{DateTime, DateTimeRound};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

/// The year 2200 begins.
const LATEST: i64 = 7_258_118_400_000;

/// A time zone of the IANA database, by its name, such as `Europe/Berlin`. UTC by default.
///
/// The database is the one that was built in, so that the same schedule means the same on every
/// machine, and no file is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

impl Zone {
    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// What the clocks show.
    fn local(&self, time: Timestamp) -> Option<DateTime> {
        let time = jiff::Timestamp::from_millisecond(time.0).ok()?;
        Some(self.zone.to_datetime(time))
    }

    /// When the clocks show this: never if they are set forward over it, the first time if they are
    /// set back and show it twice.
    fn instant(&self, local: DateTime) -> Option<Timestamp> {
        let offset = match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Fold { before, .. } => before,
            AmbiguousOffset::Gap { .. } => return None,
        };
        let time = offset.to_timestamp(local).ok()?;
        Some(Timestamp(time.as_millisecond()))
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self {
            name: "UTC".to_owned(),
            zone: TimeZone::UTC,
        }
    }
}

impl FromStr for Zone {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
        let shown: String = text.chars().take(50).collect();
        let unknown = || {
            let reason = format!(
                "\"{}\" is not a time zone of the IANA database, such as Europe/Berlin",
                shown.escape_debug()
            );
            Invalid::new("time zone", reason)
        };
        if text.len() > 50 {
            return Err(unknown());
        }
        let zone = DATABASE.get(text).map_err(|_| unknown())?;
        let name = zone.iana_name().unwrap_or(text).to_owned();
        Ok(Self { name, zone })
    }
}

impl TryFrom<String> for Zone {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> String {
        zone.name
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// When a schedule is due: its ticks, all of them, for ever.
///
/// Daylight saving is AWS's
/// (<https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#daylist-savings-time>):
/// what cron says and the clocks skip does not happen; what they show twice happens the first time.
/// A rate takes no notice: a day is 24 hours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timetable {
    /// What it says.
    pub expression: Expression,
    /// Whose clocks `cron` and `at` mean.
    #[serde(default)]
    pub zone: Zone,
    /// No tick before this; a rate's first tick. A schedule that is due once ignores it, as in AWS.
    #[serde(default)]
    pub start: Option<Timestamp>,
    /// No tick after this. A schedule that is due once ignores it.
    #[serde(default)]
    pub end: Option<Timestamp>,
}

impl Timetable {
    /// With neither begin nor end.
    pub fn new(expression: Expression, zone: Zone) -> Self {
        Self {
            expression,
            zone,
            start: None,
            end: None,
        }
    }

    /// Whether it can mean anything.
    ///
    /// # Errors
    /// A start or end outside of 1970 to 2199; an end that is not after the start; a single point that
    /// the clocks skip.
    pub fn check(&self) -> Result<(), Invalid> {
        for (field, point) in [("start", self.start), ("end", self.end)] {
            if point.is_some_and(|point| !(0..LATEST).contains(&point.0)) {
                return Err(Invalid::new(field, "must be within the years 1970 to 2199"));
            }
        }
        if let (Some(start), Some(end)) = (self.start, self.end)
            && end <= start
        {
            return Err(Invalid::new("end", "must be after the start"));
        }
        if let Rule::At(time) = self.expression.rule()
            && self.zone.instant(*time).is_none()
        {
            let reason = format!(
                "{} does not exist in {}: clocks are set forward over it",
                self.expression, self.zone
            );
            return Err(Invalid::new("schedule expression", reason));
        }
        Ok(())
    }

    /// The first tick after `after`. A rate without a start counts from `origin`, which is its first
    /// tick.
    pub fn next(&self, origin: Timestamp, after: Timestamp) -> Option<Timestamp> {
        let begin = self.start.map_or(after, |start| {
            after.max(Timestamp(start.0.saturating_sub(1)))
        });
        let next = match self.expression.rule() {
            Rule::At(time) => {
                return self.zone.instant(*time).filter(|time| *time > after);
            }
            Rule::Rate(period) => {
                let first = self.start.unwrap_or(origin);
                let passed = begin.0.checked_sub(first.0)?;
                let count = if passed < 0 { 0 } else { passed / period + 1 };
                let offset = count.checked_mul(*period)?;
                first.0.checked_add(offset).map(Timestamp)
            }
            Rule::Cron(cron) => {
                let minute = DateTimeRound::new()
                    .smallest(Unit::Minute)
                    .mode(jiff::RoundMode::Trunc);
                let mut from = self.zone.local(begin)?.round(minute).ok()?;
                loop {
                    let found = cron.next(from)?;
                    // Skipped by the clocks, or shown for the second time: the one after it.
                    if let Some(time) = self.zone.instant(found)
                        && time > begin
                    {
                        break Some(time);
                    }
                    from = found.checked_add(jiff::Span::new().minutes(1)).ok()?;
                }
            }
        };
        next.filter(|next| self.end.is_none_or(|end| *next <= end))
    }

    /// The last tick that is after `after` and not after `until`.
    pub fn last(&self, origin: Timestamp, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let tick = |after: i64| {
            let next = self.next(origin, Timestamp(after));
            next.filter(|tick| *tick <= until)
        };
        // The last tick is within low and high, and low is one.
        let mut low = tick(after.0)?.0;
        let mut high = until.0;
        while low < high {
            let middle = high - (high - low) / 2;
            match tick(middle - 1) {
                Some(later) => low = later.0,
                None => high = middle - 1,
            }
        }
        Some(Timestamp(low))
    }
}

#[cfg(test)]
mod tests;
