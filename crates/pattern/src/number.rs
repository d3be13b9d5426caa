//! Numbers as patterns compare them: from -5e9 to 5e9, by six digits after the point or fifteen in all.

use crate::Invalid;
use serde_json::Number;

/// Numbers farther from zero are not compared; an exact one is then matched as it is written.
const BOUND: f64 = 5e9;

/// A number in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fixed(i64);

impl Fixed {
    /// `None` if it is out of the bounds.
    pub(crate) fn of(number: &Number) -> Option<Self> {
        let value = number.as_f64()?;
        // At most 5e15, which both types hold exactly.
        (value.abs() <= BOUND).then(|| Self((value * 1e6).round() as i64))
    }

    /// The same, as an error in AWS's words.
    pub(crate) fn required(number: &Number) -> Result<Self, Invalid> {
        let refused = || Invalid::new("Value must be between -5.0E9 and 5.0E9, inclusive");
        Self::of(number).ok_or_else(refused)
    }
}

/// Where a range begins or ends, and whether that number itself is outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) at: Fixed,
    pub(crate) open: bool,
}

/// A range of numbers, unbounded where an edge is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) bottom: Option<Edge>,
    pub(crate) top: Option<Edge>,
}

impl Range {
    pub(crate) fn contains(&self, number: &Number) -> bool {
        let Some(value) = Fixed::of(number) else {
            return false;
        };
        let above = |edge: Edge| value > edge.at || (!edge.open && value == edge.at);
        let below = |edge: Edge| value < edge.at || (!edge.open && value == edge.at);
        self.bottom.is_none_or(above) && self.top.is_none_or(below)
    }
}

/// Whether two numbers are the same to a pattern.
pub(crate) fn equal(one: &Number, other: &Number) -> bool {
    match (Fixed::of(one), Fixed::of(other)) {
        (Some(one), Some(other)) => one == other,
        (None, None) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Number {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        for (one, other) in [
            ("300", "3.0e2"),
            ("0.1", "1e-1"),
            ("0.3000001", "0.3"),
            ("-0", "0.0"),
            ("123456789012", "123456789012"),
        ] {
            assert!(equal(&number(one), &number(other)), "{one} {other}");
        }
        for (one, other) in [("0.300001", "0.3"), ("5000000000", "5000000001")] {
            assert!(!equal(&number(one), &number(other)), "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn fifteen_digits_are_exact(
            whole in -999_999_999i64..1_000_000_000, part in 0u32..1_000_000,
        ) {
            let text = format!("{whole}.{part:06}");
            let sign = if whole < 0 { -1 } else { 1 };
            let expected = whole * 1_000_000 + sign * i64::from(part);
            prop_assert_eq!(Fixed::of(&number(&text)).unwrap(), Fixed(expected));
        }
    }
}
