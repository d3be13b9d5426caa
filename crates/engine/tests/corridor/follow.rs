//! Tags of the registry that functions follow: every push becomes a version, or is said to be none.

use crate::house::{House, ok, until, within};
use bytes::Bytes;
use engine::{Call, ImageRelease};
use model::{
    Code, ContentDigest, Ending, FunctionName, ManifestReference, Push, Qualifier, RepositoryName,
    Share,
};
use runtime::{Fake, FakeStart};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

const IMAGE: &str = "localhost:4566/shop/f:prod";

fn f() -> FunctionName {
    "f".parse().unwrap()
}

/// Starts fail of images whose label says so.
fn picky() -> Fake {
    let fails = |spec: &runtime::InstanceSpec| {
        let labels = spec.image.as_ref().map(|image| image.labels.clone());
        labels
            .unwrap_or_default()
            .contains_key("fails")
            .then(|| Ending::InitFailed {
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

async fn blob(house: &House, bytes: &[u8]) -> String {
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
    let repository: RepositoryName = "shop/f".parse().unwrap();
    let upload = house.storage.begin_blob_upload(&repository);
    let upload = upload.await.unwrap();
    let chunk = house.storage.begin_chunk(&repository, &upload.id, 1 << 20);
    let mut chunk = chunk.await.unwrap();
    chunk.write(Bytes::copy_from_slice(bytes)).await.unwrap();
    chunk.finish(digest.parse().unwrap()).await.unwrap();
    digest
}

/// Pushes an image of one empty layer with this label to the tag `prod`.
async fn push(house: &House, label: &str) -> ContentDigest {
    // The end of a tar.
    let layer = [0; 1024];
    let diff = blob(house, &layer).await;
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Entrypoint": ["/f"], "Labels": {label: "yes"}},
        "rootfs": {"type": "layers", "diff_ids": [diff]},
    });
    let config = config.to_string();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                   "digest": blob(house, config.as_bytes()).await, "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar",
                    "digest": diff, "size": layer.len()}],
    });
    let tag = ManifestReference::Tag("prod".parse().unwrap());
    let body = manifest.to_string().into();
    let repository: RepositoryName = "shop/f".parse().unwrap();
    let pushed = house.storage.push_manifest(&repository, tag, None, body);
    // Two pushes are told apart by their time.
    tokio::time::sleep(Duration::from_millis(3)).await;
    pushed.await.unwrap().digest
}

async fn release(house: &House, follow: bool) {
    let asked = ImageRelease {
        name: f(),
        reference: IMAGE.into(),
        contract: None,
        follow,
    };
    house.engine.release_image(asked).await.unwrap();
}

async fn settled(house: &House, digest: &ContentDigest) -> Push {
    until("what becomes of a push", async || {
        let pushes = house.engine.list_pushes(&f()).await.unwrap();
        pushes.into_iter().find(|push| push.digest == *digest)
    })
    .await
}

async fn live(house: &House) -> u64 {
    let aliases = house.engine.list_aliases(&f()).await.unwrap();
    aliases[0].version
}

