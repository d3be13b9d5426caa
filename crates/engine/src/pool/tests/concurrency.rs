//! Several calls at once in one instance.

use super::*;
use runtime::FakeStep;

fn sharing(per_instance: u32, max_instances: u32) -> Scaling {
    Scaling {
        per_instance,
        ..scaling(max_instances, 0)
    }
}

async fn many(pool: &Arc<Pool>, count: usize) -> Vec<Lease> {
    futures::future::join_all((0..count).map(|_| ready(pool))).await
}

fn instances(leases: &[Lease]) -> Vec<usize> {
    let mut counts = std::collections::BTreeMap::new();
    for lease in leases {
        *counts.entry(lease.id().unwrap()).or_insert(0) += 1;
    }
    let mut counts: Vec<_> = counts.into_values().collect();
    counts.sort_unstable();
    counts
}

#[tokio::test(start_paused = true)]
async fn one_start_serves_as_many_calls_as_the_instance_takes() {
    let fake = steady();
    let pool = open(&fake, sharing(4, 3), 8);
    let leases = many(&pool, 6).await;
    assert!(leases.iter().all(Lease::cold), "each waited for a start");
    assert_eq!(instances(&leases), [2, 4]);
    assert_eq!(fake.started().len(), 2);
    let more = many(&pool, 6).await;
    assert!(
        more[..2].iter().all(|lease| !lease.cold()),
        "there was room"
    );
    assert_eq!(instances(&more), [2, 4]);
    let refused = pool.acquire(PATIENCE).await.map(|_| ()).unwrap_err();
    assert_eq!(refused, Refused::Full(0), "three instances of four calls");
    assert_eq!(fake.started().len(), 3);
    assert_eq!(pool.room(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_fullest_with_room_is_filled_so_that_the_others_age_out() {
    let fake = steady();
    let pool = open(&fake, sharing(2, 3), 8);
    let mut leases = many(&pool, 6).await;
    // One call left in each of two instances, both in the third.
    let full = leases[0].id().unwrap();
    let rest: Vec<_> = leases
        .iter()
        .filter_map(|lease| lease.id().filter(|id| *id != full))
        .collect();
    for id in [&rest[0], rest.iter().find(|id| **id != rest[0]).unwrap()] {
        let at = leases
            .iter()
            .position(|lease| lease.id().as_ref() == Some(id));
        drop(leases.swap_remove(at.unwrap()));
    }
    let kept = leases
        .iter()
        .position(|lease| lease.id() == Some(rest[0].clone()));
    drop(leases.swap_remove(kept.unwrap()));
    // One is idle, one has a call and room for another, one is full: the second is taken.
    assert_eq!(count(&pool, InstanceState::Idle), 1);
    let next = ready(&pool).await;
    assert!(next.id() != Some(full) && next.id() != Some(rest[0].clone()));
    assert_eq!(count(&pool, InstanceState::Idle), 1);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(fake.alive().len(), 2, "the idle one has aged out");
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_takes_room_or_a_new_instance_whichever_is_first() {
    let fake = steady();
    let pool = open(
        &fake,
        Scaling {
            queue: 4,
            ..sharing(2, 2)
        },
        8,
    );
    let mut leases = many(&pool, 2).await;
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { ready(&pool).await }
    });
    settle().await;
    assert_eq!(count(&pool, InstanceState::Starting), 1);
    let first = leases[0].id();
    leases.pop();
    let second = waiting.await.unwrap();
    assert!(
        !second.cold() && second.id() == first,
        "room in the first one"
    );
}

#[tokio::test(start_paused = true)]
async fn a_late_call_leaves_its_neighbours_alone_and_the_instance_is_used_up() {
    let fake = steady();
    let pool = open(&fake, sharing(3, 1), 8);
    let mut leases = many(&pool, 2).await;
    let id = leases[0].id().unwrap();
    let mut dropped = leases.pop().unwrap();
    // The caller goes away in the middle: nobody knows what the instance does with that call.
    let cut = tokio::time::timeout(Duration::from_millis(10), dropped.call(invocation())).await;
    assert!(cut.is_err());
    drop(dropped);
    let outcome = leases[0].call(invocation()).await;
    assert!(outcome.ending.succeeded());
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire(PATIENCE).await.map(|_| ()) }
    });
    settle().await;
    assert_eq!(
        fake.alive(),
        std::slice::from_ref(&id),
        "it has one call still"
    );
    drop(leases);
    settle().await;
    assert!(!fake.alive().contains(&id));
    assert_eq!(waiting.await.unwrap(), Ok(()), "a new one serves the next");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_is_the_outcome_of_the_calls_that_it_was_for() {
    let fake = Fake::new(
        |_| FakeStart {
            takes: Duration::from_secs(1),
            fails: Some(Ending::Crashed { how: "x".into() }),
        },
        |_| (Duration::ZERO, ok(), true),
    );
    let pool = open(&fake, sharing(3, 1), 8);
    let asked = (0..3).map(|_| pool.acquire(PATIENCE));
    let ends = futures::future::join_all(asked).await;
    assert!(ends.iter().all(|end| matches!(end, Ok(Grant::Failed(_)))));
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_frozen_only_between_calls_and_thawed_before_the_next() {
    use FakeStep::{Called, Frozen, Thawed};
    let fake = steady();
    let pool = open(&fake, sharing(2, 1), 8);
    let mut leases = many(&pool, 2).await;
    let id = leases[0].id().unwrap();
    let mut other = leases.pop().unwrap();
    assert!(leases[0].call(invocation()).await.ending.succeeded());
    drop(leases);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(fake.steps(&id), [Called], "the other call is not over");
    assert!(other.call(invocation()).await.ending.succeeded());
    drop(other);
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(fake.steps(&id), [Called, Called]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(fake.steps(&id), [Called, Called, Frozen]);
    let mut next = ready(&pool).await;
    assert!(!next.cold());
    assert!(next.call(invocation()).await.ending.succeeded());
    drop(next);
    let expected = [Called, Called, Frozen, Thawed, Called];
    assert_eq!(fake.steps(&id), expected);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(fake.alive().is_empty());
    let end = [Frozen, Thawed];
    assert_eq!(fake.steps(&id)[5..], end, "thawed so that it can end");
}

#[tokio::test(start_paused = true)]
async fn a_function_that_is_called_all_the_time_is_not_frozen() {
    let fake = steady();
    let pool = open(&fake, scaling(1, 4), 8);
    let id = ready(&pool).await.id().unwrap();
    for _ in 0..50 {
        let mut lease = ready(&pool).await;
        assert!(lease.call(invocation()).await.ending.succeeded());
        drop(lease);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert!(fake.steps(&id).iter().all(|step| *step == FakeStep::Called));
}

#[tokio::test(start_paused = true)]
async fn a_function_that_is_never_to_be_frozen_is_not() {
    let fake = steady();
    let never = Scaling {
        freeze_after: None,
        ..scaling(1, 4)
    };
    let pool = open(&fake, never, 8);
    let id = ready(&pool).await.id().unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(fake.steps(&id), []);
}

/// A runtime that ends drops what is spawned at once, also what a pool spawns while its table is locked.
#[test]
fn a_runtime_that_ends_under_calls_that_wait_does_end() {
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let fake = steady();
            let pool = Pool::open(
                function(scaling(1, 9)),
                true,
                prototype(),
                node(&fake, 1, 9),
            );
            for _ in 0..2 {
                let pool = pool.clone();
                tokio::spawn(async move {
                    if let Ok(Grant::Ready(mut lease)) = pool.acquire(PATIENCE).await {
                        lease.call(invocation()).await;
                    }
                });
            }
            // One is called, the other waits.
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        });
        drop(runtime);
        done.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(60)).unwrap();
}
