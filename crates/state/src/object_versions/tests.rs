//! Versions against a model of them, and one by one.

use super::*;
use crate::fixture::{deletion, event, function, object, store_with_bucket};
use crate::{Deletion, Removal, Removed};
use crate::{ListQuery, ListedVersion, Precondition, VersionPage, VersionQuery};
use model::{EventFilter, Kind, NewEvent};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

async fn put(state: &State, bucket: &BucketName, key: &str, data: &str) -> ObjectRow {
    let put = state.put_object(object(bucket, key, data), Precondition::None, |_| {
        Vec::new()
    });
    put.await.unwrap().0
}

async fn erase_one(
    state: &State,
    bucket: &BucketName,
    key: &str,
    version: &str,
) -> Option<Removal> {
    let deletion = Deletion {
        version: Some(version.to_owned()),
        ..deletion(bucket, key)
    };
    let erased = state.delete_object(deletion, |_| Vec::new());
    erased.await.unwrap()
}

async fn set(state: &State, bucket: &BucketName, versioning: Versioning) {
    let set = state.put_bucket_versioning(bucket.clone(), versioning);
    set.await.unwrap();
}

fn everything(bucket: &BucketName) -> VersionQuery {
    VersionQuery {
        keys: ListQuery {
            bucket: bucket.clone(),
            prefix: String::new(),
            delimiter: None,
            after: None,
            limit: 1000,
        },
        after_version: None,
    }
}

/// A version as the model has it: its name, and its data unless it is a marker.
type Kept = (String, Option<String>);

/// A bucket with versions, told plainly: the versions of each key, the newest last.
#[derive(Default)]
struct Model {
    versioning: Option<Versioning>,
    keys: BTreeMap<String, Vec<Kept>>,
}

impl Model {
    /// What a key has now.
    fn current(&self, key: &str) -> Option<&Kept> {
        let newest = self.keys.get(key)?.last()?;
        newest.1.is_some().then_some(newest)
    }

    /// A new newest version. Gives the data that it replaces.
    fn push(&mut self, key: &str, version: &str, data: Option<&str>) -> Option<String> {
        let versions = self.keys.entry(key.to_owned()).or_default();
        let mut replaced = None;
        if version == NULL_VERSION {
            let at = versions.iter().position(|(name, _)| name == NULL_VERSION);
            replaced = at.and_then(|at| versions.remove(at).1);
        }
        versions.push((version.to_owned(), data.map(str::to_owned)));
        replaced
    }

    fn take(&mut self, key: &str, version: &str) -> Option<Kept> {
        let versions = self.keys.get_mut(key)?;
        let at = versions.iter().position(|(name, _)| name == version)?;
        Some(versions.remove(at))
    }

    /// All versions as they are listed: key, version, data, and whether it is the newest.
    fn listed(&self) -> Vec<(String, String, Option<String>, bool)> {
        let mut all = Vec::new();
        for (key, versions) in &self.keys {
            for (at, (version, data)) in versions.iter().rev().enumerate() {
                all.push((key.clone(), version.clone(), data.clone(), at == 0));
            }
        }
        all
    }
}

fn shown(listed: &ListedVersion) -> (String, String, Option<String>, bool) {
    let (key, version) = (listed.version.key(), listed.version.version());
    let data = match &listed.version {
        ObjectVersion::Object(row) => Some(row.data.clone()),
        ObjectVersion::Marker(_) => None,
    };
    (key.to_owned(), version.to_owned(), data, listed.is_latest)
}

#[derive(Debug, Clone)]
enum Step {
    Put(usize),
    Delete(usize),
    /// Which key, and which of its versions (counted round).
    Erase(usize, usize),
    EraseNull(usize),
    Enable,
    Suspend,
}

const KEYS: [&str; 4] = ["a", "a/b", "a/c", "é"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..KEYS.len();
    let step = prop_oneof![
        5 => key.clone().prop_map(Step::Put),
        3 => key.clone().prop_map(Step::Delete),
        4 => (key.clone(), 0..9_usize).prop_map(|(key, at)| Step::Erase(key, at)),
        1 => key.prop_map(Step::EraseNull),
        2 => Just(Step::Enable),
        1 => Just(Step::Suspend),
    ];
    prop::collection::vec(step, 1..40)
}

