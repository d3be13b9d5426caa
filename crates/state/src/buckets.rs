//! Table `bucket`.

use crate::error::{Done, Failure};
use crate::row::{all, first, json, name, require_bucket, run, time, to_json};
use crate::{Result, State};
use model::{BucketName, NotificationRule, Timestamp};
use rusqlite::{Connection, Row, params};

/// A bucket as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: BucketName,
    /// When it was made.
    pub created: Timestamp,
    /// What it wakes.
    pub notify: Vec<NotificationRule>,
    /// Whether it keeps versions of its objects; `None` if it never did.
    pub versioning: Option<Versioning>,
}

/// What a bucket does with versions. Once set it is never unset, as on S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// Every change adds a version.
    Enabled,
    /// Versions stay; every change is one of the version `null`, of which a key has one at most.
    Suspended,
}

impl Versioning {
    fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Suspended => "suspended",
        }
    }

    /// Reads the column `versioning`.
    fn read(row: &Row<'_>) -> Done<Option<Self>> {
        let text: Option<String> = row.get("versioning")?;
        match text.as_deref() {
            None => Ok(None),
            Some("enabled") => Ok(Some(Self::Enabled)),
            Some("suspended") => Ok(Some(Self::Suspended)),
            Some(other) => Err(Failure::Corrupt(format!("column versioning: {other}"))),
        }
    }
}

/// What the bucket does with versions; `NotFound` if there is no such bucket.
pub(crate) fn versioning(db: &Connection, name: &BucketName) -> Done<Option<Versioning>> {
    let sql = "SELECT versioning FROM bucket WHERE name = ?1";
    first(db, sql, [name.as_str()], Versioning::read)?
        .ok_or_else(|| Failure::not_found("bucket", name.as_str()))
}

fn read(row: &Row<'_>) -> Done<Bucket> {
    Ok(Bucket {
        name: name(row, "name")?,
        created: time(row, "created")?,
        notify: json(row, "notify")?,
        versioning: Versioning::read(row)?,
    })
}

impl State {
    /// Adds a bucket.
    ///
    /// # Errors
    /// `Conflict` when the name is taken.
    pub async fn create_bucket(&self, bucket: Bucket) -> Result<()> {
        self.write("creating a bucket", move |tx| {
            let sql = "INSERT INTO bucket (name, created, notify, versioning)
                       VALUES (?1, ?2, ?3, ?4)
                       ON CONFLICT (name) DO NOTHING";
            let notify = to_json(&bucket.notify)?;
            let versioning = bucket.versioning.map(Versioning::as_str);
            let columns = params![bucket.name.as_str(), bucket.created.0, notify, versioning];
            match run(tx, sql, columns)? {
                0 => Err(Failure::conflict("bucket", bucket.name, "exists already")),
                _ => Ok(()),
            }
        })
        .await
    }