#[tokio::test]
async fn a_push_becomes_a_version_and_one_that_does_not_start_says_why() {
    let house = House::open(picky()).await;
    let one = push(&house, "one").await;
    release(&house, true).await;
    assert_eq!(settled(&house, &one).await.version, Some(1));
    let two = push(&house, "two").await;
    house.engine.tag_moved();
    let push_of_two = settled(&house, &two).await;
    assert_eq!((push_of_two.version, push_of_two.failure), (Some(2), None));
    assert_eq!(live(&house).await, 2);
    let bad = push(&house, "fails").await;
    house.engine.tag_moved();
    let failure = settled(&house, &bad).await;
    assert_eq!((failure.version, failure.by.as_str()), (None, "root"));
    let reason = failure.failure.unwrap();
    assert!(reason.contains("version 2 goes on serving"), "{reason}");
    assert!(reason.contains("no such module"), "{reason}");
    assert_eq!(live(&house).await, 2);
    let name = f();
    let call = house.engine.invoke(&name, Call::default());
    assert_eq!(within("a call", call).await.unwrap().version, Some(2));
    assert_eq!(house.engine.list_versions(&f()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_was_pushed_before_the_server_ended_is_found_and_a_rollback_stays() {
    let house = House::open(picky()).await;
    push(&house, "one").await;
    release(&house, true).await;
    // The server ends before it is rung.
    let two = push(&house, "two").await;
    let house = house.reopen(picky(), Duration::ZERO).await;
    assert_eq!(settled(&house, &two).await.version, Some(2));
    house.engine.rollback(&f(), None, "root").await.unwrap();
    let house = house.reopen(picky(), Duration::ZERO).await;
    // Another push is settled: what could have moved the alias before it has.
    let bad = push(&house, "fails").await;
    house.engine.tag_moved();
    settled(&house, &bad).await;
    assert_eq!(live(&house).await, 1);
}

/// A build sends the tag that it pushed and the digest; what is pushed to the tag before the deployment comes is
/// not what was built.
#[tokio::test]
async fn the_digest_that_is_deployed_is_meant_and_not_what_its_tag_is_on() {
    let house = House::open(picky()).await;
    push(&house, "one").await;
    release(&house, false).await;
    let mut spec = house.engine.get_function(&f()).await.unwrap().spec;
    let built = push(&house, "two").await;
    let later = push(&house, "three").await;
    assert_ne!(built, later);
    let digest = model::Digest::from_hex(built.hex()).unwrap();
    spec.code = Code::Image {
        reference: IMAGE.into(),
        digest,
    };
    let kept = house.put(spec.clone()).await;
    assert_eq!(kept.spec.code, spec.code);
    // One that the repository does not have says nothing: the tag does.
    spec.code = Code::Image {
        reference: IMAGE.into(),
        digest: model::Digest::from_hex(&"0".repeat(64)).unwrap(),
    };
    let kept = house.put(spec).await;
    let Code::Image { digest, .. } = kept.spec.code else {
        panic!("it is an image");
    };
    assert_eq!(digest.hex(), later.hex());
}

#[tokio::test]
async fn what_does_not_follow_stays_and_only_tags_of_this_registry_are_followed() {
    let house = House::open(picky()).await;
    let one = push(&house, "one").await;
    release(&house, true).await;
    settled(&house, &one).await;
    release(&house, false).await;
    let two = push(&house, "two").await;
    house.engine.tag_moved();
    release(&house, false).await;
    assert_eq!(
        live(&house).await,
        2,
        "a deployment takes what the tag is on"
    );
    let pushes = house.engine.list_pushes(&f()).await.unwrap();
    assert!(pushes.iter().all(|push| push.digest != two));
    let mut spec = house.engine.get_function(&f()).await.unwrap().spec;
    assert!(!spec.follow);
    spec.follow = true;
    for reference in [format!("shop/f@{two}"), "example.com/shop/f:1".to_owned()] {
        let Code::Image { digest, .. } = spec.code.clone() else {
            panic!("it is an image");
        };
        spec.code = Code::Image { reference, digest };
        let deployment = model::Deployment {
            functions: vec![spec.clone()],
            ..model::Deployment::default()
        };
        let refused = house.engine.deploy(deployment).await.unwrap_err();
        assert!(
            refused.to_string().contains("functions.f.follow"),
            "{refused}"
        );
    }
    // Sharing an alias by hand is undone by the next push, as by a deployment.
    let share = Share {
        version: 1,
        weight: 0.5,
    };
    let change = engine::AliasChange {
        version: 2,
        share: Some(share),
        description: String::new(),
        by: "root".into(),
    };
    let Ok(Qualifier::Alias(alias)) = "live".parse() else {
        panic!("it is an alias");
    };
    let name = f();
    let upsert = engine::PutAlias::Upsert;
    let put = house.engine.put_alias(&name, alias, change, upsert);
    put.await.unwrap();
    release(&house, true).await;
    let aliases = house.engine.list_aliases(&f()).await.unwrap();
    assert_eq!(aliases[0].share, None);
}