/// Does one step to both, and compares what they say of it.
async fn step(state: &State, bucket: &BucketName, model: &mut Model, number: usize, step: &Step) {
    match *step {
        Step::Put(key) => {
            let data = format!("d{number}");
            let row = object(bucket, KEYS[key], &data);
            let put = state.put_object(row, Precondition::None, |_| Vec::new());
            let (row, unneeded) = put.await.unwrap();
            let replaced = if model.versioning.is_none() {
                assert_eq!(row.version, None);
                model.push(KEYS[key], NULL_VERSION, Some(&data))
            } else {
                let version = row.version.unwrap();
                let suspended = model.versioning == Some(Versioning::Suspended);
                assert_eq!(version == NULL_VERSION, suspended);
                model.push(KEYS[key], &version, Some(&data))
            };
            assert_eq!(unneeded, replaced);
        }
        Step::Delete(key) => {
            let deleted = state.delete_object(deletion(bucket, KEYS[key]), |_| Vec::new());
            let removal = deleted.await.unwrap();
            if model.versioning.is_none() {
                let gone = model.take(KEYS[key], NULL_VERSION).and_then(|kept| kept.1);
                assert_eq!(removal.and_then(|removal| removal.unneeded), gone);
            } else {
                let removal = removal.unwrap();
                assert_eq!(removal.removed, Removed::Nothing);
                let version = removal.row.version.unwrap();
                let replaced = model.push(KEYS[key], &version, None);
                assert_eq!(removal.unneeded, replaced);
            }
        }
        Step::Erase(key, at) => {
            let versions = model.keys.get(KEYS[key]).filter(|all| !all.is_empty());
            let Some(versions) = versions else { return };
            let version = versions[at % versions.len()].0.clone();
            erase_both(state, bucket, model, KEYS[key], &version).await;
        }
        Step::EraseNull(key) => {
            erase_both(state, bucket, model, KEYS[key], NULL_VERSION).await;
        }
        Step::Enable => {
            set(state, bucket, Versioning::Enabled).await;
            model.versioning = Some(Versioning::Enabled);
        }
        Step::Suspend => {
            set(state, bucket, Versioning::Suspended).await;
            model.versioning = Some(Versioning::Suspended);
        }
    }
}

async fn erase_both(
    state: &State,
    bucket: &BucketName,
    model: &mut Model,
    key: &str,
    version: &str,
) {
    let removal = erase_one(state, bucket, key, version).await;
    let Some((_, data)) = model.take(key, version) else {
        assert_eq!(removal, None);
        return;
    };
    let removal = removal.unwrap();
    let expected = match &data {
        Some(_) => Removed::Object,
        None => Removed::Marker,
    };
    assert_eq!((removal.removed, removal.unneeded), (expected, data));
}

