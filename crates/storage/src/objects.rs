//! Objects: a file for the bytes, a row for what they are. File first (fsync), then row and events
//! in one transaction, then the answer.

use crate::folders::{self, Discarded, Folders};
use crate::incoming::{Complete, Digests, Incoming};
use crate::notification::{self, Change};
use crate::{DeleteMarker, Error, ListPage, ListQuery, ObjectRow, ObjectVersion, Precondition};
use crate::{Removal, Removed, Result, Storage, VersionPage, VersionQuery};
use crate::{blocking, body};
use bytes::Bytes;
use model::{BucketName, EventId, NotificationRule, Principal};
use state::{Deletion, crash};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

/// Longest key in bytes (S3's bound).
const MAX_KEY: usize = 1024;
/// Most bytes of user metadata, names and values together (S3's bound).
const MAX_METADATA: usize = 2 * 1024;
/// Most bytes of the other headers that are kept, names and values together.
const MAX_HEADERS: usize = 8 * 1024;
/// Largest object: 5 TiB (S3's bound).
pub(crate) const MAX_OBJECT: u64 = 5 << 40;

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

/// What is said of an object when it is deleted.
#[derive(Debug, Clone)]
pub struct DeleteObject {
    /// In which bucket.
    pub bucket: BucketName,
    /// Its key.
    pub key: String,
    /// One version, which goes for ever; `None` for the key, which in a bucket with versions gets a
    /// delete marker.
    pub version: Option<String>,
    /// Who deletes it; named in the event.
    pub principal: Principal,
    /// The event that caused it, if a function deletes it while it works on one.
    pub cause: Option<EventId>,
}

/// An object's bytes while they come in: a file that is not yet an object.
pub struct ObjectWriter {
    data: String,
    incoming: Incoming,
}

impl ObjectWriter {
    /// Adds bytes. 5 TiB at most in all; the caller bounds a single put to 5 GiB.
    ///
    /// # Errors
    /// `TooLarge`, or of the file system.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.incoming.write(chunk).await
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.incoming.size()
    }

    /// Hex MD5 and SHA-256 of the bytes so far, to be compared with what the client said.
    pub fn digests(&self) -> (String, String) {
        (self.incoming.md5(), self.incoming.sha256())
    }

    /// Brings bytes and name to the disk.
    pub(crate) async fn complete(self) -> Result<Data> {
        Ok(Data::of(self.data, self.incoming.settle().await?))
    }
}

/// Bytes that are durable under their name, but that no row refers to yet. Dropped, the file goes.
pub(crate) struct Data {
    /// Its name.
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) etag: String,
    discarded: Discarded,
}

impl Data {
    fn of(name: String, complete: Complete) -> Self {
        Self {
            name,
            size: complete.size,
            etag: complete.md5.clone(),
            discarded: complete.into_discarded(),
        }
    }

    /// A file at `data`'s place that was made by other means than a writer.
    pub(crate) fn made(folders: &Folders, name: String, size: u64, etag: String) -> Self {
        let discarded = Discarded::new(folders.object(&name));
        Self {
            name,
            size,
            etag,
            discarded,
        }
    }

    /// Waits for the store's word about the row that refers to this file. Only if the store surely
    /// did not commit does the file go; where that is not known (the wait was cut short, the store
    /// closed), it stays and the next start finds out.
    pub(crate) async fn committed<T>(
        self,
        commit: impl Future<Output = std::result::Result<T, state::Error>>,
    ) -> Result<T> {
        let path = self.discarded.keep();
        let committed = commit.await;
        if committed.as_ref().is_err_and(state::Error::is_undone) {
            drop(Discarded::new(path));
        }
        Ok(committed?)
    }
}

