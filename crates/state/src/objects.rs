//! Table `object`: what an object is; its bytes are a file that `storage` keeps.

use crate::{Result, State};
use model::{BucketName, NewEvent, Timestamp};
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

/// Which keys to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// In which bucket.
    pub bucket: BucketName,
    /// Keys that begin with this.
    pub prefix: String,
    /// Keys that share a part up to this, after the prefix, are shown as that one part.
    pub delimiter: Option<String>,
    /// Only keys and common prefixes after this, in byte order.
    pub after: Option<String>,
    /// At most this many keys and common prefixes: 0 to 1 000.
    pub limit: u32,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListPage {
    /// Objects in byte order of their keys.
    pub objects: Vec<ObjectRow>,
    /// Common prefixes in byte order.
    pub common_prefixes: Vec<String>,
    /// Where the next page begins (`after`); `None` at the end.
    pub next: Option<String>,
}

impl State {
    /// Stores an object and the events that it raises in one transaction, and answers when both are
    /// on disk. `sequence` of the row is given here, and `{"sequencer":""}` placeholders are not
    /// touched: `events` gets the sequence to build its payloads. Gives the row as stored, and the
    /// `data` of the object that it replaced, whose file may now be deleted.
    ///
    /// # Errors
    /// `NotFound` (bucket), `Conflict` (precondition, with reason "precondition failed").
    pub async fn put_object(
        &self,
        row: ObjectRow,
        precondition: Precondition,
        events: impl FnOnce(&ObjectRow) -> Vec<NewEvent> + Send + 'static,
    ) -> Result<(ObjectRow, Option<String>)> {
        let _ = (row, precondition, events);
        todo!()
    }

    /// One object.
    ///
    /// # Errors
    /// `NotFound`, of `bucket` or of `object`.
    pub async fn get_object(&self, bucket: BucketName, key: &str) -> Result<ObjectRow> {
        let _ = (bucket, key);
        todo!()
    }

    /// Removes an object and stores the events that this raises, in one transaction. Gives the row
    /// that was removed; `None`, and no event, if there was none.
    ///
    /// # Errors
    /// `NotFound` (bucket).
    pub async fn delete_object(
        &self,
        bucket: BucketName,
        key: String,
        events: impl FnOnce(&ObjectRow) -> Vec<NewEvent> + Send + 'static,
    ) -> Result<Option<ObjectRow>> {
        let _ = (bucket, key, events);
        todo!()
    }

    /// Lists a bucket. Cost is by the page, not by the bucket: a common prefix is skipped with one
    /// seek.
    ///
    /// # Errors
    /// `NotFound` (bucket).
    pub async fn list_objects(&self, query: ListQuery) -> Result<ListPage> {
        let _ = query;
        todo!()
    }

    /// Which of these `data` names no object and no part refers to (for sweeping after a crash).
    ///
    /// # Errors
    /// Of the store.
    pub async fn unreferenced_data(&self, data: Vec<String>) -> Result<Vec<String>> {
        let _ = data;
        todo!()
    }
}
