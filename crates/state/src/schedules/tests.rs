//! Schedules that are kept: changed, listed, advanced.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::fixture::{event, store};
use model::{AfterCompletion, EventFilter, EventId, Kind, ScheduleGroup};

const MINUTE: i64 = 60_000;

fn spec(key: &str, expression: &str) -> ScheduleSpec {
    serde_json::from_value(serde_json::json!({
        "key": key.parse::<ScheduleKey>().unwrap(),
        "timetable": {"expression": expression},
        "target": {"kind": "function", "name": "f"},
        "input": "{}",
    }))
    .unwrap()
}

fn key(text: &str) -> ScheduleKey {
    text.parse().unwrap()
}

/// An event whose subject is its tick, in minutes.
fn made(schedule: &Schedule, tick: Timestamp) -> NewEvent {
    NewEvent {
        subject: (tick.0 / MINUTE).to_string(),
        source: schedule.spec.key.source(),
        ..event(&schedule.spec.target, tick.0)
    }
}

/// The ticks that have events, oldest first.
async fn events(state: &State) -> Vec<(String, i64)> {
    let filter = EventFilter {
        limit: 1000,
        ..EventFilter::default()
    };
    let events = state.list_events(filter).await.unwrap().into_iter();
    let mut events: Vec<_> = events
        .map(|event| {
            let event = event.accepted;
            (event.source, event.subject.parse().unwrap())
        })
        .collect();
    events.sort();
    events
}

async fn create(state: &State, spec: ScheduleSpec) -> Result<()> {
    state.create_schedule(spec, Timestamp(0), None).await
}

#[tokio::test]
async fn a_schedule_is_kept_as_made_and_its_name_is_taken() {
    let (folder, state) = store().await;
    let spec = spec("s", "cron(0 12 * * ? *)");
    create(&state, spec.clone()).await.unwrap();
    let taken = create(&state, spec.clone()).await.unwrap_err();
    assert_eq!(taken.kind(), Kind::Conflict);
    let mut elsewhere = spec.clone();
    elsewhere.key = key("none/s");
    let missing = create(&state, elsewhere).await.unwrap_err();
    assert_eq!(
        missing.to_string(),
        "schedule group \"none\" does not exist"
    );
    state.close().await;
    let state = State::open(folder.path()).await.unwrap();
    let kept = state.get_schedule(key("s")).await.unwrap();
    assert_eq!(kept, Schedule::new(spec, Timestamp(0)));
    state.delete_schedule(key("s"), None).await.unwrap();
    let gone = state.get_schedule(key("s")).await.unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound);
    let gone = state.delete_schedule(key("s"), None).await.unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound);
}

