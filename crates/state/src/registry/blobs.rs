//! Tables `registry_blob` and `repository_blob`: which blobs the registry has, and where.

use crate::error::{Done, Failure};
use crate::job::Tx;
use crate::row::{count, first, int, run};
use crate::{Result, State};
use model::{ContentDigest, RepositoryName, Timestamp};
use rusqlite::{Connection, params};

/// How far ahead, in milliseconds, a link that is asked for says that it was touched, so that it is not
/// written again so long: a HEAD of a blob is asked far more often than anything hangs on it. Ahead and
/// not behind: however short the grace of a collection, it holds from the last HEAD.
const TOUCH_STEP: i64 = 60_000;

/// Puts a blob into a repository.
pub(super) fn link(
    tx: &Tx<'_>,
    repository: &RepositoryName,
    digest: &ContentDigest,
    size: u64,
    now: Timestamp,
) -> Done<()> {
    let sql = "INSERT INTO registry_blob (digest, size) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    run(tx, sql, params![digest.as_str(), int(size)])?;
    let sql = "REPLACE INTO repository_blob (repository, digest, touched) VALUES (?1, ?2, ?3)";
    run(
        tx,
        sql,
        params![repository.as_str(), digest.as_str(), now.0],
    )?;
    Ok(())
}

/// Size of a blob of a repository, and when it was touched.
pub(super) fn find(
    db: &Connection,
    repository: &RepositoryName,
    digest: &ContentDigest,
) -> Done<Option<(u64, i64)>> {
    let sql = "SELECT size, touched FROM repository_blob JOIN registry_blob USING (digest)
               WHERE repository = ?1 AND digest = ?2";
    first(db, sql, [repository.as_str(), digest.as_str()], |row| {
        Ok((count(row, "size")?, row.get("touched")?))
    })
}

impl State {
    /// The size of a blob of a repository; `None` if it has none of this digest. From now on it is kept
    /// for as long as what was just pushed.
    ///
    /// # Errors
    /// Of the store.
    pub async fn touch_registry_blob(
        &self,
        repository: RepositoryName,
        digest: ContentDigest,
        now: Timestamp,
    ) -> Result<Option<u64>> {
        let found = {
            let (repository, digest) = (repository.clone(), digest.clone());
            self.read("looking for a blob", move |db| {
                find(db, &repository, &digest)
            })
            .await?
        };
        match found {
            Some((size, touched)) if touched >= now.0 => return Ok(Some(size)),
            None => return Ok(None),
            Some(_) => {}
        }
        self.write("touching a blob", move |tx| {
            let Some((size, _)) = find(tx, &repository, &digest)? else {
                return Ok(None);
            };
            let ahead = Timestamp(now.0.saturating_add(TOUCH_STEP));
            link(tx, &repository, &digest, size, ahead)?;
            Ok(Some(size))
        })
        .await
    }

    /// Puts a blob that one repository has into another. Gives its size; `None` if `from` has none of
    /// this digest.
    ///
    /// # Errors
    /// Of the store.
    pub async fn mount_registry_blob(
        &self,
        from: RepositoryName,
        into: RepositoryName,
        digest: ContentDigest,
        now: Timestamp,
    ) -> Result<Option<u64>> {
        self.write("mounting a blob", move |tx| {
            let Some((size, _)) = find(tx, &from, &digest)? else {
                return Ok(None);
            };
            link(tx, &into, &digest, size, now)?;
            Ok(Some(size))
        })
        .await
    }

    /// Takes a blob out of a repository.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` while a manifest of the repository names it.
    pub async fn unlink_registry_blob(
        &self,
        repository: RepositoryName,
        digest: ContentDigest,
    ) -> Result<()> {
        self.write("deleting a blob", move |tx| {
            let sql = "SELECT manifest.digest FROM manifest_reference AS named
                       JOIN manifest ON manifest.id = named.manifest
                       WHERE named.digest = ?2 AND NOT is_manifest AND repository = ?1 LIMIT 1";
            let key = [repository.as_str(), digest.as_str()];
            let user: Option<String> = first(tx, sql, key, |row| Ok(row.get(0)?))?;
            if let Some(user) = user {
                let reason = format!("the manifest {user} names it; delete that first");
                return Err(Failure::conflict("blob", digest.as_str(), &reason));
            }
            let sql = "DELETE FROM repository_blob WHERE repository = ?1 AND digest = ?2";
            match run(tx, sql, key)? {
                0 => Err(Failure::not_found("blob", digest.as_str())),
                _ => Ok(()),
            }
        })
        .await
    }
}
