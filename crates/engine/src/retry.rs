//! What becomes of an event after an attempt: a pure decision, carried out by dispatch.

use model::{Ending, Jitter, NewMessage, QueueName, RetryPolicy};
use std::time::Duration;

/// What becomes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Its target took it.
    Ack,
    /// Its queue takes it as this message.
    Enqueue {
        /// Which queue.
        queue: QueueName,
        /// The message.
        message: Box<NewMessage>,
    },
    /// Again after this wait; the attempt is spent.
    Retry {
        /// How long to wait.
        after: Duration,
        /// Why the attempt failed.
        error: String,
    },
    /// Again after this wait; the attempt is not spent.
    Postpone {
        /// How long to wait.
        after: Duration,
        /// Why there was no attempt.
        reason: String,
    },
    /// To the dead letters.
    Bury {
        /// How many attempts, and the last error.
        error: String,
        /// What was exhausted.
        why: Why,
    },
}

/// Why there is no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// All attempts that it may have were made.
    Attempts,
    /// It is as old as it may get, or would be at the next attempt.
    Age,
    /// No attempt could ever succeed: its target is gone, or does not take it.
    Hopeless,
}

/// Where an event is in its life when an attempt ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tried {
    /// 1 for the first attempt; counts the one that just ended.
    pub(crate) attempt: u32,
    /// How often it was leased without an attempt being spent.
    pub(crate) postponed: u32,
    /// How long ago it was accepted.
    pub(crate) age: Duration,
}

/// Longest error text that is kept with an event, in characters.
const MAX_ERROR: usize = 2_000;
/// First and longest wait of an event that could not be attempted.
const POSTPONE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// The retries of service targets: up to 20 attempts within 6 hours, the first after about a second,
/// then doubling to 5 minutes. A service is expected to be back soon, so it begins sooner than the
/// policy of functions.
pub(crate) fn service_policy() -> RetryPolicy {
    RetryPolicy {
        max_attempts: 20,
        base_delay: 1_000,
        max_delay: 300_000,
        max_age: 6 * 3_600_000,
        jitter: Jitter::Full,
    }
}

/// Decides from how the attempt ended. `random`, 0 to 1, is what the policy's jitter is made of.
pub(crate) fn next(policy: &RetryPolicy, ending: &Ending, tried: Tried, random: f64) -> Decision {
    let Some(error) = ending.error() else {
        return Decision::Ack;
    };
    let error = cut(error);
    let max_age = Duration::from_millis(policy.max_age);
    if let Ending::Unavailable { .. } = ending {
        return unspent(policy, tried, error, random);
    }
    if tried.attempt >= policy.max_attempts {
        let attempts = match tried.attempt {
            1 => "1 attempt".to_owned(),
            many => format!("{many} attempts"),
        };
        let error = format!("{attempts} failed; the last: {error}");
        let why = Why::Attempts;
        return Decision::Bury { error, why };
    }
    let base = Duration::from_millis(policy.base_delay);
    let most = Duration::from_millis(policy.max_delay);
    let longest = doubled(base, tried.attempt.saturating_sub(1), most);
    let after = longest.mul_f64(policy.jitter.share(random));
    if tried.age + after >= max_age {
        let error = format!(
            "attempt {} of {} failed and the next would be later than {} after acceptance; the last: {error}",
            tried.attempt,
            policy.max_attempts,
            span(max_age)
        );
        let why = Why::Age;
        return Decision::Bury { error, why };
    }
    Decision::Retry { after, error }
}

/// Not the function's fault (throttled, no instance), so the attempt is not spent; but not for ever
/// either.
pub(crate) fn unspent(policy: &RetryPolicy, tried: Tried, reason: String, random: f64) -> Decision {
    match overdue(policy, tried.age, Some(&reason)) {
        Some(decision) => decision,
        None => postpone(tried.postponed, reason, random),
    }
}

/// What becomes of an event that is too old to be tried: `last` is why it was not before.
pub(crate) fn overdue(policy: &RetryPolicy, age: Duration, last: Option<&str>) -> Option<Decision> {
    let max_age = Duration::from_millis(policy.max_age);
    if age < max_age {
        return None;
    }
    let last = last.unwrap_or("it was not tried before");
    let error = cut(format!("older than {}; {last}", span(max_age)));
    let why = Why::Age;
    Some(Decision::Bury { error, why })
}

/// For an event that could not be attempted now.
pub(crate) fn postpone(postponed: u32, reason: String, random: f64) -> Decision {
    let (first, most) = POSTPONE;
    Decision::Postpone {
        after: doubled(first, postponed, most).mul_f64(Jitter::Half.share(random)),
        reason: cut(reason),
    }
}

