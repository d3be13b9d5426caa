#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! With a paused clock and the fake driver.

mod concurrency;
mod freshness;
mod room;
mod simulation;

use super::*;
use crate::Options;
use model::{
    Code, Credential, Digest, Fresh, InstanceId, InstanceState, Invocation, Limits, Owner,
    Principal, RequestId, RuntimeName, Scaling, Timestamp,
};
use runtime::{Fake, FakeStart, InstanceSpec, Runtime};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

const PATIENCE: Duration = Duration::from_secs(60);

fn scaling(max_instances: u32, queue: u32) -> Scaling {
    Scaling {
        min_instances: 0,
        max_instances,
        keep_alive: 30_000,
        queue,
        ..Scaling::default()
    }
}

fn function(scaling: Scaling) -> Arc<Function> {
    named("f", scaling, Fresh::Reuse)
}

fn named(name: &str, scaling: Scaling, fresh: Fresh) -> Arc<Function> {
    let spec = serde_json::json!({
        "name": name, "runtime": "provided", "scaling": scaling, "fresh": fresh,
        "code": {"zip": {"digest": format!("sha256:{}", "a".repeat(64)), "size": 1}},
    });
    Arc::new(Function {
        spec: serde_json::from_value(spec).unwrap(),
        revision: 1,
        revision_id: String::new(),
        created: Timestamp(0),
        modified: Timestamp(0),
    })
}

fn prototype() -> Prototype {
    let name: model::FunctionName = "f".parse().unwrap();
    Prototype::new(InstanceSpec {
        id: InstanceId(String::new()),
        owner: Owner::Function {
            name: name.clone(),
            revision: 1,
            version: None,
        },
        runtime: RuntimeName::Provided,
        handler: None,
        code: Code::Zip {
            digest: Digest::from_hex(&"a".repeat(64)).unwrap(),
            size: 1,
        },
        image: None,
        entrypoint: None,
        command: None,
        working_dir: None,
        contract: Contract::Lambda,
        port: 8080,
        environment: BTreeMap::new(),
        credential: Credential {
            principal: Principal::Function { name },
            access_key_id: String::new(),
            secret_access_key: String::new(),
        },
        volumes: Vec::new(),
        files: Vec::new(),
        peers: Vec::new(),
        networks: model::Networks::default(),
        snapshot: model::Snapshot::None,
        egress: None,
        driver: None,
        limits: Limits::default(),
    })
}

fn ok() -> Ending {
    Ending::Succeeded {
        payload: Bytes::new(),
        http: None,
    }
}

/// Starts take a second and succeed; calls take a second and succeed.
fn steady() -> Fake {
    let second = Duration::from_secs(1);
    Fake::new(
        move |_| FakeStart {
            takes: second,
            fails: None,
        },
        move |_| (second, ok(), true),
    )
}

/// A machine with places for so many instances.
fn node(fake: &Fake, max_starts: usize, max_instances: usize) -> Arc<Node> {
    let options = Options {
        max_starts,
        max_instances,
        ..Options::default()
    };
    Arc::new(Node::new(Runtime::fake(fake.clone()), &options))
}

fn open(fake: &Fake, scaling: Scaling, max_starts: usize) -> Arc<Pool> {
    Pool::open(
        function(scaling),
        true,
        prototype(),
        node(fake, max_starts, 1_000),
    )
}

fn invocation() -> Invocation {
    Invocation {
        request_id: RequestId::generate(),
        payload: Bytes::new(),
        http: None,
        event: None,
        client_context: None,
        trace_id: String::new(),
        function_arn: String::new(),
        timeout: 3_000,
    }
}

async fn ready(pool: &Arc<Pool>) -> Lease {
    match pool.acquire(PATIENCE).await {
        Ok(Grant::Ready(lease)) => lease,
        Ok(Grant::Failed(failure)) => panic!("{failure:?}"),
        Ok(Grant::Moved) => panic!("moved"),
        Err(refused) => panic!("{refused:?}"),
    }
}

