//! `fresh: always`.

use super::*;
use model::StartKind;

fn fresh(fake: &Fake, min_instances: u32, max_instances: u32) -> Arc<Pool> {
    let scaling = Scaling {
        min_instances,
        ..scaling(max_instances, 4)
    };
    let function = named("f", scaling, Fresh::Always);
    Pool::open(function, true, prototype(), node(fake, 8, 1_000))
}

#[tokio::test(start_paused = true)]
async fn each_call_has_an_instance_that_nobody_used() {
    let fake = steady();
    let pool = fresh(&fake, 0, 4);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut lease = ready(&pool).await;
        seen.push(lease.id().unwrap());
        let outcome = lease.call(invocation()).await;
        assert!(outcome.ending.succeeded() && outcome.cold);
        assert_eq!(outcome.timing.start, 1_000_000);
        drop(lease);
        settle().await;
        assert!(fake.alive().is_empty(), "destroyed after its call");
    }
    seen.dedup();
    assert_eq!(seen.len(), 3);
    assert_eq!(fake.started().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn unused_ones_wait_ahead_and_are_replaced_after_use() {
    let fake = steady();
    fake.set_start_kind(StartKind::Stem);
    let pool = fresh(&fake, 2, 8);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(count(&pool, InstanceState::Idle), 2, "past the keep-alive");
    let mut lease = ready(&pool).await;
    let id = lease.id().unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        count(&pool, InstanceState::Idle),
        2,
        "replaced while it works"
    );
    let outcome = lease.call(invocation()).await;
    assert!(outcome.cold, "recorded as cold, with what its start took");
    assert_eq!(outcome.start_kind, Some(StartKind::Stem));
    assert_eq!(outcome.timing.start, 1_000_000);
    drop(lease);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!fake.alive().contains(&id));
    assert_eq!(fake.alive().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_freed_instance_does_not_serve_a_waiting_call() {
    let fake = steady();
    let pool = fresh(&fake, 0, 1);
    let mut first = ready(&pool).await;
    let used = first.id();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { ready(&pool).await }
    });
    settle().await;
    assert!(first.call(invocation()).await.ending.succeeded());
    drop(first);
    let second = waiting.await.unwrap();
    assert!(second.cold() && second.id() != used);
}

#[tokio::test(start_paused = true)]
async fn what_a_call_that_went_away_left_is_not_kept() {
    let fake = steady();
    let pool = fresh(&fake, 0, 4);
    assert!(pool.acquire(Duration::from_millis(10)).await.is_err());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(fake.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_warm_call_has_no_start_kind() {
    let fake = steady();
    fake.set_start_kind(StartKind::Fork);
    let pool = open(&fake, scaling(1, 4), 8);
    let mut lease = ready(&pool).await;
    let cold = lease.call(invocation()).await;
    assert_eq!(cold.start_kind, Some(StartKind::Fork));
    drop(lease);
    let warm = ready(&pool).await.call(invocation()).await;
    assert_eq!(
        (warm.cold, warm.start_kind, warm.timing.start),
        (false, None, 0)
    );
}
