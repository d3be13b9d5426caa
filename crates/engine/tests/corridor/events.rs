//! Events: leased, attempted, retried, buried, replayed, cancelled, given back.

use crate::house::{House, event, failed, function, ok, steady, until};
use engine::Cancelled;
use model::{Ending, EventId, EventQuery, EventState, Jitter, Kind, Principal};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use runtime::{Fake, FakeStart};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

fn at_once() -> FakeStart {
    FakeStart {
        takes: Duration::ZERO,
        fails: None,
    }
}

/// Calls end as `ending` says of their number, from 0.
fn scripted(ending: impl Fn(u32) -> (Duration, Ending, bool) + Send + Sync + 'static) -> Fake {
    let calls = AtomicU32::new(0);
    let on_call = move |_: &_| ending(calls.fetch_add(1, Ordering::SeqCst));
    Fake::new(|_| at_once(), on_call)
}

#[tokio::test]
async fn an_event_wakes_its_function_and_leaves_a_record() {
    let house = House::open(steady(1, 1)).await;
    house.function("f").await;
    let id = house.submit(&function("f")).await;
    let event = house.ended(id).await;
    assert_eq!((event.state, event.attempts), (EventState::Succeeded, 1));
    let run = &event.runs[0];
    assert_eq!(
        (run.ending.as_str(), run.attempt, run.cold),
        ("succeeded", 1, true)
    );
    assert_eq!(run.event, Some(id));
    assert!(run.timing.queued >= run.timing.start && run.timing.start > 0);
    let second = house.submit(&function("f")).await;
    let run = &house.ended(second).await.runs[0];
    assert!(!run.cold);
    assert_eq!(run.timing.start, 0);
}

#[tokio::test]
async fn a_failing_event_is_retried_then_dead_then_replayed() {
    let house = House::open(scripted(|call| {
        let ending = if call < 3 { failed() } else { ok() };
        (Duration::ZERO, ending, true)
    }))
    .await;
    let mut spec = house.spec("f").await;
    spec.retry.jitter = Jitter::None;
    house.put(spec).await;
    let id = house.submit(&function("f")).await;
    let dead = house.ended(id).await;
    assert_eq!((dead.state, dead.attempts), (EventState::Dead, 3));
    assert_eq!(
        dead.last_error.unwrap(),
        "3 attempts failed; the last: TypeError: x is not a function"
    );
    let attempts: Vec<_> = dead.runs.iter().map(|run| run.attempt).collect();
    assert_eq!(attempts, [1, 2, 3]);
    // Waits of 20 and 40 ms lie between them.
    assert!(dead.runs[1].started.since(dead.runs[0].started) >= 20);
    assert!(dead.runs[2].started.since(dead.runs[1].started) >= 40);

    let again = house.engine.replay_event(id, None).await.unwrap();
    let replayed = house.ended(again).await;
    assert_eq!(replayed.state, EventState::Succeeded);
    assert_eq!(replayed.accepted.replay_of, Some(id));
    assert_eq!(replayed.accepted.payload, dead.accepted.payload);
    assert_eq!(house.event(id).await.state, EventState::Dead);
}

#[tokio::test]
async fn every_way_to_end_is_recorded_by_its_name() {
    let endings = [
        failed(),
        Ending::Crashed {
            how: "signal 11 (SIGSEGV)".into(),
        },
        Ending::TimedOut { after: 3_000 },
        Ending::OutOfMemory { limit: 1 << 27 },
        Ending::ResponseTooLarge { limit: 6 << 20 },
    ];
    for ending in endings {
        let (word, lives) = (ending.word(), ending.word() == "failed");
        let house = House::open(scripted(move |_| (Duration::ZERO, ending.clone(), lives))).await;
        let mut spec = house.spec("f").await;
        spec.retry.max_attempts = 2;
        house.put(spec).await;
        let id = house.submit(&function("f")).await;
        let event = house.ended(id).await;
        assert_eq!(
            (event.state, event.attempts),
            (EventState::Dead, 2),
            "{word}"
        );
        assert!(event.runs.iter().all(|run| run.ending == word), "{word}");
        assert_eq!(
            event.runs[1].cold, !lives,
            "{word}: a dead instance is not used again"
        );
    }
}

#[tokio::test]
async fn a_failing_start_spends_attempts_and_an_impossible_one_does_not() {
    let house = House::open(Fake::new(
        |spec| FakeStart {
            takes: Duration::ZERO,
            fails: Some(if spec.environment.contains_key("BROKEN") {
                Ending::InitFailed {
                    error_type: "Runtime.ImportModuleError".into(),
                    message: "no module".into(),
                }
            } else {
                Ending::Unavailable {
                    reason: "no interpreter".into(),
                }
            }),
        },
        |_| (Duration::ZERO, ok(), true),
    ))
    .await;
    let mut spec = house.spec("f").await;
    spec.environment.insert("BROKEN".into(), "1".into());
    house.put(spec).await;
    house.function("g").await;
    let id = house.submit(&function("f")).await;
    let other = house.submit(&function("g")).await;
    let dead = house.ended(id).await;
    assert_eq!((dead.state, dead.attempts), (EventState::Dead, 3));
    assert_eq!(dead.runs[0].ending, "init_failed");
    let waiting = until("a second lease", async || {
        let event = house.event(other).await;
        (event.epoch >= 2).then_some(event)
    })
    .await;
    assert_eq!(waiting.attempts, 0);
    assert!(waiting.last_error.unwrap().contains("no interpreter"));
}

