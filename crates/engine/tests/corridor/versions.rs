//! Versions and aliases: pinned, picked by weight, deployed, rolled back.

use crate::house::{House, event, function, ok, steady, within};
use engine::{AliasChange, Call, Options, Publish, PutAlias};
use model::{
    Deployment, Ending, EventState, FunctionName, FunctionSpec, Kind, Outcome, Owner, Qualifier,
    Share,
};
use runtime::{Fake, FakeStart};
use std::time::Duration;

fn f() -> FunctionName {
    "f".parse().unwrap()
}

async fn call(house: &House, qualifier: Option<Qualifier>) -> engine::Result<Outcome> {
    let call = Call {
        qualifier,
        ..Call::default()
    };
    within("a call", house.engine.invoke(&f(), call)).await
}

async fn publish(house: &House) -> u64 {
    let published = house.engine.publish_version(&f(), Publish::default()).await;
    published.unwrap().number
}

async fn described(house: &House, text: &str) -> FunctionSpec {
    let mut spec = house.spec("f").await;
    spec.description = text.to_owned();
    spec
}

async fn deploy(house: &House, spec: FunctionSpec) -> engine::Result<()> {
    let deployment = Deployment {
        functions: vec![spec],
        ..Deployment::default()
    };
    house.engine.deploy(deployment).await.map(drop)
}

fn alias(version: u64, share: Option<Share>) -> AliasChange {
    AliasChange {
        version,
        share,
        description: String::new(),
        by: "root".into(),
    }
}

/// Starts fail of functions whose memory is odd.
fn picky() -> Fake {
    let fails = |spec: &runtime::InstanceSpec| {
        (spec.limits.memory % 2 == 1).then(|| Ending::InitFailed {
            error_type: "ImportError".into(),
            message: "no such module".into(),
        })
    };
    Fake::new(
        move |spec| FakeStart {
            takes: Duration::ZERO,
            fails: fails(spec),
        },
        |_| (Duration::ZERO, ok(), true),
    )
}

#[tokio::test]
async fn each_version_has_instances_of_its_own() {
    let house = House::open(steady(0, 0)).await;
    house.put(described(&house, "one").await).await;
    assert_eq!(publish(&house).await, 1);
    assert_eq!(publish(&house).await, 1, "nothing was changed");
    house.put(described(&house, "two").await).await;
    assert_eq!(publish(&house).await, 2);
    for (qualifier, version) in [
        (None, None),
        (Some(Qualifier::Latest), None),
        (Some(Qualifier::Version(1)), Some(1)),
        (Some(Qualifier::Version(2)), Some(2)),
    ] {
        assert_eq!(call(&house, qualifier).await.unwrap().version, version);
    }
    let instances = house.engine.instances();
    let mut versions: Vec<_> = instances
        .iter()
        .map(|instance| match &instance.owner {
            Owner::Function { version, .. } => *version,
            Owner::Service { .. } => panic!("there are only functions"),
        })
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, [None, Some(1), Some(2)]);
    let missing = call(&house, Some(Qualifier::Version(3))).await.unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound);
    house.engine.delete_version(&f(), 1).await.unwrap();
    let gone = call(&house, Some(Qualifier::Version(1))).await.unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound);
}

#[tokio::test]
async fn versions_and_their_code_survive_a_restart() {
    let house = House::open(steady(0, 0)).await;
    let old = house.put(described(&house, "one").await).await;
    publish(&house).await;
    let mut spec = described(&house, "two").await;
    spec.code = house.code("two").await;
    house.put(spec).await;
    let house = house.reopen(steady(0, 0), Duration::ZERO).await;
    let model::Code::Zip { digest, .. } = &old.spec.code else {
        panic!("it is a zip");
    };
    let kept = house.storage.blob_size(digest).await.unwrap();
    assert!(kept.is_some(), "a version needs its code");
    let outcome = call(&house, Some(Qualifier::Version(1))).await.unwrap();
    assert_eq!(outcome.version, Some(1));
}

#[tokio::test]
async fn an_alias_with_all_of_the_weight_elsewhere_goes_there() {
    let house = House::open(steady(0, 0)).await;
    house.put(described(&house, "one").await).await;
    publish(&house).await;
    house.put(described(&house, "two").await).await;
    publish(&house).await;
    let (function, name): (_, model::AliasName) = (f(), "beta".parse().unwrap());
    for (weight, expected) in [(1.0, 2), (0.0, 1)] {
        let share = Share { version: 2, weight };
        let change = alias(1, Some(share));
        let put = house
            .engine
            .put_alias(&function, name.clone(), change, PutAlias::Upsert);
        put.await.unwrap();
        let qualifier = Qualifier::Alias(name.clone());
        let outcome = call(&house, Some(qualifier)).await.unwrap();
        assert_eq!(outcome.version, Some(expected));
    }
    assert_eq!(
        call(&house, None).await.unwrap().version,
        None,
        "it does not lead"
    );
    let named = house.engine.delete_version(&f(), 2).await.unwrap_err();
    assert_eq!(named.kind(), Kind::Conflict);
}

