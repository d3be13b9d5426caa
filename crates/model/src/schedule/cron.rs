//! The six fields of AWS's `cron(…)`: which minutes of the calendar they mean, without a time zone
//! (<https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html#cron-based>).

mod days;
mod field;

use super::set::Set;
use days::Days;
use field::{EPOCH, HOURS, MINUTES, MONTHS, YEARS};
use jiff::civil::{Date, DateTime, Time};

/// The calendar minutes that an expression means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cron {
    minutes: Set,
    hours: Set,
    days: Days,
    months: Set,
    years: Set,
}

impl Cron {
    /// Reads what stands between the brackets.
    ///
    /// # Errors
    /// What is wrong, with the field's name.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, of_month, months, of_week, years] = fields[..] else {
            return Err(format!(
                "cron has six fields (minutes hours day-of-month month day-of-week year), and this has {}",
                fields.len()
            ));
        };
        let days = match (of_month, of_week) {
            ("?", "?") => Err("one of day-of-month and day-of-week must say something".to_owned()),
            ("?", days) => Days::of_week(days),
            (days, "?") => Days::of_month(days),
            _ => Err("one of day-of-month and day-of-week must be \"?\"".to_owned()),
        };
        Ok(Self {
            minutes: MINUTES.set(minutes, 0)?,
            hours: HOURS.set(hours, 0)?,
            days: days?,
            months: MONTHS.set(months, 0)?,
            years: YEARS.set(years, EPOCH)?,
        })
    }

    /// The first minute of the calendar that is meant and not before `from`.
    pub(super) fn next(&self, from: DateTime) -> Option<DateTime> {
        let today = from.date();
        if self.means(today)
            && let Some(time) = self.next_time(from.hour(), from.minute())
        {
            return Some(today.to_datetime(time));
        }
        let date = self.next_date(today.tomorrow().ok()?)?;
        Some(date.to_datetime(self.next_time(0, 0)?))
    }

    fn means(&self, date: Date) -> bool {
        self.next_date(date) == Some(date)
    }

    fn next_time(&self, hour: i8, minute: i8) -> Option<Time> {
        let (hour, minute) = (
            usize::from(hour.unsigned_abs()),
            usize::from(minute.unsigned_abs()),
        );
        let this_hour = || {
            let minute = self.minutes.least(minute)?;
            self.hours.contains(hour).then_some((hour, minute))
        };
        let later = || Some((self.hours.least(hour + 1)?, self.minutes.least(0)?));
        let (hour, minute) = this_hour().or_else(later)?;
        Time::new(small(hour)?, small(minute)?, 0, 0).ok()
    }

    fn next_date(&self, from: Date) -> Option<Date> {
        let count = |value: i8| usize::from(value.unsigned_abs());
        // Before 1970 nothing is meant, and what counts years begins there.
        let (mut year, mut month, mut day) = match usize::try_from(from.year()) {
            Ok(year) if year >= EPOCH => (year - EPOCH, count(from.month()), count(from.day())),
            _ => (0, 1, 1),
        };
        loop {
            let this = self.years.least(year)?;
            if this > year {
                (year, month, day) = (this, 1, 1);
            }
            match self.months.least(month) {
                None => (year, month, day) = (year + 1, 1, 1),
                Some(this) => {
                    if this > month {
                        day = 1;
                    }
                    let year = i16::try_from(year + EPOCH).ok()?;
                    let first = Date::new(year, small(this)?, 1).ok()?;
                    if let Some(day) = self.days.in_month(first).least(day) {
                        return Date::new(year, small(this)?, small(day)?).ok();
                    }
                    (month, day) = (this + 1, 1);
                }
            }
        }
    }
}

