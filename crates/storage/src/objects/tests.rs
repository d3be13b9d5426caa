//! Objects against a real store in a folder of their own.

use super::*;
use crate::Versioning;
use crate::testing::{Room, bucket, put};
use futures::StreamExt;
use model::Kind;
use model::{EventFilter, EventPattern, NotificationRule, Target};
use proptest::prelude::*;

async fn room() -> Room {
    let room = Room::open().await;
    room.storage.create_bucket(bucket("photos")).await.unwrap();
    room
}

async fn watch(room: &Room, pattern: &str) {
    let rule = NotificationRule {
        id: "watch".to_owned(),
        events: vec![EventPattern::try_from(pattern.to_owned()).unwrap()],
        prefix: String::new(),
        suffix: String::new(),
        target: Target::Function {
            name: "f".parse().unwrap(),
        },
        qualifier: None,
        form: Default::default(),
    };
    let photos = bucket("photos");
    room.storage
        .put_notification(&photos, vec![rule])
        .await
        .unwrap();
}

async fn event_kinds(room: &Room) -> Vec<String> {
    let filter = EventFilter {
        limit: 100,
        ..EventFilter::default()
    };
    let events = room.storage.state().list_events(filter).await.unwrap();
    let mut kinds: Vec<_> = events
        .into_iter()
        .map(|event| event.accepted.kind)
        .collect();
    kinds.sort();
    kinds
}

async fn read(room: &Room, row: &ObjectRow, range: Option<ByteRange>) -> Vec<u8> {
    let opened = room.storage.read_object(row, range).await.unwrap();
    body::collect(opened).await.unwrap()
}

fn delete(key: &str, version: Option<String>) -> DeleteObject {
    DeleteObject {
        bucket: bucket("photos"),
        key: key.to_owned(),
        version,
        principal: Principal::Root,
        cause: None,
    }
}

#[tokio::test]
async fn an_object_reads_back_after_a_restart() {
    let room = room().await;
    let row = room.put(put("photos", "a"), b"hello").await.unwrap();
    assert_eq!(row.etag, "5d41402abc4b2a76b9719d911017c592");
    let room = room.reopen().await;
    let again = room
        .storage
        .head_object(&bucket("photos"), "a")
        .await
        .unwrap();
    assert_eq!(again, row);
    assert_eq!(read(&room, &again, None).await, b"hello");
}

#[tokio::test]
async fn ranges_give_their_bytes_and_others_are_refused() {
    let room = room().await;
    let bytes: Vec<u8> = (0..700_000u32).map(|n| (n % 251) as u8).collect();
    let row = room.put(put("photos", "a"), &bytes).await.unwrap();
    for (start, length) in [(0, 1), (10, 600_000), (699_999, 1), (0, 700_000), (5, 0)] {
        let part = read(&room, &row, Some(ByteRange { start, length })).await;
        let (start, end) = (start as usize, (start + length) as usize);
        assert!(part == bytes[start..end], "{start}..{end}");
    }
    for (start, length) in [(700_000, 1), (0, 700_001), (u64::MAX, 2)] {
        let range = Some(ByteRange { start, length });
        let error = room.storage.read_object(&row, range).await.err().unwrap();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
    }
}

