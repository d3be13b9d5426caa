//! Events on a bus: held against its rules, and handed to the targets of those that fit.
//!
//! One new event for each target is accepted in the transaction that settles the bus's own, so that
//! either all of it happened or nothing.

use crate::attempt::{Record, micros, record};
use crate::buses::{Compiled, Rules, Told};
use crate::engine::Corridor;
use crate::judged::{Course, Judged};
use crate::pool::unavailable;
use crate::retry::{self, Decision};
use crate::{blocking, chance};
use bytes::Bytes;
use model::{
    BusName, Ending, Event, EventId, MAX_ASYNC_PAYLOAD, NewEvent, RequestId, Run, Timestamp,
};
use pattern::{Input, RuleWords};
use serde_json::{Value, json};
use state::crash;
use std::time::Duration;
use tokio::time::Instant;

/// The longest that routing takes: it is computing alone, in turn with others.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

/// The account in every event and ARN of this server.
const ACCOUNT: &str = "000000000000";

/// What came of holding an event against rules.
struct Routed {
    effects: Vec<NewEvent>,
    fitted: usize,
    /// Targets that could not be told, and why.
    failed: Vec<String>,
}

/// Finds the rules that fit and makes an event for each of their targets. An event that fits no rule
/// has succeeded; its run says so. If a target cannot be told, the others are, and the event is dead.
pub(crate) async fn route(corridor: &Corridor, bus: &BusName, event: Event) -> Judged {
    let started = Timestamp::now();
    let asked = Instant::now();
    let Ok(rules) = corridor.buses.rules(bus) else {
        let error = format!("its target bus:{bus} does not exist any more");
        return Judged::buried(error);
    };
    let region = corridor.buses.region().to_owned();
    let course = Course::of(&event);
    let told = Record {
        request_id: RequestId::generate(),
        target: event.accepted.target.key(),
        event: Some(event.accepted.id),
        attempt: event.attempts + 1,
        started,
    };
    // A large event against many rules takes a while, in which nothing else should wait for this thread.
    let held = move || hold(&rules, &event.accepted, &region);
    let routed = match blocking::apart(held).await {
        Ok(routed) => routed,
        Err(error) if error.is_panic() => return panicked(&course, told, chance::fraction()),
        // The server ends, and the next start goes on.
        Err(error) => {
            let decision = Decision::Postpone {
                after: Duration::ZERO,
                reason: format!("routing broke off: {error}"),
            };
            return Judged::of(decision, None);
        }
    };
    crash::point("routed");
    let error = (!routed.failed.is_empty()).then(|| routed.failed.join("; "));
    let mut outcome = unavailable(String::new());
    outcome.timing.run = micros(asked.elapsed());
    outcome.ending = Ending::Succeeded {
        payload: Bytes::new(),
        http: None,
    };
    let ending = match (&error, routed.fitted) {
        (Some(_), _) => "failed",
        (None, 0) => "unmatched",
        _ => "succeeded",
    };
    let run = Run {
        ending: ending.to_owned(),
        error: error.clone(),
        ..record(&outcome, told)
    };
    Judged {
        run: Some(run),
        effects: routed.effects,
        ..error.map_or_else(|| Judged::of(Decision::Ack, None), Judged::buried)
    }
}

/// Routing that panics is a mistake of ours which the next attempt most likely meets again, so it spends the
/// attempts that a service has.
fn panicked(course: &Course, told: Record, random: f64) -> Judged {
    let how = "holding it against the rules of its bus panicked, which is a bug of rouse: report it \
               with the event and the rules";
    let ending = Ending::Crashed {
        how: how.to_owned(),
    };
    let policy = course.wanted.policy(retry::service_policy());
    let decision = retry::next(&policy, &ending, course.tried(), random);
    let mut outcome = unavailable(String::new());
    outcome.ending = ending;
    Judged::of(decision, Some(record(&outcome, told)))
}