/// Checks what a client says of an object.
pub(crate) fn check(put: &PutObject) -> Result<()> {
    let size = |map: &BTreeMap<String, String>| -> usize {
        map.iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    };
    let long = |what: &str, size: usize, limit: usize| {
        Err(Error::Invalid(format!(
            "{what} is {size} bytes long, more than {limit}"
        )))
    };
    match (put.key.len(), size(&put.metadata), size(&put.headers)) {
        (0, _, _) => Err(Error::Invalid("the key is empty".to_owned())),
        (key, _, _) if key > MAX_KEY => long("the key", key, MAX_KEY),
        (_, metadata, _) if metadata > MAX_METADATA => {
            long("the user metadata", metadata, MAX_METADATA)
        }
        (_, _, headers) if headers > MAX_HEADERS => {
            long("what the headers say of the object", headers, MAX_HEADERS)
        }
        _ => Ok(()),
    }
}

impl Storage {
    /// A file for an object's bytes. Dropped without a commit, the file is deleted.
    ///
    /// # Errors
    /// Of the file system.
    pub async fn begin_object(&self) -> Result<ObjectWriter> {
        let data = folders::fresh_name();
        let path = self.folders().object(&data);
        let incoming = Incoming::new(path, "object", MAX_OBJECT, Digests::Md5AndSha256);
        Ok(ObjectWriter { data, incoming })
    }

    /// Makes the written bytes an object, with its events, durably.
    ///
    /// # Errors
    /// `NotFound` (bucket), `Conflict` (precondition), `Invalid` (key, metadata).
    pub async fn commit_object(&self, writer: ObjectWriter, put: PutObject) -> Result<ObjectRow> {
        check(&put)?;
        let rules = self.rules(&put.bucket).await?;
        let storage = self.clone();
        blocking::to_the_end(async move {
            let data = writer.complete().await?;
            storage.put_data(data, put, rules).await
        })
        .await
    }

    async fn rules(&self, bucket: &BucketName) -> Result<Vec<NotificationRule>> {
        Ok(self.state().get_bucket(bucket.clone()).await?.notify)
    }

    async fn put_data(
        &self,
        data: Data,
        put: PutObject,
        rules: Vec<NotificationRule>,
    ) -> Result<ObjectRow> {
        let (row, precondition, change) = described(&data, put);
        let region = self.region();
        let events = move |row: &ObjectRow| notification::events_for(&region, &rules, row, &change);
        let stored = self.state().put_object(row, precondition, events);
        let (row, replaced) = data.committed(stored).await?;
        crash::point("object-committed");
        self.delete_data(replaced.into_iter().collect()).await;
        Ok(row)
    }

