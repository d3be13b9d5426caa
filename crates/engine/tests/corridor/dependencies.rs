//! Services that start after others have come so far.

use crate::house::{House, steady};
use crate::services::{plain, replicas, until_states};
use model::{Condition, Dependency, Kind, Owner, Restart};

pub(crate) fn waits(service: &str, condition: Condition) -> Dependency {
    Dependency {
        service: service.parse().unwrap(),
        condition,
    }
}

/// How often a service was started.
pub(crate) fn starts(house: &House, name: &str) -> usize {
    let started = house.fake.started();
    let owners = started.iter().map(|spec| &spec.owner);
    let mine =
        |owner: &&Owner| matches!(owner, Owner::Service { name: own, .. } if own.as_str() == name);
    owners.filter(mine).count()
}

#[tokio::test]
async fn a_service_starts_when_what_it_depends_on_has_come_so_far() {
    let house = House::open(steady(0, 0)).await;
    let mut job = plain(&house, "job").await;
    job.restart = Restart::No;
    let mut after = plain(&house, "after").await;
    after.depends_on = vec![waits("job", Condition::Completed)];
    let mut last = plain(&house, "last").await;
    last.depends_on = vec![waits("after", Condition::Healthy)];
    let deployment = model::Deployment {
        project: "p".to_owned(),
        // The order of the file does not matter.
        services: vec![last, after, job],
        ..model::Deployment::default()
    };
    house.engine.deploy(deployment).await.unwrap();
    until_states(&house, "job", &["healthy"]).await;
    until_states(&house, "after", &["waiting"]).await;
    until_states(&house, "last", &["waiting"]).await;
    let why = replicas(&house, "after").await.remove(0).last_exit;
    assert_eq!(
        why.as_deref(),
        Some("waits for \"job\" to end with status 0")
    );
    assert_eq!((starts(&house, "after"), starts(&house, "last")), (0, 0));
    let running = house.engine.instances().remove(0);
    house.fake.end(&running.id, "exit status 0");
    until_states(&house, "job", &["completed"]).await;
    until_states(&house, "last", &["healthy"]).await;
    until_states(&house, "after", &["healthy"]).await;
    let job = replicas(&house, "job").await.remove(0);
    assert_eq!((job.restarts, starts(&house, "job")), (0, 1));
    assert_eq!(replicas(&house, "after").await.remove(0).last_exit, None);
}

#[tokio::test]
async fn a_job_of_the_revision_before_does_not_count() {
    let house = House::open(steady(0, 0)).await;
    let mut job = plain(&house, "job").await;
    job.restart = Restart::No;
    let mut after = plain(&house, "after").await;
    after.depends_on = vec![waits("job", Condition::Completed)];
    let deploy = async |services| {
        let deployment = model::Deployment {
            project: "p".to_owned(),
            services,
            ..model::Deployment::default()
        };
        house.engine.deploy(deployment).await.unwrap();
    };
    deploy(vec![after.clone(), job.clone()]).await;
    until_states(&house, "job", &["healthy"]).await;
    house
        .fake
        .end(&house.engine.instances().remove(0).id, "exit status 0");
    until_states(&house, "after", &["healthy"]).await;
    for spec in [&mut job, &mut after] {
        spec.environment.insert("RELEASE".into(), "2".into());
    }
    deploy(vec![after, job]).await;
    until_states(&house, "job", &["healthy"]).await;
    until_states(&house, "after", &["waiting"]).await;
    assert_eq!(starts(&house, "after"), 1);
}

#[tokio::test]
async fn a_job_that_fails_holds_up_who_waits_for_it() {
    let house = House::open(steady(0, 0)).await;
    let mut job = plain(&house, "job").await;
    job.restart = Restart::No;
    let mut after = plain(&house, "after").await;
    after.depends_on = vec![waits("job", Condition::Completed)];
    house.engine.put_service(job).await.unwrap();
    house.engine.put_service(after).await.unwrap();
    until_states(&house, "job", &["healthy"]).await;
    let running = house.engine.instances().remove(0);
    house.fake.end(&running.id, "exit status 1");
    until_states(&house, "job", &["failed"]).await;
    until_states(&house, "after", &["waiting"]).await;
    assert_eq!(starts(&house, "after"), 0);
    // What was removed holds up nobody.
    house
        .engine
        .delete_service(&"job".parse().unwrap())
        .await
        .unwrap();
    until_states(&house, "after", &["healthy"]).await;
}

#[tokio::test]
async fn who_waits_for_nobody_or_for_itself_is_refused() {
    let house = House::open(steady(0, 0)).await;
    let mut a = plain(&house, "a").await;
    a.depends_on = vec![waits("b", Condition::Started)];
    let error = house.engine.put_service(a.clone()).await.unwrap_err();
    assert!(
        error.to_string().contains("neither declared nor there"),
        "{error}"
    );
    let mut b = plain(&house, "b").await;
    b.depends_on = vec![waits("a", Condition::Started)];
    let deployment = model::Deployment {
        project: "p".to_owned(),
        services: vec![a, b],
        ..model::Deployment::default()
    };
    let error = house.engine.deploy(deployment).await.unwrap_err();
    assert!(error.to_string().contains("waits for itself"), "{error}");
    assert_eq!(error.kind(), Kind::Invalid);
    // One that is always started again never completes.
    let always = plain(&house, "always").await;
    let mut after = plain(&house, "after").await;
    after.depends_on = vec![waits("always", Condition::Completed)];
    let deployment = model::Deployment {
        project: "p".to_owned(),
        services: vec![after, always],
        ..model::Deployment::default()
    };
    let error = house.engine.deploy(deployment).await.unwrap_err();
    assert!(error.to_string().contains("restart: \"no\""), "{error}");
    assert!(house.engine.list_services().await.unwrap().is_empty());
}
