//! Queues in the engine: who waits is woken, events become messages, mappings call functions.

use crate::house::{House, event, failed, ok, steady, until, within};
use bytes::Bytes;
use engine::Receive;
use model::{
    Ending, EventState, Kind, MappingSpec, MessageId, NewMessage, QueueAttributes, QueueName,
    Target, Timestamp,
};
use runtime::{Fake, FakeStart};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn name(text: &str) -> QueueName {
    text.parse().unwrap()
}

fn message(body: &str) -> NewMessage {
    NewMessage {
        id: MessageId::generate(),
        body: body.to_owned(),
        attributes: BTreeMap::new(),
        trace: None,
        sender: "root".into(),
        group: None,
        deduplication: None,
        digest: None,
        delay: None,
        sent: Timestamp::now(),
        chain: Default::default(),
    }
}

async fn make(house: &House, queue: &str, attributes: QueueAttributes) -> QueueName {
    let queue = name(queue);
    let made = house
        .engine
        .create_queue(queue.clone(), attributes, BTreeMap::new())
        .await;
    assert!(made.unwrap().1);
    queue
}

async fn send(house: &House, queue: &QueueName, bodies: &[&str]) {
    let messages = bodies.iter().map(|body| message(body)).collect();
    for accepted in house.engine.send_messages(queue, messages).await.unwrap() {
        accepted.unwrap();
    }
}

fn all(queue: &QueueName) -> Receive {
    Receive {
        queue: queue.clone(),
        limit: 10,
        bytes: usize::MAX,
        visibility: None,
    }
}

async fn left(house: &House, queue: &QueueName) -> (u64, u64) {
    let counts = house.engine.queue_counts(queue).await.unwrap();
    (counts.visible, counts.in_flight)
}

/// Calls are written down and end as `ending` says of their number, from 0, and their payload.
fn noting(
    ending: impl Fn(u32, &serde_json::Value) -> Ending + Send + Sync + 'static,
) -> (Fake, Arc<Mutex<Vec<Vec<String>>>>) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (noted, number) = (calls.clone(), AtomicU32::new(0));
    let start = |_: &_| FakeStart {
        takes: Duration::ZERO,
        fails: None,
    };
    let fake = Fake::new(start, move |invocation: &model::Invocation| {
        let event: serde_json::Value = serde_json::from_slice(&invocation.payload).unwrap();
        let records = event["Records"].as_array().unwrap().iter();
        let bodies = records.map(|record| record["body"].as_str().unwrap().to_owned());
        noted.lock().unwrap().push(bodies.collect());
        (
            Duration::ZERO,
            ending(number.fetch_add(1, Ordering::SeqCst), &event),
            true,
        )
    });
    (fake, calls)
}

fn answer(value: serde_json::Value) -> Ending {
    Ending::Succeeded {
        payload: Bytes::from(value.to_string()),
        http: None,
    }
}