    /// What an object is.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn head_object(&self, bucket: &BucketName, key: &str) -> Result<ObjectRow> {
        Ok(self.state().get_object(bucket.clone(), key).await?)
    }

    /// The bytes of a row that `head_object` gave, all or a range. A row that was replaced meanwhile
    /// is still readable if its file was not yet deleted, else `NotFound`: look again. Once the body
    /// is given it can be read to its end, whatever becomes of the object.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` (range).
    pub async fn read_object(&self, row: &ObjectRow, range: Option<ByteRange>) -> Result<Body> {
        let opened = body::open(self.folders().object(&row.data), range).await?;
        opened.ok_or_else(|| missing(row))
    }

    /// Copies an object by link of its bytes, with its events. The ETag stays what it was.
    ///
    /// # Errors
    /// `NotFound`, and as `commit_object`.
    pub async fn copy_object(&self, from: &ObjectRow, put: PutObject) -> Result<ObjectRow> {
        check(&put)?;
        let rules = self.rules(&put.bucket).await?;
        let (storage, from) = (self.clone(), from.clone());
        blocking::to_the_end(async move {
            let folders = Arc::clone(storage.folders());
            let data = blocking::on_disk(move || {
                link(&folders, &from.data, from.size, &from.etag)?.ok_or_else(|| missing(&from))
            })
            .await?;
            storage.put_data(data, put, rules).await
        })
        .await
    }

    /// Deletes an object or one version of it, with its events. `None` if there was none, unless a
    /// delete marker was added.
    ///
    /// # Errors
    /// `NotFound` (bucket; version, in a bucket that never had any), `TooLarge` past 1 000 versions
    /// of the key.
    pub async fn delete_object(&self, delete: DeleteObject) -> Result<Option<Removal>> {
        let rules = self.rules(&delete.bucket).await?;
        // What is told depends on what it does.
        let mut change = Change::now("ObjectRemoved:Delete", delete.principal, delete.cause);
        let deletion = Deletion {
            bucket: delete.bucket,
            key: delete.key,
            version: delete.version,
            time: change.time,
        };
        let storage = self.clone();
        blocking::to_the_end(async move {
            let region = storage.region();
            let events = move |removal: &Removal| {
                if removal.removed == Removed::Nothing {
                    change.name = "ObjectRemoved:DeleteMarkerCreated";
                }
                notification::events_for(&region, &rules, &removal.row, &change)
            };
            let removal = storage.state().delete_object(deletion, events).await?;
            if let Some(removal) = &removal {
                crash::point("object-removed");
                let unneeded = removal.unneeded.clone().into_iter();
                storage.delete_data(unneeded.collect()).await;
            }
            Ok(removal)
        })
        .await
    }

    /// One version of a key. In a bucket that never had versions an object is its version `null`.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn head_object_version(
        &self,
        bucket: &BucketName,
        key: &str,
        version: &str,
    ) -> Result<ObjectVersion> {
        let found = self
            .state()
            .get_object_version(bucket.clone(), key, version);
        Ok(found.await?)
    }

    /// The delete marker that is the newest version of a key, if it is one.
    ///
    /// # Errors
    /// Of the store.
    pub async fn delete_marker(
        &self,
        bucket: &BucketName,
        key: &str,
    ) -> Result<Option<DeleteMarker>> {
        Ok(self.state().get_delete_marker(bucket.clone(), key).await?)
    }

    /// Lists the versions of a bucket's keys.
    ///
    /// # Errors
    /// `NotFound` (bucket).
    pub async fn list_object_versions(&self, query: VersionQuery) -> Result<VersionPage> {
        Ok(self.state().list_object_versions(query).await?)
    }

    /// Lists a bucket.
    ///
    /// # Errors
    /// `NotFound` (bucket).
    pub async fn list_objects(&self, query: ListQuery) -> Result<ListPage> {
        Ok(self.state().list_objects(query).await?)
    }
}

/// The row for `data`, what must hold, and what the events say.
pub(crate) fn described(data: &Data, put: PutObject) -> (ObjectRow, Precondition, Change) {
    let change = Change::now(put.event, put.principal, put.cause);
    let row = ObjectRow {
        bucket: put.bucket,
        key: put.key,
        data: data.name.clone(),
        size: data.size,
        etag: data.etag.clone(),
        version: None,
        sequence: 0,
        modified: change.time,
        headers: put.headers,
        metadata: put.metadata,
    };
    (row, put.precondition, change)
}

/// The same bytes under a new name, durably; `None` if they are gone. Bytes never change once they
/// are written, so two names can share them; where a file system cannot, they are copied.
pub(crate) fn link(folders: &Folders, from: &str, size: u64, etag: &str) -> Result<Option<Data>> {
    let name = folders::fresh_name();
    let (old, new) = (folders.object(from), folders.object(&name));
    let data = Data::made(folders, name, size, etag.to_owned());
    let linked = std::fs::hard_link(&old, &new).or_else(|error| match error.kind() {
        ErrorKind::NotFound => Err(error),
        _ => std::fs::copy(&old, &new).and_then(|_| std::fs::File::open(&new)?.sync_all()),
    });
    match linked {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        linked => linked.map_err(|error| Error::io("linking an object's bytes to", &new, error))?,
    }
    crash::point("object-linked");
    folders::sync_parent(&new)?;
    Ok(Some(data))
}

fn missing(row: &ObjectRow) -> Error {
    Error::NotFound {
        what: "object",
        name: format!("{}/{}", row.bucket, row.key),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;
