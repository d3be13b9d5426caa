//! Measures how many events a second are accepted durably: `cargo run -p state --example commits`.
//! A folder may be given; the default is the system's temporary one.
#![allow(clippy::expect_used)]

use bytes::Bytes;
use model::{EventId, NewEvent, Target, Timestamp};
use state::State;
use std::time::{Duration, Instant};

/// How long each measurement lasts.
const LASTS: Duration = Duration::from_secs(3);

fn event() -> NewEvent {
    NewEvent {
        id: EventId::generate(),
        target: Target::Function {
            name: "f".parse().expect("a legal name"),
        },
        source: "bench".into(),
        kind: "bench".into(),
        subject: "bench".into(),
        payload: Bytes::from_static(&[b'x'; 512]),
        accepted: Timestamp::now(),
        cause: None,
        replay_of: None,
        delivery: Default::default(),
    }
}

/// Puts from so many tasks at a time; gives each put's time.
async fn measure(state: &State, writers: usize) -> Vec<Duration> {
    let end = Instant::now() + LASTS;
    let one = |state: State| async move {
        let mut times = Vec::new();
        while Instant::now() < end {
            let begun = Instant::now();
            state
                .put_events(vec![event()])
                .await
                .expect("the store accepts");
            times.push(begun.elapsed());
        }
        times
    };
    let tasks: Vec<_> = (0..writers)
        .map(|_| tokio::spawn(one(state.clone())))
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("no panic"));
    }
    all.sort_unstable();
    all
}

#[tokio::main]
async fn main() {
    let parent = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(parent).expect("a folder can be made");
    let state = State::open(folder.path()).await.expect("the store opens");
    println!(
        "{:>8} {:>12} {:>10} {:>10}",
        "writers", "puts/s", "p50", "p99"
    );
    for writers in [1, 64] {
        let times = measure(&state, writers).await;
        let rate = times.len() as f64 / LASTS.as_secs_f64();
        let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!("{writers:>8} {rate:>12.0} {p50:>10.1?} {p99:>10.1?}");
    }
    state.close().await;
}
