//! The clock over a real store, with a time of its own: every tick exactly, whatever happens.
#![allow(clippy::unwrap_used)]

use super::*;
use model::{CatchUp, EventFilter, ScheduleSpec};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;

const MINUTE: i64 = 60_000;
/// 2026-03-27T00:00:00Z: the clocks of Berlin change two days later.
const BEGIN: i64 = 1_774_569_600_000;
const EXPRESSIONS: [&str; 6] = [
    "rate(1 hour)",
    "rate(90 minutes)",
    "cron(0/20 1-4 * * ? *)",
    "cron(30 2 * * ? *)",
    "cron(0 12 ? * SUN *)",
    "at(2026-03-29T03:30:00)",
];

fn spec(name: &str, random: &mut StdRng) -> ScheduleSpec {
    let zones = ["UTC", "Europe/Berlin", "America/New_York"];
    let catch_up = [CatchUp::Skip, CatchUp::Once, CatchUp::All];
    serde_json::from_value(serde_json::json!({
        "key": {"group": "default", "name": name},
        "timetable": {
            "expression": EXPRESSIONS[random.random_range(0..EXPRESSIONS.len())],
            "zone": zones[random.random_range(0..zones.len())],
        },
        "catch_up": catch_up[random.random_range(0..3)],
        "window": random.random_bool(0.3).then_some(7),
        "target": {"kind": "function", "name": "f"},
    }))
    .unwrap()
}

/// The ticks that have events, by source.
async fn fired(state: &State) -> BTreeMap<String, Vec<String>> {
    let filter = EventFilter {
        limit: 1000,
        ..EventFilter::default()
    };
    let mut ticks: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in state.list_events(filter).await.unwrap() {
        let event = event.accepted;
        ticks.entry(event.source).or_default().push(event.subject);
    }
    ticks.values_mut().for_each(|ticks| ticks.sort());
    ticks
}

/// All ticks of a timetable up to an end.
fn every(spec: &ScheduleSpec, end: Timestamp) -> Vec<String> {
    let (mut ticks, mut last) = (Vec::new(), Timestamp(BEGIN - 1));
    while let Some(next) = spec.timetable.next(Timestamp(BEGIN), last)
        && next <= end
    {
        ticks.push(next.rfc3339());
        last = next;
    }
    ticks
}

/// Four days of six schedules. The store is closed and opened again at random, and with `absences`
/// nobody looks for hours. Gives what fired, and what a timetable says.
async fn simulate(seed: u64, absences: bool) -> Vec<(ScheduleSpec, Vec<String>, Vec<String>)> {
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut state = State::open(folder.path()).await.unwrap();
    let scheduler = Scheduler::new("eu-central-1".to_owned());
    let mut specs = Vec::new();
    for number in 0..6 {
        let spec = spec(&format!("s{number}"), &mut random);
        let made = state.create_schedule(spec.clone(), Timestamp(BEGIN), None);
        made.await.unwrap();
        specs.push(spec);
    }
    let end = Timestamp(BEGIN + 4 * 24 * 60 * MINUTE);
    let mut now = Timestamp(BEGIN);
    while now <= end {
        let next = scheduler.round(&state, now).await.unwrap();
        if random.random_bool(0.05) {
            state.close().await;
            state = State::open(folder.path()).await.unwrap();
        }
        let due = next.map_or(end.0 + 1, |due| due.0);
        assert!(due > now.0);
        now = match random.random_range(0..10) {
            0 if absences => Timestamp(due + random.random_range(0..600) * MINUTE),
            // Awake for another reason, or the clock was set back.
            1 => Timestamp(now.0 + random.random_range(-60_000..due - now.0)),
            _ => Timestamp(due),
        };
    }
    // Windows end some minutes after their ticks.
    scheduler
        .round(&state, Timestamp(end.0 + 10 * MINUTE))
        .await
        .unwrap();
    let fired = fired(&state).await;
    state.close().await;
    specs
        .into_iter()
        .map(|spec| {
            let happened = fired.get(&spec.key.source()).cloned().unwrap_or_default();
            let expected = every(&spec, Timestamp(end.0 + 10 * MINUTE));
            (spec, happened, expected)
        })
        .collect()
}

#[tokio::test]
async fn every_tick_happens_exactly_once_while_somebody_looks() {
    for seed in 0..6 {
        for (spec, happened, expected) in simulate(seed, false).await {
            let expected: Vec<_> = match spec.window {
                // One whose moment is later than the last look has not come.
                Some(_) => expected.into_iter().take(happened.len()).collect(),
                None => expected,
            };
            assert_eq!(happened, expected, "seed {seed}: {spec:?}");
        }
    }
}

#[tokio::test]
async fn after_absences_ticks_are_made_up_for_as_declared_and_never_twice() {
    let mut missed = 0;
    for seed in 10..16 {
        for (spec, happened, expected) in simulate(seed, true).await {
            let mut once = happened.clone();
            once.dedup();
            assert_eq!(once, happened, "seed {seed}: {spec:?}");
            assert!(
                happened.iter().all(|tick| expected.contains(tick)),
                "seed {seed}"
            );
            let lost = expected.len() - happened.len();
            missed += lost;
            if spec.catch_up == CatchUp::All && spec.window.is_none() {
                assert_eq!(lost, 0, "seed {seed}: {spec:?}");
            }
        }
    }
    assert!(missed > 0, "nobody was ever absent");
}

#[tokio::test]
async fn an_event_says_where_it_comes_from_and_when_it_was_meant() {
    let scheduler = Scheduler::new("eu-central-1".to_owned());
    let mut spec = spec("s", &mut StdRng::seed_from_u64(1));
    spec.input = Some("{\"at\":\"<aws.scheduler.scheduled-time>\"}".to_owned());
    let schedule = Schedule::new(spec, Timestamp(BEGIN));
    let event = scheduler.event(&schedule, Timestamp(BEGIN), Timestamp(BEGIN + 5), TICK);
    assert_eq!(event.source, "schedule:s");
    assert_eq!(event.kind, "schedule:Tick");
    assert_eq!(event.subject, "2026-03-27T00:00:00.000Z");
    assert_eq!(&event.payload[..], b"{\"at\":\"2026-03-27T00:00:00Z\"}");
    assert_eq!(event.accepted, Timestamp(BEGIN + 5));
}
