//! The bound of the machine: reservations, who makes room, who gets it, and memory.

use super::*;
use crate::pressure::{Sample, watch};
use model::Pressure;

fn pool(node: &Arc<Node>, name: &str, scaling: Scaling) -> Arc<Pool> {
    Pool::open(
        named(name, scaling, Fresh::Reuse),
        true,
        prototype(),
        node.clone(),
    )
}

fn many(max_instances: u32) -> Scaling {
    scaling(max_instances, 100)
}

/// Instances that are there, but for those on their way out.
fn live(pool: &Pool) -> usize {
    count(pool, InstanceState::Idle) + count(pool, InstanceState::Busy)
}

async fn take(pool: &Arc<Pool>, count: usize) -> Vec<Lease> {
    futures::future::join_all((0..count).map(|_| ready(pool))).await
}

async fn second() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_reserved_function_has_its_places_and_no_more() {
    let node = node(&steady(), 8, 4);
    let own = Scaling {
        reserved: Some(2),
        queue: 0,
        ..many(10)
    };
    let own = pool(&node, "own", own);
    let other = pool(&node, "other", many(10));
    let _others = take(&other, 2).await;
    let late = tokio::time::timeout(Duration::from_secs(20), ready(&other)).await;
    assert!(late.is_err(), "two of four are kept");
    let owned = take(&own, 2).await;
    let refused = own.acquire(PATIENCE).await.map(|_| ()).unwrap_err();
    assert_eq!(
        refused,
        Refused::Full(0),
        "it has no more than what is reserved"
    );
    drop(owned);
    let late = tokio::time::timeout(Duration::from_secs(20), ready(&other)).await;
    assert!(late.is_err(), "its idle ones make no room for others");
    assert_eq!(live(&own), 2);
}

#[tokio::test(start_paused = true)]
async fn a_function_with_nothing_reserved_takes_no_calls() {
    let node = node(&steady(), 8, 4);
    let off = Scaling {
        reserved: Some(0),
        min_instances: 2,
        ..many(10)
    };
    let pool = pool(&node, "off", off);
    let refused = pool.acquire(PATIENCE).await.map(|_| ()).unwrap_err();
    assert_eq!(refused, Refused::Off);
    assert_eq!((pool.places(), pool.room()), (0, 0));
    second().await;
    assert_eq!(live(&pool), 0);
}

#[tokio::test(start_paused = true)]
async fn at_the_bound_the_least_recently_used_makes_room() {
    let fake = steady();
    let node = node(&fake, 8, 3);
    let (a, b, c) = (
        pool(&node, "a", many(10)),
        pool(&node, "b", many(10)),
        pool(&node, "c", many(10)),
    );
    let held = take(&a, 2).await;
    let older = held[1].id().unwrap();
    for lease in held.into_iter().rev() {
        drop(lease);
        second().await;
    }
    drop(ready(&b).await);
    second().await;
    assert_eq!(fake.alive().len(), 3);
    drop(ready(&c).await);
    assert_eq!((live(&a), live(&b), live(&c)), (1, 1, 1));
    assert!(
        !fake.alive().contains(&older),
        "the one that was idle longest"
    );
    // By now b's is older than c's, and a's oldest of all.
    drop(ready(&c).await);
    let two = take(&c, 2).await;
    assert_eq!((live(&a), live(&b), live(&c)), (0, 1, 2));
    drop(two);
}

#[tokio::test(start_paused = true)]
async fn instances_that_are_kept_ready_do_not_make_room() {
    let node = node(&steady(), 8, 2);
    let kept = Scaling {
        min_instances: 1,
        ..many(10)
    };
    let a = pool(&node, "a", kept);
    second().await;
    let b = pool(&node, "b", many(10));
    drop(ready(&b).await);
    let c = pool(&node, "c", many(10));
    drop(ready(&c).await);
    assert_eq!((live(&a), live(&b), live(&c)), (1, 0, 1));
}

