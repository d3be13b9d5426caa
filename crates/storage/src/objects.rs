//! Objects: a file for the bytes, a row for what they are. File first (fsync), then row and events
//! in one transaction, then the answer.

use crate::{Bucket, ListPage, ListQuery, ObjectRow, Precondition, Result, Storage};
use bytes::Bytes;
use model::{BucketName, EventId, NotificationRule, Principal};
use std::collections::BTreeMap;

/// The bytes of an object, read in chunks.
pub type Body = futures::stream::BoxStream<'static, std::io::Result<Bytes>>;

/// A part of an object's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// How many bytes.
    pub length: u64,
}

/// What is said of an object when it is stored.
#[derive(Debug, Clone)]
pub struct PutObject {
    /// In which bucket.
    pub bucket: BucketName,
    /// Its key.
    pub key: String,
    /// As in [`ObjectRow`].
    pub headers: BTreeMap<String, String>,
    /// As in [`ObjectRow`].
    pub metadata: BTreeMap<String, String>,
    /// What must hold of the object that is there now.
    pub precondition: Precondition,
    /// `ObjectCreated:Put`, `ObjectCreated:Copy` and so on, without `s3:`.
    pub event: &'static str,
    /// Who stores it; named in the event.
    pub principal: Principal,
    /// The event that caused it, if a function stores it while it works on one.
    pub cause: Option<EventId>,
}

/// An object's bytes while they come in: a file that is not yet an object.
pub struct ObjectWriter {}

impl ObjectWriter {
    /// Adds bytes. 5 TiB at most in all; the caller bounds a single put to 5 GiB.
    ///
    /// # Errors
    /// Of the file system.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        let _ = chunk;
        todo!()
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        todo!()
    }

    /// Hex MD5 and SHA-256 of the bytes so far, to be compared with what the client said.
    pub fn digests(&self) -> (String, String) {
        todo!()
    }
}

impl Storage {
    /// Adds a bucket.
    ///
    /// # Errors
    /// `Conflict` when the name is taken.
    pub async fn create_bucket(&self, name: BucketName) -> Result<Bucket> {
        let _ = name;
        todo!()
    }

    /// One bucket.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_bucket(&self, name: &BucketName) -> Result<Bucket> {
        let _ = name;
        todo!()
    }

    /// All buckets by name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_buckets(&self) -> Result<Vec<Bucket>> {
        todo!()
    }

    /// Removes an empty bucket.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`.
    pub async fn delete_bucket(&self, name: &BucketName) -> Result<()> {
        let _ = name;
        todo!()
    }

    /// Replaces what a bucket wakes.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn put_notification(
        &self,
        name: &BucketName,
        rules: Vec<NotificationRule>,
    ) -> Result<()> {
        let _ = (name, rules);
        todo!()
    }

    /// A file for an object's bytes. Dropped without a commit, the file is deleted.
    ///
    /// # Errors
    /// Of the file system.
    pub async fn begin_object(&self) -> Result<ObjectWriter> {
        todo!()
    }

    /// Makes the written bytes an object, with its events, durably.
    ///
    /// # Errors
    /// `NotFound` (bucket), `Conflict` (precondition), `Invalid` (key, metadata).
    pub async fn commit_object(&self, writer: ObjectWriter, put: PutObject) -> Result<ObjectRow> {
        let _ = (writer, put);
        todo!()
    }

    /// What an object is.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn head_object(&self, bucket: &BucketName, key: &str) -> Result<ObjectRow> {
        let _ = (bucket, key);
        todo!()
    }

    /// The bytes of a row that `head_object` gave, all or a range. A row that was replaced meanwhile
    /// is still readable if its file was not yet deleted, else `NotFound`: look again.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` (range).
    pub async fn read_object(&self, row: &ObjectRow, range: Option<ByteRange>) -> Result<Body> {
        let _ = (row, range);
        todo!()
    }

    /// Copies an object by link of its bytes, with its events.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn copy_object(&self, from: &ObjectRow, put: PutObject) -> Result<ObjectRow> {
        let _ = (from, put);
        todo!()
    }

    /// Removes an object, with its events. `None` if there was none.
    ///
    /// # Errors
    /// `NotFound` (bucket).
    pub async fn delete_object(
        &self,
        bucket: &BucketName,
        key: &str,
        principal: &Principal,
        cause: Option<EventId>,
    ) -> Result<Option<ObjectRow>> {
        let _ = (bucket, key, principal, cause);
        todo!()
    }

    /// Lists a bucket.
    ///
    /// # Errors
    /// `NotFound` (bucket).
    pub async fn list_objects(&self, query: ListQuery) -> Result<ListPage> {
        let _ = query;
        todo!()
    }
}