#[tokio::test]
async fn a_deployment_serves_what_starts_and_can_be_rolled_back() {
    let house = House::open(picky()).await;
    deploy(&house, described(&house, "one").await)
        .await
        .unwrap();
    deploy(&house, described(&house, "two").await)
        .await
        .unwrap();
    assert_eq!(call(&house, None).await.unwrap().version, Some(2));
    let mut broken = described(&house, "three").await;
    broken.limits.memory += 1;
    let refused = deploy(&house, broken.clone())
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("version 2 goes on serving"), "{refused}");
    assert!(refused.contains("ImportError: no such module"), "{refused}");
    assert_eq!(call(&house, None).await.unwrap().version, Some(2));
    assert!(deploy(&house, broken).await.is_err(), "and once more");
    let back = house.engine.rollback(&f(), None, "root").await.unwrap();
    assert_eq!(
        (back.version, call(&house, None).await.unwrap().version),
        (1, Some(1))
    );
    let first = house.engine.rollback(&f(), None, "root").await.unwrap_err();
    assert_eq!(first.kind(), Kind::Invalid, "{first}");
    deploy(&house, described(&house, "two").await)
        .await
        .unwrap();
    assert_eq!(call(&house, None).await.unwrap().version, Some(2));
}

#[tokio::test]
async fn each_version_is_reached_from_its_own_networks() {
    let networks = |name: &str| -> model::Networks {
        serde_json::from_value(serde_json::json!({ name: [] })).unwrap()
    };
    let house = House::open(steady(0, 0)).await;
    for (text, name) in [("one", "front"), ("two", "back")] {
        let mut spec = described(&house, text).await;
        spec.networks = networks(name);
        deploy(&house, spec).await.unwrap();
    }
    let (name, live) = (f(), model::AliasName::live());
    let reach = |from: &str, qualifier: Option<Qualifier>| {
        let engine = &house.engine;
        let reach = engine.check_function_reach(&networks(from), &name, qualifier.as_ref());
        reach.map_err(|error| error.kind())
    };
    let apart = Err(Kind::Forbidden);
    assert_eq!((reach("back", None), reach("front", None)), (Ok(()), apart));
    for (from, one, two) in [("front", Ok(()), apart), ("back", apart, Ok(()))] {
        assert_eq!(reach(from, Some(Qualifier::Version(1))), one);
        assert_eq!(reach(from, Some(Qualifier::Version(2))), two);
        assert_eq!(reach(from, Some(Qualifier::Latest)), two);
    }
    let share = Share {
        version: 1,
        weight: 0.5,
    };
    let shared = alias(2, Some(share));
    let put = house
        .engine
        .put_alias(&name, live.clone(), shared, PutAlias::Upsert);
    put.await.unwrap();
    for from in ["front", "back"] {
        assert_eq!(reach(from, Some(Qualifier::Alias(live.clone()))), apart);
    }
}

