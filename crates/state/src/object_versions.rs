//! Table `object_version`: what a bucket with versions keeps beside the objects of its keys.
//!
//! The newest version of a key is in `object` if it is an object, so that reads and listings of
//! objects do not meet the others. Below it, and delete markers, are here, in the order of their
//! sequence. A bucket that never had versions has no row here.

use crate::error::{Done, Failure};
use crate::job::Tx;
use crate::row::{count, first, int, json, name as parsed, run, time, to_json, utf8};
use crate::{ObjectRow, Result, State, Versioning, buckets, objects};
use model::{BucketName, Timestamp};
use rusqlite::{Connection, Row, params};
use std::collections::BTreeMap;

/// The version that a key has from before its bucket kept versions, or from while they were
/// suspended.
pub const NULL_VERSION: &str = "null";

/// Most versions of one key, delete markers with them. Each is looked at when one is added.
const MAX_VERSIONS: u32 = 1000;

/// A version that says that its key has no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteMarker {
    /// In which bucket.
    pub bucket: BucketName,
    /// Of which key.
    pub key: String,
    /// Its own version.
    pub version: String,
    /// Its place in the order of the key's changes.
    pub sequence: u64,
    /// When the key was deleted.
    pub modified: Timestamp,
}

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectVersion {
    /// An object.
    Object(ObjectRow),
    /// A delete marker.
    Marker(DeleteMarker),
}

impl ObjectVersion {
    /// Its place in the order of the key's changes.
    pub(crate) fn sequence(&self) -> u64 {
        match self {
            Self::Object(row) => row.sequence,
            Self::Marker(marker) => marker.sequence,
        }
    }

    /// Its key.
    pub(crate) fn key(&self) -> &str {
        match self {
            Self::Object(row) => &row.key,
            Self::Marker(marker) => &marker.key,
        }
    }

    /// Its version.
    pub(crate) fn version(&self) -> &str {
        match self {
            Self::Object(row) => row.version.as_deref().unwrap_or(NULL_VERSION),
            Self::Marker(marker) => &marker.version,
        }
    }
}

impl DeleteMarker {
    /// As a row without bytes, to tell of.
    pub(crate) fn into_row(self) -> ObjectRow {
        ObjectRow {
            bucket: self.bucket,
            key: self.key,
            data: String::new(),
            size: 0,
            etag: String::new(),
            version: Some(self.version),
            sequence: self.sequence,
            modified: self.modified,
            headers: BTreeMap::new(),
            metadata: BTreeMap::new(),
        }
    }
}

/// Reads a row of `object_version`, all columns.
pub(crate) fn read(row: &Row<'_>) -> Done<ObjectVersion> {
    let data: Option<String> = row.get("data")?;
    let Some(data) = data else {
        return Ok(ObjectVersion::Marker(DeleteMarker {
            bucket: parsed(row, "bucket")?,
            key: utf8(row, "key")?,
            version: row.get("version")?,
            sequence: count(row, "sequence")?,
            modified: time(row, "modified")?,
        }));
    };
    Ok(ObjectVersion::Object(ObjectRow {
        bucket: parsed(row, "bucket")?,
        key: utf8(row, "key")?,
        data,
        size: count(row, "size")?,
        etag: row.get("etag")?,
        sequence: count(row, "sequence")?,
        version: Some(row.get("version")?),
        modified: time(row, "modified")?,
        headers: json(row, "headers")?,
        metadata: json(row, "metadata")?,
    }))
}

/// The name of a new version: 32 hex digits, the first half of which is its place in the order, or
/// `null`.
pub(crate) fn name(versioning: Versioning, sequence: u64) -> String {
    match versioning {
        Versioning::Enabled => {
            let random = uuid::Uuid::new_v4().as_u64_pair().1;
            format!("{sequence:016x}{random:016x}")
        }
        Versioning::Suspended => NULL_VERSION.to_owned(),
    }
}

/// The place in the order that the name of a version has; `null` has none.
pub(crate) fn place(version: &str) -> Option<u64> {
    let half = version.get(..16).filter(|_| version.len() == 32)?;
    u64::from_str_radix(half, 16).ok()
}

/// The newest of those that are kept here.
fn newest(db: &Connection, bucket: &BucketName, key: &str) -> Done<Option<ObjectVersion>> {
    let sql = "SELECT * FROM object_version WHERE bucket = ?1 AND key = ?2
               ORDER BY sequence DESC LIMIT 1";
    first(db, sql, params![bucket.as_str(), key.as_bytes()], read)
}

/// The marker that is the newest version of a key, if it is one.
pub(crate) fn newest_marker(
    db: &Connection,
    bucket: &BucketName,
    key: &str,
) -> Done<Option<DeleteMarker>> {
    if objects::find(db, bucket, key)?.is_some() {
        return Ok(None);
    }
    Ok(match newest(db, bucket, key)? {
        Some(ObjectVersion::Marker(marker)) => Some(marker),
        _ => None,
    })
}

