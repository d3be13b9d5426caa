//! Events on a bus: held against its rules, and handed to the targets of those that fit.
//!
//! One new event for each target is accepted in the transaction that settles the bus's own, so that
//! either all of it happened or nothing.

use crate::attempt::{Record, micros, record};
use crate::buses::{Compiled, Rules, Told};
use crate::engine::Corridor;
use crate::judged::Judged;
use crate::pool::unavailable;
use crate::retry::{self, Decision};
use crate::{blocking, chance};
use bytes::Bytes;
use model::{
    BusName, Ending, Event, EventId, MAX_ASYNC_PAYLOAD, NewEvent, RequestId, Run, Target, Timestamp,
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
    let (id, attempts) = (event.accepted.id, event.attempts);
    // A large event against many rules takes a while, in which nothing else should wait for this thread.
    let held = move || hold(&rules, &event.accepted, &region);
    let routed = match blocking::apart(held).await {
        Ok(routed) => routed,
        Err(error) => {
            let reason = format!("routing broke off: {error}");
            return Judged::of(retry::postpone(attempts, reason, chance::fraction()), None);
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
    let told = Record {
        request_id: RequestId::generate(),
        target: Target::Bus { name: bus.clone() }.key(),
        event: Some(id),
        attempt: attempts + 1,
        started,
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
    let time = event.accepted.rfc3339();
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
    use model::{Rule, RuleTarget, Transformer};
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
        assert_eq!(told["time"], "1970-01-01T00:00:01.500Z");
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