/// Holds an event against rules.
fn hold(rules: &Rules, event: &NewEvent, region: &str) -> Routed {
    let mut routed = Routed {
        effects: Vec::new(),
        fitted: 0,
        failed: Vec::new(),
    };
    if rules.is_empty() {
        return routed;
    }
    let (told, payload) = envelope(event, region);
    for rule in rules.iter().filter(|rule| rule.pattern.matches(&told)) {
        routed.fitted += 1;
        for target in &rule.targets {
            match body(rule, &target.input, &told, &payload, event) {
                Some(body) => routed.effects.push(effect(event, target, body)),
                None => routed.failed.push(format!(
                    "rule {}, target {}: what it is to be told is more than {MAX_ASYNC_PAYLOAD} bytes",
                    rule.name, target.id
                )),
            }
        }
    }
    routed
}

fn body(
    rule: &Compiled,
    input: &Input,
    told: &Value,
    payload: &Bytes,
    event: &NewEvent,
) -> Option<Bytes> {
    if *input == Input::Event {
        return Some(payload.clone()).filter(|payload| payload.len() <= MAX_ASYNC_PAYLOAD);
    }
    let ingested = event.accepted.rfc3339();
    let words = RuleWords {
        arn: &rule.arn,
        name: rule.name.as_str(),
        ingested: &ingested,
    };
    input
        .apply(told, words, MAX_ASYNC_PAYLOAD)
        .map(|text| Bytes::from(text.into_bytes()))
}

fn effect(event: &NewEvent, told: &Told, payload: Bytes) -> NewEvent {
    NewEvent {
        id: EventId::generate(),
        target: told.target.clone(),
        source: event.source.clone(),
        kind: event.kind.clone(),
        subject: event.subject.clone(),
        payload,
        accepted: Timestamp::now(),
        cause: Some(event.id),
        replay_of: None,
        delivery: told.delivery.clone(),
    }
}