#[tokio::test]
async fn who_waits_is_woken_by_a_message() {
    let house = House::open(steady(0, 0)).await;
    let queue = make(&house, "q", QueueAttributes::default()).await;
    let (engine, asked) = (house.engine.clone(), all(&queue));
    let waiting = tokio::spawn(async move {
        engine
            .receive_messages(asked, Some(Duration::from_secs(20)))
            .await
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    send(&house, &queue, &["a"]).await;
    let received = within("the message", waiting).await.unwrap().unwrap();
    assert_eq!(received.messages[0].sent.body, "a");
    let (engine, asked) = (house.engine.clone(), all(&queue));
    let waiting = tokio::spawn(async move {
        engine
            .receive_messages(asked, Some(Duration::from_secs(20)))
            .await
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    house.engine.delete_queue(&queue).await.unwrap();
    let gone = within("the end of the queue", waiting).await.unwrap();
    assert_eq!(gone.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn an_event_for_a_queue_is_one_message_or_a_dead_letter() {
    let house = House::open(steady(0, 0)).await;
    let queue = make(&house, "q", QueueAttributes::default()).await;
    let target = Target::Queue {
        name: queue.clone(),
    };
    let id = house.submit(&target).await;
    let ended = house.ended(id).await;
    assert_eq!((ended.state, ended.runs.len()), (EventState::Succeeded, 1));
    let received = house
        .engine
        .receive_messages(all(&queue), None)
        .await
        .unwrap();
    assert_eq!(received.messages.len(), 1);
    assert_eq!(received.messages[0].sent.id, MessageId(id.0));
    assert_eq!(received.messages[0].sent.body, "{\"Records\":[]}");
    let small = QueueAttributes {
        max_message: 1_024,
        ..QueueAttributes::default()
    };
    let small = make(&house, "small", small).await;
    let mut large = event(&Target::Queue {
        name: small.clone(),
    });
    large.payload = Bytes::from(format!("\"{}\"", "x".repeat(2_000)));
    let id = house.engine.submit(large).await.unwrap();
    let dead = house.ended(id).await;
    assert_eq!(dead.state, EventState::Dead);
    assert!(dead.last_error.unwrap().contains("1024 bytes"));
    let missing = house
        .engine
        .submit(event(&Target::Queue { name: name("none") }))
        .await;
    assert_eq!(missing.unwrap_err().kind(), Kind::NotFound);
    let fifo = house
        .engine
        .submit(event(&Target::Queue {
            name: name("q.fifo"),
        }))
        .await;
    assert_eq!(fifo.unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test]
async fn a_mapping_gives_batches_to_its_function_and_deletes_them() {
    let (fake, calls) = noting(|_, _| ok());
    let house = House::open(fake).await;
    house.function("f").await;
    let queue = make(&house, "q", QueueAttributes::default()).await;
    let spec = MappingSpec::new(queue.clone(), "f".parse().unwrap());
    let absent = MappingSpec::new(name("none"), "f".parse().unwrap());
    assert_eq!(
        house
            .engine
            .create_mapping(absent)
            .await
            .unwrap_err()
            .kind(),
        Kind::NotFound
    );
    send(&house, &queue, &["a", "b", "c"]).await;
    let mapping = house.engine.create_mapping(spec.clone()).await.unwrap();
    assert_eq!(
        house.engine.create_mapping(spec).await.unwrap_err().kind(),
        Kind::Conflict
    );
    until("an empty queue", async || {
        (left(&house, &queue).await == (0, 0)).then_some(())
    })
    .await;
    assert_eq!(*calls.lock().unwrap(), [["a", "b", "c"]]);
    until("the word of it", async || {
        (house.engine.get_mapping(mapping.id).unwrap().1 == "OK").then_some(())
    })
    .await;
    let changed = house
        .engine
        .update_mapping(mapping.id, |spec| spec.enabled = false)
        .await
        .unwrap();
    assert!(!changed.spec.enabled);
    send(&house, &queue, &["d"]).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(left(&house, &queue).await, (1, 0), "it does not read");
    let house = house.reopen(steady(0, 0), Duration::from_secs(5)).await;
    assert_eq!(house.engine.list_mappings().len(), 1);
    house
        .engine
        .update_mapping(mapping.id, |spec| spec.enabled = true)
        .await
        .unwrap();
    until("an empty queue", async || {
        (left(&house, &queue).await == (0, 0)).then_some(())
    })
    .await;
    house.engine.delete_mapping(mapping.id).await.unwrap();
    assert_eq!(
        house.engine.get_mapping(mapping.id).unwrap_err().kind(),
        Kind::NotFound
    );
}

#[tokio::test]
async fn what_a_function_says_failed_comes_back_alone() {
    let (fake, calls) = noting(|call, event| {
        let bad = event["Records"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|record| record["body"] == "bad");
        let failures: Vec<_> = bad
            .map(|record| serde_json::json!({"itemIdentifier": record["messageId"]}))
            .collect();
        let failures = if call == 0 { failures } else { Vec::new() };
        answer(serde_json::json!({"batchItemFailures": failures}))
    });
    let house = House::open(fake).await;
    house.function("f").await;
    let short = QueueAttributes {
        visibility: 0,
        ..QueueAttributes::default()
    };
    let queue = make(&house, "q", short).await;
    send(&house, &queue, &["good", "bad", "fine"]).await;
    let mut spec = MappingSpec::new(queue.clone(), "f".parse().unwrap());
    spec.report_failures = true;
    house.engine.create_mapping(spec).await.unwrap();
    until("an empty queue", async || {
        (left(&house, &queue).await == (0, 0)).then_some(())
    })
    .await;
    let calls = calls.lock().unwrap();
    assert_eq!(*calls, [vec!["good", "bad", "fine"], vec!["bad"]]);
}

#[tokio::test]
async fn a_batch_that_fails_too_often_is_in_the_dead_letter_queue() {
    let (fake, calls) = noting(|_, _| failed());
    let house = House::open(fake).await;
    house.function("f").await;
    let dead = make(&house, "dead", QueueAttributes::default()).await;
    let redrive = model::Redrive {
        dead_letter: dead.clone(),
        max_receives: 2,
    };
    let attributes = QueueAttributes {
        visibility: 0,
        redrive: Some(redrive),
        ..QueueAttributes::default()
    };
    let queue = make(&house, "q", attributes).await;
    send(&house, &queue, &["a"]).await;
    let spec = MappingSpec::new(queue.clone(), "f".parse().unwrap());
    let mapping = house.engine.create_mapping(spec).await.unwrap();
    until("a dead letter", async || {
        (left(&house, &dead).await == (1, 0)).then_some(())
    })
    .await;
    assert_eq!(left(&house, &queue).await, (0, 0));
    assert_eq!(calls.lock().unwrap().len(), 2);
    let said = house.engine.get_mapping(mapping.id).unwrap().1;
    assert!(said.contains("x is not a function"), "{said}");
}

#[tokio::test]
async fn what_could_not_be_tried_is_not_counted() {
    let (fake, _) = noting(|call, _| {
        if call < 3 {
            return Ending::Unavailable {
                reason: "no memory".into(),
            };
        }
        ok()
    });
    let house = House::open(fake).await;
    house.function("f").await;
    let dead = make(&house, "dead", QueueAttributes::default()).await;
    let redrive = model::Redrive {
        dead_letter: dead.clone(),
        max_receives: 1,
    };
    let attributes = QueueAttributes {
        redrive: Some(redrive),
        ..QueueAttributes::default()
    };
    let queue = make(&house, "q", attributes).await;
    send(&house, &queue, &["a"]).await;
    house
        .engine
        .create_mapping(MappingSpec::new(queue.clone(), "f".parse().unwrap()))
        .await
        .unwrap();
    until("an empty queue", async || {
        (left(&house, &queue).await == (0, 0)).then_some(())
    })
    .await;
    assert_eq!(left(&house, &dead).await, (0, 0));
}

#[tokio::test]
async fn messages_too_deep_in_a_chain_are_cut_and_recorded() {
    let (fake, calls) = noting(|_, _| ok());
    let options = engine::Options {
        max_depth: 3,
        ..engine::Options::default()
    };
    let house = House::open_with(fake, options).await;
    house.function("f").await;
    let dead = make(&house, "dead", QueueAttributes::default()).await;
    let redrive = model::Redrive {
        dead_letter: dead.clone(),
        max_receives: 9,
    };
    let attributes = QueueAttributes {
        redrive: Some(redrive),
        ..QueueAttributes::default()
    };
    let with = make(&house, "with", attributes).await;
    let without = make(&house, "without", QueueAttributes::default()).await;
    let deep = |body: &str, depth| NewMessage {
        chain: model::Chain { cause: None, depth },
        ..message(body)
    };
    for queue in [&with, &without] {
        let messages = vec![deep("last", 3), deep("loop", 4)];
        house.engine.send_messages(queue, messages).await.unwrap();
        let spec = MappingSpec::new(queue.clone(), "f".parse().unwrap());
        house.engine.create_mapping(spec).await.unwrap();
        until("an empty queue", async || {
            (left(&house, queue).await == (0, 0)).then_some(())
        })
        .await;
    }
    assert_eq!(*calls.lock().unwrap(), [vec!["last"], vec!["last"]]);
    let buried = house.engine.receive_messages(all(&dead), None).await;
    let buried = buried.unwrap().messages;
    assert_eq!(buried.len(), 1);
    assert_eq!(buried[0].sent.body, "loop");
    assert_eq!(buried[0].sent.chain.depth, 4);
    let runs = house.state.list_runs(Some("function:f".into()), 10).await;
    let cut: Vec<_> = runs.unwrap();
    let cut = cut.iter().filter(|run| run.ending == "cut");
    let told: Vec<_> = cut.filter_map(|run| run.error.as_deref()).collect();
    assert_eq!(told.len(), 2);
    assert!(told[0].contains("is 5 of a chain"), "{told:?}");
}

#[tokio::test]
async fn a_message_that_an_event_delivers_is_one_deeper_than_it() {
    let house = House::open(steady(1, 1)).await;
    let queue = make(&house, "q", QueueAttributes::default()).await;
    let id = house
        .submit(&Target::Queue {
            name: queue.clone(),
        })
        .await;
    house.ended(id).await;
    let received = house.engine.receive_messages(all(&queue), None).await;
    let chain = received.unwrap().messages[0].sent.chain;
    assert_eq!((chain.cause, chain.depth), (Some(id), 1));
}
