#![allow(clippy::unwrap_used)]
use super::*;
use crate::fixture::{event, function, store};
use crate::{Settlement, Verdict, partitions};
use model::{Bus, BusName, Kind, NewEvent, Target};

const NOW: Timestamp = Timestamp(1_000);
const UNTIL: Timestamp = Timestamp(9_000);

async fn make_bus(state: &State, name: &BusName) {
    let bus = Bus {
        name: name.clone(),
        ..state.get_bus(BusName::default_bus()).await.unwrap()
    };
    state.create_bus(bus).await.unwrap();
}

#[tokio::test]
async fn what_a_deleted_target_left_is_cancelled_in_steps_and_once_though_the_server_ends_between()
{
    let (folder, state) = store().await;
    let name: BusName = "orders".parse().unwrap();
    let target = Target::Bus { name: name.clone() };
    make_bus(&state, &name).await;
    let mut old: Vec<NewEvent> = Vec::new();
    for _ in 0..2 {
        let some: Vec<_> = (0..STEP).map(|_| event(&target, 1)).collect();
        state.put_events(some.clone()).await.unwrap();
        old.extend(some);
        let begin = |tx: &Tx<'_>| partitions::begin(tx, 1, Timestamp::now());
        state.write("beginning", begin).await.unwrap();
    }
    let other = event(&function("f"), 1);
    state
        .put_events(vec![event(&target, 1), other.clone()])
        .await
        .unwrap();
    let leased = state.lease_events(&target, 1, NOW, UNTIL).await.unwrap();
    state.delete_bus(name.clone()).await.unwrap();
    let counts = |counts: Vec<(String, crate::EventCounts)>| {
        let found = counts.into_iter().find(|(key, _)| *key == target.key());
        let found = found.unwrap().1;
        (found.waiting, found.leased, found.cancelled)
    };
    let (step, all) = (STEP as u64, 2 * STEP as u64 + 1);
    let now = counts(state.count_events().await.unwrap());
    assert_eq!(now, (all - step, 0, step));
    let late = Settlement {
        id: leased[0].event.accepted.id,
        epoch: leased[0].event.epoch,
        verdict: Verdict::Ack,
        run: None,
        at: NOW,
    };
    assert!(!state.settle_event(late).await.unwrap(), "it is cancelled");

    // Another bus of the same name has to wait until nothing is left of the first.
    make_bus(&state, &name).await;
    let new = event(&target, 1);
    state.put_events(vec![new.clone()]).await.unwrap();
    assert!(state.cancel_step().await.unwrap());
    state.close().await;
    let state = State::open(folder.path()).await.unwrap();
    let lease = || state.lease_events(&target, 9, NOW, UNTIL);
    assert!(lease().await.unwrap().is_empty());
    while state.cancel_step().await.unwrap() {}
    let now = counts(state.count_events().await.unwrap());
    assert_eq!(now, (1, 0, all));
    for old in old.iter().step_by(97) {
        let event = state.get_event(old.id).await.unwrap();
        assert_eq!(event.state, EventState::Cancelled);
        assert_eq!(event.last_error.as_deref(), Some("event bus deleted"));
        assert!(event.ended.is_some());
    }
    let leased: Vec<EventId> = lease()
        .await
        .unwrap()
        .iter()
        .map(|one| one.event.accepted.id)
        .collect();
    assert_eq!(leased, [new.id]);
    let other = state.get_event(other.id).await.unwrap();
    assert_eq!(other.state, EventState::Waiting);
}

#[tokio::test]
async fn only_what_waits_is_cancelled_by_an_order() {
    let (_folder, state) = store().await;
    let target = function("f");
    let events: Vec<_> = (1..=3).map(|at| event(&target, at)).collect();
    let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
    state.put_events(events).await.unwrap();
    state.lease_events(&target, 1, NOW, UNTIL).await.unwrap();
    let cancel = |id| state.cancel_event(id, "cancelled by root".into(), NOW);
    cancel(ids[1]).await.unwrap();
    let cancelled = state.get_event(ids[1]).await.unwrap();
    assert_eq!(cancelled.state, EventState::Cancelled);
    assert_eq!(cancelled.last_error.as_deref(), Some("cancelled by root"));
    assert_eq!(cancelled.ended, Some(NOW));
    for (id, expected) in [(ids[0], "being worked on"), (ids[1], "it is cancelled")] {
        let error = cancel(id).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(error.to_string().contains(expected), "{error}");
    }
    let missing = cancel(EventId::generate()).await.unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound);
    let many = state.cancel_events(ids.clone(), "again".into(), NOW);
    assert_eq!(many.await.unwrap(), 1, "only the third");
    let counts = state.count_events().await.unwrap()[0].1;
    assert_eq!((counts.waiting, counts.leased, counts.cancelled), (0, 1, 2));
    assert!(
        state
            .lease_events(&target, 9, NOW, UNTIL)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn ids_come_after_what_a_deletion_takes_though_the_clock_was_set_back() {
    let (folder, state) = store().await;
    let ahead = Timestamp::now().0 as u64 + 500;
    let time =
        uuid::Timestamp::from_unix_time(ahead / 1_000, (ahead % 1_000) as u32 * 1_000_000, 0, 0);
    let before = EventId(uuid::Uuid::new_v7(time));
    let sql =
        "INSERT INTO cancellation (target, before, reason, at) VALUES ('bus:b', ?1, 'gone', 1)";
    let put = move |tx: &Tx<'_>| run(tx, sql, [before.0.into_bytes()]);
    state.write("putting", put).await.unwrap();
    state.close().await;
    let _state = State::open(folder.path()).await.unwrap();
    assert!(EventId::generate() > before);
}
