//! Functions: declared, changed, called, deployed.

use crate::house::{House, function, ok, service, steady, until};
use engine::{Call, Error, Put};
use model::{
    BucketSpec, ChangeKind, Code, Deployment, Digest, Egress, Ending, ImageConfig, ImageRecord,
    InstanceState, Kind, NotificationRule, RuntimeName, Target,
};
use runtime::{Fake, FakeStart};
use std::time::Duration;

#[tokio::test]
async fn a_put_creates_changes_or_leaves_alone() {
    let house = House::open(steady(0, 0)).await;
    let mut spec = house.spec("f").await;
    let create = |spec| house.engine.put_function(spec, Put::Create);
    let (made, change) = create(spec.clone()).await.unwrap();
    assert_eq!((made.revision, change), (1, ChangeKind::Created));
    let refused = create(spec.clone()).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict, "{refused}");

    let upsert = house.engine.put_function(spec.clone(), Put::Upsert).await;
    let (same, change) = upsert.unwrap();
    assert_eq!((&same, change), (&made, ChangeKind::Unchanged));

    spec.description = "changed".into();
    let stale = Put::Update {
        revision_id: Some("other".into()),
    };
    let refused = house.engine.put_function(spec.clone(), stale).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Conflict);
    let current = Put::Update {
        revision_id: Some(made.revision_id.clone()),
    };
    let (next, change) = house.engine.put_function(spec, current).await.unwrap();
    assert_eq!((next.revision, change), (2, ChangeKind::Updated));
    assert_ne!(next.revision_id, made.revision_id);
    assert_eq!(next.created, made.created);
    let stored = house.state.get_function(next.spec.name.clone()).await;
    assert_eq!(stored.unwrap(), next);

    let other = house.spec("g").await;
    let missing = Put::Update { revision_id: None };
    let refused = house.engine.put_function(other, missing).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_changed_egress_is_a_new_revision_and_reaches_its_instances() {
    let fake = steady(0, 0);
    let house = House::open(fake.clone()).await;
    let mut spec = house.spec("f").await;
    house.put(spec.clone()).await;
    house.invoke("f").await.unwrap();
    spec.egress = Some(Egress::list(["example.com:443"]).unwrap());
    assert_eq!(house.put(spec.clone()).await.revision, 2);
    house.invoke("f").await.unwrap();
    let told: Vec<_> = fake.started().into_iter().map(|spec| spec.egress).collect();
    assert_eq!(told, [None, spec.egress]);
}