#[tokio::test]
async fn an_event_follows_its_qualifier_and_dies_without_it() {
    let house = House::open(steady(0, 0)).await;
    house.put(described(&house, "one").await).await;
    publish(&house).await;
    house.put(described(&house, "two").await).await;
    for (version, state) in [(1, EventState::Succeeded), (9, EventState::Dead)] {
        let mut sent = event(&function("f"));
        sent.delivery.qualifier = Some(Qualifier::Version(version));
        let id = house.engine.submit(sent).await.unwrap();
        let ended = house.ended(id).await;
        assert_eq!(ended.state, state);
        let ran: Vec<_> = ended.runs.iter().map(|run| run.version).collect();
        let expected = (version == 1).then_some(Some(1));
        assert_eq!(ran, expected.into_iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn versions_take_turns_at_one_reserved_place() {
    let house = House::open(steady(0, 1)).await;
    let mut spec = described(&house, "one").await;
    spec.scaling.reserved = Some(1);
    house.put(spec.clone()).await;
    publish(&house).await;
    spec.description = "two".into();
    house.put(spec).await;
    let both = (0..40).map(|n| call(&house, (n % 2 == 0).then_some(Qualifier::Version(1))));
    let both = within("all calls", futures::future::join_all(both)).await;
    let versions: Vec<_> = both
        .into_iter()
        .map(|outcome| outcome.unwrap().version)
        .collect();
    assert_eq!(
        versions.iter().filter(|version| version.is_some()).count(),
        20
    );
}

#[tokio::test]
async fn the_oldest_versions_go_past_the_bound() {
    let options = Options {
        max_versions: 2,
        ..Options::default()
    };
    let house = House::open_with(steady(0, 0), options).await;
    for text in ["one", "two", "three"] {
        house.put(described(&house, text).await).await;
        publish(&house).await;
    }
    let left = house.engine.list_versions(&f()).await.unwrap();
    let left: Vec<_> = left.iter().map(|version| version.number).collect();
    assert_eq!(left, [2, 3]);
}

/// Longer than any test, and shorter than a first start is waited for.
const SLOW: Duration = Duration::from_secs(20);

/// Starts of functions whose memory is odd take so long.
fn slow(takes: Duration) -> Fake {
    let takes = move |odd: bool| if odd { takes } else { Duration::ZERO };
    Fake::new(
        move |spec| FakeStart {
            takes: takes(spec.limits.memory % 2 == 1),
            fails: None,
        },
        |_| (Duration::ZERO, ok(), true),
    )
}

type Deploying = tokio::task::JoinHandle<engine::Result<model::DeploymentReport>>;

/// A deployment of `slow`, the third version of f, and of `more`, while the start is waited for.
async fn deploying(house: &House, mut slow: FunctionSpec, more: Vec<FunctionSpec>) -> Deploying {
    slow.limits.memory += 1;
    let functions = more.into_iter().chain([slow]).collect();
    let engine = house.engine.clone();
    let deploying = tokio::spawn(async move {
        let deployment = Deployment {
            functions,
            ..Deployment::default()
        };
        engine.deploy(deployment).await
    });
    crate::house::until("its start", async || {
        let versions = house.engine.list_versions(&f()).await.unwrap();
        (versions.len() == 3).then_some(())
    })
    .await;
    deploying
}

/// Lets slow starts succeed now.
async fn let_start() {
    tokio::time::pause();
    tokio::time::advance(SLOW).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_rollback_during_a_first_start_stays() {
    let house = House::open(slow(SLOW)).await;
    for text in ["one", "two"] {
        deploy(&house, described(&house, text).await).await.unwrap();
    }
    let third = described(&house, "three").await;
    let deploying = deploying(&house, third, Vec::new()).await;
    house.engine.rollback(&f(), None, "root").await.unwrap();
    let_start().await;
    let off = within("the end of it", deploying).await.unwrap();
    let off = off.unwrap_err();
    assert_eq!(off.kind(), Kind::Conflict, "it is not tried again: {off}");
    assert!(
        off.to_string().contains("version 1 goes on serving"),
        "{off}"
    );
    assert_eq!(call(&house, None).await.unwrap().version, Some(1));
}

#[tokio::test]
async fn the_rest_of_a_deployment_is_off_where_what_it_declares_was_changed_meanwhile() {
    for removed in [true, false] {
        let house = House::open(slow(SLOW)).await;
        for text in ["one", "two"] {
            deploy(&house, described(&house, text).await).await.unwrap();
        }
        let (third, g) = (described(&house, "three").await, house.spec("g").await);
        let deploying = deploying(&house, third, vec![g.clone()]).await;
        if removed {
            house.engine.delete_function(&g.name).await.unwrap();
        } else {
            deploy(&house, g).await.unwrap();
        }
        deploy(&house, house.spec("h").await).await.unwrap();
        let_start().await;
        let off = within("the end of it", deploying).await.unwrap();
        let off = off.unwrap_err();
        assert_eq!(off.kind(), Kind::Conflict, "{off}");
        assert!(off.to_string().contains("deploy again"), "{off}");
    }
    // One beside it that declares other things does not matter to it.
    let house = House::open(slow(SLOW)).await;
    for text in ["one", "two"] {
        deploy(&house, described(&house, text).await).await.unwrap();
    }
    let third = described(&house, "three").await;
    let deploying = deploying(&house, third, Vec::new()).await;
    deploy(&house, house.spec("h").await).await.unwrap();
    let_start().await;
    within("the end of it", deploying).await.unwrap().unwrap();
    assert_eq!(call(&house, None).await.unwrap().version, Some(3));
}

#[tokio::test]
async fn others_change_things_while_a_first_start_is_waited_for() {
    let house = House::open(slow(Duration::from_secs(600))).await;
    for text in ["one", "two"] {
        deploy(&house, described(&house, text).await).await.unwrap();
    }
    let third = described(&house, "three").await;
    let deploying = deploying(&house, third, Vec::new()).await;
    let other = house.spec("g").await;
    within("another function", deploy(&house, other))
        .await
        .unwrap();
    let back = within("a rollback", house.engine.rollback(&f(), None, "root")).await;
    assert_eq!(back.unwrap().version, 1);
    assert!(!deploying.is_finished());
    // What was changed meanwhile is not put in the place of.
    house.engine.delete_function(&f()).await.unwrap();
    let off = within("the end of it", deploying).await.unwrap();
    assert_eq!(off.unwrap_err().kind(), Kind::Unavailable);
    assert!(house.engine.get_function(&f()).await.is_err());
}

#[tokio::test]
async fn a_rollback_goes_back_one_step_after_another_with_the_weights() {
    let house = House::open(steady(0, 0)).await;
    for text in ["one", "two", "three"] {
        deploy(&house, described(&house, text).await).await.unwrap();
    }
    let share = Share {
        version: 2,
        weight: 0.123_456_789_012_345_67,
    };
    let live = model::AliasName::live();
    let put = |change| {
        let live = live.clone();
        let engine = house.engine.clone();
        async move { engine.put_alias(&f(), live, change, PutAlias::Upsert).await }
    };
    put(alias(3, Some(share.clone()))).await.unwrap();
    put(alias(2, None)).await.unwrap();
    let name = f();
    let back = || house.engine.rollback(&name, None, "ops");
    let first = back().await.unwrap();
    assert_eq!(
        (first.version, first.share.map(|share| share.version)),
        (3, Some(2))
    );
    let mut way = Vec::new();
    let end = loop {
        match back().await {
            Ok(alias) => way.push((alias.version, alias.share.is_some())),
            Err(error) => break error,
        }
    };
    assert_eq!(way, [(3, false), (2, false), (1, false)]);
    assert!(end.to_string().contains("no version before"), "{end}");
    let moves = house
        .engine
        .list_alias_moves(&name, Some(live), 100)
        .await
        .unwrap();
    let backs = moves
        .iter()
        .take_while(|one| one.back && one.by == "ops")
        .count();
    assert_eq!((backs, moves.len()), (4, 9));
    // A deleted version is passed over.
    deploy(&house, described(&house, "four").await)
        .await
        .unwrap();
    deploy(&house, described(&house, "five").await)
        .await
        .unwrap();
    house.engine.delete_version(&name, 4).await.unwrap();
    assert_eq!(back().await.unwrap().version, 1);
}

#[tokio::test]
async fn events_of_an_alias_have_retries_and_destinations_of_their_own() {
    let house = House::open(picky_calls()).await;
    house.put(described(&house, "one").await).await;
    publish(&house).await;
    let beta: model::AliasName = "beta".parse().unwrap();
    let (f, engine) = (f(), &house.engine);
    let made = engine.put_alias(&f, beta.clone(), alias(1, None), PutAlias::Create);
    made.await.unwrap();
    let qualifier = Qualifier::Alias(beta.clone());
    let once = |retry: &mut model::RetryPolicy, _: &mut model::Destinations| retry.max_attempts = 1;
    let changed = house.engine.change_event_invoke(&f, Some(&qualifier), once);
    assert_eq!(changed.await.unwrap().retry.max_attempts, 1);
    let mut attempts = Vec::new();
    for said in [Some(qualifier.clone()), Some(Qualifier::Version(1)), None] {
        let mut new = event(&model::Target::Function { name: f.clone() });
        new.delivery.qualifier = said;
        let id = house.engine.submit(new).await.unwrap();
        let ended = crate::house::until("its end", async || {
            let event = house.engine.get_event(id).await.unwrap();
            event.state.is_end().then_some(event)
        });
        let ended = ended.await;
        assert_eq!(ended.state, EventState::Dead);
        attempts.push(ended.attempts);
    }
    assert_eq!(attempts, [1, 3, 3]);
    let all = house.engine.list_event_invokes(&f).await.unwrap();
    assert_eq!(all.keys().collect::<Vec<_>>(), [&qualifier]);
    house.engine.delete_alias(&f, &beta, "root").await.unwrap();
    assert!(
        house
            .engine
            .list_event_invokes(&f)
            .await
            .unwrap()
            .is_empty()
    );
}

/// Every call fails.
fn picky_calls() -> Fake {
    Fake::new(
        |_| FakeStart {
            takes: Duration::ZERO,
            fails: None,
        },
        |_| (Duration::ZERO, crate::house::failed(), true),
    )
}
