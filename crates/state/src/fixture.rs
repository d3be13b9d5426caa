//! What the tests of this crate are made of.
#![allow(clippy::unwrap_used)]

use crate::{Bucket, Deletion, ObjectRow, State};
use bytes::Bytes;
use model::{BucketName, EventId, NewEvent, RequestId, Run, Target, Timestamp, Timing};
use std::collections::BTreeMap;
use tempfile::TempDir;

/// A new store in a folder that goes when it is dropped.
pub(crate) async fn store() -> (TempDir, State) {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).await.unwrap();
    (folder, state)
}

/// A new store with an empty bucket `photos`.
pub(crate) async fn store_with_bucket() -> (TempDir, State, BucketName) {
    let (folder, state) = store().await;
    let name: BucketName = "photos".parse().unwrap();
    let bucket = Bucket {
        name: name.clone(),
        created: Timestamp(5),
        notify: Vec::new(),
        versioning: None,
    };
    state.create_bucket(bucket).await.unwrap();
    (folder, state, name)
}

pub(crate) fn function(name: &str) -> Target {
    Target::Function {
        name: name.parse().unwrap(),
    }
}

pub(crate) fn service(name: &str, path: &str) -> Target {
    Target::Service {
        name: name.parse().unwrap(),
        path: path.to_owned(),
    }
}

/// An event that is accepted, and due, at `accepted`.
pub(crate) fn event(target: &Target, accepted: i64) -> NewEvent {
    NewEvent {
        id: EventId::generate(),
        target: target.clone(),
        source: "s3:photos".to_owned(),
        kind: "s3:ObjectCreated:Put".to_owned(),
        subject: "a.jpg".to_owned(),
        payload: Bytes::from_static(b"{\"Records\":[]}"),
        accepted: Timestamp(accepted),
        cause: None,
        replay_of: None,
        delivery: Default::default(),
    }
}

pub(crate) fn object(bucket: &BucketName, key: &str, data: &str) -> ObjectRow {
    ObjectRow {
        bucket: bucket.clone(),
        key: key.to_owned(),
        data: data.to_owned(),
        size: 3,
        etag: format!("etag-{data}"),
        sequence: 0,
        version: None,
        modified: Timestamp(7),
        headers: BTreeMap::from([("content-type".to_owned(), "image/jpeg".to_owned())]),
        metadata: BTreeMap::from([("who".to_owned(), "ä\"\u{1}".to_owned())]),
    }
}

/// To delete a key.
pub(crate) fn deletion(bucket: &BucketName, key: &str) -> Deletion {
    Deletion {
        bucket: bucket.clone(),
        key: key.to_owned(),
        version: None,
        time: Timestamp(8),
    }
}

pub(crate) fn run(target: &Target, event: Option<EventId>, started: i64) -> Run {
    Run {
        request_id: RequestId::generate(),
        target: target.key(),
        event,
        attempt: 1,
        started: Timestamp(started),
        timing: Timing {
            queued: 1,
            start: 2,
            init: 3,
            run: 4,
        },
        cold: true,
        start_kind: Some(model::StartKind::Armed),
        version: None,
        instance: None,
        ending: "failed".to_owned(),
        error: Some("Error: no".to_owned()),
        memory_peak: 1 << 20,
    }
}