#[tokio::test]
async fn a_put_that_fails_leaves_nothing() {
    let house = House::open(steady(0, 0)).await;
    let mut missing = house.spec("f").await;
    missing.code = Code::Zip {
        digest: Digest::from_hex(&"0".repeat(64)).unwrap(),
        size: 1,
    };
    let refused = house.engine.put_function(missing, Put::Upsert).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::NotFound);
    let mut missing = house.spec("f").await;
    missing.runtime = RuntimeName::Image;
    missing.code = Code::Image {
        reference: "shop/thumbnail:prod".into(),
        digest: Digest::from_hex(&"0".repeat(64)).unwrap(),
    };
    let refused = house.engine.put_function(missing, Put::Upsert).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), Kind::NotFound);
    let text = refused.to_string();
    assert!(
        text.contains("shop/thumbnail:prod") && text.contains("rouse image import"),
        "{text}"
    );

    let mut writer = house.storage.begin_blob(100).await.unwrap();
    writer.write("not a zip".into()).await.unwrap();
    let (digest, size) = house.storage.commit_blob(writer, None).await.unwrap();
    let mut bad = house.spec("f").await;
    bad.code = Code::Zip { digest, size };
    let refused = house.engine.put_function(bad, Put::Upsert).await;
    assert_eq!(refused.unwrap_err().kind(), Kind::Invalid);

    let mut out = house.spec("f").await;
    out.limits.memory = 1;
    let refused = house
        .engine
        .put_function(out, Put::Upsert)
        .await
        .unwrap_err();
    assert!(
        refused.to_string().starts_with("limits.memory: "),
        "{refused}"
    );
    assert!(house.engine.list_functions().await.unwrap().is_empty());
    assert!(house.state.list_functions().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_update_swaps_revisions_without_losing_a_call() {
    let house = House::open(steady(0, 20)).await;
    let mut spec = house.spec("f").await;
    house.put(spec.clone()).await;
    let engine = house.engine.clone();
    let calls: Vec<_> = (0..40)
        .map(|_| {
            let (engine, name) = (engine.clone(), spec.name.clone());
            tokio::spawn(async move { engine.invoke(&name, Call::default()).await })
        })
        .collect();
    until("the first call", async || {
        (!house.fake.calls().is_empty()).then_some(())
    })
    .await;
    spec.description = "second".into();
    house.put(spec).await;
    for call in calls {
        assert!(call.await.unwrap().unwrap().ending.succeeded());
    }
    let outcome = house.invoke("f").await.unwrap();
    let used = house.fake.started();
    let used = used
        .iter()
        .find(|spec| Some(&spec.id) == outcome.instance.as_ref())
        .unwrap();
    let revision = match &used.owner {
        model::Owner::Function { revision, .. } => *revision,
        other => panic!("{other:?}"),
    };
    assert_eq!(revision, 2);
    until("the end of the first revision", async || {
        let all = house.engine.instances();
        let old = |owner: &_| matches!(owner, model::Owner::Function { revision: 1, .. });
        (!all.iter().any(|status| old(&status.owner))).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_call_goes_on_when_its_caller_goes_away() {
    let house = House::open(steady(0, 200)).await;
    let spec = house.put(house.spec("f").await).await.spec;
    let engine = house.engine.clone();
    let caller = tokio::spawn(async move { engine.invoke(&spec.name, Call::default()).await });
    until("the call", async || house.fake.calls().pop()).await;
    caller.abort();
    let run = until("its record", async || {
        house.state.list_runs(None, 10).await.unwrap().pop()
    })
    .await;
    assert_eq!(run.ending, "succeeded");
    let idle = house.engine.instances();
    assert_eq!(idle[0].state, InstanceState::Idle);
    assert_eq!(idle[0].calls, 1);
}

#[tokio::test]
async fn calls_past_the_bound_are_throttled_and_say_so() {
    let house = House::open(steady(0, 400)).await;
    let mut spec = house.spec("f").await;
    spec.scaling.max_instances = 1;
    spec.scaling.queue = 1;
    house.put(spec.clone()).await;
    let invoke = || house.invoke("f");
    let results = tokio::join!(invoke(), invoke(), invoke(), invoke());
    let results = [results.0, results.1, results.2, results.3];
    let refused: Vec<_> = results.iter().filter_map(|r| r.as_ref().err()).collect();
    assert_eq!(refused.len(), 2);
    assert!(
        refused.iter().all(|e| e.kind() == Kind::Throttled),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_crash_is_an_outcome_and_the_neighbour_is_unharmed() {
    let house = House::open(Fake::new(
        |_| FakeStart {
            takes: Duration::ZERO,
            fails: None,
        },
        |invocation| {
            if invocation.function_arn.ends_with(":bad") {
                let how = "signal 9 (SIGKILL)".to_owned();
                return (Duration::ZERO, Ending::Crashed { how }, false);
            }
            (Duration::ZERO, ok(), true)
        },
    ))
    .await;
    house.function("bad").await;
    house.function("good").await;
    assert!(house.invoke("good").await.unwrap().ending.succeeded());
    let outcome = house.invoke("bad").await.unwrap();
    assert_eq!(outcome.ending.word(), "crashed");
    let outcome = house.invoke("good").await.unwrap();
    assert!(outcome.ending.succeeded() && !outcome.cold);
    assert_eq!(house.fake.alive().len(), 1);
    let none = house.invoke("none").await.unwrap_err();
    assert_eq!(none.to_string(), "function \"none\" does not exist");
}

fn bucket(name: &str, target: Target) -> BucketSpec {
    BucketSpec {
        name: name.parse().unwrap(),
        notify: vec![NotificationRule {
            id: "rule".into(),
            events: vec!["s3:ObjectCreated:*".to_owned().try_into().unwrap()],
            prefix: String::new(),
            suffix: String::new(),
            target,
            qualifier: None,
            form: Default::default(),
        }],
    }
}

#[tokio::test]
async fn a_deployment_is_checked_as_a_whole_and_errors_name_the_place() {
    let house = House::open(steady(0, 0)).await;
    let mut spec = house.spec("thumbnail").await;
    let whole = |functions, buckets| Deployment {
        project: "shop".into(),
        functions,
        buckets,
        ..Deployment::default()
    };
    let target = function("thumbnail");
    let buckets = vec![bucket("photos", target.clone())];
    spec.limits.memory = 1;
    let cases = [
        (
            whole(vec![spec.clone()], buckets.clone()),
            "functions.thumbnail.limits.memory: ",
        ),
        (
            whole(Vec::new(), buckets.clone()),
            "buckets.photos.notify.rule: ",
        ),
        (
            whole(
                Vec::new(),
                vec![bucket("photos", service("catalog", "/events"))],
            ),
            "buckets.photos.notify.rule: ",
        ),
        (
            whole(
                Vec::new(),
                vec![
                    BucketSpec {
                        name: "photos".parse().unwrap(),
                        notify: Vec::new(),
                    };
                    2
                ],
            ),
            "buckets.photos: is declared twice",
        ),
    ];
    for (deployment, place) in cases {
        let refused = house.engine.deploy(deployment).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Invalid);
        assert!(refused.to_string().starts_with(place), "{refused}");
    }
    spec = house.spec("thumbnail").await;
    spec.code = Code::Zip {
        digest: Digest::from_hex(&"0".repeat(64)).unwrap(),
        size: 1,
    };
    let missing = house.engine.deploy(whole(vec![spec], buckets)).await;
    let missing = missing.unwrap_err();
    assert!(matches!(missing, Error::Prepare { .. }), "{missing}");
    assert_eq!(missing.kind(), Kind::NotFound);
    assert!(house.storage.list_buckets().await.unwrap().is_empty());
    assert!(house.engine.list_functions().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_second_deployment_changes_only_what_differs() {
    let house = House::open(steady(0, 0)).await;
    let mut deployment = Deployment {
        project: "shop".into(),
        functions: vec![house.spec("thumbnail").await],
        services: vec![house.service_spec("catalog").await],
        buckets: vec![
            bucket("photos", function("thumbnail")),
            bucket("thumbs", service("catalog", "/events")),
        ],
        ..Deployment::default()
    };
    let kinds = async |deployment: &Deployment| {
        let report = house.engine.deploy(deployment.clone()).await.unwrap();
        let show = |change: &model::Change| (change.name.clone(), change.change);
        report.changes.iter().map(show).collect::<Vec<_>>()
    };
    let names = ["photos", "thumbs", "catalog", "thumbnail"];
    let all = |change| names.map(|name| (name.to_owned(), change));
    assert_eq!(kinds(&deployment).await, all(ChangeKind::Created));
    let photos = "photos".parse().unwrap();
    let rules = house.storage.get_bucket(&photos).await.unwrap().notify;
    assert_eq!(rules, deployment.buckets[0].notify);
    let function = house.engine.list_functions().await.unwrap();

    assert_eq!(kinds(&deployment).await, all(ChangeKind::Unchanged));
    assert_eq!(house.engine.list_functions().await.unwrap(), function);

    deployment.buckets[0].notify.clear();
    deployment.functions[0]
        .environment
        .insert("A".into(), "b".into());
    let changes = kinds(&deployment).await;
    let expected = [
        ChangeKind::Updated,
        ChangeKind::Unchanged,
        ChangeKind::Unchanged,
        ChangeKind::Updated,
    ];
    assert!(changes.iter().map(|(_, change)| *change).eq(expected));
    let rules = house.storage.get_bucket(&photos).await.unwrap().notify;
    assert!(rules.is_empty());
    assert_eq!(house.engine.digests_in_use().await.unwrap().len(), 1);
}

#[tokio::test]
async fn functions_come_back_with_their_keys_and_unused_code_goes() {
    let house = House::open(steady(0, 0)).await;
    house.function("f").await;
    let unused = match house.code("unused").await {
        Code::Zip { digest, .. } => digest,
        Code::Image { .. } => panic!("not a zip"),
    };
    assert!(house.invoke("f").await.unwrap().ending.succeeded());
    let key = house.fake.started()[0].credential.clone();
    let found = house.engine.find_credential(&key.access_key_id).await;
    assert_eq!(found.unwrap(), Some(key.clone()));

    let house = house.reopen(steady(0, 0), Duration::ZERO).await;
    assert!(house.invoke("f").await.unwrap().ending.succeeded());
    assert_eq!(house.fake.started()[0].credential, key);
    assert_eq!(house.storage.blob_size(&unused).await.unwrap(), None);

    let name = "f".parse().unwrap();
    house.engine.delete_function(&name).await.unwrap();
    let found = house.engine.find_credential(&key.access_key_id).await;
    assert_eq!(found.unwrap(), None, "a deleted function's keys are void");
}

#[tokio::test]
async fn a_function_whose_image_went_is_mended_by_the_next_deploy() {
    let house = House::open(steady(0, 0)).await;
    let digest = Digest::from_hex(&"c".repeat(64)).unwrap();
    let image = ImageRecord {
        reference: "shop/thumbnail:prod".into(),
        digest: digest.clone(),
        size: 1,
        config: ImageConfig::default(),
        imported: model::Timestamp::now(),
    };
    let root = house.folder.path().join("images").join(digest.hex());
    std::fs::create_dir_all(root.join("rootfs")).unwrap();
    house.state.put_image(image.clone()).await.unwrap();
    let mut spec = house.spec("f").await;
    spec.runtime = RuntimeName::Image;
    spec.code = Code::Image {
        reference: image.reference.clone(),
        digest: Digest::from_hex(&"0".repeat(64)).unwrap(),
    };
    let kept = house.put(spec.clone()).await;
    let Code::Image { digest: pinned, .. } = &kept.spec.code else {
        panic!("not an image");
    };
    assert_eq!(*pinned, digest, "what the name means now");
    assert!(house.invoke("f").await.unwrap().ending.succeeded());

    house.state.delete_image(&image.reference).await.unwrap();
    let house = house.reopen(steady(0, 0), Duration::ZERO).await;
    let outcome = house.invoke("f").await.unwrap();
    let error = outcome.ending.error().unwrap();
    assert!(error.contains("shop/thumbnail:prod"), "{error}");
    assert_eq!(outcome.ending.word(), "unavailable");

    house.state.put_image(image).await.unwrap();
    let put = house.engine.put_function(spec, Put::Upsert).await;
    assert_eq!(put.unwrap().1, ChangeKind::Updated);
    assert!(house.invoke("f").await.unwrap().ending.succeeded());
}
