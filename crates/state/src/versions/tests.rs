#![allow(clippy::unwrap_used)]
use super::*;
use crate::PutAlias;
use crate::fixture::store;
use model::{Alias, AliasName, Function, Kind, Share, Timestamp};
use proptest::prelude::*;

fn function(name: &str) -> Function {
    let spec = serde_json::json!({
        "name": name, "runtime": "nodejs20.x", "handler": "index.handler",
        "code": {"zip": {"digest": format!("sha256:{}", "a".repeat(64)), "size": 1}},
    });
    Function {
        spec: serde_json::from_value(spec).unwrap(),
        revision: 1,
        revision_id: "r1".into(),
        created: Timestamp(1),
        modified: Timestamp(2),
    }
}

fn version(name: &str) -> FunctionVersion {
    FunctionVersion {
        number: 0,
        spec: function(name).spec,
        revision: 1,
        revision_id: "v".into(),
        description: "ä".into(),
        created: Timestamp(3),
        by: "root".into(),
        labels: [(
            "org.opencontainers.image.revision".to_owned(),
            "abc".to_owned(),
        )]
        .into(),
    }
}

fn alias(name: &str, version: u64, share: Option<u64>) -> Alias {
    Alias {
        name: name.parse().unwrap(),
        version,
        share: share.map(|version| Share {
            version,
            weight: 0.25,
        }),
        description: String::new(),
        revision_id: format!("{name}-{version}"),
        leads: false,
        modified: Timestamp(4),
        by: "root".into(),
    }
}

async fn publish(state: &State, keep: u32) -> Published {
    state
        .publish_version(version("f"), "r1".into(), keep)
        .await
        .unwrap()
}

#[tokio::test]
async fn versions_and_aliases_survive_and_go_with_their_function() {
    let (folder, state) = store().await;
    let f: FunctionName = "f".parse().unwrap();
    let missing = state
        .publish_version(version("f"), "r1".into(), 9)
        .await
        .unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound);
    state.create_function(function("f")).await.unwrap();
    let stale = state
        .publish_version(version("f"), "r0".into(), 9)
        .await
        .unwrap_err();
    assert_eq!(stale.kind(), Kind::Conflict);
    let one = publish(&state, 9).await.version;
    let two = publish(&state, 9).await.version;
    assert_eq!((one.number, two.number), (1, 2));
    let live = alias("live", 2, Some(1));
    state
        .put_alias(f.clone(), live.clone(), PutAlias::Create)
        .await
        .unwrap();
    state.close().await;
    let state = State::open(folder.path()).await.unwrap();
    let kept = state.list_versions().await.unwrap();
    assert_eq!(kept, [(f.clone(), one), (f.clone(), two)]);
    assert_eq!(state.list_aliases().await.unwrap(), [(f.clone(), live)]);
    state.delete_function(f.clone()).await.unwrap();
    assert!(state.list_versions().await.unwrap().is_empty());
    assert!(state.list_aliases().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_version_that_an_alias_names_is_not_deleted() {
    let (_folder, state) = store().await;
    let f: FunctionName = "f".parse().unwrap();
    state.create_function(function("f")).await.unwrap();
    publish(&state, 9).await;
    publish(&state, 9).await;
    let put = |alias, put| state.put_alias(f.clone(), alias, put);
    let nowhere = put(alias("a", 3, None), PutAlias::Upsert)
        .await
        .unwrap_err();
    assert_eq!(nowhere.kind(), Kind::NotFound);
    let update = PutAlias::Update { revision_id: None };
    let absent = put(alias("a", 1, None), update.clone()).await.unwrap_err();
    assert_eq!(absent.kind(), Kind::NotFound);
    put(alias("a", 1, Some(2)), PutAlias::Create).await.unwrap();
    let twice = put(alias("a", 1, None), PutAlias::Create)
        .await
        .unwrap_err();
    assert_eq!(twice.kind(), Kind::Conflict);
    for number in [1, 2] {
        let named = state.delete_version(f.clone(), number).await.unwrap_err();
        assert_eq!(named.kind(), Kind::Conflict);
    }
    let stale = PutAlias::Update {
        revision_id: Some("other".into()),
    };
    assert_eq!(
        put(alias("a", 1, None), stale).await.unwrap_err().kind(),
        Kind::Conflict
    );
    put(alias("a", 1, None), update).await.unwrap();
    state.delete_version(f.clone(), 2).await.unwrap();
    assert_eq!(
        publish(&state, 9).await.version.number,
        3,
        "no number is given twice"
    );
    let name: AliasName = "a".parse().unwrap();
    state
        .delete_alias(f.clone(), name, "root".into(), Timestamp(5))
        .await
        .unwrap();
    state.delete_version(f.clone(), 1).await.unwrap();
    let gone = state.delete_version(f.clone(), 1).await.unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound);
}

#[tokio::test]
async fn one_alias_leads() {
    let (_folder, state) = store().await;
    let f: FunctionName = "f".parse().unwrap();
    state.create_function(function("f")).await.unwrap();
    publish(&state, 9).await;
    for name in ["a", "b"] {
        let leading = Alias {
            leads: true,
            ..alias(name, 1, None)
        };
        state
            .put_alias(f.clone(), leading, PutAlias::Upsert)
            .await
            .unwrap();
    }
    let leads: Vec<_> = state.list_aliases().await.unwrap();
    let leads: Vec<_> = leads.iter().map(|(_, alias)| alias.leads).collect();
    assert_eq!(leads, [false, true]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_dropped_was_oldest_and_nobodys(
        named in proptest::collection::btree_set(1u64..8, 0..4),
        keep in 1u32..6,
        more in 1usize..6,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_folder, state) = store().await;
            let f: FunctionName = "f".parse().unwrap();
            state.create_function(function("f")).await.unwrap();
            for _ in 0..8 {
                publish(&state, 100).await;
            }
            for number in &named {
                let one = alias(&format!("a{number}"), *number, None);
                state.put_alias(f.clone(), one, PutAlias::Create).await.unwrap();
            }
            for _ in 0..more {
                let published = publish(&state, keep).await;
                assert!(published.dropped.iter().all(|number| !named.contains(number)));
                let left: Vec<u64> = state.list_versions().await.unwrap()
                    .iter().map(|(_, version)| version.number).collect();
                assert!(left.contains(&published.version.number));
                assert!(named.iter().all(|number| left.contains(number)));
                let free = left.iter().filter(|n| !named.contains(n)).count();
                assert!(left.len() <= keep as usize || free == 1, "{left:?}");
                // Nothing that stays and is nobody's is older than what went.
                let oldest = left.iter().find(|n| !named.contains(n)).unwrap();
                assert!(published.dropped.iter().all(|number| number < oldest));
            }
        });
    }
}
