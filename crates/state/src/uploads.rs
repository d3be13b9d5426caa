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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{event, function, object, store_with_bucket};
    use model::Kind;

    fn upload(bucket: &BucketName, id: &str, key: &str) -> UploadRow {
        UploadRow {
            id: id.into(),
            bucket: bucket.clone(),
            key: key.into(),
            created: Timestamp(3),
            headers: BTreeMap::from([("expires".into(), "never".into())]),
            metadata: BTreeMap::new(),
        }
    }

    fn part(number: u32, data: &str) -> PartRow {
        let etag = format!("etag-{data}");
        PartRow {
            number,
            data: data.into(),
            size: 5,
            etag,
            modified: Timestamp(4),
        }
    }

    #[tokio::test]
    async fn an_upload_becomes_an_object_in_one_step() {
        let (_folder, state, bucket) = store_with_bucket().await;
        let none = |_: &ObjectRow| Vec::new();
        state
            .put_object(object(&bucket, "k", "old"), Precondition::None, none)
            .await
            .unwrap();
        state
            .create_upload(upload(&bucket, "u", "k"))
            .await
            .unwrap();
        assert_eq!(
            state.put_part("u".into(), part(2, "p2")).await.unwrap(),
            None
        );
        assert_eq!(
            state.put_part("u".into(), part(1, "p1")).await.unwrap(),
            None
        );
        let replaced = state.put_part("u".into(), part(2, "p3")).await.unwrap();
        assert_eq!(replaced.as_deref(), Some("p2"));
        let (row, parts) = state.get_upload(bucket.clone(), "k", "u").await.unwrap();
        assert_eq!(row, upload(&bucket, "u", "k"));
        assert_eq!(parts, [part(1, "p1"), part(2, "p3")]);
        let names = ["old", "p1", "p2", "p3", "x"].map(str::to_owned).to_vec();
        assert_eq!(state.unreferenced_data(names).await.unwrap(), ["p2", "x"]);

        let refused = state
            .complete_upload(
                "u".into(),
                object(&bucket, "k", "new"),
                Precondition::Absent,
                none,
            )
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), Kind::Conflict);
        let raised = event(&function("f"), 1);
        let (id, raise) = (raised.id, move |_: &ObjectRow| vec![raised]);
        let row = object(&bucket, "k", "new");
        let complete = state.complete_upload("u".into(), row, Precondition::None, raise);
        let (row, data) = complete.await.unwrap();
        assert_eq!(data, ["p1", "p3", "old"]);
        assert_eq!(row.sequence, 2);
        assert_eq!(state.get_object(bucket.clone(), "k").await.unwrap(), row);
        state.get_event(id).await.unwrap();
        let gone = state.get_upload(bucket, "k", "u").await.unwrap_err();
        assert_eq!(gone.to_string(), "upload \"u\" does not exist");
        assert_eq!(
            state.unreferenced_data(vec!["p1".into()]).await.unwrap(),
            ["p1"]
        );
    }

    #[tokio::test]
    async fn uploads_are_listed_by_key_and_aborted() {
        let (_folder, state, bucket) = store_with_bucket().await;
        for (id, key) in [("3", "b/1"), ("2", "a/2"), ("1", "a/1"), ("0", "a/2")] {
            state.create_upload(upload(&bucket, id, key)).await.unwrap();
        }
        let list = state.list_uploads(bucket.clone(), "a/").await.unwrap();
        let ids: Vec<_> = list.iter().map(|upload| upload.id.as_str()).collect();
        assert_eq!(ids, ["1", "0", "2"]);
        assert_eq!(
            state.list_uploads(bucket.clone(), "").await.unwrap().len(),
            4
        );
        state.put_part("2".into(), part(7, "p")).await.unwrap();
        assert_eq!(state.abort_upload("2".into()).await.unwrap(), ["p"]);
        assert_eq!(
            state.abort_upload("2".into()).await.unwrap_err().kind(),
            Kind::NotFound
        );
        let late = state.put_part("2".into(), part(8, "q")).await.unwrap_err();
        assert_eq!(late.kind(), Kind::NotFound);
        let wrong = state.get_upload(bucket, "other", "1").await.unwrap_err();
        assert_eq!(wrong.kind(), Kind::NotFound);
        let missing = state
            .list_uploads("other".parse().unwrap(), "")
            .await
            .unwrap_err();
        assert_eq!(missing.kind(), Kind::NotFound);
    }
}
