//! Queue, dispatcher, pool and scaler, the real ones, in worlds of which time, chance and order come
//! from a seed: functions crash, hang and answer late, the server is killed and started again, and
//! nothing that was accepted is lost. See CONTRIBUTING.md for how to replay a seed.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

mod audit;
mod clients;
mod house;
mod ledger;
mod plan;
mod run;
mod script;
mod watch;

use ledger::{Broken, Ledger};
use run::{Counts, Report};
use std::io::Write;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds that are run when nothing else is said.
const SEEDS: Range<u64> = 0..500;
/// Every so many, one is run twice.
const TWICE: u64 = 25;
/// Lines of a failed run's story that are shown.
const TAIL: usize = 40;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => many(SEEDS),
        ["--seed", seed] => match seed.parse() {
            Ok(seed) => one(seed),
            Err(_) => usage(),
        },
        ["--seeds", seeds] => match range(seeds) {
            Some(seeds) => many(seeds),
            None => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    println!("usage: simulation [--seed N | --seeds A..B]");
    ExitCode::from(2)
}

fn range(text: &str) -> Option<Range<u64>> {
    let (first, end) = text.split_once("..")?;
    Some(first.parse().ok()?..end.parse().ok()?)
}

/// Runs a seed and tells its whole story.
fn one(seed: u64) -> ExitCode {
    let report = attempt(seed);
    let mut out = std::io::stdout().lock();
    out.write_all(report.trace.as_bytes()).unwrap();
    match report.broken {
        None => {
            writeln!(out, "seed {seed}: every invariant held").unwrap();
            ExitCode::SUCCESS
        }
        Some(broken) => {
            writeln!(
                out,
                "seed {seed} broke {}: {}",
                broken.invariant, broken.seen
            )
            .unwrap();
            ExitCode::FAILURE
        }
    }
}

/// Runs a seed; a panic in it is an invariant that was broken.
fn attempt(seed: u64) -> Report {
    let ledger = Ledger::default();
    let ran = catch_unwind(AssertUnwindSafe(|| run::run(seed, &ledger)));
    ran.unwrap_or_else(|panic| Report {
        trace: ledger.book().trace.clone(),
        broken: Some(Broken {
            invariant: "no-panic",
            seen: match panic.downcast::<String>() {
                Ok(text) => *text,
                Err(panic) => panic
                    .downcast_ref::<&str>()
                    .copied()
                    .unwrap_or("?")
                    .to_owned(),
            },
        }),
        counts: Counts::default(),
    })
}

/// Runs seeds, as many at a time as there are processors, until one fails.
fn many(seeds: Range<u64>) -> ExitCode {
    let next = AtomicU64::new(seeds.start);
    let failed = Mutex::new(None::<(u64, Report)>);
    let sum = Mutex::new(Counts::default());
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || failed.lock().unwrap().is_some() {
                return;
            }
            let mut report = attempt(seed);
            if report.broken.is_none() && seed.is_multiple_of(TWICE) {
                repeat(seed, &mut report);
            }
            sum.lock().unwrap().add(report.counts);
            if report.broken.is_some() {
                failed.lock().unwrap().get_or_insert((seed, report));
            }
        }
    };
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..processors {
            let thread = std::thread::Builder::new().stack_size(16 << 20);
            thread.spawn_scoped(scope, worker).unwrap();
        }
    });
    if let Some((seed, report)) = failed.into_inner().unwrap() {
        tell(seed, &report);
        return ExitCode::FAILURE;
    }
    let sum = sum.into_inner().unwrap();
    println!("seeds {seeds:?}: every invariant held; {sum}");
    if seeds.end - seeds.start >= 100 && !sum.is_rich() {
        println!("too little happened: the simulation does not try what it is for");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn tell(seed: u64, report: &Report) {
    let lines: Vec<_> = report.trace.lines().collect();
    for line in &lines[lines.len().saturating_sub(TAIL)..] {
        println!("{line}");
    }
    if let Some(broken) = &report.broken {
        println!("\nseed {seed} broke {}: {}", broken.invariant, broken.seen);
    }
    println!("replay it: ./test simulate -- --seed {seed}");
}

/// Runs a seed once more, in a process of its own; its story must be the same, byte by byte.
fn repeat(seed: u64, report: &mut Report) {
    let again = Command::new(std::env::current_exe().unwrap())
        .args(["--seed", &seed.to_string()])
        .output()
        .unwrap();
    let story = format!("{}seed {seed}: every invariant held\n", report.trace);
    if again.stdout == story.as_bytes() {
        return;
    }
    let other = String::from_utf8_lossy(&again.stdout);
    let mut pairs = story.lines().zip(other.lines());
    let differ = pairs.find(|(one, other)| one != other);
    report.broken = Some(Broken {
        invariant: "same-again",
        seen: format!("its story differs when it is told again: {differ:?}"),
    });
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.events += other.events;
        self.calls += other.calls;
        self.dead += other.dead;
        self.kills += other.kills;
        self.late += other.late;
    }

    fn is_rich(&self) -> bool {
        [self.events, self.calls, self.dead, self.kills, self.late]
            .iter()
            .all(|count| *count > 0)
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} events, {} calls, {} dead letters, {} kills, {} answers after the lease",
            self.events, self.calls, self.dead, self.kills, self.late
        )
    }
}
