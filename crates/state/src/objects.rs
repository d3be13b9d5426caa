//! Table `object`: what an object is; its bytes are a file that `storage` keeps.

use crate::error::{Done, Failure};
use crate::job::Tx;
use crate::row::{count, first, int, json, name, require_bucket, run, time, to_json, utf8};
use crate::{NULL_VERSION, Result, State, buckets, crash, events, object_versions};
use model::{BucketName, NewEvent, Timestamp};
use rusqlite::{Connection, Row, params};
use std::collections::BTreeMap;

/// An object as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRow {
    /// In which bucket.
    pub bucket: BucketName,
    /// Its key: 1 to 1 024 bytes of UTF-8.
    pub key: String,
    /// Which file holds its bytes: 32 hex digits, unique for each put.
    pub data: String,
    /// Bytes.
    pub size: u64,
    /// ETag without quotes: hex MD5, with `-N` after a multipart upload of N parts.
    pub etag: String,
    /// Its version: as the bucket's versions name it when one object is read or stored (`None` in a
    /// bucket that never had versions), and `None` for the version `null` in listings of objects.
    pub version: Option<String>,
    /// Orders the changes of one key (the `sequencer` of AWS's event): grows with each commit.
    pub sequence: u64,
    /// When it was stored.
    pub modified: Timestamp,
    /// `Content-Type`, `Cache-Control`, `Content-Disposition`, `Content-Encoding`,
    /// `Content-Language`, `Expires`, by lower case name.
    pub headers: BTreeMap<String, String>,
    /// User metadata by lower case name, without `x-amz-meta-`; 2 KiB at most.
    pub metadata: BTreeMap<String, String>,
}

/// What must hold of the object that is there now, checked in the transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// There must be none (`If-None-Match: *`).
    Absent,
    /// Its ETag must be this (`If-Match`).
    Etag(String),
}

/// Reads a row of `object`, all columns.
pub(crate) fn read(row: &Row<'_>) -> Done<ObjectRow> {
    Ok(ObjectRow {
        bucket: name(row, "bucket")?,
        key: utf8(row, "key")?,
        data: row.get("data")?,
        size: count(row, "size")?,
        etag: row.get("etag")?,
        sequence: count(row, "sequence")?,
        version: row.get("version")?,
        modified: time(row, "modified")?,
        headers: json(row, "headers")?,
        metadata: json(row, "metadata")?,
    })
}

/// The object that a key has now, its version as the bucket names it.
pub(crate) fn find(db: &Connection, bucket: &BucketName, key: &str) -> Done<Option<ObjectRow>> {
    let sql = "SELECT bucket, key, data, size, etag, sequence, modified, headers, metadata,
                   coalesce(version, (SELECT iif(versioning IS NULL, NULL, 'null')
                                      FROM bucket WHERE name = ?1)) AS version
               FROM object WHERE bucket = ?1 AND key = ?2";
    first(db, sql, params![bucket.as_str(), key.as_bytes()], read)
}

/// The next number of the order of changes; only grows, over all buckets.
pub(crate) fn next_sequence(tx: &Tx<'_>) -> Done<u64> {
    let sql = "UPDATE counter SET value = value + 1 WHERE name = 'sequence' RETURNING value";
    first(tx, sql, [], |row| count(row, "value"))?
        .ok_or_else(|| Failure::Corrupt("table counter has no row sequence".to_owned()))
}

/// Makes this the object that its key has now. The one before must be kept elsewhere already, or
/// not be wanted.
pub(crate) fn replace(tx: &Tx<'_>, row: &ObjectRow) -> Done<()> {
    let sql = "REPLACE INTO object
                   (bucket, key, data, size, etag, sequence, modified, headers, metadata, version)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let columns = params![
        row.bucket.as_str(),
        row.key.as_bytes(),
        row.data,
        int(row.size),
        row.etag,
        int(row.sequence),
        row.modified.0,
        to_json(&row.headers)?,
        to_json(&row.metadata)?,
        row.version.as_deref().filter(|name| *name != NULL_VERSION),
    ];
    run(tx, sql, columns)?;
    Ok(())
}