/// Keeps so many calls of a second each going.
fn load(pool: &Arc<Pool>, callers: usize) {
    for _ in 0..callers {
        let pool = pool.clone();
        tokio::spawn(async move {
            loop {
                if let Ok(Grant::Ready(mut lease)) = pool.acquire(PATIENCE).await {
                    lease.call(invocation()).await;
                }
            }
        });
    }
}

#[tokio::test(start_paused = true)]
async fn two_functions_that_want_everything_have_half_each() {
    let fake = steady();
    let node = node(&fake, 8, 8);
    let (greedy, late) = (
        pool(&node, "greedy", many(100)),
        pool(&node, "late", many(100)),
    );
    load(&greedy, 50);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(live(&greedy), 8, "alone it has all");
    load(&late, 50);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!((live(&greedy), live(&late)), (4, 4));
    let before = fake.started().len();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(fake.started().len(), before, "and then it stays so");
}

#[tokio::test(start_paused = true)]
async fn one_call_among_many_of_another_function_finds_a_place() {
    let node = node(&steady(), 8, 4);
    let (greedy, small) = (
        pool(&node, "greedy", many(100)),
        pool(&node, "small", many(100)),
    );
    load(&greedy, 50);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let lease = tokio::time::timeout(Duration::from_secs(5), ready(&small)).await;
    assert!(lease.is_ok());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(live(&greedy), 3, "and no more is taken away than it needs");
}

#[tokio::test(start_paused = true)]
async fn starts_are_paced() {
    let fake = steady();
    let options = Options {
        max_starts: 1_000,
        start_rate: 10,
        start_burst: 5,
        ..Options::default()
    };
    let node = Arc::new(Node::new(Runtime::fake(fake.clone()), &options));
    let pool = pool(&node, "f", many(100));
    let held = tokio::spawn({
        let pool = pool.clone();
        async move { take(&pool, 25).await }
    });
    // Each takes a second.
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    assert_eq!(fake.started().len(), 5, "the burst");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(fake.started().len(), 15, "and ten a second");
    assert_eq!(held.await.unwrap().len(), 25);
}

/// A machine whose memory the test sets.
fn machine(node: &Arc<Node>) -> Arc<Mutex<u64>> {
    let available = Arc::new(Mutex::new(100));
    let shown = available.clone();
    let read = move || Ok(Sample::of(*shown.lock().unwrap(), 100));
    tokio::spawn(watch(node.clone(), read));
    available
}

/// Lets the watching task, which reads on a thread of its own, see what there is now.
async fn seen(node: &Node, level: Pressure) {
    let mut pressure = node.pressure.subscribe();
    pressure.wait_for(|now| *now == level).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn when_memory_is_short_the_oldest_idle_go_and_the_kept_ones_last() {
    let fake = steady();
    let node = node(&fake, 16, 100);
    let forever = Scaling {
        keep_alive: 1_000_000_000,
        ..many(100)
    };
    let kept = Scaling {
        min_instances: 2,
        ..forever.clone()
    };
    let (a, b) = (pool(&node, "a", kept), pool(&node, "b", forever));
    tokio::time::sleep(Duration::from_secs(5)).await;
    drop(take(&b, 4).await);
    let busy = ready(&b).await;
    drop(take(&a, 4).await);
    assert_eq!((live(&a), live(&b)), (4, 4));
    let memory = machine(&node);
    *memory.lock().unwrap() = 8;
    seen(&node, Pressure::High).await;
    settle().await;
    assert_eq!(
        (live(&a), live(&b)),
        (4, 2),
        "a quarter of five, the oldest first"
    );
    while live(&a) + live(&b) > 3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((live(&a), live(&b)), (2, 1), "what is kept or busy stays");
    *memory.lock().unwrap() = 3;
    seen(&node, Pressure::Critical).await;
    while live(&a) > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(fake.alive().contains(&busy.id().unwrap()));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(
        live(&a),
        0,
        "and is not started again while memory is short"
    );
    *memory.lock().unwrap() = 50;
    seen(&node, Pressure::Calm).await;
    while live(&a) < 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