fn doubled(base: Duration, times: u32, most: Duration) -> Duration {
    base.saturating_mul(1_u32 << times.min(30)).min(most)
}

fn cut(text: String) -> String {
    match text.char_indices().nth(MAX_ERROR) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn span(time: Duration) -> String {
    match time.as_secs() {
        hours if hours >= 3600 && hours % 3600 == 0 => format!("{} h", hours / 3600),
        minutes if minutes >= 60 && minutes % 60 == 0 => format!("{} min", minutes / 60),
        0 => format!("{} ms", time.as_millis()),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn failed() -> Ending {
        Ending::Failed {
            error_type: "TypeError".into(),
            message: "x is not a function".into(),
            payload: bytes::Bytes::new(),
        }
    }

    fn tried(attempt: u32, age: u64) -> Tried {
        Tried {
            attempt,
            postponed: 0,
            age: Duration::from_millis(age),
        }
    }

    #[test]
    fn success_settles() {
        let ending = Ending::Succeeded {
            payload: bytes::Bytes::new(),
            http: None,
        };
        let decision = next(&RetryPolicy::default(), &ending, tried(1, 0), 0.5);
        assert_eq!(decision, Decision::Ack);
    }

    #[test]
    fn lambdas_defaults_are_one_and_two_minutes_then_a_dead_letter() {
        let policy = RetryPolicy::default();
        let wait = |attempt| match next(&policy, &failed(), tried(attempt, 0), 1.0) {
            Decision::Retry { after, .. } => after.as_secs(),
            other => panic!("{other:?}"),
        };
        assert_eq!((wait(1), wait(2)), (60, 120));
        let Decision::Bury { error, why } = next(&policy, &failed(), tried(3, 0), 1.0) else {
            panic!("not buried");
        };
        assert_eq!(why, Why::Attempts);
        assert_eq!(
            error,
            "3 attempts failed; the last: TypeError: x is not a function"
        );
    }

    #[test]
    fn past_its_age_nothing_is_tried_again() {
        let policy = RetryPolicy::default();
        let decision = next(&policy, &failed(), tried(1, policy.max_age - 1_000), 0.5);
        let Decision::Bury { error, why } = decision else {
            panic!("not buried: {decision:?}");
        };
        assert_eq!(why, Why::Age);
        assert!(error.contains("6 h"), "{error}");
    }

    #[test]
    fn the_platforms_fault_spends_nothing_until_the_event_is_too_old() {
        let policy = RetryPolicy::default();
        let ending = Ending::Unavailable {
            reason: "no memory".into(),
        };
        let decision = next(&policy, &ending, tried(3, 0), 0.5);
        assert!(
            matches!(decision, Decision::Postpone { .. }),
            "{decision:?}"
        );
        let decision = next(&policy, &ending, tried(1, policy.max_age), 0.5);
        assert!(matches!(decision, Decision::Bury { .. }), "{decision:?}");
    }

    #[test]
    fn a_flood_of_error_text_is_cut() {
        let ending = Ending::Crashed {
            how: "ü".repeat(100_000),
        };
        let decision = next(&RetryPolicy::default(), &ending, tried(1, 0), 0.5);
        let Decision::Retry { error, .. } = decision else {
            panic!("{decision:?}");
        };
        assert_eq!(error.chars().count(), MAX_ERROR + 1);
    }

    proptest! {
        #[test]
        fn waits_stay_within_the_policy(
            attempt in 1u32..200, age in 0u64..10_000_000, random in -1.0f64..2.0,
            max_attempts in 1u32..=100, base in 0u64..10_000_000, most in 0u64..10_000_000,
            max_age in 0u64..20_000_000,
            jitter in prop_oneof![Just(Jitter::Full), Just(Jitter::Half), Just(Jitter::None)],
        ) {
            let policy = RetryPolicy { max_attempts, base_delay: base, max_delay: most, max_age, jitter };
            match next(&policy, &failed(), tried(attempt, age), random) {
                Decision::Retry { after, .. } => {
                    prop_assert!(attempt < max_attempts);
                    prop_assert!(after <= Duration::from_millis(most));
                    let least = Duration::from_millis(base.min(most)).mul_f64(jitter.share(0.0));
                    prop_assert!(after >= least);
                    prop_assert!(Duration::from_millis(age) + after < Duration::from_millis(max_age));
                }
                Decision::Bury { .. } => {}
                other => prop_assert!(false, "{other:?}"),
            }
        }

        #[test]
        fn postponing_is_bounded(postponed: u32, random in 0.0f64..=1.0) {
            let Decision::Postpone { after, .. } = postpone(postponed, String::new(), random) else {
                return Err(TestCaseError::fail("not postponed"));
            };
            prop_assert!(after >= POSTPONE.0 / 2 && after <= POSTPONE.1);
        }
    }
}
