//! Events on buses: to the targets of the rules that fit, and no deeper than the bound.

use crate::house::{House, event, function, steady, until};
use engine::{Options, PutRule};
use model::{
    BusName, Event, EventFilter, EventId, EventState, NewEvent, RuleTarget, Secret, Target,
    Transformer,
};
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn bus(name: &str) -> Target {
    Target::Bus {
        name: name.parse().unwrap(),
    }
}

fn to(id: &str, target: &Target) -> RuleTarget {
    RuleTarget {
        id: id.into(),
        arn: format!("arn:of:{target}"),
        target: target.clone(),
        role: None,
        input: None,
        input_path: None,
        transformer: None,
        delivery: Default::default(),
    }
}

async fn rule(house: &House, bus: &str, name: &str, pattern: &str, targets: Vec<RuleTarget>) {
    let put = PutRule {
        bus: bus.parse().unwrap(),
        name: name.parse().unwrap(),
        description: String::new(),
        pattern: pattern.into(),
        enabled: true,
        role: String::new(),
        tags: BTreeMap::new(),
    };
    let rule = house.engine.put_rule(put).await.unwrap();
    house
        .engine
        .put_targets(&rule.bus, &rule.name, targets)
        .await
        .unwrap();
}

fn placed(n: u32) -> NewEvent {
    let payload =
        serde_json::json!({"source": "shop", "detail-type": "placed", "detail": {"n": n}});
    NewEvent {
        source: "shop".into(),
        kind: "placed".into(),
        subject: String::new(),
        payload: payload.to_string().into(),
        ..event(&bus("default"))
    }
}

/// The events that have this cause and have ended, once there are `count`.
async fn effects(house: &House, cause: EventId, count: usize) -> Vec<Event> {
    until("effects", async || {
        let filter = EventFilter {
            limit: 1000,
            ..EventFilter::default()
        };
        let all = house.engine.list_events(filter).await.unwrap();
        let caused = all
            .into_iter()
            .filter(|event| event.accepted.cause == Some(cause));
        let ended: Vec<_> = caused.filter(|event| event.ended.is_some()).collect();
        (ended.len() == count).then_some(ended)
    })
    .await
}

