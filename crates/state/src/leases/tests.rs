#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::fixture::{event, function, run, service, store};
use model::Function;

const NOW: Timestamp = Timestamp(1_000);
const UNTIL: Timestamp = Timestamp(2_000);

fn settlement(leased: &Leased, verdict: Verdict) -> Settlement {
    let Leased { event, .. } = leased;
    let record = run(&event.accepted.target, Some(event.accepted.id), 1);
    Settlement {
        id: event.accepted.id,
        epoch: event.epoch,
        verdict,
        run: Some(record),
        at: Timestamp(1_500),
    }
}

async fn lease_one(state: &State, target: &Target) -> Leased {
    state
        .lease_events(target, 1, NOW, UNTIL)
        .await
        .unwrap()
        .remove(0)
}

#[tokio::test]
async fn leases_the_oldest_due_events_and_none_twice() {
    let (_folder, state) = store().await;
    let target = function("f");
    let events: Vec<_> = [30, 10, 20, 5_000].map(|at| event(&target, at)).into();
    state.put_events(events.clone()).await.unwrap();
    state
        .put_events(vec![event(&function("g"), 1)])
        .await
        .unwrap();

    let first = state.lease_events(&target, 2, NOW, UNTIL).await.unwrap();
    let ids: Vec<_> = first
        .iter()
        .map(|leased| leased.event.accepted.id)
        .collect();
    assert_eq!(ids, [events[1].id, events[2].id]);
    assert!(
        first
            .iter()
            .all(|leased| leased.until == UNTIL && leased.event.epoch == 1)
    );
    assert_eq!(first[0].event.accepted, events[1]);

    let second = state.lease_events(&target, 9, NOW, UNTIL).await.unwrap();
    assert_eq!(second.len(), 1, "the event of 5 000 is not due");
    assert!(
        state
            .lease_events(&target, 9, NOW, UNTIL)
            .await
            .unwrap()
            .is_empty()
    );
    let kept = state.get_event(events[1].id).await.unwrap();
    assert_eq!(kept, first[0].event);
}

#[tokio::test]
async fn an_expired_lease_is_due_and_its_settlement_is_refused() {
    let (_folder, state) = store().await;
    let target = function("f");
    state.put_events(vec![event(&target, 1)]).await.unwrap();
    let lost = lease_one(&state, &target).await;
    let later = Timestamp(2_001);
    let held = state
        .lease_events(&target, 1, later, Timestamp(9_000))
        .await
        .unwrap()
        .remove(0);
    assert_eq!(held.event.epoch, 2);

    let (not_before, why) = (UNTIL, String::from("late"));
    let stale = [
        Verdict::Ack,
        Verdict::Bury { error: why.clone() },
        Verdict::Retry {
            not_before,
            error: why.clone(),
        },
        Verdict::Postpone {
            not_before,
            reason: why,
        },
    ];
    for verdict in stale {
        assert!(
            !state
                .settle_event(settlement(&lost, verdict))
                .await
                .unwrap()
        );
    }
    let event = state.get_event(lost.event.accepted.id).await.unwrap();
    assert_eq!((event.state, event.attempts), (EventState::Leased, 0));
    assert!(event.runs.is_empty(), "a lost lease leaves no run");

    for held_still in [true, false] {
        let settled = state
            .settle_event(settlement(&held, Verdict::Ack))
            .await
            .unwrap();
        assert_eq!(settled, held_still);
    }
}

#[tokio::test]
async fn effects_are_accepted_with_the_settlement_or_not_at_all() {
    let (_folder, state) = store().await;
    let target = function("f");
    state.put_events(vec![event(&target, 1)]).await.unwrap();
    let held = lease_one(&state, &target).await;
    for held_still in [true, false] {
        let effect = event(&function("g"), 1);
        let settled = state.settle_with(settlement(&held, Verdict::Ack), vec![effect.clone()]);
        assert_eq!(settled.await.unwrap(), held_still);
        assert_eq!(state.get_event(effect.id).await.is_ok(), held_still);
    }
}

#[tokio::test]
async fn each_verdict_leaves_what_it_says() {
    let (_folder, state) = store().await;
    let target = service("catalog", "/events");
    let why = || "x".repeat(MAX_ERROR - 1) + "ä";
    let cases = [
        (Verdict::Ack, EventState::Succeeded, 1),
        (Verdict::Bury { error: why() }, EventState::Dead, 1),
        (Verdict::Expire { error: why() }, EventState::Expired, 1),
        (
            Verdict::Retry {
                not_before: UNTIL,
                error: why(),
            },
            EventState::Waiting,
            1,
        ),
        (
            Verdict::Postpone {
                not_before: UNTIL,
                reason: why(),
            },
            EventState::Waiting,
            0,
        ),
    ];
    for (verdict, expected, attempts) in cases {
        let new = event(&target, 1);
        let id = new.id;
        state.put_events(vec![new]).await.unwrap();
        let leased = lease_one(&state, &target).await;
        let settlement = settlement(&leased, verdict);
        assert!(state.settle_event(settlement.clone()).await.unwrap());
        let event = state.get_event(id).await.unwrap();
        assert_eq!((event.state, event.attempts), (expected, attempts));
        assert_eq!(event.runs, [settlement.run.unwrap()]);
        let ended = expected != EventState::Waiting;
        assert_eq!(event.ended, ended.then_some(Timestamp(1_500)));
        assert_eq!(event.not_before, if ended { Timestamp(1) } else { UNTIL });
        let error = event.last_error.map(|error| error.len());
        let cut = (settlement.verdict != Verdict::Ack).then_some(MAX_ERROR - 1);
        assert_eq!(error, cut, "cut between characters");
    }
}

#[tokio::test]
async fn deleting_a_target_buries_its_events_and_no_others() {
    let (_folder, state) = store().await;
    let (f, longer) = (function("f"), function("f2"));
    let spec = serde_json::json!({
        "name": "f", "runtime": "provided",
        "code": {"zip": {"digest": format!("sha256:{}", "a".repeat(64)), "size": 1}},
    });
    let stored = Function {
        spec: serde_json::from_value(spec).unwrap(),
        revision: 1,
        revision_id: "r1".into(),
        created: NOW,
        modified: NOW,
    };
    state.create_function(stored).await.unwrap();
    let events = vec![event(&f, 1), event(&f, 2), event(&longer, 1)];
    state.put_events(events.clone()).await.unwrap();
    let leased = lease_one(&state, &f).await;
    state.delete_function("f".parse().unwrap()).await.unwrap();

    for (event, expected) in events.iter().zip([
        EventState::Cancelled,
        EventState::Cancelled,
        EventState::Waiting,
    ]) {
        let event = state.get_event(event.id).await.unwrap();
        assert_eq!(event.state, expected);
        let reason = (expected == EventState::Cancelled).then_some("function deleted");
        assert_eq!(event.last_error.as_deref(), reason);
    }
    assert!(
        !state
            .settle_event(settlement(&leased, Verdict::Ack))
            .await
            .unwrap()
    );
}
