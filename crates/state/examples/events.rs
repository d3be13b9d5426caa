//! What an event costs as more wait: `cargo run --release -p state --example events -- 1000000`.
//! Beside each number of waiting events, in microseconds that pass and microseconds of a processor: one
//! accept alone, one of 64 at once, lease and settle of 64 at once, and a look at what is due; with a
//! write and fdatasync as the measure of the disk, and the process's memory. At the end, how long
//! dropping a partition holds up a writer. A folder may be given as the second argument.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use bytes::Bytes;
use model::{EventId, NewEvent, RequestId, Run, Target, Timestamp, Timing};
use state::{Retention, Settlement, State, Verdict};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

const KEEP: Retention = Retention {
    age: Duration::from_secs(7 * 24 * 3600),
    bytes: 10 << 30,
};

fn target() -> Target {
    Target::Function {
        name: "f".parse().unwrap(),
    }
}

fn event() -> NewEvent {
    NewEvent {
        id: EventId::generate(),
        target: target(),
        source: "bench".into(),
        kind: "bench".into(),
        subject: "bench".into(),
        payload: Bytes::from_static(&[b'1'; 512]),
        accepted: Timestamp::now(),
        cause: None,
        replay_of: None,
        delivery: model::Delivery::default(),
    }
}

fn run(event: EventId) -> Run {
    Run {
        request_id: RequestId::generate(),
        target: target().key(),
        event: Some(event),
        attempt: 1,
        started: Timestamp::now(),
        timing: Timing::default(),
        cold: false,
        start_kind: None,
        version: None,
        instance: None,
        ending: "succeeded".into(),
        error: None,
        memory_peak: 0,
    }
}

async fn fill(state: &State, count: usize) {
    for from in (0..count).step_by(1_000) {
        let events = (from..count.min(from + 1_000)).map(|_| event()).collect();
        state.put_events(events).await.unwrap();
        if from % 100_000 == 0 {
            state.tend_partitions(KEEP, Timestamp::now()).await.unwrap();
        }
    }
}

/// Nanoseconds of processor time that the threads of this process have used: the one figure that busy
/// neighbours do not change much.
fn processor() -> u128 {
    let mut sum = 0;
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = thread.unwrap().path().join("schedstat");
        // A thread may have ended meanwhile.
        let Ok(text) = std::fs::read_to_string(path) else {
            continue;
        };
        let used = text.split_whitespace().next().unwrap();
        sum += used.parse::<u128>().unwrap();
    }
    sum
}

/// Tells what something costs that is done `count` times: microseconds that pass, and of a processor.
struct Cost {
    began: Instant,
    used: u128,
}

impl Cost {
    fn begin() -> Self {
        Self {
            began: Instant::now(),
            used: processor(),
        }
    }

    fn of(self, count: usize) -> String {
        let count = count as u128;
        let used = processor().saturating_sub(self.used) / 1_000 / count;
        format!("{}/{used}", self.began.elapsed().as_micros() / count)
    }
}

/// What each of `count` costs, done by `tasks` at once.
async fn each<F: Future<Output = ()> + Send + 'static>(
    count: usize,
    tasks: usize,
    work: impl Fn() -> F,
) -> String {
    let cost = Cost::begin();
    for _ in 0..count / tasks {
        let all: Vec<_> = (0..tasks).map(|_| tokio::spawn(work())).collect();
        for one in all {
            one.await.unwrap();
        }
    }
    cost.of(count)
}

/// Resident memory of this process, in MiB, and that part of it that is no file's.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib / 1024
    };
    format!("{} MiB ({} anonymous)", of("VmRSS"), of("RssAnon"))
}

/// Microseconds of one write of a page with fdatasync, beside the store.
fn raw(folder: &Path) -> u128 {
    let mut file = File::create(folder.join("raw")).unwrap();
    let began = Instant::now();
    for _ in 0..500 {
        file.write_all(&[b'x'; 4096]).unwrap();
        file.sync_data().unwrap();
    }
    began.elapsed().as_micros() / 500
}