/// Takes the object that the key has now away.
pub(crate) fn remove(tx: &Tx<'_>, bucket: &BucketName, key: &str) -> Done<()> {
    let sql = "DELETE FROM object WHERE bucket = ?1 AND key = ?2";
    run(tx, sql, params![bucket.as_str(), key.as_bytes()])?;
    Ok(())
}

/// Stores an object with the next sequence, and the events that it raises. Gives the row as stored
/// and the `data` that it replaced.
pub(crate) fn store(
    tx: &Tx<'_>,
    mut row: ObjectRow,
    precondition: &Precondition,
    raise: impl FnOnce(&ObjectRow) -> Vec<NewEvent>,
) -> Done<(ObjectRow, Option<String>)> {
    let versioning = buckets::versioning(tx, &row.bucket)?;
    let present = find(tx, &row.bucket, &row.key)?;
    let holds = match (precondition, &present) {
        (Precondition::None, _) | (Precondition::Absent, None) => true,
        (Precondition::Etag(etag), Some(present)) => present.etag == *etag,
        _ => false,
    };
    if !holds {
        return Err(Failure::conflict("object", row.key, "precondition failed"));
    }
    row.sequence = next_sequence(tx)?;
    let replaced = match versioning {
        None => {
            row.version = None;
            present.map(|present| present.data)
        }
        Some(versioning) => {
            row.version = Some(object_versions::name(versioning, row.sequence));
            object_versions::make_room(tx, &row.bucket, &row.key, versioning, present)?
        }
    };
    replace(tx, &row)?;
    crash::point("object-row");
    events::insert(tx, &raise(&row))?;
    let replaced = replaced.filter(|data| *data != row.data);
    Ok((row, replaced))
}

impl State {
    /// Stores an object and the events that it raises in one transaction, and answers when both are
    /// on disk. `sequence` and `version` of the row are given here, and `{"sequencer":""}`
    /// placeholders are not touched: `events` gets the row to build its payloads. Gives the row as
    /// stored, and the `data` of what it replaced, whose file may now be deleted.
    ///
    /// # Errors
    /// `NotFound` (bucket), `Conflict` (precondition, with reason "precondition failed"),
    /// `TooLarge` past 1 000 versions of the key.
    pub async fn put_object(
        &self,
        row: ObjectRow,
        precondition: Precondition,
        events: impl FnOnce(&ObjectRow) -> Vec<NewEvent> + Send + 'static,
    ) -> Result<(ObjectRow, Option<String>)> {
        self.write("storing an object", move |tx| {
            store(tx, row, &precondition, events)
        })
        .await
    }

    /// One object.
    ///
    /// # Errors
    /// `NotFound`, of `bucket` or of `object`.
    pub async fn get_object(&self, bucket: BucketName, key: &str) -> Result<ObjectRow> {
        let key = key.to_owned();
        self.read("reading an object", move |db| {
            if let Some(row) = find(db, &bucket, &key)? {
                return Ok(row);
            }
            require_bucket(db, &bucket)?;
            Err(Failure::not_found("object", key))
        })
        .await
    }

