//! Many random days in the life of a pool, each told by its seed.

use super::*;
use crate::places::Asked;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// One seed: callers come, call for a while, go away early or not; starts fail, instances die.
async fn simulate(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let max = random.random_range(1..6);
    let script = Arc::new(Mutex::new(StdRng::seed_from_u64(seed + 1_000)));
    let calls = script.clone();
    let fake = Fake::new(
        move |_| {
            let mut random = script.lock().unwrap();
            FakeStart {
                takes: Duration::from_millis(random.random_range(0..400)),
                fails: random
                    .random_bool(0.2)
                    .then(|| Ending::TimedOut { after: 1 }),
            }
        },
        move |_| {
            let mut random = calls.lock().unwrap();
            let takes = Duration::from_millis(random.random_range(0..300));
            match random.random_range(0..10) {
                0 => (takes, Ending::Crashed { how: "x".into() }, false),
                _ => (takes, ok(), true),
            }
        },
    );
    let starts = random.random_range(1..5);
    let fresh = random.random_bool(0.25);
    let scaling = Scaling {
        per_instance: if fresh { 1 } else { random.random_range(1..4) },
        freeze_after: random.random_bool(0.8).then(|| random.random_range(0..400)),
        ..scaling(max, 1_000)
    };
    let fresh = if fresh { Fresh::Always } else { Fresh::Reuse };
    // Sometimes the machine has fewer places than the function may have instances.
    let places = random.random_range(1..8);
    let node = node(&fake, starts, places);
    let pool = Pool::open(named("f", scaling, fresh), true, prototype(), node.clone());
    let most = places.min(max as usize);
    let mut callers = Vec::new();
    for _ in 0..60 {
        let (pool, fake) = (pool.clone(), fake.clone());
        let patience = Duration::from_millis(random.random_range(1..20_000));
        let goes_away = random.random_bool(0.1);
        let come = Duration::from_millis(random.random_range(0..3_000));
        callers.push(tokio::spawn(async move {
            tokio::time::sleep(come).await;
            if let Ok(Grant::Ready(mut lease)) = pool.acquire(patience).await {
                assert!(fake.alive().len() <= most, "seed {seed}");
                let bound = Duration::from_millis(if goes_away { 50 } else { 10_000 });
                let _ = tokio::time::timeout(bound, lease.call(invocation())).await;
            }
        }));
    }
    for caller in callers {
        let end = tokio::time::timeout(Duration::from_secs(600), caller).await;
        end.unwrap_or_else(|_| panic!("seed {seed}: a caller hangs"))
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert_eq!(fake.alive().len(), 0, "seed {seed}: back to zero");
    assert!(
        pool.statuses().is_empty(),
        "seed {seed}: the books are even"
    );
    assert!(!node.places.is_short(), "seed {seed}");
    let left = std::iter::from_fn(
        || match node.places.ask(&pool.function.spec.name, pool.id()) {
            Asked::Now(place) => Some(place),
            Asked::Later(_) => None,
        },
    );
    let left = left.collect::<Vec<_>>().len();
    assert_eq!(left, places, "seed {seed}: every place was given back");
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_nobody_hangs_and_nothing_leaks() {
    for seed in 0..120 {
        simulate(seed).await;
    }
}
