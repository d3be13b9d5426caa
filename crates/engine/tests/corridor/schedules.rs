//! Schedules: they wake their targets, and are those that manifests declare.

use crate::house::{House, function, steady, until};
use engine::ScheduleFilter;
use model::{
    ChangeKind, Deployment, EventFilter, EventState, Kind, ScheduleKey, ScheduleSpec, Target,
};

fn spec(key: &str, expression: &str, target: &Target) -> ScheduleSpec {
    let key: ScheduleKey = key.parse().unwrap();
    serde_json::from_value(serde_json::json!({
        "key": key, "timetable": {"expression": expression}, "target": target,
        "input": "{\"at\":\"<aws.scheduler.scheduled-time>\"}",
    }))
    .unwrap()
}

fn declared(key: &str, expression: &str, target: &Target) -> ScheduleSpec {
    ScheduleSpec {
        owner: Some(target.key()),
        ..spec(key, expression, target)
    }
}

/// Waits until so many events of a schedule have ended.
async fn ended(house: &House, source: &str, count: usize) -> Vec<model::Event> {
    until("a schedule's events", async || {
        let filter = EventFilter {
            limit: 100,
            ..EventFilter::default()
        };
        let mut events = house.engine.list_events(filter).await.unwrap();
        events.retain(|event| event.accepted.source == source && event.ended.is_some());
        (events.len() >= count).then_some(events)
    })
    .await
}

async fn names(house: &House) -> Vec<String> {
    let filter = ScheduleFilter {
        limit: 100,
        ..ScheduleFilter::default()
    };
    let all = house.engine.list_schedules(filter).await.unwrap();
    all.iter().map(|one| one.spec.key.to_string()).collect()
}

#[tokio::test]
async fn a_schedule_wakes_its_function() {
    let house = House::open(steady(0, 0)).await;
    house.function("f").await;
    let spec = spec("tick", "rate(1 hour)", &function("f"));
    house.engine.create_schedule(spec, None).await.unwrap();
    let events = ended(&house, "schedule:tick", 1).await;
    assert_eq!(events[0].state, EventState::Succeeded);
    assert_eq!(house.fake.calls().len(), 1);
    let payload = &events[0].accepted.payload;
    let payload: serde_json::Value = serde_json::from_slice(payload).unwrap();
    let told = payload["at"].as_str().unwrap().trim_end_matches('Z');
    assert!(events[0].accepted.subject.starts_with(told));
    let id = house.engine.run_schedule("tick".parse().unwrap()).await;
    let run = house.ended(id.unwrap()).await;
    assert_eq!(run.accepted.kind, "schedule:Run");
}

#[tokio::test]
async fn a_pause_holds_and_a_target_that_is_gone_is_told() {
    let house = House::open(steady(0, 0)).await;
    let mut spec = spec("tick", "rate(1 hour)", &function("gone"));
    spec.enabled = false;
    house.engine.create_schedule(spec, None).await.unwrap();
    let key = || "tick".parse::<ScheduleKey>().unwrap();
    let missing = house.engine.run_schedule(key()).await.unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound);
    let mut spec = house.engine.get_schedule(key()).await.unwrap().spec;
    spec.timetable.expression = "rate(2 hours)".parse().unwrap();
    spec.enabled = true;
    house.engine.update_schedule(spec, None).await.unwrap();
    let dead = ended(&house, "schedule:tick", 1).await;
    assert_eq!(dead[0].state, EventState::Dead);
    house.engine.enable_schedule(key(), false).await.unwrap();
    assert_eq!(house.engine.get_schedule(key()).await.unwrap().next, None);
}

#[tokio::test]
async fn a_deployment_makes_changes_and_drops_what_it_schedules() {
    let house = House::open(steady(0, 0)).await;
    let catalog = crate::house::service("catalog", "/tick");
    let owner = crate::house::service("catalog", "");
    let mut deployment = Deployment {
        project: "shop".into(),
        functions: vec![house.spec("f").await],
        services: vec![house.service_spec("catalog").await],
        schedules: vec![
            declared("f-1", "cron(0 12 * * ? *)", &function("f")),
            declared("f-2", "rate(9 days)", &function("f")),
            ScheduleSpec {
                owner: Some(owner.key()),
                ..spec("catalog-1", "rate(9 days)", &catalog)
            },
        ],
        ..Deployment::default()
    };
    let changes = async |deployment: &Deployment| {
        let report = house.engine.deploy(deployment.clone()).await.unwrap();
        let schedules = report.changes.into_iter();
        let schedules = schedules.filter(|change| change.what == "schedule");
        schedules
            .map(|change| (change.name, change.change))
            .collect::<Vec<_>>()
    };
    let created = changes(&deployment).await;
    assert_eq!(created.len(), 3);
    assert!(
        created
            .iter()
            .all(|(_, change)| *change == ChangeKind::Created)
    );
    ended(&house, "schedule:f-2", 1).await;
    let again = changes(&deployment).await;
    assert!(
        again
            .iter()
            .all(|(_, change)| *change == ChangeKind::Unchanged)
    );
    deployment.schedules.remove(1);
    changes(&deployment).await;
    assert_eq!(names(&house).await, ["catalog-1", "f-1"]);
    let name = "f".parse().unwrap();
    house.engine.delete_function(&name).await.unwrap();
    assert_eq!(names(&house).await, ["catalog-1"]);
}

#[tokio::test]
async fn a_deployment_schedules_only_what_it_declares() {
    let house = House::open(steady(0, 0)).await;
    let valid = declared("f-1", "rate(9 days)", &function("f"));
    let stranger = declared("g-1", "rate(9 days)", &function("g"));
    let mut ownerless = valid.clone();
    ownerless.owner = None;
    let mut bad_input = valid.clone();
    bad_input.input = Some("{".into());
    for (schedules, said) in [
        (vec![stranger], "schedules.g-1: must wake its owner"),
        (vec![ownerless], "must wake its owner"),
        (vec![bad_input], "schedules.f-1.input"),
        (vec![valid.clone(), valid], "is declared twice"),
    ] {
        let deployment = Deployment {
            functions: vec![house.spec("f").await],
            schedules,
            ..Deployment::default()
        };
        let refused = house.engine.deploy(deployment).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Invalid);
        assert!(refused.to_string().contains(said), "{refused}");
    }
    assert!(names(&house).await.is_empty());
}
