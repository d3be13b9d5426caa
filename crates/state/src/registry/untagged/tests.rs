use super::*;
use crate::fixture::store;
use crate::{ManifestPut, ManifestRow, NewManifest, ReferenceRow};
use model::Tag;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn digest(number: usize) -> ContentDigest {
    format!("sha256:{number:064x}").parse().unwrap()
}

fn shop() -> RepositoryName {
    "shop/a".parse().unwrap()
}

/// A manifest as a test describes it.
#[derive(Debug, Clone, Default)]
struct Sketch {
    children: Vec<usize>,
    subject: Option<usize>,
    tagged: bool,
    pushed: i64,
}

async fn push(state: &State, number: usize, sketch: &Sketch) {
    let references = sketch.children.iter().map(|child| ReferenceRow {
        digest: digest(*child),
        is_manifest: true,
    });
    let new = NewManifest {
        row: ManifestRow {
            digest: digest(number),
            media_type: "application/x".into(),
            size: 10,
            artifact_type: None,
            annotations: BTreeMap::new(),
        },
        subject: sketch.subject.map(digest),
        references: references.collect(),
        optional: Vec::new(),
        body: vec![b'x'; 10].into(),
    };
    let tag: Option<Tag> = sketch.tagged.then(|| format!("t{number}").parse().unwrap());
    let put = state.put_manifest(shop(), tag, new, Timestamp(sketch.pushed));
    assert_eq!(put.await.unwrap(), ManifestPut::Stored);
}

async fn rest(state: &State) -> BTreeSet<ContentDigest> {
    let (all, more) = state
        .list_manifests(shop(), String::new(), 1_000)
        .await
        .unwrap_or_default();
    assert!(!more);
    all.into_iter().map(|one| one.digest).collect()
}

async fn collect(state: &State, before: i64, pinned: &[usize]) -> u64 {
    let pinned: Vec<ContentDigest> = pinned.iter().map(|number| digest(*number)).collect();
    let mut gone = 0;
    loop {
        let step =
            state.delete_untagged_manifests("shop/a".into(), Timestamp(before), pinned.clone(), 2);
        match step.await.unwrap() {
            (0, _) => return gone,
            (count, bytes) => {
                assert_eq!(bytes, count * 10);
                gone += count;
            }
        }
    }
}

#[tokio::test]
async fn only_what_nothing_keeps_goes() {
    let (_folder, state) = store().await;
    let plain = Sketch::default();
    let sketches = [
        plain.clone(), // 0: of the tagged index 1
        Sketch {
            children: vec![0],
            tagged: true,
            ..plain.clone()
        }, // 1
        Sketch {
            subject: Some(0),
            ..plain.clone()
        }, // 2: about 0
        plain.clone(), // 3: of the untagged index 4
        Sketch {
            children: vec![3],
            ..plain.clone()
        }, // 4
        plain.clone(), // 5: pinned
        Sketch {
            pushed: 100,
            ..plain.clone()
        }, // 6: young
        plain.clone(), // 7
        Sketch {
            subject: Some(7),
            ..plain.clone()
        }, // 8: about 7, which goes
        plain.clone(), // 9: what 10 is about
        Sketch {
            subject: Some(9),
            tagged: true,
            ..plain.clone()
        }, // 10
        Sketch {
            subject: Some(99),
            ..plain.clone()
        }, // 11: about what is not there
    ];
    for (number, sketch) in sketches.iter().enumerate() {
        push(&state, number, sketch).await;
    }
    let listed = state.untagged_manifests("shop/a".into(), Timestamp(50), vec![digest(5)], 100);
    let listed: BTreeSet<_> = listed
        .await
        .unwrap()
        .into_iter()
        .map(|one| one.digest)
        .collect();
    assert_eq!(listed, [3, 4, 7, 8, 11].map(digest).into());
    assert_eq!(collect(&state, 50, &[5]).await, 5);
    assert_eq!(
        rest(&state).await,
        [0, 1, 2, 5, 6, 9, 10].map(digest).into()
    );
    let (summed, more) = state
        .summarize_repositories(String::new(), 10)
        .await
        .unwrap();
    assert!(!more);
    assert_eq!(
        (summed[0].tags, summed[0].manifests, summed[0].untagged),
        (2, 7, 5)
    );
    assert_eq!(summed[0].pushed, Some(Timestamp(100)));
    let (page, more) = state
        .list_manifests(shop(), digest(1).to_string(), 1)
        .await
        .unwrap();
    assert!(more && page[0].digest == digest(2) && page[0].subject == Some(digest(0)));
}

#[tokio::test]
async fn a_repository_that_holds_nothing_is_not_listed() {
    let (_folder, state) = store().await;
    assert!(
        state
            .list_manifests(shop(), String::new(), 1)
            .await
            .is_err()
    );
    push(&state, 0, &Sketch::default()).await;
    assert_eq!(collect(&state, 50, &[]).await, 1);
    let (none, _) = state
        .summarize_repositories(String::new(), 10)
        .await
        .unwrap();
    assert!(none.is_empty());
}

fn sketch(number: usize) -> impl Strategy<Value = Sketch> {
    let earlier = 0..number.max(1);
    let children = proptest::collection::vec(earlier.clone(), 0..if number == 0 { 1 } else { 3 });
    let subject = proptest::option::of(0..12usize);
    (children, subject, prop::bool::weighted(0.2), 0..100i64).prop_map(
        move |(children, subject, tagged, pushed)| Sketch {
            children: if number == 0 { Vec::new() } else { children },
            subject: subject.filter(|subject| *subject != number),
            tagged,
            pushed,
        },
    )
}

fn sketches() -> impl Strategy<Value = Vec<Sketch>> {
    (1..12usize).prop_flat_map(|count| (0..count).map(sketch).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_kept_is_whole_and_what_is_not_goes(sketches in sketches(), before in 0..120i64, pinned in 0..12usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (all, left) = runtime.block_on(async {
            let (_folder, state) = store().await;
            for (number, sketch) in sketches.iter().enumerate() {
                push(&state, number, sketch).await;
            }
            let all = rest(&state).await;
            collect(&state, before, &[pinned]).await;
            (all, rest(&state).await)
        });
        // The same closure, by hand.
        let mut kept: BTreeSet<usize> = (0..sketches.len())
            .filter(|number| {
                let one = &sketches[*number];
                one.tagged || one.pushed >= before || *number == pinned
            })
            .collect();
        loop {
            let more: BTreeSet<usize> = (0..sketches.len())
                .filter(|number| {
                    let named = kept.iter().any(|k| sketches[*k].children.contains(number));
                    let about = sketches[*number].subject.is_some_and(|s| kept.contains(&s));
                    let meant = kept.iter().any(|k| sketches[*k].subject == Some(*number));
                    kept.contains(number) || named || about || meant
                })
                .collect();
            if more == kept {
                break;
            }
            kept = more;
        }
        let kept: BTreeSet<ContentDigest> = kept.into_iter().map(digest).collect();
        prop_assert!(left.is_subset(&all));
        prop_assert_eq!(left, kept);
    }
}