async fn measure(state: &State, folder: &Path, waiting: usize) {
    // What filling left to the kernel to write is not what is measured.
    std::process::Command::new("sync").status().unwrap();
    let disk = raw(folder);
    let accept = |state: State| async move {
        state.put_events(vec![event()]).await.unwrap();
    };
    let alone = each(500, 1, || accept(state.clone())).await;
    let together = each(12_800, 64, || accept(state.clone())).await;
    let until = Timestamp::now().after(Duration::from_secs(3600));
    let cost = Cost::begin();
    let mut leased = Vec::new();
    for _ in 0..200 {
        let target = target();
        let lease = state.lease_events(&target, 64, Timestamp::now(), until);
        leased.extend(lease.await.unwrap());
    }
    let lease = cost.of(leased.len());
    let cost = Cost::begin();
    for group in leased.chunks(64) {
        let all: Vec<_> = group
            .iter()
            .map(|one| {
                let (state, id) = (state.clone(), one.event.accepted.id);
                let settlement = Settlement {
                    id,
                    epoch: one.event.epoch,
                    verdict: Verdict::Ack,
                    run: Some(run(id)),
                    at: Timestamp::now(),
                };
                tokio::spawn(async move { state.settle_event(settlement).await.unwrap() })
            })
            .collect();
        for one in all {
            assert!(one.await.unwrap());
        }
    }
    let settle = cost.of(leased.len());
    let cost = Cost::begin();
    for _ in 0..200 {
        state.due_targets(Timestamp::now()).await.unwrap();
        state.next_due(Timestamp::now()).await.unwrap();
    }
    let look = cost.of(200);
    println!(
        "{waiting:>9} waiting: fdatasync {disk} µs; accept {alone} alone, {together} of 64; lease {lease}; \
         settle {settle}; look {look}; memory {}",
        memory()
    );
}

/// How long the writer is held up by dropping a partition of about this many events that ended.
async fn dropping(count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).await.unwrap();
    let mut left = count;
    while left > 0 {
        let many = left.min(1_000);
        fill(&state, many).await;
        let until = Timestamp(i64::MAX);
        let target = target();
        let leased = state.lease_events(&target, 1_000, Timestamp::now(), until);
        let all: Vec<_> = leased
            .await
            .unwrap()
            .into_iter()
            .map(|one| {
                let id = one.event.accepted.id;
                let settlement = Settlement {
                    id,
                    epoch: one.event.epoch,
                    verdict: Verdict::Ack,
                    run: Some(run(id)),
                    at: Timestamp::now(),
                };
                let state = state.clone();
                tokio::spawn(async move { state.settle_event(settlement).await.unwrap() })
            })
            .collect();
        for one in all {
            one.await.unwrap();
        }
        left -= many;
    }
    let size = || {
        std::fs::metadata(folder.path().join("state.db"))
            .unwrap()
            .len()
            >> 20
    };
    let later = |days: u64| Timestamp::now().after(Duration::from_secs(days * 24 * 3600));
    assert!(state.tend_partitions(KEEP, later(1)).await.unwrap().begun);
    assert_eq!(
        state.tend_partitions(KEEP, later(1)).await.unwrap().settled,
        1
    );
    let before = size();
    let began = Instant::now();
    assert_eq!(
        state.tend_partitions(KEEP, later(9)).await.unwrap().dropped,
        1
    );
    println!(
        "a partition of {count} ended events in a file of {before} MiB is dropped in {} ms",
        began.elapsed().as_millis()
    );
    state.close().await;
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let most: usize = arguments
        .next()
        .map_or(100_000, |text| text.parse().unwrap());
    let parent = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(parent).unwrap();
    let state = State::open(folder.path()).await.unwrap();
    let mut waiting = 0;
    for next in [1_000, 10_000, 100_000, 1_000_000] {
        if next > most {
            break;
        }
        fill(&state, next - waiting).await;
        waiting = next + 500;
        measure(&state, folder.path(), next).await;
    }
    state.close().await;
    let began = Instant::now();
    let state = State::open(folder.path()).await.unwrap();
    println!("opened again in {} ms", began.elapsed().as_millis());
    state.close().await;
    dropping(most.min(100_000)).await;
}