/// The event in AWS's envelope, and as bytes. What was put on the bus by a door for it is in one
/// already; anything else (an object's event, what a function gave) becomes its `detail`.
fn envelope(event: &NewEvent, region: &str) -> (Value, Bytes) {
    let parsed: Value = match serde_json::from_slice(&event.payload) {
        Ok(parsed) => parsed,
        // Nested too deep for the parser, or no JSON: it is still told, as a text.
        Err(_) => String::from_utf8_lossy(&event.payload).into_owned().into(),
    };
    let says = |field: &str, expected: &str| parsed[field].as_str() == Some(expected);
    if says("source", &event.source) && says("detail-type", &event.kind) {
        return (parsed, event.payload.clone());
    }
    let time = event.accepted.rfc3339_seconds();
    let wrapped = json!({
        "version": "0",
        "id": event.id,
        "detail-type": event.kind,
        "source": event.source,
        "account": ACCOUNT,
        "time": time,
        "region": region,
        "resources": if event.subject.is_empty() { vec![] } else { vec![event.subject.as_str()] },
        "detail": parsed,
    });
    let bytes = wrapped.to_string().into_bytes().into();
    (wrapped, bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::buses::Buses;
    use model::{Rule, RuleTarget, Target, Transformer};
    use std::sync::Arc;

    fn target(id: &str, template: Option<&str>) -> RuleTarget {
        RuleTarget {
            id: id.into(),
            arn: String::new(),
            target: Target::Function {
                name: id.parse().unwrap(),
            },
            role: None,
            input: None,
            input_path: None,
            transformer: template.map(|template| Transformer {
                paths: Default::default(),
                template: template.into(),
            }),
            delivery: Default::default(),
        }
    }

    fn rules(pattern: &str, targets: Vec<RuleTarget>) -> Rules {
        let rule = Rule {
            bus: BusName::default_bus(),
            name: "r".parse().unwrap(),
            description: String::new(),
            pattern: pattern.into(),
            enabled: true,
            targets,
            role: String::new(),
            tags: Default::default(),
            owner: None,
            created: Timestamp(1),
        };
        Arc::new(vec![Buses::new("eu-west-1").compile(&rule).unwrap()])
    }

    fn event(source: &str, payload: String) -> NewEvent {
        NewEvent {
            id: EventId::generate(),
            target: Target::Bus {
                name: BusName::default_bus(),
            },
            source: source.into(),
            kind: "k".into(),
            subject: String::new(),
            payload: payload.into(),
            accepted: Timestamp(1_500),
            cause: None,
            replay_of: None,
            delivery: Default::default(),
        }
    }

    #[test]
    fn routing_that_panics_spends_attempts_until_there_are_none() {
        let after = |attempts| {
            let mut accepted = event("s", "{}".into());
            accepted.accepted = Timestamp::now();
            let event = Event {
                accepted,
                state: model::EventState::Leased,
                attempts,
                epoch: u64::from(attempts) + 1,
                not_before: Timestamp(0),
                last_error: None,
                depth: 0,
                ended: None,
                runs: Vec::new(),
            };
            let told = Record {
                request_id: RequestId::generate(),
                target: "bus:default".into(),
                event: Some(event.accepted.id),
                attempt: attempts + 1,
                started: Timestamp(1),
            };
            panicked(&Course::of(&event), told, 0.5)
        };
        let first = after(0);
        assert!(matches!(first.decision, Decision::Retry { .. }));
        assert_eq!(first.run.unwrap().ending, "crashed");
        let Decision::Bury { error, why } = after(19).decision else {
            panic!("it was tried often enough");
        };
        assert_eq!(why, retry::Why::Attempts);
        assert!(error.contains("20 attempts failed"), "{error}");
    }

    #[test]
    fn an_envelope_passes_as_it_is_and_the_rest_becomes_its_detail() {
        let rules = rules(r#"{"detail": {"n": [1]}}"#, vec![target("f", None)]);
        let given = r#"{"source":"s","detail-type":"k","detail":{"n":1},  "id":"x"}"#.to_owned();
        let event_in = event("s", given.clone());
        let routed = hold(&rules, &event_in, "eu-west-1");
        assert_eq!(routed.effects[0].payload, given);
        assert_eq!(routed.effects[0].cause, Some(event_in.id));
        let routed = hold(
            &rules,
            &event("s3:photos", r#"{"n": 1}"#.into()),
            "eu-west-1",
        );
        let told: Value = serde_json::from_slice(&routed.effects[0].payload).unwrap();
        assert_eq!(told["source"], "s3:photos");
        assert_eq!(told["detail"], json!({"n": 1}));
        assert_eq!(told["time"], "1970-01-01T00:00:01Z");
        let routed = hold(&rules, &event("s", r#"{"n": 2}"#.into()), "eu-west-1");
        assert_eq!((routed.fitted, routed.effects.len()), (0, 0));
    }

    #[test]
    fn what_grows_too_large_for_one_target_is_told_to_the_others() {
        let template = "<aws.events.event.json>".repeat(20);
        let targets = vec![target("big", Some(&template)), target("f", None)];
        let rules = rules(r#"{"source": ["s"]}"#, targets);
        let large = json!({"source": "s", "detail-type": "k", "detail": "x".repeat(100_000)});
        let routed = hold(&rules, &event("s", large.to_string()), "eu-west-1");
        assert_eq!(routed.effects.len(), 1);
        assert!(
            routed.failed[0].contains("target big"),
            "{:?}",
            routed.failed
        );
    }

    #[test]
    fn the_reserved_words_are_the_rules() {
        let template =
            "\"<aws.events.rule-name> <aws.events.rule-arn> <aws.events.event.ingestion-time>\"";
        let rules = rules(r#"{"source": ["s"]}"#, vec![target("f", Some(template))]);
        let routed = hold(&rules, &event("s", "{}".into()), "eu-west-1");
        let expected =
            "\"r arn:aws:events:eu-west-1:000000000000:rule/r 1970-01-01T00:00:01.500Z\"";
        assert_eq!(routed.effects[0].payload, expected);
    }
}
