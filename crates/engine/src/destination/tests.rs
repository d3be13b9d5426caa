#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use bytes::Bytes;
use model::{AttributeValue, DeadLetter, Ending, EventState, FunctionName, MAX_ASYNC_PAYLOAD};
use serde_json::{Value, json};

fn name() -> FunctionName {
    "f".parse().unwrap()
}

fn queue(name: &str) -> Target {
    Target::Queue {
        name: name.parse().unwrap(),
    }
}

fn event(payload: &[u8]) -> Event {
    Event {
        accepted: NewEvent {
            id: EventId::generate(),
            target: Target::Function { name: name() },
            source: "invoke".into(),
            kind: "invoke".into(),
            subject: String::new(),
            payload: Bytes::copy_from_slice(payload),
            accepted: Timestamp(1_500),
            cause: None,
            replay_of: None,
            delivery: Delivery::default(),
        },
        state: EventState::Leased,
        attempts: 2,
        epoch: 3,
        not_before: Timestamp(0),
        last_error: None,
        depth: 0,
        ended: None,
        runs: Vec::new(),
    }
}

fn succeeded(payload: Vec<u8>) -> Judged {
    let payload = payload.into();
    Judged {
        response: Some(Ending::Succeeded {
            payload,
            http: None,
        }),
        ..Judged::of(Decision::Ack, None)
    }
}

fn buried(why: Why, response: Option<Ending>) -> Judged {
    let error = "it went wrong".to_owned();
    Judged {
        response,
        ..Judged::of(Decision::Bury { error, why }, None)
    }
}

fn to(target: Target) -> Destinations {
    Destinations {
        on_success: Some(target.clone()),
        on_failure: Some(target),
        ..Destinations::default()
    }
}

fn told(event: &Event, judged: &Judged, target: Target) -> (NewEvent, Value) {
    let end = End::of(event, judged).unwrap();
    let left = record::event(end, &name(), &to(target), "eu-west-1").unwrap();
    let payload = serde_json::from_slice(&left.payload).unwrap();
    (left, payload)
}

