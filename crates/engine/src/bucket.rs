//! A token bucket: so many at once, then so many a second.

use std::time::Duration;
use tokio::time::Instant;

/// Tokens that come back at a steady rate. One that is not there yet is promised, so that those who
/// ask are served in turn.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: f64,
    burst: f64,
    /// Below zero: promised.
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full one: `burst` tokens, and `rate` more each second. Both at least one.
    pub(crate) fn new(rate: u32, burst: u32, now: Instant) -> Self {
        let burst = f64::from(burst.max(1));
        Self {
            rate: f64::from(rate.max(1)),
            burst,
            tokens: burst,
            filled: now,
        }
    }

    /// Takes a token; gives how long to wait until it is there.
    pub(crate) fn take(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        self.filled = self.filled.max(now);
        self.tokens -= 1.0;
        if self.tokens >= 0.0 {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(-self.tokens / self.rate)
    }

    /// Puts back a token that was not used.
    pub(crate) fn put_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_burst_is_free_and_then_the_rate_holds() {
        let now = Instant::now();
        let mut bucket = Bucket::new(10, 3, now);
        let waits: Vec<_> = (0..5).map(|_| bucket.take(now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
        bucket.put_back();
        assert_eq!(bucket.take(now).as_millis(), 200);
        let later = now + Duration::from_secs(60);
        assert_eq!(bucket.take(later), Duration::ZERO, "it is full again");
        let waits: Vec<_> = (0..3).map(|_| bucket.take(later).as_millis()).collect();
        assert_eq!(waits, [0, 0, 100], "and no fuller than its burst");
    }

    proptest! {
        /// However they come, no span of time sees more than the burst and what the rate gives.
        #[test]
        fn no_more_get_through_than_burst_and_rate(
            rate in 1u32..50, burst in 1u32..20,
            gaps in proptest::collection::vec(0u64..300, 1..200),
        ) {
            let begin = Instant::now();
            let mut bucket = Bucket::new(rate, burst, begin);
            let mut now = begin;
            let mut through = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                through.push((now + bucket.take(now) - begin).as_secs_f64());
            }
            prop_assert!(through.windows(2).all(|pair| pair[0] <= pair[1] + 1e-6));
            for (first, from) in through.iter().enumerate() {
                for (last, to) in through.iter().enumerate().skip(first) {
                    let count = (last - first + 1) as f64;
                    let bound = f64::from(burst) + (to - from) * f64::from(rate) + 1e-3;
                    prop_assert!(count <= bound, "{count} within {}", to - from);
                }
            }
        }
    }
}
