//! What events leave at their end, what waits too long, and what is sent twice.

use crate::house::{House, event, failed, function, steady, until};
use bytes::Bytes;
use model::{
    BucketName, DeadLetter, Delivery, Destinations, Event, EventFilter, EventId, EventState, Kind,
    NewEvent, Principal, QueueAttributes, QueueName, Target, Timestamp,
};
use runtime::{Fake, FakeStart};
use state::Receive;
use std::collections::BTreeMap;
use std::time::Duration;

fn failing() -> Fake {
    let start = FakeStart {
        takes: Duration::ZERO,
        fails: None,
    };
    Fake::new(move |_| start.clone(), |_| (Duration::ZERO, failed(), true))
}

fn queue(name: &str) -> Target {
    Target::Queue {
        name: name.parse().unwrap(),
    }
}

fn bucket(name: &str) -> Target {
    Target::Bucket {
        name: name.parse().unwrap(),
    }
}

async fn make_queue(house: &House, name: &str) -> QueueName {
    let name: QueueName = name.parse().unwrap();
    let (attributes, tags) = (QueueAttributes::default(), BTreeMap::new());
    let made = house.engine.create_queue(name.clone(), attributes, tags);
    made.await.unwrap();
    name
}

async fn make_function(house: &House, name: &str, destinations: Destinations) {
    let mut spec = house.spec(name).await;
    spec.retry.max_attempts = 2;
    spec.destinations = destinations;
    house.put(spec).await;
}

/// The events that one caused, once there are so many and all have ended.
async fn caused(house: &House, cause: EventId, count: usize) -> Vec<Event> {
    until("effects", async || {
        let filter = EventFilter {
            limit: 1000,
            ..EventFilter::default()
        };
        let all = house.engine.list_events(filter).await.unwrap();
        let mine = all
            .into_iter()
            .filter(|one| one.accepted.cause == Some(cause));
        let mine: Vec<Event> = mine.filter(|one| one.ended.is_some()).collect();
        (mine.len() == count).then_some(mine)
    })
    .await
}

async fn message(house: &House, name: &QueueName) -> model::Message {
    let asked = Receive {
        queue: name.clone(),
        limit: 1,
        bytes: 1 << 20,
        visibility: Some(30),
    };
    let received = house
        .engine
        .receive_messages(asked, Some(crate::house::SOON))
        .await;
    received.unwrap().messages.remove(0)
}

fn json(bytes: impl AsRef<[u8]>) -> serde_json::Value {
    serde_json::from_slice(bytes.as_ref()).unwrap()
}

#[tokio::test]
async fn each_end_is_told_to_its_destination_in_the_same_transaction() {
    let house = House::open(failing()).await;
    let letters = make_queue(&house, "letters").await;
    let told = make_queue(&house, "told").await;
    let destinations = Destinations {
        on_failure: Some(queue("told")),
        dead_letter: Some(letters.clone()),
        ..Destinations::default()
    };
    make_function(&house, "f", destinations).await;
    let id = house.submit(&function("f")).await;
    assert_eq!(house.ended(id).await.state, EventState::Dead);
    let left = caused(&house, id, 2).await;
    assert!(
        left.iter()
            .all(|one| one.state == EventState::Succeeded && one.depth == 1)
    );
    let record = json(message(&house, &told).await.sent.body);
    assert_eq!(record["requestContext"]["requestId"], id.to_string());
    assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 2);
    assert_eq!(
        record["requestPayload"],
        json(event(&function("f")).payload)
    );
    assert_eq!(record["responsePayload"]["errorType"], "TypeError");
    let letter = message(&house, &letters).await.sent;
    assert_eq!(letter.body.as_bytes(), event(&function("f")).payload);
    assert!(letter.attributes.contains_key("ErrorMessage"));
}

#[tokio::test]
async fn a_bucket_has_one_object_for_each_end_under_awss_key() {
    let house = House::open(steady(0, 0)).await;
    let name: BucketName = "records".parse().unwrap();
    house.storage.create_bucket(name.clone()).await.unwrap();
    let destinations = Destinations {
        on_success: Some(bucket("records")),
        ..Destinations::default()
    };
    make_function(&house, "f", destinations).await;
    let id = house.submit(&function("f")).await;
    let left = caused(&house, id, 1).await.remove(0);
    assert_eq!(left.state, EventState::Succeeded);
    let key = left.accepted.delivery.object.clone().unwrap();
    assert!(key.starts_with("aws/lambda/async/f/"), "{key}");
    let row = house.storage.head_object(&name, &key).await.unwrap();
    assert_eq!(row.size, left.accepted.payload.len() as u64);
    // Handed over once more, as after a lost settlement: it is the same object.
    let again = house
        .engine
        .replay_event(left.accepted.id, None)
        .await
        .unwrap();
    assert_eq!(house.ended(again).await.state, EventState::Succeeded);
    let after = house.storage.head_object(&name, &key).await.unwrap();
    assert_eq!(after.sequence, row.sequence);
}