#[tokio::test]
async fn each_target_of_each_rule_that_fits_is_woken_once() {
    let house = House::open(steady(1, 1)).await;
    house.function("f").await;
    house.function("g").await;
    let template = RuleTarget {
        transformer: Some(Transformer {
            paths: [("n".to_owned(), "$.detail.n".to_owned())].into(),
            template: r#"{"number": <n>}"#.into(),
        }),
        ..to("g", &function("g"))
    };
    let targets = vec![to("f", &function("f")), template];
    rule(
        &house,
        "default",
        "ones",
        r#"{"detail": {"n": [1]}}"#,
        targets,
    )
    .await;
    let more = vec![to("f", &function("f"))];
    rule(&house, "default", "all", r#"{"source": ["shop"]}"#, more).await;

    let one = house.engine.submit(placed(1)).await.unwrap();
    let woken = effects(&house, one, 3).await;
    assert!(
        woken
            .iter()
            .all(|event| event.state == EventState::Succeeded && event.depth == 1)
    );
    let to_g = woken
        .iter()
        .find(|event| event.accepted.target == function("g"))
        .unwrap();
    assert_eq!(to_g.accepted.payload, r#"{"number": 1}"#);
    let told = house.ended(one).await;
    assert_eq!(
        (told.state, told.runs[0].ending.as_str()),
        (EventState::Succeeded, "succeeded")
    );

    let two = house.engine.submit(placed(2)).await.unwrap();
    assert_eq!(
        effects(&house, two, 1).await[0].accepted.target,
        function("f")
    );
}

#[tokio::test]
async fn what_fits_no_rule_has_succeeded_and_its_run_says_so() {
    let house = House::open(steady(1, 1)).await;
    house.function("f").await;
    rule(
        &house,
        "default",
        "r",
        r#"{"source": ["other"]}"#,
        vec![to("f", &function("f"))],
    )
    .await;
    let id = house.engine.submit(placed(1)).await.unwrap();
    let ended = house.ended(id).await;
    assert_eq!(ended.state, EventState::Succeeded);
    assert_eq!(ended.runs[0].ending, "unmatched");
    assert!(effects(&house, id, 0).await.is_empty());
}

#[tokio::test]
async fn a_loop_is_cut_and_says_why() {
    let options = Options {
        max_depth: 3,
        ..Options::default()
    };
    let house = House::open_with(steady(1, 1), options).await;
    let other: BusName = "other".parse().unwrap();
    house
        .engine
        .create_bus(other, String::new(), BTreeMap::new())
        .await
        .unwrap();
    let all = r#"{"source": ["shop"]}"#;
    rule(&house, "default", "to", all, vec![to("o", &bus("other"))]).await;
    rule(&house, "other", "fro", all, vec![to("d", &bus("default"))]).await;
    let mut cause = house.engine.submit(placed(1)).await.unwrap();
    for depth in 1..=4 {
        let next = effects(&house, cause, 1).await.remove(0);
        assert_eq!(next.depth, depth);
        cause = next.accepted.id;
    }
    let cut = house.ended(cause).await;
    assert_eq!(cut.state, EventState::Dead);
    assert!(cut.last_error.unwrap().contains("loop"));
    assert!(cut.runs.is_empty(), "it was not attempted");
}

#[tokio::test]
async fn rules_outlive_the_server_and_follow_what_is_changed() {
    let house = House::open(steady(1, 1)).await;
    house.function("f").await;
    rule(
        &house,
        "default",
        "r",
        r#"{"source": ["shop"]}"#,
        vec![to("f", &function("f"))],
    )
    .await;
    let house = house
        .reopen(steady(1, 1), std::time::Duration::from_secs(1))
        .await;
    let id = house.engine.submit(placed(1)).await.unwrap();
    effects(&house, id, 1).await;
    let (bus, name) = (BusName::default_bus(), "r".parse().unwrap());
    house
        .engine
        .update_rule(&bus, &name, |rule| rule.enabled = false)
        .await
        .unwrap();
    let id = house.engine.submit(placed(1)).await.unwrap();
    assert_eq!(house.ended(id).await.runs[0].ending, "unmatched");
    let busy = house
        .engine
        .delete_rule(&bus, &name, false)
        .await
        .unwrap_err();
    assert!(busy.to_string().contains("has targets"));
    let unknown = vec!["f".to_owned(), "x".to_owned()];
    let left = house
        .engine
        .remove_targets(&bus, &name, unknown, false)
        .await
        .unwrap();
    assert_eq!(left, ["x"]);
    house.engine.delete_rule(&bus, &name, false).await.unwrap();
    assert!(house.engine.list_rules(&bus).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_target_that_went_is_a_dead_letter_of_its_own() {
    let house = House::open(steady(1, 1)).await;
    for name in ["f", "g"] {
        house.function(name).await;
    }
    let targets = vec![to("f", &function("f")), to("g", &function("g"))];
    rule(&house, "default", "r", r#"{"source": ["shop"]}"#, targets).await;
    house
        .engine
        .delete_function(&"g".parse().unwrap())
        .await
        .unwrap();
    let id = house.engine.submit(placed(1)).await.unwrap();
    for event in effects(&house, id, 2).await {
        let gone = event.accepted.target == function("g");
        assert_eq!(event.state == EventState::Dead, gone, "{event:?}");
    }
}

/// One answer of 204 for each request; gives the requests.
async fn receiver() -> (u16, tokio::sync::mpsc::Receiver<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, requests) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut chunk = [0; 4096];
            while !String::from_utf8_lossy(&request).contains("\"placed\"") {
                let read = stream.read(&mut chunk).await.unwrap();
                request.extend_from_slice(&chunk[..read]);
                if read == 0 {
                    break;
                }
            }
            let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
            let _ = stream.write_all(answer).await;
            let _ = sender.send(String::from_utf8(request).unwrap()).await;
        }
    });
    (port, requests)
}

#[tokio::test]
async fn a_webhook_gets_a_signed_cloud_event_and_private_addresses_only_if_they_are_allowed() {
    let (port, mut requests) = receiver().await;
    for allowed in [true, false] {
        let options = Options {
            private_webhooks: allowed,
            ..Options::default()
        };
        let house = House::open_with(steady(1, 1), options).await;
        let name: model::WebhookName = "hook".parse().unwrap();
        let url = format!("http://localhost:{port}/in?a=b");
        let headers = [("x-api-key".to_owned(), Secret::new("key".into()))].into();
        house
            .engine
            .put_webhook(name.clone(), url, headers, None)
            .await
            .unwrap();
        let hook = Target::Webhook { name };
        rule(
            &house,
            "default",
            "r",
            r#"{"source": ["shop"]}"#,
            vec![to("h", &hook)],
        )
        .await;
        let id = house.engine.submit(placed(1)).await.unwrap();
        if allowed {
            let sent = effects(&house, id, 1).await.remove(0);
            assert_eq!(sent.state, EventState::Succeeded);
            let request = requests.recv().await.unwrap();
            assert!(
                request.starts_with("POST /in?a=b HTTP/1.1\r\n"),
                "{request}"
            );
            for part in [
                "ce-specversion: 1.0",
                "ce-source: shop",
                "webhook-signature: v1,",
                "x-api-key: key",
                &format!("webhook-id: {}", sent.accepted.id),
            ] {
                assert!(request.contains(part), "{part} in {request}");
            }
            continue;
        }
        let refused = until("the refusal", async || {
            let filter = EventFilter {
                target: Some(hook.key()),
                limit: 1,
                ..EventFilter::default()
            };
            let event = house.engine.list_events(filter).await.unwrap().pop()?;
            event.last_error
        });
        let refused = refused.await;
        assert!(refused.contains("loopback address"), "{refused}");
        assert!(requests.try_recv().is_err(), "nothing was sent");
    }
}
