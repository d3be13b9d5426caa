//! Deleting an object: for ever, or by a delete marker where its bucket keeps versions.

use crate::error::{Done, Failure};
use crate::job::Tx;
use crate::object_versions::{DeleteMarker, NULL_VERSION, ObjectVersion};
use crate::object_versions::{find, insert, make_room, name, promote, take};
use crate::{ObjectRow, Result, State, Versioning, buckets, crash, events, objects};
use model::{BucketName, NewEvent, Timestamp};

/// What is to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// In which bucket.
    pub bucket: BucketName,
    /// Which key.
    pub key: String,
    /// Which version, for ever; `None` for the key, which in a bucket with versions only adds a
    /// delete marker.
    pub version: Option<String>,
    /// When: the time of the marker.
    pub time: Timestamp,
}

/// What a deletion did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// An object, or one version of it, is gone.
    Object,
    /// A delete marker is gone.
    Marker,
    /// Nothing is gone, or only the version `null`: a delete marker is the newest version.
    Nothing,
}

/// A deletion that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// What it did.
    pub removed: Removed,
    /// The object that is gone, or of a marker its key, version and time; with the sequence of the
    /// deletion.
    pub row: ObjectRow,
    /// The `data` that may now be deleted.
    pub unneeded: Option<String>,
}

/// Takes one version away for ever.
fn erase(tx: &Tx<'_>, deletion: &Deletion, version: &str) -> Done<Option<Removal>> {
    let (bucket, key) = (&deletion.bucket, deletion.key.as_str());
    let Some(found) = find(tx, bucket, key, version)? else {
        return Ok(None);
    };
    let current = objects::find(tx, bucket, key)?;
    if current.is_some_and(|row| row.sequence == found.sequence()) {
        objects::remove(tx, bucket, key)?;
    } else {
        take(tx, bucket, key, found.sequence())?;
    }
    promote(tx, bucket, key)?;
    Ok(Some(match found {
        ObjectVersion::Object(row) => Removal {
            removed: Removed::Object,
            unneeded: Some(row.data.clone()),
            row,
        },
        ObjectVersion::Marker(marker) => Removal {
            removed: Removed::Marker,
            unneeded: None,
            row: marker.into_row(),
        },
    }))
}

/// Adds a delete marker to a key, whether there is an object or not.
fn mark(tx: &Tx<'_>, deletion: &Deletion, versioning: Versioning, sequence: u64) -> Done<Removal> {
    let (bucket, key) = (&deletion.bucket, deletion.key.as_str());
    let present = objects::find(tx, bucket, key)?;
    let unneeded = make_room(tx, bucket, key, versioning, present)?;
    objects::remove(tx, bucket, key)?;
    let marker = DeleteMarker {
        bucket: bucket.clone(),
        key: key.to_owned(),
        version: name(versioning, sequence),
        sequence,
        modified: deletion.time,
    };
    insert(tx, &ObjectVersion::Marker(marker.clone()))?;
    Ok(Removal {
        removed: Removed::Nothing,
        row: marker.into_row(),
        unneeded,
    })
}

/// Takes the object of a key away, in a bucket that never had versions.
fn remove(tx: &Tx<'_>, bucket: &BucketName, key: &str) -> Done<Option<Removal>> {
    let Some(row) = objects::find(tx, bucket, key)? else {
        return Ok(None);
    };
    objects::remove(tx, bucket, key)?;
    Ok(Some(Removal {
        removed: Removed::Object,
        unneeded: Some(row.data.clone()),
        row,
    }))
}

fn delete(
    tx: &Tx<'_>,
    deletion: &Deletion,
    raise: impl FnOnce(&Removal) -> Vec<NewEvent>,
) -> Done<Option<Removal>> {
    let (bucket, key) = (&deletion.bucket, deletion.key.as_str());
    let versioning = buckets::versioning(tx, bucket)?;
    let (removal, sequence) = match (versioning, deletion.version.as_deref()) {
        (Some(versioning), None) => {
            let sequence = objects::next_sequence(tx)?;
            (
                Some(mark(tx, deletion, versioning, sequence)?),
                Some(sequence),
            )
        }
        (Some(_), Some(version)) => (erase(tx, deletion, version)?, None),
        (None, None | Some(NULL_VERSION)) => (remove(tx, bucket, key)?, None),
        (None, Some(version)) => return Err(Failure::not_found("version", version)),
    };
    let Some(mut removal) = removal else {
        return Ok(None);
    };
    crash::point("object-row-deleted");
    removal.row.sequence = match sequence {
        Some(sequence) => sequence,
        None => objects::next_sequence(tx)?,
    };
    events::insert(tx, &raise(&removal))?;
    Ok(Some(removal))
}

impl State {
    /// Deletes an object, or one version of it, and stores the events that this raises, in one
    /// transaction. In a bucket with versions, to delete a key adds a delete marker to it, and to
    /// delete its newest version brings back the one below. `None`, and no event, if there was
    /// nothing to delete.
    ///
    /// # Errors
    /// `NotFound` (bucket; or version, in a bucket that never had any), `TooLarge` past 1 000
    /// versions of the key, delete markers with them.
    pub async fn delete_object(
        &self,
        deletion: Deletion,
        events: impl FnOnce(&Removal) -> Vec<NewEvent> + Send + 'static,
    ) -> Result<Option<Removal>> {
        self.write("deleting an object", move |tx| {
            delete(tx, &deletion, events)
        })
        .await
    }
}