#[tokio::test]
async fn a_destination_that_is_gone_makes_its_record_a_dead_letter() {
    let house = House::open(steady(0, 0)).await;
    let gone = make_queue(&house, "gone").await;
    make_function(
        &house,
        "f",
        Destinations {
            on_success: Some(queue("gone")),
            ..Destinations::default()
        },
    )
    .await;
    house.engine.delete_queue(&gone).await.unwrap();
    let id = house.submit(&function("f")).await;
    let left = caused(&house, id, 1).await.remove(0);
    assert_eq!(left.state, EventState::Dead);
    let error = left.last_error.unwrap();
    assert!(error.contains("does not exist"), "{error}");
    assert_eq!(house.event(id).await.state, EventState::Succeeded);
}

#[tokio::test]
async fn two_functions_that_tell_each_other_are_cut_at_the_depth() {
    let house = House::open(failing()).await;
    make_function(&house, "a", Destinations::default()).await;
    let to = |name: &str| Destinations {
        on_failure: Some(function(name)),
        ..Destinations::default()
    };
    make_function(&house, "b", to("a")).await;
    make_function(&house, "a", to("b")).await;
    let mut id = house.submit(&function("a")).await;
    for _ in 0..=model::MAX_DEPTH {
        id = caused(&house, id, 1).await[0].accepted.id;
    }
    let last = house.event(id).await;
    assert_eq!(
        (last.state, last.depth),
        (EventState::Dead, model::MAX_DEPTH + 1)
    );
    assert!(last.last_error.unwrap().contains("cuts chains"));
    assert!(caused(&house, id, 0).await.is_empty());
}

#[tokio::test]
async fn what_waits_for_a_function_that_takes_nothing_ends_by_its_age_and_untried() {
    let house = House::open(steady(0, 0)).await;
    let letters = make_queue(&house, "letters").await;
    let mut spec = house.spec("f").await;
    spec.scaling.reserved = Some(0);
    spec.destinations.dead_letter = Some(letters.clone());
    house.put(spec.clone()).await;
    let hour = 3_600_000;
    let aged = |age: i64| NewEvent {
        accepted: Timestamp(Timestamp::now().0 - age),
        ..event(&function("f"))
    };
    let (old, young) = (aged(7 * hour), aged(5 * hour));
    let (old_id, young_id) = (old.id, young.id);
    house.engine.submit(young).await.unwrap();
    house.engine.submit(old).await.unwrap();
    let dead = house.ended(old_id).await;
    assert_eq!(dead.state, EventState::Expired);
    assert!(
        dead.runs.is_empty() && dead.attempts == 0,
        "it was never tried"
    );
    assert_eq!(
        dead.last_error.unwrap(),
        "older than 6 h; it was not tried before"
    );
    let letter = message(&house, &letters).await.sent;
    let code = &letter.attributes["ErrorCode"].value;
    assert_eq!(*code, model::AttributeValue::Text("429".into()));
    let waits = house.event(young_id).await;
    assert_eq!((waits.state, waits.attempts), (EventState::Waiting, 0));
    // Let in again, it has all of its attempts.
    spec.scaling.reserved = None;
    house.put(spec).await;
    assert_eq!(house.ended(young_id).await.state, EventState::Succeeded);
}

#[tokio::test]
async fn a_makers_policy_and_its_dead_letter_queue_go_before_the_targets() {
    let house = House::open(failing()).await;
    house.function("f").await;
    let letters = make_queue(&house, "letters").await;
    let mut dead_letter = DeadLetter {
        queue: letters.clone(),
        attributes: BTreeMap::new(),
    };
    dead_letter.say("RULE_ARN", "arn:r");
    let made = |target: Target| NewEvent {
        delivery: Delivery {
            max_attempts: Some(1),
            dead_letter: Some(dead_letter.clone()),
            ..Delivery::default()
        },
        ..event(&target)
    };
    let id = house.engine.submit(made(function("f"))).await.unwrap();
    let dead = house.ended(id).await;
    assert_eq!((dead.state, dead.attempts), (EventState::Dead, 1));
    let letter = message(&house, &letters).await.sent;
    let text = |letter: &model::NewMessage, name: &str| match &letter.attributes[name].value {
        model::AttributeValue::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(text(&letter, "RULE_ARN"), "arn:r");
    assert_eq!(text(&letter, "ERROR_CODE"), "ERROR_FROM_TARGET");
    assert_eq!(
        text(&letter, "EXHAUSTED_RETRY_CONDITION"),
        "MaximumRetryAttempts"
    );

    // A queue that is gone too: found out when the message is put in.
    let gone = make_queue(&house, "gone").await;
    house.engine.delete_queue(&gone).await.unwrap();
    let lost = made(queue("gone"));
    let id = lost.id;
    house.state.put_events(vec![lost]).await.unwrap();
    assert_eq!(house.ended(id).await.state, EventState::Dead);
    let letter = message(&house, &letters).await.sent;
    assert_eq!(text(&letter, "ERROR_CODE"), "NO_RESOURCE");
}

#[tokio::test]
async fn a_fifo_queue_takes_events_with_a_group_in_their_order() {
    let house = House::open(steady(0, 0)).await;
    let ordered = make_queue(&house, "ordered.fifo").await;
    let refused = house.engine.submit(event(&queue("ordered.fifo"))).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Invalid);
    let id = house
        .engine
        .submit(NewEvent {
            delivery: Delivery {
                group: Some("g".into()),
                ..Delivery::default()
            },
            ..event(&queue("ordered.fifo"))
        })
        .await
        .unwrap();
    assert_eq!(house.ended(id).await.state, EventState::Succeeded);
    let message = message(&house, &ordered).await;
    assert_eq!(message.sent.group.as_deref(), Some("g"));
}