#[tokio::test]
async fn digests_are_those_of_the_bytes_so_far() {
    let room = room().await;
    let mut writer = room.storage.begin_object().await.unwrap();
    let bytes = vec![9; 300_000];
    for chunk in bytes.chunks(70_000) {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    use sha2::Digest as _;
    let md5 = hex::encode(md5::Md5::digest(&bytes));
    let sha256 = hex::encode(sha2::Sha256::digest(&bytes));
    assert_eq!(writer.digests(), (md5, sha256));
    assert_eq!(writer.size(), 300_000);
}

#[tokio::test]
async fn a_put_replaces_the_file_and_raises_an_event_each_time() {
    let room = room().await;
    watch(&room, "s3:ObjectCreated:*").await;
    room.put(put("photos", "a"), b"one").await.unwrap();
    let second = room.put(put("photos", "a"), b"two").await.unwrap();
    assert_eq!(room.object_files(), [second.data]);
    assert_eq!(event_kinds(&room).await, ["s3:ObjectCreated:Put"; 2]);
}

#[tokio::test]
async fn a_body_is_read_to_its_end_though_the_object_was_replaced() {
    let room = room().await;
    let bytes = vec![1; 2_000_000];
    let row = room.put(put("photos", "a"), &bytes).await.unwrap();
    let mut opened = room.storage.read_object(&row, None).await.unwrap();
    let mut first = opened.next().await.unwrap().unwrap().to_vec();
    room.put(put("photos", "a"), b"two").await.unwrap();
    first.extend(body::collect(opened).await.unwrap());
    assert!(first == bytes);
    let gone = room.storage.read_object(&row, None).await.err().unwrap();
    assert_eq!(gone.kind(), Kind::NotFound);
}

#[tokio::test]
async fn what_is_refused_leaves_no_file_and_no_event() {
    let room = room().await;
    watch(&room, "s3:ObjectCreated:*").await;
    let first = room.put(put("photos", "a"), b"one").await.unwrap();
    let absent = PutObject {
        precondition: Precondition::Absent,
        ..put("photos", "a")
    };
    let etag = PutObject {
        precondition: Precondition::Etag("0".repeat(32)),
        ..put("photos", "a")
    };
    let metadata = PutObject {
        metadata: BTreeMap::from([("k".to_owned(), "v".repeat(MAX_METADATA))]),
        ..put("photos", "b")
    };
    let refused = [
        (absent, Kind::Conflict),
        (etag, Kind::Conflict),
        (metadata, Kind::Invalid),
        (put("photos", ""), Kind::Invalid),
        (put("photos", &"k".repeat(MAX_KEY + 1)), Kind::Invalid),
        (put("nowhere", "a"), Kind::NotFound),
    ];
    for (put, kind) in refused {
        let error = room.put(put, b"two").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    assert_eq!(room.object_files(), [first.data]);
    assert_eq!(event_kinds(&room).await.len(), 1);
}

#[tokio::test]
async fn a_longest_key_is_taken() {
    let room = room().await;
    let key = "é".repeat(MAX_KEY / 2);
    room.put(put("photos", &key), b"x").await.unwrap();
    assert!(
        room.storage
            .head_object(&bucket("photos"), &key)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_copy_outlives_its_source() {
    let room = room().await;
    watch(&room, "s3:ObjectCreated:Copy").await;
    let from = room.put(put("photos", "a"), b"hello").await.unwrap();
    let copy = PutObject {
        event: "ObjectCreated:Copy",
        ..put("photos", "b")
    };
    let to = room.storage.copy_object(&from, copy.clone()).await.unwrap();
    assert_eq!((to.etag.as_str(), to.size), (from.etag.as_str(), 5));
    let removed = room.storage.delete_object(delete("a", None)).await.unwrap();
    assert_eq!(removed.unwrap().unneeded, Some(from.data.clone()));
    assert_eq!(read(&room, &to, None).await, b"hello");
    assert_eq!(room.object_files(), [to.data]);
    let gone = room.storage.copy_object(&from, copy).await.unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound);
    assert_eq!(event_kinds(&room).await, ["s3:ObjectCreated:Copy"]);
}

#[tokio::test]
async fn an_object_can_be_copied_onto_itself() {
    let room = room().await;
    let from = room.put(put("photos", "a"), b"hello").await.unwrap();
    let to = room
        .storage
        .copy_object(&from, put("photos", "a"))
        .await
        .unwrap();
    assert_eq!(read(&room, &to, None).await, b"hello");
    assert_eq!(room.object_files(), [to.data]);
}

#[tokio::test]
async fn a_removal_raises_its_event_once() {
    let room = room().await;
    watch(&room, "s3:ObjectRemoved:*").await;
    room.put(put("photos", "a"), b"hello").await.unwrap();
    for _ in 0..2 {
        let removal = room.storage.delete_object(delete("a", None));
        removal.await.unwrap();
    }
    assert_eq!(event_kinds(&room).await, ["s3:ObjectRemoved:Delete"]);
    assert_eq!(room.object_files(), Vec::<String>::new());
}

#[tokio::test]
async fn a_versions_file_goes_with_it_and_not_before() {
    let room = room().await;
    watch(&room, "s3:ObjectRemoved:*").await;
    let photos = bucket("photos");
    let old = room.put(put("photos", "a"), b"null").await.unwrap();
    let set = |versioning| room.storage.put_versioning(&photos, versioning);
    set(Versioning::Enabled).await.unwrap();
    let new = room.put(put("photos", "a"), b"new").await.unwrap();
    let marked = room.storage.delete_object(delete("a", None)).await;
    let marker = marked.unwrap().unwrap().row.version;
    let mut both = [old.data.clone(), new.data.clone()];
    both.sort();
    // Neither is taken for what a crash left.
    let room = room.reopen().await;
    let mut files = room.object_files();
    files.sort();
    assert_eq!(files, both);
    let found = room.storage.head_object_version(&photos, "a", "null").await;
    let ObjectVersion::Object(found) = found.unwrap() else {
        panic!("the version null is no object");
    };
    assert_eq!(read(&room, &found, None).await, b"null");
    for version in [marker, new.version] {
        room.storage
            .delete_object(delete("a", version))
            .await
            .unwrap();
    }
    assert_eq!(room.object_files(), [old.data.as_str()]);
    let now = room.storage.head_object(&photos, "a").await.unwrap();
    assert_eq!(now.data, old.data);
    // While versions are suspended, a put replaces the version null.
    let set = room.storage.put_versioning(&photos, Versioning::Suspended);
    set.await.unwrap();
    let last = room.put(put("photos", "a"), b"last").await.unwrap();
    assert_eq!(last.version.as_deref(), Some("null"));
    assert_eq!(room.object_files(), [last.data]);
    let kinds = [
        "s3:ObjectRemoved:Delete",
        "s3:ObjectRemoved:Delete",
        "s3:ObjectRemoved:DeleteMarkerCreated",
    ];
    assert_eq!(event_kinds(&room).await, kinds);
}

#[tokio::test]
async fn what_a_crash_left_is_swept_and_nothing_else() {
    let room = room().await;
    let row = room.put(put("photos", "a"), b"hello").await.unwrap();
    let left = room.storage.folders().object(&"ab".repeat(16));
    std::fs::write(&left, b"half").unwrap();
    std::fs::write(room.path("staging/blob"), b"half").unwrap();
    std::fs::create_dir_all(room.path("staging/tree/inner")).unwrap();
    let room = room.reopen().await;
    assert_eq!(room.object_files(), [row.data.as_str()]);
    assert_eq!(room.names("staging"), Vec::<String>::new());
    assert_eq!(read(&room, &row, None).await, b"hello");
}

#[tokio::test]
async fn a_writer_that_is_dropped_leaves_nothing() {
    let room = room().await;
    let mut writer = room.storage.begin_object().await.unwrap();
    writer.write(Bytes::from(vec![0; 500_000])).await.unwrap();
    assert_eq!(room.object_files().len(), 1);
    drop(writer);
    assert_eq!(room.object_files(), Vec::<String>::new());
}

#[tokio::test]
async fn files_and_folders_are_only_ours() {
    use std::os::unix::fs::PermissionsExt;
    let room = room().await;
    let row = room.put(put("photos", "a"), b"hello").await.unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode();
    let file = room.storage.folders().object(&row.data);
    assert_eq!(mode(&file) & 0o777, 0o600);
    for folder in [
        "objects",
        "blobs/sha256",
        "code",
        "images",
        "logs",
        "volumes",
        "staging",
    ] {
        assert_eq!(mode(&room.path(folder)) & 0o777, 0o700, "{folder}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    /// Whatever the chunks, the bytes read back are the bytes written, with their MD5.
    #[test]
    fn bytes_survive(chunks in proptest::collection::vec(0usize..400_000, 0..5), seed: u8) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let room = room().await;
            let mut writer = room.storage.begin_object().await.unwrap();
            let mut all = Vec::new();
            for (n, length) in chunks.into_iter().enumerate() {
                let chunk = vec![seed.wrapping_add(n as u8); length];
                all.extend_from_slice(&chunk);
                writer.write(Bytes::from(chunk)).await.unwrap();
            }
            let row = room.storage.commit_object(writer, put("photos", "a")).await.unwrap();
            use md5::Digest as _;
            prop_assert_eq!(&row.etag, &hex::encode(md5::Md5::digest(&all)));
            prop_assert!(read(&room, &row, None).await == all);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_commit_whose_caller_leaves_is_whole_or_not_at_all() {
    let room = room().await;
    for polls in 0..6 {
        let key = format!("key-{polls}");
        let mut writer = room.storage.begin_object().await.unwrap();
        writer.write(Bytes::from_static(b"hello")).await.unwrap();
        let mut commit = Box::pin(room.storage.commit_object(writer, put("photos", &key)));
        for _ in 0..polls {
            let _ = futures::poll!(&mut commit);
            tokio::task::yield_now().await;
        }
        drop(commit);
        // However far it came, and whether or not it goes on: a row that is there has its bytes.
        room.put(put("photos", "after"), b"x").await.unwrap();
        if let Ok(row) = room.storage.head_object(&bucket("photos"), &key).await {
            assert_eq!(read(&room, &row, None).await, b"hello");
        }
    }
}
