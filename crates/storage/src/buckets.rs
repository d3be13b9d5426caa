//! Buckets.

use crate::{Bucket, Error, Result, Storage, Versioning};
use model::{BucketName, NotificationRule, Timestamp};

/// Most rules of one bucket.
const MAX_RULES: usize = 100;

impl Storage {
    /// Adds a bucket.
    ///
    /// # Errors
    /// `Conflict` when the name is taken.
    pub async fn create_bucket(&self, name: BucketName) -> Result<Bucket> {
        let bucket = Bucket {
            name,
            created: Timestamp::now(),
            notify: Vec::new(),
            versioning: None,
        };
        self.state().create_bucket(bucket.clone()).await?;
        Ok(bucket)
    }

    /// One bucket.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_bucket(&self, name: &BucketName) -> Result<Bucket> {
        Ok(self.state().get_bucket(name.clone()).await?)
    }

    /// All buckets by name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_buckets(&self) -> Result<Vec<Bucket>> {
        Ok(self.state().list_buckets().await?)
    }

    /// Removes an empty bucket.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`.
    pub async fn delete_bucket(&self, name: &BucketName) -> Result<()> {
        Ok(self.state().delete_bucket(name.clone()).await?)
    }

    /// Sets whether a bucket keeps versions of its objects.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn put_versioning(&self, name: &BucketName, versioning: Versioning) -> Result<()> {
        let set = self.state().put_bucket_versioning(name.clone(), versioning);
        Ok(set.await?)
    }

    /// Replaces what a bucket wakes.
    ///
    /// # Errors
    /// `NotFound`, or `Invalid` past 100 rules.
    pub async fn put_notification(
        &self,
        name: &BucketName,
        rules: Vec<NotificationRule>,
    ) -> Result<()> {
        if rules.len() > MAX_RULES {
            let count = rules.len();
            let reason =
                format!("{count} notification rules for one bucket, more than {MAX_RULES}");
            return Err(Error::Invalid(reason));
        }
        Ok(self.state().put_bucket_notify(name.clone(), rules).await?)
    }
}
