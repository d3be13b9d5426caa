//! What may stand in a field of a cron expression: values, lists, ranges, steps.

use super::super::set::Set;

/// What may stand in a field.
pub(super) struct Field {
    name: &'static str,
    least: usize,
    most: usize,
    /// Names of the values, from `least` on.
    names: &'static [&'static str],
    /// Whether a range may go past the end and begin again: `22-2`, `FRI-MON`.
    cyclic: bool,
    /// Whether `/` is taken.
    steps: bool,
}

/// The fields in their order.
pub(super) const MINUTES: Field = field("minutes", 0, 59, &[], true);
pub(super) const HOURS: Field = field("hours", 0, 23, &[], true);
pub(super) const DAY_OF_MONTH: Field = field("day-of-month", 1, 31, &[], false);
const MONTH_NAMES: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
pub(super) const MONTHS: Field = field("month", 1, 12, &MONTH_NAMES, true);
const DAY_NAMES: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
pub(super) const DAY_OF_WEEK: Field = Field {
    steps: false,
    ..field("day-of-week", 1, 7, &DAY_NAMES, true)
};
/// Years are kept from 1970 on.
pub(super) const EPOCH: usize = 1970;
pub(super) const YEARS: Field = field("year", EPOCH, 2199, &[], false);
/// As AWS counts the days of the week, Sunday being 1.
pub(super) const SATURDAY: usize = 7;

const fn field(
    name: &'static str,
    least: usize,
    most: usize,
    names: &'static [&'static str],
    cyclic: bool,
) -> Field {
    Field {
        name,
        least,
        most,
        names,
        cyclic,
        steps: true,
    }
}

impl Field {
    /// Every item of a list of values, ranges and steps. Members are counted from `offset`.
    pub(super) fn set(&self, text: &str, offset: usize) -> Result<Set, String> {
        let mut set = Set::default();
        for item in text.split(',') {
            self.add(&mut set, item, offset)?;
        }
        Ok(set)
    }

    pub(super) fn add(&self, set: &mut Set, item: &str, offset: usize) -> Result<(), String> {
        let (range, step) = match item.split_once('/') {
            None => (item, None),
            Some(_) if !self.steps => return Err(format!("{} takes no \"/\"", self.name)),
            Some((range, step)) => (range, Some(self.step(step)?)),
        };
        let (from, mut to) = match range.split_once('-') {
            _ if range == "*" => (self.least, self.most),
            Some((from, to)) => (self.value(from)?, self.value(to)?),
            None => {
                let value = self.value(range)?;
                (value, if step.is_some() { self.most } else { value })
            }
        };
        let span = self.most - self.least + 1;
        if from > to {
            if !self.cyclic {
                return Err(format!("{}: \"{item}\" ends before it begins", self.name));
            }
            to += span;
        }
        for value in (from..=to).step_by(step.unwrap_or(1)) {
            set.insert((value - self.least) % span + self.least - offset);
        }
        Ok(())
    }

    fn step(&self, text: &str) -> Result<usize, String> {
        let step = number(text).filter(|step| (1..=9999).contains(step));
        step.ok_or_else(|| format!("{}: the step \"{text}\" is no positive number", self.name))
    }

    pub(super) fn value(&self, text: &str) -> Result<usize, String> {
        let named = || {
            let names = self.names.iter();
            let mut names = names.zip(self.least..);
            let found = names.find(|(name, _)| name.eq_ignore_ascii_case(text));
            found.map(|(_, value)| value)
        };
        let value = number(text).or_else(named);
        let within = value.filter(|value| (self.least..=self.most).contains(value));
        within.ok_or_else(|| {
            let Self {
                name, least, most, ..
            } = self;
            format!("{name}: \"{text}\" is not within {least} to {most}")
        })
    }
}

/// Digits alone, few enough for any field.
pub(super) fn number(text: &str) -> Option<usize> {
    let digits = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