/// One version of a key, wherever it is.
pub(crate) fn find(
    db: &Connection,
    bucket: &BucketName,
    key: &str,
    version: &str,
) -> Done<Option<ObjectVersion>> {
    let object = objects::find(db, bucket, key)?.map(ObjectVersion::Object);
    if let Some(object) = object.filter(|object| object.version() == version) {
        return Ok(Some(object));
    }
    let sql = "SELECT * FROM object_version WHERE bucket = ?1 AND key = ?2 AND version = ?3";
    first(
        db,
        sql,
        params![bucket.as_str(), key.as_bytes(), version],
        read,
    )
}

/// Keeps a version beside the object of its key.
pub(crate) fn insert(tx: &Tx<'_>, version: &ObjectVersion) -> Done<()> {
    let marked;
    let (row, data) = match version {
        ObjectVersion::Object(row) => (row, Some(&row.data)),
        ObjectVersion::Marker(marker) => {
            marked = marker.clone().into_row();
            (&marked, None)
        }
    };
    let sql = "INSERT INTO object_version
                   (bucket, key, sequence, version, data, size, etag, modified, headers, metadata)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let columns = params![
        row.bucket.as_str(),
        row.key.as_bytes(),
        int(row.sequence),
        version.version(),
        data,
        int(row.size),
        row.etag,
        row.modified.0,
        to_json(&row.headers)?,
        to_json(&row.metadata)?,
    ];
    run(tx, sql, columns)?;
    Ok(())
}

/// Takes away what is kept at this place in the order of a key.
pub(crate) fn take(tx: &Tx<'_>, bucket: &BucketName, key: &str, sequence: u64) -> Done<()> {
    let sql = "DELETE FROM object_version WHERE bucket = ?1 AND key = ?2 AND sequence = ?3";
    let place = params![bucket.as_str(), key.as_bytes(), int(sequence)];
    run(tx, sql, place)?;
    Ok(())
}

/// Before a key has a new newest version: keeps the object that it has `present`, or, where the new
/// one is the version `null`, takes the one of that name away, whose `data` is given. The row in
/// `object` is left to the caller.
pub(crate) fn make_room(
    tx: &Tx<'_>,
    bucket: &BucketName,
    key: &str,
    versioning: Versioning,
    present: Option<ObjectRow>,
) -> Done<Option<String>> {
    let present = present.map(ObjectVersion::Object);
    let mut unneeded = None;
    if versioning == Versioning::Suspended {
        match find(tx, bucket, key, NULL_VERSION)? {
            Some(ObjectVersion::Object(row))
                if present
                    .as_ref()
                    .is_some_and(|present| present.sequence() == row.sequence) =>
            {
                return Ok(Some(row.data));
            }
            Some(version) => {
                take(tx, bucket, key, version.sequence())?;
                if let ObjectVersion::Object(row) = version {
                    unneeded = Some(row.data);
                }
            }
            None => {}
        }
    }
    let sql = "SELECT count(*) AS kept FROM object_version INDEXED BY object_version_id
               WHERE bucket = ?1 AND key = ?2";
    let place = params![bucket.as_str(), key.as_bytes()];
    let kept: u32 = first(tx, sql, place, |row| count(row, "kept"))?.unwrap_or(0);
    if kept + u32::from(present.is_some()) >= MAX_VERSIONS {
        let what = "versions of one object, delete markers with them,";
        return Err(Failure::bound(what, MAX_VERSIONS));
    }
    if let Some(present) = present {
        insert(tx, &present)?;
    }
    Ok(unneeded)
}

/// After a version of a key is gone: if the newest is an object, it is the key's object again.
pub(crate) fn promote(tx: &Tx<'_>, bucket: &BucketName, key: &str) -> Done<()> {
    if objects::find(tx, bucket, key)?.is_some() {
        return Ok(());
    }
    if let Some(ObjectVersion::Object(row)) = newest(tx, bucket, key)? {
        take(tx, bucket, key, row.sequence)?;
        objects::replace(tx, &row)?;
    }
    Ok(())
}

impl State {
    /// One version of a key. In a bucket that never had versions an object is its version `null`.
    ///
    /// # Errors
    /// `NotFound`, of `bucket` or of `version`.
    pub async fn get_object_version(
        &self,
        bucket: BucketName,
        key: &str,
        version: &str,
    ) -> Result<ObjectVersion> {
        let (key, version) = (key.to_owned(), version.to_owned());
        self.read("reading a version of an object", move |db| {
            if let Some(found) = find(db, &bucket, &key, &version)? {
                return Ok(found);
            }
            buckets::versioning(db, &bucket)?;
            Err(Failure::not_found("version", version))
        })
        .await
    }

    /// The delete marker that is the newest version of a key; `None` if there is an object, or
    /// nothing.
    ///
    /// # Errors
    /// Of the store.
    pub async fn get_delete_marker(
        &self,
        bucket: BucketName,
        key: &str,
    ) -> Result<Option<DeleteMarker>> {
        let key = key.to_owned();
        self.read("reading a delete marker", move |db| {
            newest_marker(db, &bucket, &key)
        })
        .await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