#[test]
fn a_success_is_told_as_aws_tells_it() {
    let event = event(br#"{"order": 1.50}"#);
    let (left, record) = told(&event, &succeeded(b"\"done\"".to_vec()), queue("q"));
    assert_eq!(left.cause, Some(event.accepted.id));
    assert_eq!((left.source.as_str(), left.target), ("lambda", queue("q")));
    let expected = json!({
        "version": "1.0",
        "timestamp": left.accepted.rfc3339(),
        "requestContext": {
            "requestId": event.accepted.id,
            "functionArn": "arn:aws:lambda:eu-west-1:000000000000:function:f:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 2,
        },
        "requestPayload": {"order": 1.5},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": "done",
    });
    assert_eq!(record, expected);
}

#[test]
fn a_failure_says_what_was_exhausted_and_what_the_function_said() {
    let crash = Ending::TimedOut { after: 3_000 };
    let judged = buried(Why::Attempts, Some(crash));
    let (_, record) = told(&event(b"{}"), &judged, queue("q"));
    assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(record["responseContext"]["functionError"], "Unhandled");
    assert_eq!(record["responsePayload"]["errorType"], "Sandbox.Timedout");

    let (_, record) = told(&event(b"not JSON"), &buried(Why::Age, None), queue("q"));
    assert_eq!(record["requestContext"]["condition"], "EventAgeExceeded");
    assert_eq!(record["requestPayload"], "not JSON");
    assert!(record.get("responseContext").is_none() && record.get("responsePayload").is_none());
}

#[test]
fn a_bus_is_given_an_envelope_and_a_bucket_a_key() {
    let bus = Target::Bus {
        name: "default".parse().unwrap(),
    };
    let (left, told_bus) = told(&event(b"{}"), &succeeded(b"1".to_vec()), bus);
    assert_eq!(
        told_bus["detail-type"],
        "Lambda Function Invocation Result - Success"
    );
    assert_eq!(told_bus["source"], "lambda");
    assert_eq!(told_bus["id"], left.id.to_string());
    assert_eq!(told_bus["detail"]["responsePayload"], 1);
    assert_eq!(told_bus["resources"].as_array().unwrap().len(), 2);
    let bucket = Target::Bucket {
        name: "records".parse().unwrap(),
    };
    let (left, _) = told(&event(b"{}"), &buried(Why::Attempts, None), bucket);
    let key = left.delivery.object.unwrap();
    let (folder, last) = key.rsplit_once('/').unwrap();
    let parts: Vec<&str> = folder.split('/').collect();
    assert_eq!(parts[..4], ["aws", "lambda", "async", "f"]);
    let date = parts[4..].join("-");
    assert!(
        last.starts_with(&format!("{date}T")) && last.ends_with(&left.id.to_string()),
        "{key}"
    );
    assert!(!key.contains(':'));
}

#[test]
fn json_however_deep_is_told_as_it_is() {
    let deep = "[".repeat(50_000) + &"]".repeat(50_000);
    let bus = Target::Bus {
        name: "default".parse().unwrap(),
    };
    for target in [queue("q"), bus] {
        let (event, judged) = (event(deep.as_bytes()), succeeded(deep.clone().into_bytes()));
        let end = End::of(&event, &judged).unwrap();
        let left = record::event(end, &name(), &to(target), "eu-west-1").unwrap();
        assert!(crate::answer::is_json(&left.payload));
        assert!(left.payload.len() > 200_000);
    }
}

#[test]
fn what_is_too_large_is_left_out_with_a_note() {
    let large = serde_json::to_vec(&"x".repeat(MAX_ASYNC_PAYLOAD - 2)).unwrap();
    let (left, record) = told(&event(b"{}"), &succeeded(large.clone()), queue("q"));
    assert!(left.payload.len() < 2_000);
    let note = record["responsePayload"]["rouse"]["leftOut"]
        .as_str()
        .unwrap();
    assert!(note.starts_with("1048576 bytes"), "{note}");
    assert_eq!(record["requestPayload"], json!({}));
    let (left, record) = told(&event(&large), &succeeded(large.clone()), queue("q"));
    assert!(left.payload.len() < 2_000);
    assert!(record["requestPayload"]["rouse"]["leftOut"].is_string());
    assert!(record["responsePayload"]["rouse"]["leftOut"].is_string());
}

#[test]
fn dead_letters_are_the_event_and_its_error() {
    let mut event = event(b"{\"a\": 1}");
    let letters = Destinations {
        dead_letter: Some("letters".parse().unwrap()),
        ..Destinations::default()
    };
    let good = succeeded(Vec::new());
    assert!(letter::of_function(End::of(&event, &good).unwrap(), &letters).is_none());
    let bad = buried(Why::Attempts, None);
    let end = End::of(&event, &bad).unwrap();
    let left = letter::of_function(end, &letters).unwrap();
    assert_eq!(left.payload, event.accepted.payload);
    let text = |event: &NewEvent, name: &str| match &event.delivery.attributes[name].value {
        AttributeValue::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(text(&left, "RequestID"), event.accepted.id.to_string());
    assert_eq!(text(&left, "ErrorCode"), "200");
    assert_eq!(text(&left, "ErrorMessage"), "it went wrong");
    assert!(letter::of_maker(end).is_none());

    let mut maker = DeadLetter {
        queue: "q".parse().unwrap(),
        attributes: Default::default(),
    };
    maker.say("RULE_ARN", "arn:r");
    event.accepted.delivery.dead_letter = Some(maker);
    for (why, code, exhausted) in [
        (
            Why::Attempts,
            "ERROR_FROM_TARGET",
            Some("MaximumRetryAttempts"),
        ),
        (
            Why::Age,
            "ERROR_FROM_TARGET",
            Some("MaximumEventAgeInSeconds"),
        ),
        (Why::Hopeless, "NO_RESOURCE", None),
    ] {
        let bad = buried(why, None);
        let left = letter::of_maker(End::of(&event, &bad).unwrap()).unwrap();
        assert_eq!(text(&left, "RULE_ARN"), "arn:r");
        assert_eq!(text(&left, "ERROR_CODE"), code);
        assert_eq!(text(&left, "RETRY_ATTEMPTS"), "1");
        let said = left
            .delivery
            .attributes
            .contains_key("EXHAUSTED_RETRY_CONDITION");
        assert_eq!(said, exhausted.is_some());
        if let Some(exhausted) = exhausted {
            assert_eq!(text(&left, "EXHAUSTED_RETRY_CONDITION"), exhausted);
        }
    }
}

#[test]
fn what_has_not_ended_leaves_nothing() {
    let after = std::time::Duration::ZERO;
    let error = String::new();
    let judged = Judged::of(Decision::Retry { after, error }, None);
    assert!(End::of(&event(b"{}"), &judged).is_none());
}
