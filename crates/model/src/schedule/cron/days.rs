//! The days of a cron expression, by the month or by the week.

use super::super::set::Set;
use super::field::{DAY_OF_MONTH, DAY_OF_WEEK, SATURDAY, number};
use jiff::civil::Date;

/// Which days. An expression says them by the month or by the week, never both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Days {
    OfMonth {
        set: Set,
        /// `L`.
        last: bool,
        /// `LW`.
        last_weekday: bool,
        /// `15W`: the weekday nearest to the 15th.
        nearest: Set,
    },
    OfWeek {
        set: Set,
        /// `6L`: the month's last Friday.
        last: Set,
        /// `3#2`: the month's second Tuesday.
        nth: Option<(usize, usize)>,
    },
}

impl Days {
    pub(super) fn of_month(text: &str) -> Result<Self, String> {
        let (mut set, mut nearest) = (Set::default(), Set::default());
        let (mut last, mut last_weekday) = (false, false);
        for item in text.split(',') {
            match item {
                "L" => last = true,
                "LW" => last_weekday = true,
                _ => match item.strip_suffix('W') {
                    Some(day) => nearest.insert(DAY_OF_MONTH.value(day)?),
                    None => DAY_OF_MONTH.add(&mut set, item, 0)?,
                },
            }
        }
        Ok(Self::OfMonth {
            set,
            last,
            last_weekday,
            nearest,
        })
    }

    pub(super) fn of_week(text: &str) -> Result<Self, String> {
        if let Some((day, which)) = text.split_once('#') {
            let which = number(which).filter(|which| (1..=5).contains(which));
            let which = which.ok_or_else(|| {
                format!("day-of-week: \"{text}\" must be one day, # and 1 to 5, and stand alone")
            })?;
            return Ok(Self::OfWeek {
                set: Set::default(),
                last: Set::default(),
                nth: Some((DAY_OF_WEEK.value(day)?, which)),
            });
        }
        let (mut set, mut last) = (Set::default(), Set::default());
        for item in text.split(',') {
            match item.strip_suffix('L') {
                // The last day of the week.
                Some("") => set.insert(SATURDAY),
                Some(day) => last.insert(DAY_OF_WEEK.value(day)?),
                None => DAY_OF_WEEK.add(&mut set, item, 0)?,
            }
        }
        Ok(Self::OfWeek {
            set,
            last,
            nth: None,
        })
    }

    /// The days of one month. A month that does not have the day has none.
    pub(super) fn in_month(&self, first: Date) -> Set {
        let length = usize::from(first.days_in_month().unsigned_abs());
        let offset = usize::from(first.weekday().to_sunday_zero_offset().unsigned_abs());
        let day_of_week = |day: usize| (offset + day - 1) % 7 + 1;
        let is_weekday = |day: usize| !matches!(day_of_week(day), 1 | SATURDAY);
        let mut days = Set::default();
        match self {
            Self::OfMonth {
                set,
                last,
                last_weekday,
                nearest,
            } => {
                for day in 1..=length {
                    if set.contains(day) {
                        days.insert(day);
                    }
                    if nearest.contains(day) {
                        days.insert(nearest_weekday(day, length, day_of_week(day)));
                    }
                }
                if *last {
                    days.insert(length);
                }
                if *last_weekday {
                    (1..=length)
                        .rfind(|day| is_weekday(*day))
                        .into_iter()
                        .for_each(|day| days.insert(day));
                }
            }
            Self::OfWeek { set, last, nth } => {
                for day in 1..=length {
                    let weekday = day_of_week(day);
                    let is_last = day + 7 > length && last.contains(weekday);
                    let is_nth = *nth == Some((weekday, (day - 1) / 7 + 1));
                    if set.contains(weekday) || is_last || is_nth {
                        days.insert(day);
                    }
                }
            }
        }
        days
    }
}

/// The weekday nearest to a day, never in another month.
fn nearest_weekday(day: usize, length: usize, day_of_week: usize) -> usize {
    match day_of_week {
        SATURDAY if day == 1 => 3,
        SATURDAY => day - 1,
        1 if day == length => day - 2,
        1 => day + 1,
        _ => day,
    }
}