    /// Which of these `data` names no object, version or part refers to (for sweeping after a
    /// crash).
    ///
    /// # Errors
    /// Of the store.
    pub async fn unreferenced_data(&self, data: Vec<String>) -> Result<Vec<String>> {
        self.read("looking for data without an owner", move |db| {
            let sql = "SELECT 1 WHERE EXISTS (SELECT 1 FROM object WHERE data = ?1)
                              OR EXISTS (SELECT 1 FROM part WHERE data = ?1)
                              OR EXISTS (SELECT 1 FROM object_version WHERE data = ?1)";
            let mut orphans = Vec::new();
            for name in data {
                if first(db, sql, [&name], |_| Ok(()))?.is_none() {
                    orphans.push(name);
                }
            }
            Ok(orphans)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{deletion, event, function, object, store_with_bucket};
    use crate::{Removal, Removed};
    use model::{EventFilter, Kind};

    #[tokio::test]
    async fn an_object_and_its_events_are_stored_together() {
        let (_folder, state, bucket) = store_with_bucket().await;
        let raised = event(&function("f"), 1);
        let (id, raise) = (raised.id, raised.clone());
        let put = state.put_object(object(&bucket, "k", "1"), Precondition::None, move |row| {
            vec![NewEvent {
                subject: row.sequence.to_string(),
                ..raise
            }]
        });
        let (first, replaced) = put.await.unwrap();
        assert_eq!((first.sequence, replaced), (1, None));
        assert_eq!(state.get_object(bucket.clone(), "k").await.unwrap(), first);
        assert_eq!(state.get_event(id).await.unwrap().accepted.subject, "1");

        let put = state.put_object(object(&bucket, "k", "2"), Precondition::None, |_| {
            Vec::new()
        });
        let (second, replaced) = put.await.unwrap();
        assert_eq!((second.sequence, replaced.as_deref()), (2, Some("1")));
        let removed = state
            .delete_object(deletion(&bucket, "k"), move |removal| {
                let subject = removal.row.sequence.to_string();
                vec![NewEvent {
                    id: model::EventId::generate(),
                    subject,
                    ..raised
                }]
            })
            .await
            .unwrap();
        let removed = removed.unwrap();
        assert_eq!(removed.removed, Removed::Object);
        assert_eq!(removed.unneeded.as_deref(), Some("2"));
        assert_eq!(
            removed.row,
            ObjectRow {
                sequence: 3,
                ..second
            }
        );
        let events = state
            .list_events(EventFilter {
                limit: 9,
                ..EventFilter::default()
            })
            .await;
        assert_eq!(events.unwrap()[0].accepted.subject, "3");
        let gone = state.get_object(bucket, "k").await.unwrap_err();
        assert_eq!(gone.to_string(), "object \"k\" does not exist");
    }

    #[tokio::test]
    async fn nothing_is_stored_and_nothing_raised_when_it_is_refused() {
        let (_folder, state, bucket) = store_with_bucket().await;
        let other = "other".parse().unwrap();
        let raise = |_: &ObjectRow| vec![event(&function("f"), 1)];
        let raise_gone = |_: &Removal| vec![event(&function("f"), 1)];
        let put = |row, precondition| state.put_object(row, precondition, raise);
        let error = put(object(&other, "k", "1"), Precondition::None)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "bucket \"other\" does not exist");
        let wrong = Precondition::Etag("x".into());
        let error = put(object(&bucket, "k", "1"), wrong.clone())
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "object \"k\": precondition failed");
        let none = |_: &ObjectRow| Vec::new();
        let row = object(&bucket, "k", "1");
        let (stored, _) = state
            .put_object(row, Precondition::Absent, none)
            .await
            .unwrap();
        for precondition in [Precondition::Absent, wrong] {
            let error = put(object(&bucket, "k", "2"), precondition)
                .await
                .unwrap_err();
            assert_eq!(error.kind(), Kind::Conflict);
        }
        assert_eq!(state.get_object(bucket.clone(), "k").await.unwrap(), stored);
        assert_eq!(
            state
                .delete_object(deletion(&bucket, "n"), raise_gone)
                .await
                .unwrap(),
            None
        );
        let error = state
            .delete_object(deletion(&other, "n"), raise_gone)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert_eq!(
            state.get_object(other, "k").await.unwrap_err().kind(),
            Kind::NotFound
        );
        let all = EventFilter {
            limit: 9,
            ..EventFilter::default()
        };
        assert!(state.list_events(all).await.unwrap().is_empty());
        let same = Precondition::Etag(stored.etag);
        state
            .put_object(object(&bucket, "k", "3"), same, none)
            .await
            .unwrap();
    }
}