fn small(value: usize) -> Option<i8> {
    i8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The first `count` minutes from a point on.
    fn minutes(fields: &str, from: &str, count: usize) -> Vec<String> {
        let cron = Cron::parse(fields).unwrap_or_else(|error| panic!("{fields}: {error}"));
        let mut from: DateTime = from.parse().unwrap();
        let mut found = Vec::new();
        while found.len() < count
            && let Some(next) = cron.next(from)
        {
            found.push(next.to_string()[..16].to_owned());
            from = next.checked_add(jiff::Span::new().minutes(1)).unwrap();
        }
        found
    }

    #[test]
    fn the_examples_of_aws() {
        let cases: [(&str, &[&str]); 9] = [
            ("0 10 * * ? *", &["2026-11-22T10:00", "2026-11-23T10:00"]),
            ("15 12 * * ? *", &["2026-11-22T12:15", "2026-11-23T12:15"]),
            (
                "0 18 ? * MON-FRI *",
                &["2026-11-23T18:00", "2026-11-24T18:00"],
            ),
            ("0 8 1 * ? *", &["2026-12-01T08:00", "2027-01-01T08:00"]),
            (
                "0/10 * ? * MON-FRI *",
                &["2026-11-23T00:00", "2026-11-23T00:10"],
            ),
            (
                "0/5 8-17 ? * MON-FRI *",
                &["2026-11-23T08:00", "2026-11-23T08:05"],
            ),
            (
                "0/30 20-2 ? * MON-FRI *",
                &["2026-11-23T00:00", "2026-11-23T00:30"],
            ),
            (
                "15 10 ? * 6L 2026-2027",
                &["2026-11-27T10:15", "2026-12-25T10:15"],
            ),
            ("15 10 ? * 3#2 *", &["2026-12-08T10:15", "2027-01-12T10:15"]),
        ];
        for (fields, expected) in cases {
            assert_eq!(
                minutes(fields, "2026-11-22T00:00:00", 2),
                expected,
                "{fields}"
            );
        }
    }

    #[test]
    fn days_by_the_month() {
        let cases: [(&str, &[&str]); 6] = [
            (
                "0 0 L * ? 2028",
                &["2028-01-31", "2028-02-29", "2028-03-31"],
            ),
            (
                "0 0 LW * ? 2026",
                &["2026-01-30", "2026-02-27", "2026-03-31"],
            ),
            // The 1st is a Sunday in February and March 2026, the 31st a Saturday in January.
            (
                "0 0 1W 2-4 ? 2026",
                &["2026-02-02", "2026-03-02", "2026-04-01"],
            ),
            (
                "0 0 31W * ? 2026",
                &["2026-01-30", "2026-03-31", "2026-05-29"],
            ),
            (
                "0 0 1,15/10,L FEB ? 2026",
                &["2026-02-01", "2026-02-15", "2026-02-25"],
            ),
            ("0 0 29 2 ? *", &["2028-02-29", "2032-02-29", "2036-02-29"]),
        ];
        for (fields, expected) in cases {
            let days = minutes(fields, "2026-01-01T00:00:00", 3);
            let days: Vec<_> = days.iter().map(|minute| &minute[..10]).collect();
            assert_eq!(days, expected, "{fields}");
        }
    }

    #[test]
    fn days_by_the_week() {
        let cases: [(&str, &[&str]); 6] = [
            ("0 0 ? * 1 *", &["2026-11-22", "2026-11-29"]),
            ("0 0 ? * L *", &["2026-11-28", "2026-12-05"]),
            ("0 0 ? * FRIL *", &["2026-11-27", "2026-12-25"]),
            ("0 0 ? * fri-mon *", &["2026-11-22", "2026-11-23"]),
            ("0 0 ? * SUN#5 *", &["2026-11-29", "2027-01-31"]),
            ("0 0 ? * 2,4-5 *", &["2026-11-23", "2026-11-25"]),
        ];
        for (fields, expected) in cases {
            let days = minutes(fields, "2026-11-22T00:00:00", 2);
            let days: Vec<_> = days.iter().map(|minute| &minute[..10]).collect();
            assert_eq!(days, expected, "{fields}");
        }
    }

    #[test]
    fn what_never_comes_ends() {
        assert!(minutes("0 0 31 2 ? *", "2026-01-01T00:00:00", 1).is_empty());
        assert!(minutes("0 0 * * ? 2025", "2026-01-01T00:00:00", 1).is_empty());
        assert_eq!(
            minutes("* * L 12 ? *", "2199-12-31T23:59:00", 9),
            ["2199-12-31T23:59"]
        );
        assert_eq!(
            minutes("0 0 1 1 ? *", "-000001-01-01T00:00:00", 1),
            ["1970-01-01T00:00"]
        );
    }

    #[test]
    fn what_aws_does_not_take_is_refused_by_its_field() {
        for (fields, said) in [
            ("* * * * *", "six fields"),
            ("* * * * * *", "must be \"?\""),
            ("* * ? * ? *", "must say something"),
            ("60 * * * ? *", "minutes"),
            ("* 24 * * ? *", "hours"),
            ("* * 0 * ? *", "day-of-month"),
            ("* * 32W * ? *", "day-of-month"),
            ("* * 9-3 * ? *", "ends before"),
            ("* * * 13 ? *", "month"),
            ("* * * ABC ? *", "month"),
            ("* * ? * 0 *", "day-of-week"),
            ("* * ? * 2/2 *", "takes no"),
            ("* * ? * 3#1,6#3 *", "stand alone"),
            ("* * ? * 3#6 *", "stand alone"),
            ("* * * * ? 1969", "year"),
            ("* * * * ? 2200", "year"),
            ("*/0 * * * ? *", "step"),
            ("1,,2 * * * ? *", "minutes"),
            ("? * * * ? *", "minutes"),
            ("+1 * * * ? *", "minutes"),
            ("/5 * * * ? *", "minutes"),
        ] {
            let error = Cron::parse(fields).unwrap_err();
            assert!(error.contains(said), "{fields}: {error}");
        }
    }
}
