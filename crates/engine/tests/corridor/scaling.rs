//! Reservations and start kinds, through the whole engine.

use crate::house::{House, function, steady};
use engine::{Options, Put};
use model::{EventState, Kind, StartKind};
use std::time::Duration;

#[tokio::test]
async fn a_run_says_how_its_instance_came_to_be() {
    let fake = steady(0, 0);
    fake.set_start_kind(StartKind::Armed);
    let house = House::open(fake).await;
    house.function("f").await;
    let cold = house.invoke("f").await.unwrap();
    assert_eq!(cold.start_kind, Some(StartKind::Armed));
    let warm = house.invoke("f").await.unwrap();
    assert_eq!((warm.cold, warm.start_kind), (false, None));
    let runs = house.state.list_runs(None, 10).await.unwrap();
    let kinds: Vec<_> = runs.iter().map(|run| run.start_kind).collect();
    assert_eq!(kinds, [None, Some(StartKind::Armed)]);
}

#[tokio::test]
async fn with_nothing_reserved_calls_are_throttled_and_events_wait() {
    let house = House::open(steady(0, 0)).await;
    let mut spec = house.spec("f").await;
    spec.scaling.reserved = Some(0);
    house.put(spec.clone()).await;
    let refused = house.invoke("f").await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Throttled);
    let event = house.submit(&function("f")).await;
    // By now dispatch has looked at it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(house.event(event).await.state, EventState::Waiting);
    spec.scaling.reserved = Some(1);
    house.put(spec).await;
    let ended = house.ended(event).await;
    assert_eq!((ended.state, ended.attempts), (EventState::Succeeded, 1));
}

#[tokio::test]
async fn a_tenth_of_the_machine_is_never_reserved() {
    let options = Options {
        max_instances: 20,
        ..Options::default()
    };
    let house = House::open_with(steady(0, 0), options).await;
    let reserve = async |name: &str, count: u32| {
        let mut spec = house.spec(name).await;
        spec.scaling.reserved = Some(count);
        house.engine.put_function(spec, Put::Upsert).await
    };
    reserve("a", 10).await.unwrap();
    let refused = reserve("b", 9).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Invalid);
    assert!(
        refused.to_string().contains("19 of the machine's 20"),
        "{refused}"
    );
    reserve("b", 8).await.unwrap();
    reserve("c", 0).await.unwrap();
    assert!(reserve("a", 11).await.is_err());
    let name = "b".parse().unwrap();
    house.engine.delete_function(&name).await.unwrap();
    reserve("a", 11).await.unwrap();
}
