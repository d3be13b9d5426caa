//! Points in time.

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, UTC.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The system clock's now; in a simulated world that world's.
    pub fn now() -> Self {
        #[cfg(feature = "simulation")]
        if let Some(now) = crate::simulation::now() {
            return now;
        }
        Self(jiff::Timestamp::now().as_millisecond())
    }

    /// This point plus `duration`, saturating.
    pub fn after(self, duration: std::time::Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// Milliseconds from `earlier` to this point; 0 if `earlier` is later.
    pub fn since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }

    /// Reads RFC 3339, such as `2026-11-22T10:00:00Z`; what is below a millisecond is cut.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse_rfc3339(text: &str) -> Result<Self, String> {
        let time = text.parse::<jiff::Timestamp>();
        let wrong = |_| "must be a time such as 2026-11-22T10:00:00Z".to_owned();
        Ok(Self(time.map_err(wrong)?.as_millisecond()))
    }

    /// RFC 3339 with milliseconds, such as `2026-11-22T10:00:00.000Z`.
    pub fn rfc3339(self) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => format!("{time:.3}"),
            Err(_) => "invalid time".to_owned(),
        }
    }

    /// RFC 3339 without parts of a second, such as `2026-11-22T10:00:00Z`, as events of EventBridge have it
    /// (<https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html>).
    pub fn rfc3339_seconds(self) -> String {
        let text = self.rfc3339();
        match text.split_once('.') {
            Some((whole, _)) => format!("{whole}Z"),
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_rfc3339_with_milliseconds() {
        assert_eq!(Timestamp(1_500).rfc3339(), "1970-01-01T00:00:01.500Z");
        assert_eq!(Timestamp(1_999).rfc3339_seconds(), "1970-01-01T00:00:01Z");
        let read = Timestamp::parse_rfc3339("1970-01-01T01:00:01.5+01:00");
        assert_eq!(read, Ok(Timestamp(1_500)));
        assert!(Timestamp::parse_rfc3339("1970-01-01T01:00:01").is_err());
    }
}
