//! Table `blob_upload`: uploads that are not finished.

use super::blobs;
use crate::error::{Done, Failure};
use crate::row::{all, count, first, int, name, run, time};
use crate::{Result, State};
use model::{ContentDigest, RepositoryName, Timestamp};
use rusqlite::{Connection, Row, params};

/// Most uploads under way at a time.
pub const MAX_BLOB_UPLOADS: u32 = 10_000;

/// An upload that is not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobUploadRow {
    /// Its identity: 32 hex digits, random.
    pub id: String,
    /// Into which repository.
    pub repository: RepositoryName,
    /// How many bytes are durable.
    pub size: u64,
    /// When it was begun or last went on.
    pub touched: Timestamp,
}

fn read(row: &Row<'_>) -> Done<BlobUploadRow> {
    Ok(BlobUploadRow {
        id: row.get("id")?,
        repository: name(row, "repository")?,
        size: count(row, "size")?,
        touched: time(row, "touched")?,
    })
}

fn find(db: &Connection, repository: &RepositoryName, id: &str) -> Done<BlobUploadRow> {
    let sql = "SELECT * FROM blob_upload WHERE id = ?1 AND repository = ?2";
    first(db, sql, [id, repository.as_str()], read)?.ok_or_else(|| Failure::not_found("upload", id))
}

impl State {
    /// Begins an upload.
    ///
    /// # Errors
    /// `Bound` when [`MAX_BLOB_UPLOADS`] are under way.
    pub async fn begin_blob_upload(&self, upload: BlobUploadRow) -> Result<()> {
        self.write("beginning an upload", move |tx| {
            let sql = "SELECT count(*) AS count FROM blob_upload";
            let count: Option<u32> = first(tx, sql, [], |row| count(row, "count"))?;
            if count.unwrap_or(0) >= MAX_BLOB_UPLOADS {
                return Err(Failure::bound("uploads", MAX_BLOB_UPLOADS));
            }
            let sql = "INSERT INTO blob_upload (id, repository, size, touched)
                       VALUES (?1, ?2, ?3, ?4)";
            let BlobUploadRow {
                id,
                repository,
                size,
                touched,
            } = &upload;
            run(
                tx,
                sql,
                params![id, repository.as_str(), int(*size), touched.0],
            )?;
            Ok(())
        })
        .await
    }

    /// One upload of a repository.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_blob_upload(
        &self,
        repository: RepositoryName,
        id: &str,
    ) -> Result<BlobUploadRow> {
        let id = id.to_owned();
        self.read("reading an upload", move |db| find(db, &repository, &id))
            .await
    }

    /// Says that so much of an upload is durable.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn grow_blob_upload(&self, id: String, size: u64, now: Timestamp) -> Result<()> {
        self.write("noting a chunk", move |tx| {
            let sql = "UPDATE blob_upload SET size = ?2, touched = ?3 WHERE id = ?1";
            match run(tx, sql, params![id, int(size), now.0])? {
                0 => Err(Failure::not_found("upload", id)),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Ends an upload: its bytes are a blob of its repository from now on, and durable already.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn finish_blob_upload(
        &self,
        upload: BlobUploadRow,
        digest: ContentDigest,
        size: u64,
        now: Timestamp,
    ) -> Result<()> {
        self.write("storing a blob's record", move |tx| {
            find(tx, &upload.repository, &upload.id)?;
            run(tx, "DELETE FROM blob_upload WHERE id = ?1", [&upload.id])?;
            blobs::link(tx, &upload.repository, &digest, size, now)?;
            Ok(())
        })
        .await
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn cancel_blob_upload(&self, repository: RepositoryName, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.write("cancelling an upload", move |tx| {
            let upload = find(tx, &repository, &id)?;
            run(tx, "DELETE FROM blob_upload WHERE id = ?1", [upload.id])?;
            Ok(())
        })
        .await
    }

    /// Those of `ids` that are no upload under way.
    ///
    /// # Errors
    /// Of the store.
    pub async fn unknown_blob_uploads(&self, ids: Vec<String>) -> Result<Vec<String>> {
        self.read("looking for uploads", move |db| {
            let sql = "SELECT 1 FROM blob_upload WHERE id = ?1";
            let mut unknown = Vec::new();
            for id in ids {
                if first(db, sql, [&id], |_| Ok(()))?.is_none() {
                    unknown.push(id);
                }
            }
            Ok(unknown)
        })
        .await
    }

    /// Gives up to `most` uploads up that nobody went on with since `before`. Gives their identities.
    ///
    /// # Errors
    /// Of the store.
    pub async fn abandon_blob_uploads(&self, before: Timestamp, most: u32) -> Result<Vec<String>> {
        self.write("giving up old uploads", move |tx| {
            let sql = "DELETE FROM blob_upload WHERE id IN
                           (SELECT id FROM blob_upload WHERE touched < ?1 LIMIT ?2)
                       RETURNING id";
            all(tx, sql, params![before.0, most], |row| Ok(row.get(0)?))
        })
        .await
    }
}