#[tokio::test]
async fn one_targets_flood_does_not_hold_up_anothers_first_event() {
    let options = engine::Options {
        max_attempts: 8,
        ..engine::Options::default()
    };
    let fake = Fake::new(
        |_| at_once(),
        |invocation| {
            let flood = invocation.function_arn.ends_with(":flood");
            let takes = Duration::from_millis(if flood { 500 } else { 0 });
            (takes, ok(), true)
        },
    );
    let house = House::open_with(fake, options).await;
    let mut spec = house.spec("flood").await;
    spec.scaling.max_instances = 100;
    house.put(spec).await;
    house.function("quiet").await;
    let flood: Vec<_> = (0..1_000).map(|_| event(&function("flood"))).collect();
    house.state.put_events(flood).await.unwrap();
    until("the flood", async || {
        (!house.fake.calls().is_empty()).then_some(())
    })
    .await;
    let id = house.submit(&function("quiet")).await;
    assert_eq!(house.ended(id).await.state, EventState::Succeeded);
    let counts = house.state.count_events().await.unwrap();
    let (_, flood) = counts
        .iter()
        .find(|(target, _)| target == "function:flood")
        .unwrap();
    assert!(flood.waiting > 900, "{flood:?}");
    assert!(flood.leased <= 4, "half of the places: {flood:?}");
}

#[tokio::test]
async fn events_wait_while_calls_use_every_instance() {
    let house = House::open(steady(0, 20)).await;
    let mut spec = house.spec("f").await;
    spec.scaling.max_instances = 1;
    spec.scaling.queue = 1;
    house.put(spec).await;
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(house.submit(&function("f")).await);
        let _ = house.invoke("f").await;
    }
    for id in ids {
        let event = house.ended(id).await;
        assert_eq!((event.state, event.attempts), (EventState::Succeeded, 1));
    }
}

#[tokio::test]
async fn events_of_a_deleted_function_are_dead_letters_with_the_reason() {
    let house = House::open(steady(0, 60_000)).await;
    let mut spec = house.spec("f").await;
    spec.scaling.max_instances = 1;
    spec.limits.timeout = 100_000;
    house.put(spec).await;
    let busy = house.submit(&function("f")).await;
    until("the first call", async || {
        (house.fake.calls().len() == 1).then_some(())
    })
    .await;
    let waiting = house.submit(&function("f")).await;
    let name = "f".parse().unwrap();
    house.engine.delete_function(&name).await.unwrap();
    for id in [busy, waiting] {
        let event = house.event(id).await;
        assert_eq!(event.state, EventState::Cancelled);
        assert_eq!(event.last_error.as_deref(), Some("function deleted"));
    }
    let refused = house.engine.submit(event(&function("f"))).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::NotFound);
    let refused = house.engine.replay_event(waiting, None).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::NotFound);
    // One that a bucket's rule still sends ends as a dead letter too.
    let late = event(&function("f"));
    house.state.put_events(vec![late.clone()]).await.unwrap();
    let dead = house.ended(late.id).await;
    assert_eq!(dead.state, EventState::Dead);
    assert!(
        dead.last_error
            .unwrap()
            .contains("function:f does not exist")
    );
}