#[tokio::test]
async fn listing_is_by_group_and_name_in_pages() {
    let (_folder, state) = store().await;
    let group = ScheduleGroup {
        name: "a".parse().unwrap(),
        tags: Default::default(),
        created: Timestamp(1),
        modified: Timestamp(1),
    };
    state.create_schedule_group(group, None).await.unwrap();
    for name in ["s1", "s2", "a/s2", "a/t", "z"] {
        let mut spec = spec(name, "rate(1 minute)");
        spec.enabled = name != "s2";
        create(&state, spec).await.unwrap();
    }
    let list = async |filter: ScheduleFilter| {
        let found = state.list_schedules(filter).await.unwrap().into_iter();
        found.map(|s| s.spec.key.to_string()).collect::<Vec<_>>()
    };
    let filter = || ScheduleFilter {
        limit: 10,
        ..ScheduleFilter::default()
    };
    assert_eq!(list(filter()).await, ["a/s2", "a/t", "s1", "s2", "z"]);
    let (mut after, mut pages) = (None, Vec::new());
    loop {
        let page = ScheduleFilter {
            after: after.clone(),
            limit: 2,
            ..filter()
        };
        let page = list(page).await;
        let Some(last) = page.last() else { break };
        after = Some(key(last));
        pages.extend(page);
    }
    assert_eq!(pages, ["a/s2", "a/t", "s1", "s2", "z"]);
    let only = |group: Option<&str>, prefix: &str, enabled| ScheduleFilter {
        group: group.map(|name| name.parse().unwrap()),
        prefix: prefix.to_owned(),
        enabled,
        ..filter()
    };
    assert_eq!(list(only(Some("a"), "", None)).await, ["a/s2", "a/t"]);
    assert_eq!(list(only(None, "s", None)).await, ["a/s2", "s1", "s2"]);
    assert_eq!(list(only(None, "", Some(false))).await, ["s2"]);
    let group = "a".parse().unwrap();
    state.delete_schedule_group(group, None).await.unwrap();
    assert_eq!(list(filter()).await, ["s1", "s2", "z"]);
    let missing = state.list_schedules(only(Some("a"), "", None)).await;
    assert_eq!(missing.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn each_tick_puts_one_event_and_moves_the_cursor() {
    let (folder, state) = store().await;
    create(&state, spec("s", "rate(1 minute)")).await.unwrap();
    create(&state, spec("t", "rate(2 minutes)")).await.unwrap();
    assert_eq!(state.next_schedule().await.unwrap(), Some(Timestamp(0)));
    for now in [0, 1, MINUTE, MINUTE + 7, 2 * MINUTE] {
        state.tick_schedules(Timestamp(now), made).await.unwrap();
        let again = state.tick_schedules(Timestamp(now), made).await.unwrap();
        assert_eq!(again, Ticked::default());
    }
    state.close().await;
    let state = State::open(folder.path()).await.unwrap();
    state
        .tick_schedules(Timestamp(2 * MINUTE), made)
        .await
        .unwrap();
    let s = |tick| ("schedule:s".to_owned(), tick);
    let t = |tick| ("schedule:t".to_owned(), tick);
    assert_eq!(events(&state).await, [s(0), s(1), s(2), t(0), t(2)]);
    let next = state.next_schedule().await.unwrap();
    assert_eq!(next, Some(Timestamp(3 * MINUTE)));
}

#[tokio::test]
async fn a_tick_that_cannot_be_put_is_not_taken_for_done() {
    let (_folder, state) = store().await;
    create(&state, spec("s", "rate(1 minute)")).await.unwrap();
    let refused = |_: &Schedule, _: Timestamp| -> NewEvent { panic!("as planned") };
    let failed = state.tick_schedules(Timestamp(0), refused).await;
    assert!(failed.is_err());
    assert_eq!(state.next_schedule().await.unwrap(), Some(Timestamp(0)));
    let ticked = state.tick_schedules(Timestamp(0), made).await.unwrap();
    assert_eq!(ticked.fired, 1);
}

#[tokio::test]
async fn many_are_advanced_part_by_part() {
    let (_folder, state) = store().await;
    for number in 0..250 {
        let spec = spec(&format!("s{number}"), "at(1970-01-01T00:01:00)");
        create(&state, spec).await.unwrap();
    }
    let mut rounds = Vec::new();
    loop {
        let ticked = state.tick_schedules(Timestamp(MINUTE), made).await.unwrap();
        rounds.push(ticked.fired);
        if !ticked.more {
            break;
        }
    }
    assert_eq!(rounds, [100, 100, 50]);
    assert_eq!(state.next_schedule().await.unwrap(), None);
}

#[tokio::test]
async fn one_that_is_over_goes_if_it_says_so() {
    let (_folder, state) = store().await;
    let mut gone = spec("gone", "at(1970-01-01T00:01:00)");
    gone.after_completion = AfterCompletion::Delete;
    create(&state, gone).await.unwrap();
    create(&state, spec("kept", "at(1970-01-01T00:01:00)"))
        .await
        .unwrap();
    let ticked = state.tick_schedules(Timestamp(MINUTE), made).await.unwrap();
    assert_eq!(ticked.fired, 2);
    assert!(state.get_schedule(key("gone")).await.is_err());
    assert_eq!(state.get_schedule(key("kept")).await.unwrap().next, None);
}

#[tokio::test]
async fn one_that_cannot_be_read_keeps_no_other_from_its_tick() {
    let (_folder, state) = store().await;
    create(&state, spec("bad", "rate(1 minute)")).await.unwrap();
    create(&state, spec("good", "rate(1 minute)"))
        .await
        .unwrap();
    let sql = "UPDATE schedule SET spec = '{}' WHERE name = 'bad'";
    let breaking = move |tx: &Tx<'_>| run(tx, sql, []);
    state.write("breaking", breaking).await.unwrap();
    let ticked = state.tick_schedules(Timestamp(0), made).await.unwrap();
    assert_eq!(ticked.fired, 1);
    assert_eq!(ticked.broken[0].0, "default/bad");
}

#[tokio::test]
async fn a_manifests_schedules_are_those_that_it_declares() {
    let (_folder, state) = store().await;
    let owner = || "function:f".to_owned();
    let declare = |specs| state.declare_schedules(owner(), specs, Timestamp(0));
    let both = vec![
        spec("f-1", "rate(1 minute)"),
        spec("f-2", "rate(2 minutes)"),
    ];
    let changes = declare(both.clone()).await.unwrap();
    assert_eq!(changes[0], (key("f-1"), ChangeKind::Created));
    let pause = |spec: &ScheduleSpec| ScheduleSpec {
        enabled: false,
        ..spec.clone()
    };
    let paused = state.change_schedule(key("f-1"), Timestamp(1), None, pause);
    paused.await.unwrap();
    let changes = declare(both.clone()).await.unwrap();
    assert_eq!(changes[0], (key("f-1"), ChangeKind::Unchanged));
    let kept = state.get_schedule(key("f-1")).await.unwrap();
    assert!(!kept.spec.enabled);
    let changes = declare(vec![spec("f-1", "rate(9 minutes)")]).await.unwrap();
    assert_eq!(changes, [(key("f-1"), ChangeKind::Updated)]);
    assert!(state.get_schedule(key("f-2")).await.is_err());
    // What others made is not taken over.
    create(&state, spec("mine", "rate(1 minute)"))
        .await
        .unwrap();
    let taken = declare(vec![
        spec("f-3", "rate(1 minute)"),
        spec("mine", "rate(1 minute)"),
    ])
    .await;
    assert_eq!(taken.unwrap_err().kind(), Kind::Conflict);
    assert!(state.get_schedule(key("f-1")).await.is_ok());
    assert!(state.get_schedule(key("f-3")).await.is_err());
    let forgetting = move |tx: &Tx<'_>| forget(tx, &owner());
    state.write("forgetting", forgetting).await.unwrap();
    assert!(state.get_schedule(key("f-1")).await.is_err());
    assert!(state.get_schedule(key("mine")).await.is_ok());
}

#[tokio::test]
async fn an_id_is_put_once_though_a_tick_were_asked_for_twice() {
    let (_folder, state) = store().await;
    create(&state, spec("s", "at(1970-01-01T00:00:00)"))
        .await
        .unwrap();
    let id = EventId::generate();
    let with_id = move |schedule: &Schedule, tick| NewEvent {
        id,
        ..made(schedule, tick)
    };
    state.tick_schedules(Timestamp(5), with_id).await.unwrap();
    state.tick_schedules(Timestamp(5), with_id).await.unwrap();
    assert_eq!(events(&state).await.len(), 1);
}
