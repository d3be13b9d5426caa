//! Pushes, tags, referrers and what is collected.

use crate::fixture::store;
use crate::{BlobUploadRow, ManifestPut, ManifestRow, NewManifest, ReferenceRow, State};
use bytes::Bytes;
use model::{ContentDigest, Kind, ManifestReference, RepositoryName, Tag, Timestamp};
use std::collections::BTreeMap;

pub(crate) fn digest(letter: &str) -> ContentDigest {
    format!("sha256:{}", letter.repeat(64)).parse().unwrap()
}

fn repository(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

fn tag(name: &str) -> Option<Tag> {
    Some(name.parse().unwrap())
}

pub(crate) async fn blob(state: &State, name: &str, letter: &str, at: i64) {
    let upload = BlobUploadRow {
        id: format!("{name}-{letter}"),
        repository: repository(name),
        size: 0,
        touched: Timestamp(at),
    };
    state.begin_blob_upload(upload.clone()).await.unwrap();
    let finish = state.finish_blob_upload(upload, digest(letter), 7, Timestamp(at));
    finish.await.unwrap();
}

pub(crate) fn manifest(letter: &str, blobs: &[&str], manifests: &[&str]) -> NewManifest {
    let named = |letter: &&str, is_manifest| ReferenceRow {
        digest: digest(letter),
        is_manifest,
    };
    let blobs = blobs.iter().map(|letter| named(letter, false));
    NewManifest {
        row: ManifestRow {
            digest: digest(letter),
            media_type: "application/x".to_owned(),
            size: 2,
            artifact_type: None,
            annotations: BTreeMap::new(),
        },
        subject: None,
        references: blobs
            .chain(manifests.iter().map(|letter| named(letter, true)))
            .collect(),
        optional: Vec::new(),
        body: Bytes::from_static(b"{}"),
    }
}

async fn push(state: &State, name: &str, named: Option<Tag>, new: NewManifest) -> ManifestPut {
    let put = state.put_manifest(repository(name), named, new, Timestamp(10));
    put.await.unwrap()
}

#[tokio::test]
async fn a_manifest_needs_what_it_names_in_its_own_repository() {
    let (_folder, state) = store().await;
    blob(&state, "shop/a", "1", 10).await;
    let new = manifest("a", &["1", "2"], &["b"]);
    let ManifestPut::Missing(missing) = push(&state, "shop/a", None, new.clone()).await else {
        panic!("it was stored");
    };
    assert_eq!(missing.len(), 2);
    blob(&state, "shop/a", "2", 10).await;
    push(&state, "shop/a", None, manifest("b", &[], &[])).await;
    let stored = push(&state, "shop/a", tag("prod"), new.clone()).await;
    assert_eq!(stored, ManifestPut::Stored);
    let elsewhere = push(&state, "shop/b", None, new.clone()).await;
    assert!(matches!(elsewhere, ManifestPut::Missing(all) if all.len() == 3));
    let by_tag = ManifestReference::Tag("prod".parse().unwrap());
    let read = state.read_manifest(repository("shop/a"), by_tag.clone());
    assert_eq!(read.await.unwrap(), (new.row, new.body));
    // Neither a blob nor a manifest goes that a manifest names.
    let refused = state.unlink_registry_blob(repository("shop/a"), digest("1"));
    assert_eq!(refused.await.unwrap_err().kind(), Kind::Conflict);
    let child = ManifestReference::Digest(digest("b"));
    let refused = state.delete_manifest(repository("shop/a"), child.clone());
    assert_eq!(refused.await.unwrap_err().kind(), Kind::Conflict);
    // The tag goes alone, the manifest with its tags.
    let delete = |reference| state.delete_manifest(repository("shop/a"), reference);
    delete(by_tag.clone()).await.unwrap();
    assert_eq!(
        delete(by_tag.clone()).await.unwrap_err().kind(),
        Kind::NotFound
    );
    push(
        &state,
        "shop/a",
        tag("prod"),
        manifest("a", &["1", "2"], &["b"]),
    )
    .await;
    delete(ManifestReference::Digest(digest("a")))
        .await
        .unwrap();
    let gone = state.find_manifest(repository("shop/a"), by_tag).await;
    assert_eq!(gone.unwrap_err().kind(), Kind::NotFound);
    delete(child).await.unwrap();
    let unlink = state.unlink_registry_blob(repository("shop/a"), digest("1"));
    unlink.await.unwrap();
}

#[tokio::test]
async fn tags_and_repositories_are_listed_in_pages() {
    let (_folder, state) = store().await;
    for name in ["b", "A", "a", "1", "C"] {
        push(&state, "shop/tags", tag(name), manifest("a", &[], &[])).await;
    }
    blob(&state, "blobs", "1", 1).await;
    let mut listed = Vec::new();
    loop {
        let last = listed.last().cloned().unwrap_or_default();
        let (page, more) = state
            .list_tags(repository("shop/tags"), last, 2)
            .await
            .unwrap();
        assert_eq!(page.len() == 2, more);
        listed.extend(page);
        if !more {
            break;
        }
    }
    assert_eq!(listed, ["1", "A", "a", "b", "C"]);
    let unknown = state.list_tags(repository("none"), String::new(), 2).await;
    assert_eq!(unknown.unwrap_err().kind(), Kind::NotFound);
    let empty = state.list_tags(repository("blobs"), String::new(), 2).await;
    assert_eq!(empty.unwrap(), (vec![], false));
    let (first, more) = state.list_repositories(String::new(), 1).await.unwrap();
    assert_eq!((first, more), (vec!["blobs".to_owned()], true));
    let rest = state
        .list_repositories("blobs".to_owned(), usize::MAX)
        .await;
    assert_eq!(rest.unwrap(), (vec!["shop/tags".to_owned()], false));
}

#[tokio::test]
async fn referrers_are_found_by_subject_and_type() {
    let (_folder, state) = store().await;
    for (letter, kind) in [("1", "sbom"), ("2", "signature"), ("3", "sbom")] {
        let mut new = manifest(letter, &[], &[]);
        new.subject = Some(digest("f"));
        new.row.artifact_type = Some(kind.to_owned());
        push(&state, "shop", None, new).await;
    }
    let list = |kind: Option<&str>, last: &str, most| {
        let (kind, last) = (kind.map(str::to_owned), last.to_owned());
        state.list_referrers(repository("shop"), digest("f"), kind, last, most)
    };
    let (page, more) = list(None, "", 2).await.unwrap();
    assert_eq!((page.len(), more), (2, true));
    let (page, more) = list(None, page[1].digest.as_str(), 2).await.unwrap();
    assert_eq!((page[0].digest.clone(), more), (digest("3"), false));
    assert_eq!(list(Some("sbom"), "", 9).await.unwrap().0.len(), 2);
    assert_eq!(list(Some("none"), "", 9).await.unwrap().0, []);
}

#[tokio::test]
async fn a_page_of_referrers_stays_below_what_clients_take() {
    let (_folder, state) = store().await;
    for letter in ["1", "2", "3", "4", "5"] {
        let mut new = manifest(letter, &[], &[]);
        new.subject = Some(digest("f"));
        // In JSON six bytes for each of these.
        let text = "\u{1}".repeat(300_000);
        new.row.annotations.insert("a".to_owned(), text);
        push(&state, "shop", None, new).await;
    }
    let (mut last, mut found, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let listed = state.list_referrers(repository("shop"), digest("f"), None, last, 100);
        let (page, more) = listed.await.unwrap();
        let annotations = page.iter().map(|row| &row.annotations);
        let bytes = serde_json::to_vec(&annotations.collect::<Vec<_>>()).unwrap();
        assert!(bytes.len() < 4 << 20, "{}", bytes.len());
        last = page.last().unwrap().digest.to_string();
        found.extend(page.into_iter().map(|row| row.digest));
        pages += 1;
        if !more {
            break;
        }
    }
    assert_eq!(found, ["1", "2", "3", "4", "5"].map(digest));
    assert!(pages > 1);
}

#[tokio::test]
async fn what_may_be_elsewhere_is_not_needed_and_kept_where_it_is() {
    let (_folder, state) = store().await;
    for letter in ["1", "2"] {
        blob(&state, "shop", letter, 10).await;
    }
    let mut new = manifest("a", &["1"], &[]);
    new.optional = vec![digest("1"), digest("2"), digest("3")];
    assert_eq!(push(&state, "shop", None, new).await, ManifestPut::Stored);
    let start = (String::new(), String::new());
    let collected = state.collect_registry_links(Timestamp(50), start).await;
    assert_eq!(collected.unwrap(), (0, None));
    let named = state.manifest_references(repository("shop"), digest("a"));
    let named = named.await.unwrap().into_iter().map(|named| named.digest);
    assert_eq!(named.collect::<Vec<_>>(), [digest("1"), digest("2")]);
    let refused = state.unlink_registry_blob(repository("shop"), digest("2"));
    assert_eq!(refused.await.unwrap_err().kind(), Kind::Conflict);
}

#[tokio::test]
async fn a_collection_counts_from_the_last_time_that_a_blob_was_asked_for() {
    let (_folder, state) = store().await;
    blob(&state, "shop", "1", 10).await;
    let start = || (String::new(), String::new());
    for asked in [200_000, 259_000] {
        let touched = state.touch_registry_blob(repository("shop"), digest("1"), Timestamp(asked));
        assert_eq!(touched.await.unwrap(), Some(7));
        let collected = state.collect_registry_links(Timestamp(asked), start());
        assert_eq!(collected.await.unwrap(), (0, None));
    }
    let collected = state.collect_registry_links(Timestamp(400_000), start());
    assert_eq!(collected.await.unwrap(), (1, None));
}

#[tokio::test]
async fn only_what_is_old_and_unnamed_is_collected() {
    let (_folder, state) = store().await;
    for (letter, at) in [("1", 10), ("2", 10), ("3", 90_000)] {
        blob(&state, "shop", letter, at).await;
    }
    push(&state, "shop", None, manifest("a", &["1"], &[])).await;
    let start = || (String::new(), String::new());
    let collected = state.collect_registry_links(Timestamp(50), start()).await;
    assert_eq!(collected.unwrap(), (1, None));
    let unlinked = state
        .unlinked_registry_blobs(String::new(), 9)
        .await
        .unwrap();
    assert_eq!(unlinked, [digest("2")]);
    let mut asked = unlinked.clone();
    asked.push(digest("1"));
    let gone = state.forget_registry_blobs(asked).await.unwrap();
    assert_eq!(gone, [(digest("2"), 7)]);
    let unknown = state.unknown_registry_blobs(vec![digest("1"), digest("2")]);
    assert_eq!(unknown.await.unwrap(), [digest("2")]);
    // Who is told that it is there gets it kept.
    let touch =
        |letter, at| state.touch_registry_blob(repository("shop"), digest(letter), Timestamp(at));
    assert_eq!(touch("2", 99).await.unwrap(), None);
    assert_eq!(touch("1", 200_000).await.unwrap(), Some(7));
    let by_digest = ManifestReference::Digest(digest("a"));
    state
        .delete_manifest(repository("shop"), by_digest)
        .await
        .unwrap();
    let collected = state
        .collect_registry_links(Timestamp(100_000), start())
        .await;
    assert_eq!(collected.unwrap(), (1, None));
    let mounted = state.mount_registry_blob(
        repository("shop"),
        repository("other"),
        digest("1"),
        Timestamp(5),
    );
    assert_eq!(mounted.await.unwrap(), Some(7));
    let absent = state.mount_registry_blob(
        repository("shop"),
        repository("other"),
        digest("3"),
        Timestamp(5),
    );
    assert_eq!(absent.await.unwrap(), None);
}

#[tokio::test]
async fn uploads_grow_and_are_given_up() {
    let (_folder, state) = store().await;
    let upload = BlobUploadRow {
        id: "u".to_owned(),
        repository: repository("shop"),
        size: 0,
        touched: Timestamp(5),
    };
    state.begin_blob_upload(upload).await.unwrap();
    state
        .grow_blob_upload("u".to_owned(), 9, Timestamp(6))
        .await
        .unwrap();
    assert_eq!(
        state
            .get_blob_upload(repository("shop"), "u")
            .await
            .unwrap()
            .size,
        9
    );
    let other = state.get_blob_upload(repository("other"), "u").await;
    assert_eq!(other.unwrap_err().kind(), Kind::NotFound);
    let unknown = state.unknown_blob_uploads(vec!["u".to_owned(), "x".to_owned()]);
    assert_eq!(unknown.await.unwrap(), ["x"]);
    assert_eq!(
        state.abandon_blob_uploads(Timestamp(6), 9).await.unwrap(),
        [""; 0]
    );
    assert_eq!(
        state.abandon_blob_uploads(Timestamp(7), 9).await.unwrap(),
        ["u"]
    );
    let gone = state.cancel_blob_upload(repository("shop"), "u").await;
    assert_eq!(gone.unwrap_err().kind(), Kind::NotFound);
}
