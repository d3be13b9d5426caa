//! Schedule expressions: `rate(…)`, `cron(…)` and `at(…)`.

use super::cron::Cron;
use crate::Invalid;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest expression, in bytes (AWS's bound).
const MAX_LENGTH: usize = 256;
const MINUTE: i64 = 60_000;
/// Longest period of a rate: 100 years of 365 days.
const MAX_PERIOD: i64 = 100 * 365 * 24 * 60 * MINUTE;

/// When something is due, as AWS EventBridge Scheduler writes it
/// (<https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html>):
///
/// - `rate(5 minutes)`: minute, hour or day, singular or plural; a day is 24 hours.
/// - `cron(0/10 8-17 ? * MON-FRI *)`: minutes, hours, day-of-month, month, day-of-week, year, with
///   `, - * / ?`, and `L`, `W` and `#` for days.
/// - `at(2026-11-22T10:00:00)`: once.
///
/// The text is kept as it was written, 256 bytes at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Expression {
    text: String,
    rule: Rule,
}

/// What an expression means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rule {
    /// Milliseconds between ticks.
    Rate(i64),
    /// Minutes of the calendar.
    Cron(Box<Cron>),
    /// One second of the calendar.
    At(DateTime),
}

impl Expression {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it means one point in time.
    pub fn is_once(&self) -> bool {
        matches!(self.rule, Rule::At(_))
    }

    /// Whether it counts from where the schedule begins.
    pub fn is_rate(&self) -> bool {
        matches!(self.rule, Rule::Rate(_))
    }

    pub(super) fn rule(&self) -> &Rule {
        &self.rule
    }
}

impl FromStr for Expression {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let refuse = |reason: &str| {
            let shown: String = text.chars().take(MAX_LENGTH).collect();
            Invalid::new(
                "schedule expression",
                format!("\"{}\": {reason}", shown.escape_debug()),
            )
        };
        if text.len() > MAX_LENGTH {
            return Err(refuse("is longer than 256 bytes"));
        }
        let inside = |name: &str| {
            let rest = text.strip_prefix(name)?.strip_prefix('(')?;
            rest.strip_suffix(')')
        };
        let rule = if let Some(fields) = inside("cron") {
            Cron::parse(fields).map(|cron| Rule::Cron(Box::new(cron)))
        } else if let Some(rate) = inside("rate") {
            period(rate).map(Rule::Rate)
        } else if let Some(time) = inside("at") {
            point(time).map(Rule::At)
        } else {
            Err("must be rate(5 minutes), cron(0 12 * * ? *) or at(2026-11-22T10:00:00)".to_owned())
        };
        Ok(Self {
            rule: rule.map_err(|reason| refuse(&reason))?,
            text: text.to_owned(),
        })
    }
}

fn period(text: &str) -> Result<i64, String> {
    let parts: Vec<&str> = text.split_ascii_whitespace().collect();
    let [count, unit] = parts[..] else {
        return Err("a rate is a number and a unit, such as rate(5 minutes)".to_owned());
    };
    let unit = match unit {
        "minute" | "minutes" => MINUTE,
        "hour" | "hours" => 60 * MINUTE,
        "day" | "days" => 24 * 60 * MINUTE,
        _ => return Err("the unit must be minutes, hours or days".to_owned()),
    };
    let digits = count.len() <= 9 && count.bytes().all(|b| b.is_ascii_digit());
    let count = digits.then(|| count.parse::<i64>().ok()).flatten();
    let period = count.filter(|count| *count > 0).map(|count| count * unit);
    period
        .filter(|period| *period <= MAX_PERIOD)
        .ok_or_else(|| "a rate is at least 1 and at most 100 years".to_owned())
}

fn point(text: &str) -> Result<DateTime, String> {
    let time = text.parse::<DateTime>().ok();
    // What is read must be what was written: no other separators, no 60th second, and no fraction.
    let time = time.filter(|time| text.len() == 19 && time.to_string() == text);
    let time = time.filter(|time| (1970..=2199).contains(&time.year()));
    time.ok_or_else(|| "at takes yyyy-mm-ddThh:mm:ss, 1970 to 2199".to_owned())
}

impl TryFrom<String> for Expression {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Expression> for String {
    fn from(expression: Expression) -> String {
        expression.text
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_three_forms_are_read_and_kept_as_written() {
        for text in [
            "rate(1 minute)",
            "rate(5 minutes)",
            "rate(12 hours)",
            "rate(  7   days )",
            "cron(0 12 * * ? *)",
            "cron( 0/10  8-17 ?  * MON-FRI  2026,2028 )",
            "at(2026-11-22T10:00:00)",
        ] {
            let expression: Expression = text.parse().unwrap();
            assert_eq!(expression.as_str(), text);
            let json = serde_json::to_string(&expression).unwrap();
            assert_eq!(
                serde_json::from_str::<Expression>(&json).unwrap(),
                expression
            );
        }
    }

    #[test]
    fn nothing_else_is() {
        for text in [
            "",
            "5 minutes",
            "rate()",
            "rate(0 minutes)",
            "rate(-1 minutes)",
            "rate(1.5 hours)",
            "rate(5 seconds)",
            "rate(5minutes)",
            "rate(999999999 days)",
            "rate(5 minutes",
            " rate(5 minutes)",
            "RATE(5 minutes)",
            "at(2026-11-22)",
            "at(2026-11-22 10:00:00)",
            "at(2026-11-22T10:00)",
            "at(2026-11-22T10:00:60)",
            "at(2026-11-22T10:00:00Z)",
            "at(2026-11-22T10:00:00.5)",
            "at(2026-02-29T10:00:00)",
            "cron(* * * * *)",
        ] {
            assert!(text.parse::<Expression>().is_err(), "{text:?}");
        }
        let long = format!("cron({} * * * ? *)", ["1"; 200].join(","));
        let error = long.parse::<Expression>().unwrap_err();
        assert!(error.to_string().contains("256"), "{error}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(rate|cron|at)\\([0-9A-Z*?,/#LW -]{0,40}\\)|\\PC{0,40}") {
            if let Ok(expression) = text.parse::<Expression>() {
                prop_assert_eq!(expression.as_str(), text);
            }
        }
    }
}