/// Whether the store gives back what the model has, by every way of asking.
async fn check(state: &State, bucket: &BucketName, model: &Model, limit: u32) {
    for key in KEYS {
        let found = state.get_object(bucket.clone(), key).await.ok();
        let found = found.map(|row| (row.version.unwrap_or("null".to_owned()), Some(row.data)));
        assert_eq!(found.as_ref(), model.current(key), "{key}");
        let marker = state.get_delete_marker(bucket.clone(), key).await.unwrap();
        let newest = model.keys.get(key).and_then(|versions| versions.last());
        let expected = newest.filter(|kept| kept.1.is_none()).map(|kept| &kept.0);
        assert_eq!(marker.as_ref().map(|marker| &marker.version), expected);
    }
    let all = model.listed();
    for (key, version, data, _) in &all {
        let found = state.get_object_version(bucket.clone(), key, version);
        let listed = ListedVersion {
            version: found.await.unwrap(),
            is_latest: false,
        };
        assert_eq!(shown(&listed).2, *data);
    }
    let mut query = everything(bucket);
    query.keys.limit = limit;
    let mut seen = Vec::new();
    loop {
        let page = state.list_object_versions(query.clone()).await.unwrap();
        assert!(page.versions.len() <= limit as usize);
        seen.extend(page.versions.iter().map(shown));
        let Some((key, version)) = page.next else {
            break;
        };
        (query.keys.after, query.after_version) = (Some(key), version);
    }
    assert_eq!(seen, all);
    let mut query = everything(bucket);
    query.keys.delimiter = Some("/".to_owned());
    let page = state.list_object_versions(query.clone()).await.unwrap();
    let folder = all.iter().any(|(key, ..)| key.contains('/'));
    assert_eq!(page.common_prefixes.len(), usize::from(folder));
    let top = all.iter().filter(|(key, ..)| !key.contains('/')).count();
    assert_eq!(page.versions.len(), top);
    query.keys.delimiter = None;
    let objects = state.list_objects(query.keys).await.unwrap().objects;
    let objects: Vec<_> = objects.into_iter().map(|row| row.key).collect();
    let current: Vec<_> = KEYS
        .iter()
        .filter(|key| model.current(key).is_some())
        .collect();
    assert_eq!(objects.iter().collect::<Vec<_>>(), current);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_bucket_with_versions_is_as_its_model(steps in steps(), limit in 1..5_u32) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (_folder, state, bucket) = store_with_bucket().await;
            let mut model = Model::default();
            let data: Vec<String> = (0..steps.len()).map(|number| format!("d{number}")).collect();
            for (number, one) in steps.iter().enumerate() {
                step(&state, &bucket, &mut model, number, one).await;
            }
            check(&state, &bucket, &model, limit).await;
            let kept: BTreeSet<_> = model.listed().into_iter().filter_map(|kept| kept.2).collect();
            let orphans = state.unreferenced_data(data.clone()).await.unwrap();
            let expected: Vec<_> = data.into_iter().filter(|data| !kept.contains(data)).collect();
            assert_eq!(orphans, expected);
            let deleted = state.delete_bucket(bucket).await;
            assert_eq!(deleted.is_ok(), model.listed().is_empty());
        });
    }
}

#[tokio::test]
async fn a_marker_and_its_event_are_stored_together_and_the_order_holds() {
    let (_folder, state, bucket) = store_with_bucket().await;
    set(&state, &bucket, Versioning::Enabled).await;
    let first = put(&state, &bucket, "k", "1").await;
    let raised = event(&function("f"), 1);
    let deleted = state.delete_object(deletion(&bucket, "k"), move |removal| {
        let version = removal.row.version.as_deref().unwrap();
        let subject = format!("{} {version}", removal.row.sequence);
        vec![NewEvent { subject, ..raised }]
    });
    let marked = deleted.await.unwrap().unwrap();
    let all = EventFilter {
        limit: 9,
        ..EventFilter::default()
    };
    let events = state.list_events(all).await.unwrap();
    let version = marked.row.version.clone().unwrap();
    assert_eq!(events[0].accepted.subject, format!("2 {version}"));
    let back = erase_one(&state, &bucket, "k", &version).await.unwrap();
    assert_eq!((back.removed, back.row.sequence), (Removed::Marker, 3));
    assert_eq!(state.get_object(bucket.clone(), "k").await.unwrap(), first);
    let second = put(&state, &bucket, "k", "2").await;
    assert!(second.sequence > back.row.sequence);
    assert!(second.version > first.version);
}

