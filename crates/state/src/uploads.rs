//! Tables `upload` and `part`: multipart uploads that are not finished.

use crate::error::{Done, Failure};
use crate::row::{
    all, count, first, int, json, name, require_bucket, run, successor, time, to_json, utf8,
};
use crate::{ObjectRow, Precondition, Result, State, objects};
use model::{BucketName, NewEvent, Timestamp};
use rusqlite::{Connection, Row, params};
use std::collections::BTreeMap;

/// A multipart upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadRow {
    /// Its identity: 32 hex digits, random.
    pub id: String,
    /// In which bucket.
    pub bucket: BucketName,
    /// The key that it will have.
    pub key: String,
    /// When it was begun.
    pub created: Timestamp,
    /// As in [`ObjectRow`].
    pub headers: BTreeMap<String, String>,
    /// As in [`ObjectRow`].
    pub metadata: BTreeMap<String, String>,
}

/// One part of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRow {
    /// 1 to 10 000.
    pub number: u32,
    /// Which file holds its bytes.
    pub data: String,
    /// Bytes.
    pub size: u64,
    /// Hex MD5.
    pub etag: String,
    /// When it was stored.
    pub modified: Timestamp,
}

fn read(row: &Row<'_>) -> Done<UploadRow> {
    Ok(UploadRow {
        id: row.get("id")?,
        bucket: name(row, "bucket")?,
        key: utf8(row, "key")?,
        created: time(row, "created")?,
        headers: json(row, "headers")?,
        metadata: json(row, "metadata")?,
    })
}

fn read_part(row: &Row<'_>) -> Done<PartRow> {
    Ok(PartRow {
        number: count(row, "number")?,
        data: row.get("data")?,
        size: count(row, "size")?,
        etag: row.get("etag")?,
        modified: time(row, "modified")?,
    })
}

fn require_upload(db: &Connection, id: &str) -> Done<()> {
    first(db, "SELECT 1 FROM upload WHERE id = ?1", [id], |_| Ok(()))?
        .ok_or_else(|| Failure::not_found("upload", id))
}

/// Removes an upload and its parts. Gives the parts' `data`.
fn remove(db: &Connection, id: &str) -> Done<Vec<String>> {
    require_upload(db, id)?;
    let sql = "SELECT data FROM part WHERE upload = ?1 ORDER BY number";
    let data = all(db, sql, [id], |row| Ok(row.get(0)?))?;
    // The parts go with it (ON DELETE CASCADE).
    run(db, "DELETE FROM upload WHERE id = ?1", [id])?;
    Ok(data)
}

impl State {
    /// Begins an upload.
    ///
    /// # Errors
    /// `NotFound` (bucket).
    pub async fn create_upload(&self, upload: UploadRow) -> Result<()> {
        self.write("beginning an upload", move |tx| {
            require_bucket(tx, &upload.bucket)?;
            let sql = "INSERT INTO upload (id, bucket, key, created, headers, metadata)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let UploadRow {
                id,
                bucket,
                key,
                created,
                headers,
                metadata,
            } = &upload;
            let row = params![
                id,
                bucket.as_str(),
                key.as_bytes(),
                created.0,
                to_json(headers)?,
                to_json(metadata)?
            ];
            run(tx, sql, row)?;
            Ok(())
        })
        .await
    }

    /// One upload of this bucket and key, and its parts by number.
    ///
    /// # Errors
    /// `NotFound` (upload).
    pub async fn get_upload(
        &self,
        bucket: BucketName,
        key: &str,
        id: &str,
    ) -> Result<(UploadRow, Vec<PartRow>)> {
        let (key, id) = (key.to_owned(), id.to_owned());
        self.read("reading an upload", move |db| {
            let sql = "SELECT * FROM upload WHERE id = ?1 AND bucket = ?2 AND key = ?3";
            let upload = first(db, sql, params![id, bucket.as_str(), key.as_bytes()], read)?
                .ok_or_else(|| Failure::not_found("upload", id.as_str()))?;
            let sql = "SELECT * FROM part WHERE upload = ?1 ORDER BY number";
            Ok((upload, all(db, sql, [id], read_part)?))
        })
        .await
    }

    /// A bucket's uploads by key, at most 1 000, keys beginning with `prefix`.
    ///
    /// # Errors
    /// `NotFound` (bucket).
    pub async fn list_uploads(&self, bucket: BucketName, prefix: &str) -> Result<Vec<UploadRow>> {
        let from = prefix.as_bytes().to_vec();
        self.read("listing uploads", move |db| {
            require_bucket(db, &bucket)?;
            let end = successor(&from).unwrap_or_else(|| vec![u8::MAX]);
            let sql = "SELECT * FROM upload WHERE bucket = ?1 AND key >= ?2 AND key < ?3
                       ORDER BY key, created, id LIMIT 1000";
            all(db, sql, params![bucket.as_str(), from, end], read)
        })
        .await
    }

    /// Adds a part or replaces the one of the same number, whose `data` is given back.
    ///
    /// # Errors
    /// `NotFound` (upload).
    pub async fn put_part(&self, upload: String, part: PartRow) -> Result<Option<String>> {
        self.write("storing a part", move |tx| {
            require_upload(tx, &upload)?;
            let PartRow {
                number,
                data,
                size,
                etag,
                modified,
            } = &part;
            let sql = "SELECT data FROM part WHERE upload = ?1 AND number = ?2";
            let replaced: Option<String> =
                first(tx, sql, params![upload, number], |row| Ok(row.get(0)?))?;
            let sql = "REPLACE INTO part (upload, number, data, size, etag, modified)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            run(
                tx,
                sql,
                params![upload, number, data, int(*size), etag, modified.0],
            )?;
            Ok(replaced.filter(|replaced| replaced != data))
        })
        .await
    }

    /// Ends an upload by making its object: as [`State::put_object`], with the upload and its parts
    /// removed in the same transaction. Gives the row and every `data` that may now be deleted.
    ///
    /// # Errors
    /// `NotFound` (upload), `Conflict` (precondition).
    pub async fn complete_upload(
        &self,
        upload: String,
        row: ObjectRow,
        precondition: Precondition,
        events: impl FnOnce(&ObjectRow) -> Vec<NewEvent> + Send + 'static,
    ) -> Result<(ObjectRow, Vec<String>)> {
        self.write("completing an upload", move |tx| {
            let mut data = remove(tx, &upload)?;
            let (row, replaced) = objects::store(tx, row, &precondition, events)?;
            data.extend(replaced);
            data.retain(|data| *data != row.data);
            Ok((row, data))
        })
        .await
    }

    /// Ends an upload without an object. Gives every `data` that may now be deleted.
    ///
    /// # Errors
    /// `NotFound` (upload).
    pub async fn abort_upload(&self, upload: String) -> Result<Vec<String>> {
        self.write("aborting an upload", move |tx| remove(tx, &upload))
            .await
    }
}