#[tokio::test]
async fn what_an_instance_works_on_is_known_while_it_does() {
    let house = House::open(steady(0, 60_000)).await;
    let mut spec = house.spec("f").await;
    spec.limits.timeout = 100_000;
    house.put(spec).await;
    let id = house.submit(&function("f")).await;
    let (instance, _) = until("the call", async || house.fake.calls().pop()).await;
    let found = until("the event", async || house.engine.current_event(&instance)).await;
    assert_eq!(found, id);
    house.fake.end(&instance, "exit status 1");
    until("its end", async || {
        house
            .engine
            .current_event(&instance)
            .is_none()
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_drain_gives_back_what_did_not_end_and_the_next_start_ends_it() {
    let house = House::open(scripted(|call| {
        let long = call > 0;
        (Duration::from_secs(if long { 600 } else { 0 }), ok(), true)
    }))
    .await;
    let mut spec = house.spec("f").await;
    spec.limits.timeout = 900_000;
    house.put(spec).await;
    let done = house.submit(&function("f")).await;
    house.ended(done).await;
    let cut = house.submit(&function("f")).await;
    until("the long call", async || {
        (house.fake.calls().len() == 2).then_some(())
    })
    .await;
    house.engine.drain(Duration::from_millis(50)).await;
    assert!(house.fake.alive().is_empty());
    assert!(house.engine.instances().is_empty());
    let event = house.event(cut).await;
    assert_eq!((event.state, event.attempts), (EventState::Waiting, 0));
    assert_eq!(
        house.invoke("f").await.unwrap_err().kind(),
        Kind::Unavailable
    );

    let house = house.reopen(steady(0, 0), Duration::ZERO).await;
    let event = house.ended(cut).await;
    assert_eq!((event.state, event.attempts), (EventState::Succeeded, 1));
}

#[tokio::test]
async fn a_drain_lets_short_work_end() {
    let house = House::open(steady(0, 200)).await;
    house.function("f").await;
    let id = house.submit(&function("f")).await;
    until("the call", async || {
        (!house.fake.calls().is_empty()).then_some(())
    })
    .await;
    house.engine.drain(Duration::from_secs(20)).await;
    assert_eq!(house.event(id).await.state, EventState::Succeeded);
}

/// Many small batches at random moments, failing and slow calls between: each event ends, though the
/// loop would look by itself only after a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost() {
    for seed in 0..8 {
        let mut random = StdRng::seed_from_u64(seed);
        let script = Arc::new(std::sync::Mutex::new(StdRng::seed_from_u64(seed + 100)));
        let fake = Fake::new(
            |_| at_once(),
            move |_| {
                let mut random = script.lock().unwrap();
                let takes = Duration::from_micros(random.random_range(0..3_000));
                match random.random_range(0..12) {
                    0 => (takes, failed(), true),
                    1 => (takes, Ending::Crashed { how: "x".into() }, false),
                    _ => (takes, ok(), true),
                }
            },
        );
        let options = engine::Options {
            max_attempts: random.random_range(1..12),
            max_starts: random.random_range(1..4),
            ..engine::Options::default()
        };
        let house = House::open_with(fake, options).await;
        for name in ["f", "g", "h"] {
            let mut spec = house.spec(name).await;
            spec.scaling.max_instances = random.random_range(1..4);
            spec.retry.max_attempts = 50;
            spec.retry.base_delay = 1;
            house.put(spec).await;
        }
        let mut ids = Vec::new();
        for _ in 0..25 {
            let mut batch = Vec::new();
            for _ in 0..random.random_range(1..5) {
                let name = ["f", "g", "h"][random.random_range(0..3)];
                batch.push(event(&function(name)));
            }
            ids.extend(batch.iter().map(|event| event.id));
            house.state.put_events(batch).await.unwrap();
            tokio::time::sleep(Duration::from_micros(random.random_range(0..4_000))).await;
        }
        for id in ids {
            let event = house.ended(id).await;
            assert_eq!(event.state, EventState::Succeeded, "seed {seed}");
        }
        house.engine.drain(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn what_waits_can_be_cancelled_and_what_is_worked_on_cannot() {
    let house = House::open(scripted(|call| match call {
        0 | 1 => (Duration::ZERO, failed(), true),
        _ => (Duration::from_secs(60), ok(), true),
    }))
    .await;
    let mut spec = house.spec("f").await;
    spec.retry.base_delay = 600_000;
    spec.retry.max_delay = 600_000;
    spec.limits.timeout = 100_000;
    house.put(spec).await;
    let ids = [
        house.submit(&function("f")).await,
        house.submit(&function("f")).await,
    ];
    for id in ids {
        until("the first attempt's end", async || {
            let event = house.event(id).await;
            (event.state == EventState::Waiting && event.attempts == 1).then_some(())
        })
        .await;
    }
    let busy = house.submit(&function("f")).await;
    until("an attempt under way", async || {
        (house.fake.calls().len() == 3).then_some(())
    })
    .await;
    let engine = &house.engine;
    let who = Principal::Root;
    engine.cancel_event(ids[0], &who).await.unwrap();
    for id in [ids[0], busy] {
        let refused = engine.cancel_event(id, &who).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Conflict);
    }
    let query = EventQuery {
        target: Some("function:f".into()),
        ..EventQuery::default()
    };
    let wrong = EventQuery {
        states: vec![EventState::Waiting, EventState::Leased],
        ..query.clone()
    };
    let before = EventId::generate();
    let refused = engine.cancel_chosen(wrong, None, before, 9, &who).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Invalid);
    let step = engine.cancel_chosen(query, None, before, 9, &who).await;
    assert_eq!(
        step.unwrap(),
        Cancelled {
            cancelled: 1,
            next: None
        }
    );
    for id in ids {
        let event = house.event(id).await;
        assert_eq!((event.state, event.attempts), (EventState::Cancelled, 1));
        assert_eq!(event.last_error.as_deref(), Some("cancelled by root"));
        assert_eq!(event.runs.len(), 1, "what was tried is kept");
    }
    assert_eq!(house.event(busy).await.state, EventState::Leased);
}