    /// One bucket.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_bucket(&self, name: BucketName) -> Result<Bucket> {
        self.read("reading a bucket", move |db| {
            first(
                db,
                "SELECT * FROM bucket WHERE name = ?1",
                [name.as_str()],
                read,
            )?
            .ok_or_else(|| Failure::not_found("bucket", name))
        })
        .await
    }

    /// All buckets by name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_buckets(&self) -> Result<Vec<Bucket>> {
        self.read("listing buckets", |db| {
            all(db, "SELECT * FROM bucket ORDER BY name", [], read)
        })
        .await
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
        self.write("changing a bucket's notifications", move |tx| {
            let sql = "UPDATE bucket SET notify = ?2 WHERE name = ?1";
            match run(tx, sql, params![name.as_str(), to_json(&notify)?])? {
                0 => Err(Failure::not_found("bucket", name)),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Sets whether a bucket keeps versions. The objects that it has become the version `null`.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn put_bucket_versioning(
        &self,
        name: BucketName,
        versioning: Versioning,
    ) -> Result<()> {
        self.write("changing a bucket's versioning", move |tx| {
            let sql = "UPDATE bucket SET versioning = ?2 WHERE name = ?1";
            match run(tx, sql, params![name.as_str(), versioning.as_str()])? {
                0 => Err(Failure::not_found("bucket", name)),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Removes an empty bucket.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` when it holds objects, versions, delete markers or unfinished
    /// uploads.
    pub async fn delete_bucket(&self, name: BucketName) -> Result<()> {
        self.write("deleting a bucket", move |tx| {
            require_bucket(tx, &name)?;
            let holds = |sql| first(tx, sql, [name.as_str()], |_| Ok(()));
            if holds("SELECT 1 FROM object WHERE bucket = ?1 LIMIT 1")?.is_some() {
                return Err(Failure::conflict("bucket", name, "still holds objects"));
            }
            if holds("SELECT 1 FROM object_version WHERE bucket = ?1 LIMIT 1")?.is_some() {
                let reason = "still holds versions of objects or delete markers";
                return Err(Failure::conflict("bucket", name, reason));
            }
            if holds("SELECT 1 FROM upload WHERE bucket = ?1 LIMIT 1")?.is_some() {
                return Err(Failure::conflict(
                    "bucket",
                    name,
                    "still holds unfinished uploads",
                ));
            }
            run(tx, "DELETE FROM bucket WHERE name = ?1", [name.as_str()])?;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{deletion, function, object, store_with_bucket};
    use crate::{Precondition, UploadRow};
    use model::Kind;

    #[tokio::test]
    async fn a_bucket_is_kept_as_given_and_its_name_is_taken() {
        let (folder, state, name) = store_with_bucket().await;
        let rule = NotificationRule {
            id: "r".into(),
            events: vec!["s3:ObjectCreated:*".to_owned().try_into().unwrap()],
            prefix: "in/".into(),
            suffix: ".jpg".into(),
            target: function("thumbnail"),
            qualifier: None,
            form: Default::default(),
        };
        state
            .put_bucket_notify(name.clone(), vec![rule.clone()])
            .await
            .unwrap();
        let expected = Bucket {
            name: name.clone(),
            created: Timestamp(5),
            notify: vec![rule],
            versioning: Some(Versioning::Suspended),
        };
        for versioning in [Versioning::Enabled, Versioning::Suspended] {
            let set = state.put_bucket_versioning(name.clone(), versioning);
            set.await.unwrap();
        }
        let taken = state.create_bucket(expected.clone()).await.unwrap_err();
        assert_eq!(taken.to_string(), "bucket \"photos\": exists already");
        state.close().await;
        let state = State::open(folder.path()).await.unwrap();
        assert_eq!(state.get_bucket(name).await.unwrap(), expected);
        assert_eq!(state.list_buckets().await.unwrap(), [expected]);
        let missing = state
            .put_bucket_notify("other".parse().unwrap(), Vec::new())
            .await;
        assert_eq!(missing.unwrap_err().kind(), Kind::NotFound);
    }

    #[tokio::test]
    async fn only_an_empty_bucket_is_deleted() {
        let (_folder, state, name) = store_with_bucket().await;
        let row = object(&name, "a", "1");
        state
            .put_object(row, Precondition::None, |_| Vec::new())
            .await
            .unwrap();
        assert_eq!(
            state.delete_bucket(name.clone()).await.unwrap_err().kind(),
            Kind::Conflict
        );
        state
            .delete_object(deletion(&name, "a"), |_| Vec::new())
            .await
            .unwrap();
        let upload = UploadRow {
            id: "u".into(),
            bucket: name.clone(),
            key: "a".into(),
            created: Timestamp(1),
            headers: Default::default(),
            metadata: Default::default(),
        };
        state.create_upload(upload).await.unwrap();
        assert_eq!(
            state.delete_bucket(name.clone()).await.unwrap_err().kind(),
            Kind::Conflict
        );
        state.abort_upload("u".into()).await.unwrap();
        state.delete_bucket(name.clone()).await.unwrap();
        assert_eq!(
            state.delete_bucket(name.clone()).await.unwrap_err().kind(),
            Kind::NotFound
        );
        assert_eq!(
            state.get_bucket(name).await.unwrap_err().kind(),
            Kind::NotFound
        );
    }

    #[tokio::test]
    async fn a_row_that_does_not_parse_is_told() {
        let (_folder, state, name) = store_with_bucket().await;
        let sql = "UPDATE bucket SET notify = '[{}]'";
        state
            .write("breaking", move |tx| run(tx, sql, []))
            .await
            .unwrap();
        let error = state.get_bucket(name).await.unwrap_err();
        assert!(
            error.to_string().contains("column notify: missing field"),
            "{error}"
        );
    }
}
