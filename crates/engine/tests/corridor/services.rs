//! Services: kept running, restarted, replaced, reached, woken.

use crate::dependencies::{starts, waits};
use crate::house::{House, event, function, ok, service, steady, until, within};
use model::{
    ChangeKind, Condition, Event, EventState, Kind, ReplicaStatus, Restart, ServiceSpec,
    VolumeMount,
};
use runtime::{Fake, FakeStart};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers each request with the next status (the last one for ever) and keeps what was asked.
#[derive(Clone, Default)]
struct Backend {
    requests: Arc<Mutex<Vec<String>>>,
    statuses: Arc<Mutex<Vec<u16>>>,
}

impl Backend {
    async fn open(fake: &Fake, statuses: &[u16]) -> Self {
        let backend = Self::default();
        backend.answer(statuses);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        fake.set_backend(listener.local_addr().unwrap());
        let served = backend.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(served.clone().serve(stream));
            }
        });
        backend
    }

    fn answer(&self, statuses: &[u16]) {
        *self.statuses.lock().unwrap() = statuses.iter().rev().copied().collect();
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    async fn serve(self, mut stream: tokio::net::TcpStream) {
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return, // a health check by connecting
                Ok(read) => request.extend_from_slice(&buffer[..read]),
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let complete = match text.split_once("\r\n\r\n") {
                Some((_, body)) => text.starts_with("GET") || body.ends_with('}'),
                None => false,
            };
            if complete {
                self.requests.lock().unwrap().push(text);
                break;
            }
        }
        let status = {
            let mut statuses = self.statuses.lock().unwrap();
            match statuses.len() {
                1 => statuses[0],
                _ => statuses.pop().unwrap(),
            }
        };
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 4\r\n\r\nsaid");
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

pub(crate) async fn replicas(house: &House, name: &str) -> Vec<ReplicaStatus> {
    let all = house.engine.list_services().await.unwrap();
    let found = all
        .into_iter()
        .find(|status| status.service.spec.name.as_str() == name);
    found.unwrap().replicas
}

pub(crate) async fn until_states(house: &House, name: &str, states: &[&str]) {
    until(&format!("{name} to be {states:?}"), async || {
        let replicas = replicas(house, name).await;
        let all = replicas.iter().map(|replica| replica.state.as_str());
        all.eq(states.iter().copied()).then_some(())
    })
    .await;
}

/// Without a port, a service is well as long as it runs.
pub(crate) async fn plain(house: &House, name: &str) -> ServiceSpec {
    ServiceSpec {
        ports: Vec::new(),
        ..house.service_spec(name).await
    }
}

#[tokio::test]
async fn a_replica_that_ends_is_started_again() {
    let house = House::open(steady(0, 0)).await;
    let mut spec = plain(&house, "worker").await;
    spec.replicas = 2;
    let (service, change) = house.engine.put_service(spec.clone()).await.unwrap();
    assert_eq!((service.revision, change), (1, ChangeKind::Created));
    until_states(&house, "worker", &["healthy", "healthy"]).await;
    let (_, change) = house.engine.put_service(spec).await.unwrap();
    assert_eq!(change, ChangeKind::Unchanged);
    let first = house.engine.instances();
    assert_eq!(first.len(), 2);
    house.fake.end(&first[0].id, "signal 11 (SIGSEGV)");
    let ended = until("its end", async || {
        let replica = replicas(&house, "worker").await.remove(0);
        (replica.restarts == 1).then_some(replica)
    })
    .await;
    assert_eq!(ended.last_exit.as_deref(), Some("signal 11 (SIGSEGV)"));
    until_states(&house, "worker", &["healthy", "healthy"]).await;
    assert_eq!(house.fake.started().len(), 3);
    let name = "worker".parse().unwrap();
    house.engine.delete_service(&name).await.unwrap();
    assert!(house.fake.alive().is_empty());
    assert!(house.engine.list_services().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_start_that_fails_is_tried_again_and_says_why() {
    let tries = AtomicU32::new(0);
    let house = House::open(Fake::new(
        move |_| FakeStart {
            takes: Duration::ZERO,
            fails: (tries.fetch_add(1, Ordering::SeqCst) < 2).then(|| model::Ending::Crashed {
                how: "exit status 3".into(),
            }),
        },
        |_| (Duration::ZERO, ok(), true),
    ))
    .await;
    let spec = plain(&house, "worker").await;
    house.engine.put_service(spec).await.unwrap();
    until_states(&house, "worker", &["backing_off"]).await;
    until_states(&house, "worker", &["healthy"]).await;
    let replica = replicas(&house, "worker").await.remove(0);
    assert_eq!(replica.restarts, 2);
    assert!(replica.last_exit.unwrap().contains("exit status 3"));
}

#[tokio::test]
async fn a_replica_that_fails_its_checks_is_replaced() {
    let fake = steady(0, 0);
    let backend = Backend::open(&fake, &[503, 200]).await;
    let house = House::open(fake).await;
    let mut spec = house.service_spec("catalog").await;
    spec.health.path = Some("/health".into());
    spec.health.interval = 10;
    house.engine.put_service(spec).await.unwrap();
    until_states(&house, "catalog", &["healthy"]).await;
    assert!(backend.requests()[0].starts_with("GET /health HTTP/1.1\r\n"));
    assert_eq!(
        house.fake.started().len(),
        1,
        "503 is forgiven at the start"
    );
    backend.answer(&[500, 500, 500, 200]);
    let replica = until("the restart", async || {
        let replica = replicas(&house, "catalog").await.remove(0);
        (replica.restarts == 1 && replica.state == "healthy").then_some(replica)
    })
    .await;
    let why = replica.last_exit.unwrap();
    assert!(why.contains("/health answered 500"), "{why}");
    assert_eq!(house.fake.alive().len(), 1);
}

#[tokio::test]
async fn connections_take_turns_and_wait_for_a_start() {
    let fake = steady(200, 0);
    let _backend = Backend::open(&fake, &[200]).await;
    let house = House::open(fake).await;
    let mut spec = house.service_spec("catalog").await;
    spec.replicas = 2;
    let name = spec.name.clone();
    let none = house.engine.connect_service(&name, None).await.unwrap_err();
    assert_eq!(none.kind(), Kind::NotFound);
    house.engine.put_service(spec.clone()).await.unwrap();
    let connected = house.engine.connect_service(&name, None);
    within("a starting replica", connected).await.unwrap();
    spec.replicas = 0;
    house.engine.put_service(spec).await.unwrap();
    until("no replica", async || {
        house.fake.alive().is_empty().then_some(())
    })
    .await;
    let none = house.engine.connect_service(&name, None).await.unwrap_err();
    assert_eq!(none.kind(), Kind::Unavailable);
    let plain = plain(&house, "plain").await;
    house.engine.put_service(plain.clone()).await.unwrap();
    let none = house.engine.connect_service(&plain.name, None).await;
    assert_eq!(none.unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test]
async fn a_new_revision_is_well_before_the_old_one_stops() {
    let house = House::open(Fake::new(
        |spec| FakeStart {
            takes: Duration::ZERO,
            fails: spec
                .environment
                .contains_key("BROKEN")
                .then(|| model::Ending::Crashed {
                    how: "exit status 1".into(),
                }),
        },
        |_| (Duration::ZERO, ok(), true),
    ))
    .await;
    let mut spec = plain(&house, "worker").await;
    house.engine.put_service(spec.clone()).await.unwrap();
    until_states(&house, "worker", &["healthy"]).await;
    let first = house.fake.alive();

    spec.environment.insert("BROKEN".into(), "1".into());
    house.engine.put_service(spec.clone()).await.unwrap();
    until_states(&house, "worker", &["backing_off"]).await;
    assert_eq!(house.fake.alive(), first, "the old one serves on");

    spec.environment.remove("BROKEN");
    spec.environment.insert("FIXED".into(), "1".into());
    let (service, _) = house.engine.put_service(spec).await.unwrap();
    assert_eq!(service.revision, 3);
    until("the third revision alone", async || {
        let alive = house.fake.alive();
        let started = house.fake.started();
        let newest = started.last().unwrap();
        (newest.environment.contains_key("FIXED") && alive == [newest.id.clone()]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_revisions_never_write_one_volume() {
    let house = House::open(steady(20, 0)).await;
    let mut spec = plain(&house, "store").await;
    spec.volumes.push(VolumeMount {
        volume: "data".into(),
        target: "/data".into(),
        read_only: false,
    });
    house.engine.put_service(spec.clone()).await.unwrap();
    until_states(&house, "store", &["healthy"]).await;
    spec.environment.insert("A".into(), "b".into());
    house.engine.put_service(spec).await.unwrap();
    until("the second revision", async || {
        assert!(house.fake.alive().len() <= 1);
        let second = house.fake.started().len() == 2;
        (second && house.fake.alive().len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_event_is_posted_as_a_cloud_event_until_it_is_taken() {
    let fake = steady(0, 0);
    let backend = Backend::open(&fake, &[503, 202]).await;
    let house = House::open(fake).await;
    let spec = house.service_spec("catalog").await;
    house.engine.put_service(spec).await.unwrap();
    let target = service("catalog", "/events?x=1");
    let id = house.submit(&target).await;
    let event: Event = house.ended(id).await;
    assert_eq!((event.state, event.attempts), (EventState::Succeeded, 2));
    let error = event.runs[0].error.as_deref();
    assert_eq!(error, Some("Http.503: said"));
    assert_eq!(event.runs[1].target, "service:catalog/events?x=1");
    assert!(event.runs[1].instance.is_some());
    let requests = backend.requests();
    assert_eq!(requests.len(), 2);
    let request = requests[1].to_lowercase();
    assert!(
        request.starts_with("post /events?x=1 http/1.1\r\n"),
        "{request}"
    );
    for header in [
        "host: catalog\r\n".to_owned(),
        "content-type: application/json\r\n".to_owned(),
        "ce-specversion: 1.0\r\n".to_owned(),
        format!("ce-id: {id}\r\n"),
        "ce-source: s3:photos\r\n".to_owned(),
        "ce-type: s3:objectcreated:put\r\n".to_owned(),
        "ce-subject: a%20photo.jpg\r\n".to_owned(),
    ] {
        assert!(request.contains(&header), "{header} in {request}");
    }
    assert!(request.ends_with("\r\n\r\n{\"records\":[]}"));
}

#[tokio::test]
async fn an_event_for_a_service_that_is_down_waits_unspent() {
    let fake = steady(0, 0);
    let house = House::open(fake.clone()).await;
    let mut spec = house.service_spec("catalog").await;
    spec.replicas = 0;
    house.engine.put_service(spec.clone()).await.unwrap();
    let id = house.submit(&service("catalog", "/events")).await;
    let waiting = until("a second lease", async || {
        let event = house.event(id).await;
        (event.epoch >= 2).then_some(event)
    })
    .await;
    assert_eq!(waiting.attempts, 0);
    let _backend = Backend::open(&fake, &[200]).await;
    spec.replicas = 1;
    house.engine.put_service(spec).await.unwrap();
    let event = house.ended(id).await;
    assert_eq!((event.state, event.attempts), (EventState::Succeeded, 1));
}

#[tokio::test]
async fn a_new_name_reaches_the_next_instances_of_functions() {
    let fake = steady(0, 0);
    let _backend = Backend::open(&fake, &[200]).await;
    let house = House::open(fake).await;
    house.function("f").await;
    let names = async || {
        let outcome = house.invoke("f").await.unwrap();
        let started = house.fake.started();
        let used = |spec: &&runtime::InstanceSpec| Some(&spec.id) == outcome.instance.as_ref();
        let peers = &started.iter().find(used).unwrap().peers;
        let names = peers.iter().map(|peer| peer.name.to_string());
        (names.collect::<Vec<_>>(), outcome.cold)
    };
    assert_eq!(names().await, (Vec::new(), true));
    let spec = house.service_spec("catalog").await;
    house.engine.put_service(spec.clone()).await.unwrap();
    assert_eq!(names().await, (vec!["catalog".to_owned()], true));
    assert!(!names().await.1);
    // What is no name leaves them alone.
    let spec = ServiceSpec {
        replicas: 2,
        ..spec
    };
    house.engine.put_service(spec).await.unwrap();
    assert!(!names().await.1);
    let id = house.engine.submit(event(&function("f"))).await.unwrap();
    assert_eq!(house.ended(id).await.state, EventState::Succeeded);
}

#[tokio::test]
async fn services_come_back_with_the_server() {
    let fake = steady(0, 0);
    let house = House::open(fake).await;
    let spec = plain(&house, "worker").await;
    house.engine.put_service(spec).await.unwrap();
    until_states(&house, "worker", &["healthy"]).await;
    let old = house.fake.clone();
    let house = house.reopen(steady(0, 0), Duration::from_secs(1)).await;
    assert!(old.alive().is_empty(), "stopped by the drain");
    until_states(&house, "worker", &["healthy"]).await;
}

/// An instance's /etc/hosts has no room for more: without this each deployment is taken, and nothing starts there.
#[tokio::test]
async fn services_may_not_have_more_aliases_than_an_instance_can_know() {
    let house = House::open(steady(0, 0)).await;
    let mut last = None;
    for n in 1..=8 {
        let mut next = plain(&house, &format!("s{n}")).await;
        next.ports = vec![1000 + n];
        let aliases = (0..32).map(|alias| format!("s{n}-{alias}").parse().unwrap());
        next.networks.join("back".parse().unwrap(), aliases);
        last = Some((n, house.engine.put_service(next).await));
    }
    let (_, refused) = last.unwrap();
    let error = refused.expect_err("8 services of 33 names are too many");
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("aliases"), "{error}");
    assert_eq!(house.engine.list_services().await.unwrap().len(), 7);
    // One that is there may change within the bound.
    let mut first = plain(&house, "s1").await;
    first.ports = vec![1001];
    house.engine.put_service(first).await.unwrap();
}

/// Each instance has a listener for each port of each service, and not without end.
#[tokio::test]
async fn services_may_not_have_more_ports_than_an_instance_can_reach() {
    let house = House::open(steady(0, 0)).await;
    let mut first = plain(&house, "first").await;
    first.ports = (1001..=1008).collect();
    house.engine.put_service(first.clone()).await.unwrap();
    let mut refused = None;
    for n in 2..=8_u16 {
        let mut next = plain(&house, &format!("s{n}")).await;
        next.ports = (n * 1000 + 1..=n * 1000 + 8).collect();
        if let Err(error) = house.engine.put_service(next).await {
            refused = Some((n, error));
        }
    }
    let (which, error) = refused.expect("64 ports are too many");
    assert_eq!((which, error.kind()), (8, Kind::Invalid));
    assert!(error.to_string().contains("62"), "{error}");
    // One that is there may change within the bound.
    first.ports.truncate(1);
    house.engine.put_service(first).await.unwrap();
}

#[tokio::test]
async fn restarts_are_counted_where_they_are_bounded() {
    let house = House::open(steady(0, 0)).await;
    let mut spec = plain(&house, "worker").await;
    spec.restart = Restart::OnFailure { max: Some(1) };
    house.engine.put_service(spec).await.unwrap();
    for (end, state) in [("exit status 1", "healthy"), ("exit status 1", "failed")] {
        until_states(&house, "worker", &["healthy"]).await;
        let running = house.engine.instances().remove(0);
        house.fake.end(&running.id, end);
        let ended = until("its end", async || {
            let replica = replicas(&house, "worker").await.remove(0);
            (replica.last_exit.is_some() && replica.state == state).then_some(replica)
        })
        .await;
        assert_eq!(ended.restarts, 1);
    }
    assert_eq!(starts(&house, "worker"), 2);
}

#[tokio::test]
async fn a_preview_changes_nothing_and_tells_what_is_there() {
    let house = House::open(steady(0, 0)).await;
    let mut there = plain(&house, "there").await;
    house.engine.put_service(there.clone()).await.unwrap();
    let kept = house
        .engine
        .list_services()
        .await
        .unwrap()
        .remove(0)
        .service
        .spec;
    there.replicas = 3;
    let mut deployment = model::Deployment {
        project: "p".to_owned(),
        services: vec![there, plain(&house, "new").await],
        ..model::Deployment::default()
    };
    let present = house.engine.preview(&deployment).await.unwrap();
    assert_eq!(present.services, [kept]);
    assert_eq!(house.engine.list_services().await.unwrap().len(), 1);
    deployment.services[1].depends_on = vec![waits("nobody", Condition::Started)];
    let error = house.engine.preview(&deployment).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
}

#[tokio::test]
async fn names_are_those_of_shared_networks() {
    let networks = |json| -> model::Networks { serde_json::from_value(json).unwrap() };
    let fake = steady(0, 0);
    let _backend = Backend::open(&fake, &[200]).await;
    let house = House::open(fake).await;
    for (name, joined) in [
        ("catalog", serde_json::json!({"back": ["db", "store"]})),
        // A service's own name is not another's, nor is what one has already.
        ("store", serde_json::json!({"back": ["db"], "front": []})),
        ("page", serde_json::json!({})),
    ] {
        let mut spec = house.service_spec(name).await;
        spec.networks = networks(joined);
        house.engine.put_service(spec).await.unwrap();
    }
    let names = async |function: &str, joined| {
        let mut spec = house.spec(function).await;
        spec.networks = networks(joined);
        house.put(spec).await;
        let outcome = house.invoke(function).await.unwrap();
        let started = house.fake.started();
        let used = |spec: &&runtime::InstanceSpec| Some(&spec.id) == outcome.instance.as_ref();
        let peers = &started.iter().find(used).unwrap().peers;
        let names = |peer: &runtime::Peer| {
            let aliases = peer.aliases.iter().map(ToString::to_string);
            (peer.name.to_string(), aliases.collect::<Vec<_>>())
        };
        peers.iter().map(names).collect::<Vec<_>>()
    };
    let known = |name: &str, aliases: &[&str]| {
        let aliases = aliases.iter().map(|alias| (*alias).to_owned());
        (name.to_owned(), aliases.collect::<Vec<_>>())
    };
    let back = serde_json::json!({"back": []});
    let expected = [known("catalog", &["db"]), known("store", &[])];
    assert_eq!(names("inside", back.clone()).await, expected);
    let front = names("edge", serde_json::json!({"front": []})).await;
    assert_eq!(front, [known("store", &[])]);
    assert_eq!(
        names("plain", serde_json::json!({})).await,
        [known("page", &[])]
    );
    // The listener of an instance may be older than a change of the service.
    let (catalog, plain) = ("catalog".parse().unwrap(), model::Networks::default());
    let engine = &house.engine;
    assert!(
        engine
            .check_service_reach(&networks(back), &catalog)
            .is_ok()
    );
    let apart = engine.check_service_reach(&plain, &catalog).unwrap_err();
    assert_eq!(apart.kind(), Kind::Forbidden);
    let function = "inside".parse().unwrap();
    let apart = engine
        .check_function_reach(&plain, &function, None)
        .unwrap_err();
    assert!(apart.to_string().contains("shares no network"), "{apart}");
}
