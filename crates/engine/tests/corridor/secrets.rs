//! Secrets and configs: given when an instance starts, followed when they are set, refused where they cannot be.

use crate::house::{House, ok, until};
use engine::{Engine, Options, Put, SecretKeys};
use model::{
    ChangeKind, FunctionSpec, Kind, MAX_SECRET, SecretKind, SecretMount, SecretName, SecretUse,
};
use runtime::{Fake, FakeStart};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What each instance was given: its files and its variables.
type Given = Arc<Mutex<Vec<(Vec<(String, Vec<u8>)>, BTreeMap<String, String>)>>>;

fn recording() -> (Fake, Given) {
    let given = Given::default();
    let record = given.clone();
    let fake = Fake::new(
        move |spec| {
            let files = spec.files.iter();
            let files = files.map(|file| (file.target.clone(), file.content.to_vec()));
            let mut record = record.lock().unwrap();
            record.push((files.collect(), spec.environment.clone()));
            FakeStart {
                takes: Duration::ZERO,
                fails: None,
            }
        },
        |_| (Duration::ZERO, ok(), true),
    );
    (fake, given)
}

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

async fn set(engine: &Engine, text: &str, value: &[u8]) -> engine::Result<ChangeKind> {
    let put = engine.put_secret(SecretKind::Secret, name(text), value.to_vec());
    Ok(put.await?.1)
}

fn uses(source: &str) -> SecretUse {
    SecretUse {
        files: vec![SecretMount {
            kind: SecretKind::Secret,
            source: name(source),
            target: "/run/secrets/a".to_owned(),
            mode: 0o444,
        }],
        environment: [("TOKEN".to_owned(), name(source))].into(),
    }
}

async fn using(house: &House, source: &str) -> FunctionSpec {
    FunctionSpec {
        secrets: uses(source),
        ..house.spec("f").await
    }
}

fn last(given: &Given) -> (String, String) {
    let given = given.lock().unwrap();
    let (files, environment) = given.last().unwrap();
    let text = String::from_utf8(files[0].1.clone()).unwrap();
    (text, environment["TOKEN"].clone())
}

#[tokio::test]
async fn functions_and_services_follow_without_a_deployment() {
    let (fake, given) = recording();
    let house = House::open(fake).await;
    let absent = using(&house, "a").await;
    let error = house
        .engine
        .put_function(absent, Put::Upsert)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().contains("rouse secret set a"), "{error}");

    assert_eq!(
        set(&house.engine, "a", b"one").await.unwrap(),
        ChangeKind::Created
    );
    let function = house.put(using(&house, "a").await).await;
    assert!(house.invoke("f").await.unwrap().ending.succeeded());
    assert_eq!(last(&given), ("one".to_owned(), "one".to_owned()));
    assert!(!function.spec.environment.contains_key("TOKEN"));

    let same = set(&house.engine, "a", b"one").await.unwrap();
    assert_eq!(same, ChangeKind::Unchanged);
    house.invoke("f").await.unwrap();
    assert_eq!(given.lock().unwrap().len(), 1, "the instance was kept");

    assert_eq!(
        set(&house.engine, "a", b"two").await.unwrap(),
        ChangeKind::Updated
    );
    house.invoke("f").await.unwrap();
    assert_eq!(last(&given), ("two".to_owned(), "two".to_owned()));
    let kept = house
        .engine
        .get_function(&function.spec.name)
        .await
        .unwrap();
    assert_eq!(kept.revision, function.revision, "nothing was deployed");

    let mut service = house.service_spec("s").await;
    service.ports = Vec::new();
    service.secrets = uses("a");
    house.engine.put_service(service).await.unwrap();
    until("its start", async || {
        (given.lock().unwrap().len() == 3).then_some(())
    })
    .await;
    set(&house.engine, "a", b"three").await.unwrap();
    until("its next start", async || {
        (last(&given).0 == "three").then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_given_is_refused_without_its_value() {
    let (fake, _given) = recording();
    let house = House::open(fake).await;
    let engine = &house.engine;
    set(engine, "binary", b"\xffhunter2").await.unwrap();
    let spec = using(&house, "binary").await;
    let error = engine.put_function(spec, Put::Upsert).await.unwrap_err();
    assert!(error.to_string().contains("mount it as a file"), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
    set(engine, "a", b"hunter2").await.unwrap();
    house.put(using(&house, "a").await).await;
    let error = set(engine, "a", b"hunter2\0").await.unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let error = set(engine, "b", &vec![0; MAX_SECRET + 1])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    let used = engine
        .delete_secret(SecretKind::Secret, name("a"))
        .await
        .unwrap_err();
    assert!(used.to_string().contains("function \"f\" uses"), "{used}");
    engine
        .delete_secret(SecretKind::Secret, name("binary"))
        .await
        .unwrap();
    let missing = engine.read_config(name("a")).await.unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound, "a secret is no config");
}

#[tokio::test]
async fn another_key_is_told_and_the_value_can_be_set_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let options = || Options {
        secret_keys: Some(SecretKeys::load_or_create(&path).unwrap()),
        ..Options::default()
    };
    let (fake, given) = recording();
    let house = House::open_with(fake.clone(), options()).await;
    set(&house.engine, "a", b"one").await.unwrap();
    house.put(using(&house, "a").await).await;
    // It is opened again with a random key.
    let house = house.reopen(fake, Duration::ZERO).await;
    let listed = house.engine.list_secrets(SecretKind::Secret).await.unwrap();
    assert!(!listed[0].1, "not readable");
    let outcome = house.invoke("f").await.unwrap();
    let told = outcome.ending.error().unwrap();
    assert!(told.contains("--secrets-key"), "{told}");
    assert_eq!(
        set(&house.engine, "a", b"two").await.unwrap(),
        ChangeKind::Updated
    );
    let answered = until("the hold after a failed start", async || {
        let outcome = house.invoke("f").await.unwrap();
        outcome.ending.succeeded().then_some(())
    });
    answered.await;
    assert_eq!(last(&given).0, "two");
}