/// Lets every task that can run do so, without time passing.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn count(pool: &Pool, state: InstanceState) -> usize {
    let all = pool.statuses();
    all.iter().filter(|status| status.state == state).count()
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_takes_what_is_ready_first() {
    let fake = steady();
    let pool = open(&fake, scaling(4, 4), 8);
    let first = ready(&pool).await;
    assert!(first.cold());
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { ready(&pool).await }
    });
    settle().await;
    assert_eq!(count(&pool, InstanceState::Starting), 1);
    let freed = first.id();
    drop(first);
    let second = waiting.await.unwrap();
    assert!(!second.cold(), "the freed instance, not the new one");
    assert_eq!(second.id(), freed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    // The start that nobody needed any more has become an idle instance.
    assert_eq!(count(&pool, InstanceState::Idle), 1);
    assert_eq!(fake.alive().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_start_whose_call_was_served_meanwhile_is_not_begun() {
    let fake = steady();
    let pool = open(&fake, scaling(8, 8), 1);
    let mut calls = Vec::new();
    for _ in 0..6 {
        let pool = pool.clone();
        calls.push(tokio::spawn(async move { drop(ready(&pool).await) }));
    }
    for call in calls {
        call.await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    // One start at a time: the first one's instance served all six; at most one more was under way.
    assert!(fake.started().len() <= 2, "{}", fake.started().len());
    assert_eq!(count(&pool, InstanceState::Starting), 0);
}

#[tokio::test(start_paused = true)]
async fn past_the_queues_bound_a_call_is_throttled() {
    let pool = open(&steady(), scaling(1, 2), 8);
    let busy = ready(&pool).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let pool = pool.clone();
        waiting.push(tokio::spawn(async move { drop(ready(&pool).await) }));
    }
    settle().await;
    let refused = pool.acquire(PATIENCE).await.map(|_| ()).unwrap_err();
    assert_eq!(refused, Refused::Full(2));
    drop(busy);
    for call in waiting {
        call.await.unwrap();
    }
    drop(ready(&pool).await);
}

#[tokio::test(start_paused = true)]
async fn a_queue_of_none_still_starts_instances() {
    let pool = open(&steady(), scaling(1, 0), 8);
    let busy = ready(&pool).await;
    assert!(pool.acquire(PATIENCE).await.is_err());
    drop(busy);
    assert!(!ready(&pool).await.cold());
}

#[tokio::test(start_paused = true)]
async fn idle_instances_go_after_their_keep_alive() {
    let fake = steady();
    let pool = open(&fake, scaling(4, 4), 8);
    let (one, two) = tokio::join!(ready(&pool), ready(&pool));
    drop(one);
    tokio::time::sleep(Duration::from_secs(20)).await;
    drop(two);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(fake.alive().len(), 2);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(fake.alive().len(), 1, "the one that waited longest");
    // The newest is handed out, which keeps it.
    drop(ready(&pool).await);
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(fake.alive().len(), 1);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(fake.alive().len(), 0, "back to zero");
    assert!(ready(&pool).await.cold(), "and up again");
}

#[tokio::test(start_paused = true)]
async fn min_instances_are_kept_and_replaced() {
    let fake = steady();
    let min = Scaling {
        min_instances: 2,
        ..scaling(4, 4)
    };
    let pool = open(&fake, min, 8);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(fake.alive().len(), 2, "past the keep-alive");
    fake.end(&fake.alive()[0], "signal 9 (SIGKILL)");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(fake.alive().len(), 2, "a dead one is replaced");
    assert!(!ready(&pool).await.cold());
}

#[tokio::test(start_paused = true)]
async fn starts_that_nobody_waits_for_are_held_back_after_failures() {
    let tried = Arc::new(AtomicUsize::new(0));
    let counter = tried.clone();
    let fake = Fake::new(
        move |_| FakeStart {
            takes: Duration::ZERO,
            fails: (counter.fetch_add(1, Ordering::SeqCst) < 6).then(|| Ending::InitFailed {
                error_type: "Runtime.ImportModuleError".into(),
                message: "no module".into(),
            }),
        },
        |_| (Duration::ZERO, ok(), true),
    );
    let min = Scaling {
        min_instances: 1,
        ..scaling(4, 4)
    };
    let _pool = open(&fake, min, 8);
    tokio::time::sleep(Duration::from_millis(3_400)).await;
    assert_eq!(tried.load(Ordering::SeqCst), 3, "at 0, 0.5 and 1.5 s");
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(tried.load(Ordering::SeqCst), 7);
    assert_eq!(fake.alive().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_is_the_outcome_of_one_call_and_no_other() {
    let starts = AtomicUsize::new(0);
    let fake = Fake::new(
        move |_| {
            let second = starts.fetch_add(1, Ordering::SeqCst) == 1;
            FakeStart {
                takes: Duration::from_secs(if second { 1 } else { 2 }),
                fails: second.then(|| Ending::Crashed {
                    how: "exit status 1".into(),
                }),
            }
        },
        |_| (Duration::ZERO, ok(), true),
    );
    let pool = open(&fake, scaling(3, 4), 8);
    let mut calls = Vec::new();
    for _ in 0..3 {
        let pool = pool.clone();
        calls.push(tokio::spawn(async move {
            match pool.acquire(PATIENCE).await {
                Ok(Grant::Ready(_)) => "ready",
                Ok(Grant::Failed(failure)) => failure.ending.word(),
                _ => "else",
            }
        }));
    }
    let mut ends = Vec::new();
    for call in calls {
        ends.push(call.await.unwrap());
    }
    assert_eq!(ends, ["crashed", "ready", "ready"], "the oldest is told");
}

#[tokio::test(start_paused = true)]
async fn a_dead_instance_is_never_handed_out() {
    let fake = steady();
    let pool = open(&fake, scaling(4, 4), 8);
    let first = ready(&pool).await;
    let id = first.id().unwrap();
    drop(first);
    fake.end(&id, "exit status 0");
    let next = ready(&pool).await;
    assert!(next.cold());
    assert_ne!(next.id().unwrap(), id);
}

#[tokio::test(start_paused = true)]
async fn an_instance_whose_call_was_dropped_is_stopped() {
    let fake = steady();
    let pool = open(&fake, scaling(1, 4), 8);
    let mut lease = ready(&pool).await;
    let cut = tokio::time::timeout(Duration::from_millis(500), lease.call(invocation())).await;
    assert!(cut.is_err());
    drop(lease);
    settle().await;
    assert!(fake.alive().is_empty());
    assert!(ready(&pool).await.cold());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waited_too_long_leaves_nothing_behind() {
    let pool = open(&steady(), scaling(1, 4), 8);
    let refused = pool.acquire(Duration::from_millis(10)).await;
    assert_eq!(refused.map(|_| ()).unwrap_err(), Refused::Late);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(count(&pool, InstanceState::Idle), 1);
    assert!(!ready(&pool).await.cold());
}

#[tokio::test(start_paused = true)]
async fn a_retired_revision_ends_its_calls_and_goes() {
    let fake = steady();
    let pool = open(&fake, scaling(1, 4), 8);
    let mut busy = ready(&pool).await;
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { matches!(pool.acquire(PATIENCE).await, Ok(Grant::Moved)) }
    });
    settle().await;
    pool.retire();
    assert!(waiting.await.unwrap());
    assert!(busy.call(invocation()).await.ending.succeeded());
    drop(busy);
    settle().await;
    assert!(fake.alive().is_empty());
    assert!(pool.statuses().is_empty());
    assert!(matches!(pool.acquire(PATIENCE).await, Ok(Grant::Moved)));
}

#[tokio::test(start_paused = true)]
async fn recycling_replaces_idle_instances_now_and_busy_ones_later() {
    let fake = steady();
    let pool = open(&fake, scaling(2, 4), 8);
    let (busy, idle) = tokio::join!(ready(&pool), ready(&pool));
    drop(idle);
    pool.recycle();
    settle().await;
    assert_eq!(fake.alive(), [busy.id().unwrap()]);
    drop(busy);
    settle().await;
    assert!(fake.alive().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_slow_start_leaves_half_of_the_machines_starts_to_others() {
    let fake = steady();
    let node = node(&fake, 4, 1_000);
    let pool = Pool::open(function(scaling(100, 100)), true, prototype(), node.clone());
    for _ in 0..50 {
        let pool = pool.clone();
        tokio::spawn(async move {
            let lease = ready(&pool).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(lease);
        });
    }
    settle().await;
    assert_eq!(node.starts.available_permits(), 2);
}
