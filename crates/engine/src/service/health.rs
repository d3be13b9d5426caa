//! Whether a replica is well, and how long to wait before it is started again.

use crate::exchange::exchange;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use model::ServiceSpec;
use runtime::Instance;
use std::time::Duration;

/// Between checks of a replica that has not been well yet.
const EAGER: Duration = Duration::from_millis(100);
/// After so long in health, the next failure counts as the first.
const RESET: Duration = Duration::from_secs(60);
/// Most bytes that are read of a check's answer.
const MAX_ANSWER: usize = 64 * 1024;

/// One check: the path answers 2xx or 3xx, or the first port takes a connection. A service without
/// ports is well as long as it runs.
pub(super) async fn check(instance: &Instance, spec: &ServiceSpec) -> Result<(), String> {
    let Some(port) = spec.ports.first().filter(|_| !spec.health.disabled) else {
        return Ok(());
    };
    let timeout = Duration::from_millis(spec.health.timeout.max(1));
    let checked = tokio::time::timeout(timeout, async {
        let stream = instance.connect(*port).await;
        let stream = stream.map_err(|error| format!("port {port}: {error}"))?;
        let Some(path) = &spec.health.path else {
            return Ok(());
        };
        let request = Request::get(path)
            .header("host", spec.name.as_str())
            .header("user-agent", "rouse-health")
            .body(Full::<Bytes>::default())
            .map_err(|error| format!("health path {path}: {error}"))?;
        let answered = exchange(stream, request, MAX_ANSWER).await;
        let (status, _) = answered.map_err(|error| format!("{path}: {error}"))?;
        if status.is_success() || status.is_redirection() {
            return Ok(());
        }
        Err(format!("{path} answered {status}"))
    });
    match checked.await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer within {} ms", timeout.as_millis())),
    }
}

/// What the checks of one run of a replica have shown.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Health {
    well: bool,
    failures: u32,
}

/// What a check means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing changes.
    Same,
    /// It is well from now on.
    Healthy,
    /// It failed too often in a row: start it again.
    Unhealthy,
}

impl Health {
    /// Counts one check, made so long after the start.
    pub(super) fn count(&mut self, well: bool, age: Duration, spec: &ServiceSpec) -> Judgement {
        if well {
            let first = !self.well;
            *self = Self {
                well: true,
                failures: 0,
            };
            return if first {
                Judgement::Healthy
            } else {
                Judgement::Same
            };
        }
        let forgiven = !self.well && age < Duration::from_millis(spec.health.start_period);
        if forgiven {
            return Judgement::Same;
        }
        self.failures += 1;
        if self.failures >= spec.health.retries.max(1) {
            return Judgement::Unhealthy;
        }
        Judgement::Same
    }

    /// How long until the next check: sooner while it has not been well yet.
    pub(super) fn interval(self, spec: &ServiceSpec) -> Duration {
        let declared = Duration::from_millis(spec.health.interval.max(1));
        if self.well {
            declared
        } else {
            declared.min(EAGER)
        }
    }
}

/// Waits between starts: half a second, doubling to 30 s, from the beginning again after 60 s of
/// health.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after a run that was healthy for so long.
    pub(super) fn next(&mut self, healthy_for: Duration) -> Duration {
        if healthy_for >= RESET {
            self.failures = 0;
        }
        let wait = 500_u64
            .saturating_mul(1 << self.failures.min(10))
            .min(30_000);
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(wait)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn spec() -> ServiceSpec {
        serde_json::from_value(serde_json::json!({
            "name": "catalog", "runtime": "provided", "command": ["x"], "ports": [80],
            "code": {"zip": {"digest": format!("sha256:{}", "a".repeat(64)), "size": 1}},
        }))
        .unwrap()
    }

    #[test]
    fn failures_count_after_the_start_period_or_the_first_success() {
        let (spec, mut health) = (spec(), Health::default());
        let early = Duration::from_secs(1);
        for _ in 0..50 {
            assert_eq!(health.count(false, early, &spec), Judgement::Same);
        }
        assert_eq!(health.interval(&spec), EAGER);
        assert_eq!(health.count(true, early, &spec), Judgement::Healthy);
        assert_eq!(health.count(true, early, &spec), Judgement::Same);
        assert_eq!(health.interval(&spec), Duration::from_secs(5));
        assert_eq!(health.count(false, early, &spec), Judgement::Same);
        assert_eq!(health.count(false, early, &spec), Judgement::Same);
        assert_eq!(health.count(false, early, &spec), Judgement::Unhealthy);

        let mut never = Health::default();
        let late = Duration::from_secs(31);
        assert_eq!(never.count(false, late, &spec), Judgement::Same);
        assert_eq!(never.count(false, late, &spec), Judgement::Same);
        assert_eq!(never.count(false, late, &spec), Judgement::Unhealthy);
    }

    #[test]
    fn waits_double_to_their_bound_and_begin_again_after_health() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..9)
            .map(|_| backoff.next(Duration::ZERO).as_millis())
            .collect();
        let expected = [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000];
        assert_eq!(waits, expected);
        assert_eq!(backoff.next(RESET).as_millis(), 500);
    }
}