#[tokio::test]
async fn conditions_are_on_the_newest_version() {
    let (_folder, state, bucket) = store_with_bucket().await;
    set(&state, &bucket, Versioning::Enabled).await;
    let none = |_: &ObjectRow| Vec::new();
    put(&state, &bucket, "k", "1").await;
    let absent = Precondition::Absent;
    let refused = state.put_object(object(&bucket, "k", "2"), absent.clone(), none);
    assert_eq!(refused.await.unwrap_err().kind(), Kind::Conflict);
    let deleted = state.delete_object(deletion(&bucket, "k"), |_| Vec::new());
    deleted.await.unwrap();
    let old = Precondition::Etag("etag-1".to_owned());
    let refused = state.put_object(object(&bucket, "k", "2"), old, none);
    assert_eq!(refused.await.unwrap_err().kind(), Kind::Conflict);
    let stored = state.put_object(object(&bucket, "k", "2"), absent, none);
    stored.await.unwrap();
}

#[tokio::test]
async fn a_key_has_a_bound_of_versions_and_others_do_not_feel_it() {
    let (_folder, state, bucket) = store_with_bucket().await;
    set(&state, &bucket, Versioning::Enabled).await;
    let seed = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {MAX_VERSIONS})
         INSERT INTO object_version
         SELECT 'photos', CAST('k' AS BLOB), i, printf('%032x', i), printf('%x', i), 1, 'e', 1,
             '{{}}', '{{}}' FROM n;
         UPDATE counter SET value = {MAX_VERSIONS} WHERE name = 'sequence'"
    );
    let seeded = state.write("seeding", move |tx| Ok(tx.execute_batch(&seed)?));
    seeded.await.unwrap();
    let none = |_: &ObjectRow| Vec::new();
    let full = state.put_object(object(&bucket, "k", "new"), Precondition::None, none);
    let error = full.await.unwrap_err();
    assert_eq!(error.kind(), Kind::TooLarge);
    assert!(error.to_string().contains("1000 versions"), "{error}");
    let full = state.delete_object(deletion(&bucket, "k"), |_| Vec::new());
    assert_eq!(full.await.unwrap_err().kind(), Kind::TooLarge);
    put(&state, &bucket, "other", "o").await;
    let oldest = format!("{:032x}", 1);
    erase_one(&state, &bucket, "k", &oldest).await.unwrap();
    let next = state.delete_object(deletion(&bucket, "k"), |_| Vec::new());
    next.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_listing_goes_on_though_what_was_shown_is_gone() {
    let (_folder, state, bucket) = store_with_bucket().await;
    put(&state, &bucket, "k", "0").await;
    set(&state, &bucket, Versioning::Enabled).await;
    for data in ["1", "2", "3"] {
        put(&state, &bucket, "k", data).await;
    }
    put(&state, &bucket, "l", "4").await;
    let mut query = everything(&bucket);
    query.keys.limit = 1;
    let mut seen = Vec::new();
    loop {
        let page: VersionPage = state.list_object_versions(query.clone()).await.unwrap();
        for listed in &page.versions {
            let (key, version, data, _) = shown(listed);
            erase_one(&state, &bucket, &key, &version).await.unwrap();
            seen.push(data.unwrap());
        }
        let Some((key, version)) = page.next else {
            break;
        };
        (query.keys.after, query.after_version) = (Some(key), version);
    }
    assert_eq!(seen, ["3", "2", "1", "0", "4"]);
    state.delete_bucket(bucket).await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let (_folder, state, bucket) = store_with_bucket().await;
    put(&state, &bucket, "k", "1").await;
    let other = Deletion {
        version: Some("0".repeat(32)),
        ..deletion(&bucket, "k")
    };
    let error = state
        .delete_object(other.clone(), |_| Vec::new())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    set(&state, &bucket, Versioning::Enabled).await;
    let nothing = state.delete_object(other, |_| Vec::new()).await.unwrap();
    assert_eq!(nothing, None);
    let version = state
        .get_object_version(bucket, "k", "x")
        .await
        .unwrap_err();
    assert_eq!(version.to_string(), "version \"x\" does not exist");
    let missing: BucketName = "other".parse().unwrap();
    let error = state
        .get_object_version(missing.clone(), "k", "x")
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "bucket \"other\" does not exist");
    let set = state.put_bucket_versioning(missing, Versioning::Enabled);
    assert_eq!(set.await.unwrap_err().kind(), Kind::NotFound);
}
