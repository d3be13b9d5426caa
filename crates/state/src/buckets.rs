//! Table `bucket`.

use crate::{Result, State};
use model::{BucketName, NotificationRule, Timestamp};

/// A bucket as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: BucketName,
    /// When it was made.
    pub created: Timestamp,
    /// What it wakes.
    pub notify: Vec<NotificationRule>,
}

impl State {
    /// Adds a bucket.
    ///
    /// # Errors
    /// `Conflict` when the name is taken.
    pub async fn create_bucket(&self, bucket: Bucket) -> Result<()> {
        let _ = bucket;
        todo!()
    }

    /// One bucket.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_bucket(&self, name: BucketName) -> Result<Bucket> {
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

    /// Replaces what a bucket wakes.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn put_bucket_notify(
        &self,
        name: BucketName,
        notify: Vec<NotificationRule>,
    ) -> Result<()> {
        let _ = (name, notify);
        todo!()
    }

    /// Removes an empty bucket.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` when it holds objects or unfinished uploads.
    pub async fn delete_bucket(&self, name: BucketName) -> Result<()> {
        let _ = name;
        todo!()
    }
}