#[tokio::test]
async fn one_key_is_one_event_and_another_payload_is_refused() {
    let house = House::open(steady(0, 0)).await;
    house.function("f").await;
    house.function("g").await;
    let new = |name: &str, payload: &'static [u8]| NewEvent {
        payload: Bytes::from_static(payload),
        ..event(&function(name))
    };
    let engine = &house.engine;
    let first = engine
        .submit_keyed(&Principal::Root, "k", new("f", b"1"))
        .await
        .unwrap();
    assert_eq!(
        engine
            .submit_keyed(&Principal::Root, "k", new("f", b"1"))
            .await
            .unwrap(),
        first
    );
    let other = engine
        .submit_keyed(&Principal::Root, "k", new("f", b"2"))
        .await
        .unwrap_err();
    assert_eq!(other.kind(), Kind::Conflict);
    assert!(other.to_string().contains("\"k\""), "{other}");
    assert_ne!(
        engine
            .submit_keyed(&Principal::Root, "k", new("g", b"2"))
            .await
            .unwrap(),
        first
    );
    // The key of somebody else, and that for a function of the same name, are other keys.
    let other = Principal::Function {
        name: "g".parse().unwrap(),
    };
    let theirs = engine
        .submit_keyed(&other, "k", new("f", b"2"))
        .await
        .unwrap();
    assert_ne!(theirs, first);
    house
        .engine
        .delete_function(&"f".parse().unwrap())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    house.function("f").await;
    let again = engine
        .submit_keyed(&Principal::Root, "k", new("f", b"3"))
        .await
        .unwrap();
    assert_ne!(again, first);
    for bad in ["", "ü", "a\nb", &"k".repeat(256)] {
        let error = engine
            .submit_keyed(&Principal::Root, bad, new("f", b"1"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{bad:?}");
    }
}

#[tokio::test]
async fn destinations_change_without_a_new_revision() {
    let house = House::open(steady(0, 0)).await;
    make_queue(&house, "told").await;
    let before = house.function("f").await;
    assert!(house.invoke("f").await.unwrap().cold);
    let name = before.spec.name.clone();
    let to = |target: Target| {
        move |_: &mut model::RetryPolicy, destinations: &mut Destinations| {
            destinations.on_success = Some(target);
        }
    };
    let gone = house
        .engine
        .change_event_invoke(&name, None, to(queue("no")))
        .await;
    assert_eq!(gone.unwrap_err().kind(), Kind::Invalid);
    let changed = house
        .engine
        .change_event_invoke(&name, None, to(queue("told")));
    let told = changed.await.unwrap().destinations;
    let changed = house.engine.get_function(&name).await.unwrap();
    assert_eq!(changed.spec.destinations, told);
    assert_eq!(changed.revision_id, before.revision_id);
    assert!(
        !house.invoke("f").await.unwrap().cold,
        "its instance goes on"
    );
    assert_eq!(house.engine.get_function(&name).await.unwrap(), changed);
    let house = house.reopen(steady(0, 0), Duration::from_secs(5)).await;
    assert_eq!(house.engine.get_function(&name).await.unwrap(), changed);
    // A deployment that says otherwise: neither a new instance.
    assert!(house.invoke("f").await.unwrap().cold);
    let mut spec = changed.spec.clone();
    spec.retry.max_attempts = 9;
    let (put, change) = house
        .engine
        .put_function(spec, engine::Put::Upsert)
        .await
        .unwrap();
    assert_eq!(
        (put.revision, change),
        (changed.revision, model::ChangeKind::Updated)
    );
    assert_ne!(put.revision_id, changed.revision_id);
    assert!(!house.invoke("f").await.unwrap().cold);
}

#[tokio::test]
async fn an_update_that_was_begun_before_keeps_the_destinations_that_were_set_meanwhile() {
    let house = House::open(steady(0, 0)).await;
    let made = house.function("f").await;
    make_queue(&house, "told").await;
    let change = |retry: &mut model::RetryPolicy, told: &mut Destinations| {
        told.on_failure = Some(queue("told"));
        retry.max_attempts = 1;
    };
    let changed = house
        .engine
        .change_event_invoke(&made.spec.name, None, change);
    changed.await.unwrap();
    let mut spec = made.spec.clone();
    spec.limits.timeout += 1_000;
    let update = engine::Put::Update {
        revision_id: Some(made.revision_id),
    };
    let (next, _) = house.engine.put_function(spec, update).await.unwrap();
    assert_eq!(next.spec.destinations.on_failure, Some(queue("told")));
    assert_eq!(next.spec.retry.max_attempts, 1);
}
