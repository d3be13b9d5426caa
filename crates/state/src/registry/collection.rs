//! What of the registry nobody needs any more.

use crate::row::{all, first, run};
use crate::{Result, State};
use model::{ContentDigest, Timestamp};
use rusqlite::params;

/// Blobs of repositories that are looked at in one transaction.
const STEP: u32 = 500;

/// Where a walk over the blobs of all repositories is.
pub type LinkCursor = (String, String);

impl State {
    /// Takes blobs out of their repositories that no manifest there names and nobody touched since
    /// `before`; looks at a bounded number after `cursor`. Gives how many went, and where to go on;
    /// `None` at the end.
    ///
    /// # Errors
    /// Of the store.
    pub async fn collect_registry_links(
        &self,
        before: Timestamp,
        cursor: LinkCursor,
    ) -> Result<(u64, Option<LinkCursor>)> {
        self.write("looking for unused blobs", move |tx| {
            let sql = "SELECT repository, digest, touched < ?3 AND NOT EXISTS
                           (SELECT 1 FROM manifest_reference AS named
                            JOIN manifest ON manifest.id = named.manifest
                            WHERE named.digest = repository_blob.digest AND NOT is_manifest
                                AND manifest.repository = repository_blob.repository) AS unused
                       FROM repository_blob WHERE (repository, digest) > (?1, ?2)
                       ORDER BY repository, digest LIMIT ?4";
            let looked = all(
                tx,
                sql,
                params![cursor.0, cursor.1, before.0, STEP],
                |row| {
                    let key: LinkCursor = (row.get("repository")?, row.get("digest")?);
                    Ok((key, row.get::<_, bool>("unused")?))
                },
            )?;
            let sql = "DELETE FROM repository_blob WHERE repository = ?1 AND digest = ?2";
            let mut gone = 0;
            for ((repository, digest), _) in looked.iter().filter(|(_, unused)| *unused) {
                gone += run(tx, sql, [repository, digest])? as u64;
            }
            let is_whole = looked.len() == STEP as usize;
            let next = looked.into_iter().next_back().filter(|_| is_whole);
            Ok((gone, next.map(|(key, _)| key)))
        })
        .await
    }

    /// Blobs of no repository, after `last`, at most `most`.
    ///
    /// # Errors
    /// Of the store.
    pub async fn unlinked_registry_blobs(
        &self,
        last: String,
        most: u32,
    ) -> Result<Vec<ContentDigest>> {
        self.read("listing unused blobs", move |db| {
            let sql = "SELECT digest FROM registry_blob WHERE digest > ?1 AND NOT EXISTS
                           (SELECT 1 FROM repository_blob WHERE digest = registry_blob.digest)
                       ORDER BY digest LIMIT ?2";
            all(db, sql, params![last, most], |row| {
                let digest: String = row.get(0)?;
                Ok(digest.parse()?)
            })
        })
        .await
    }

    /// Blobs that a collection would take, with their sizes: which no manifest of a repository that has
    /// them names, and nobody touched since `before`. After `last`, at most `most`.
    ///
    /// # Errors
    /// Of the store.
    pub async fn surplus_registry_blobs(
        &self,
        before: Timestamp,
        last: String,
        most: u32,
    ) -> Result<Vec<(ContentDigest, u64)>> {
        self.read("listing blobs that would be collected", move |db| {
            let sql = "SELECT digest, size FROM registry_blob
                       WHERE digest > ?1 AND NOT EXISTS
                           (SELECT 1 FROM repository_blob AS link
                            WHERE link.digest = registry_blob.digest
                                AND (touched >= ?2 OR EXISTS
                                    (SELECT 1 FROM manifest_reference AS named
                                     JOIN manifest ON manifest.id = named.manifest
                                     WHERE named.digest = link.digest AND NOT is_manifest
                                         AND manifest.repository = link.repository)))
                       ORDER BY digest LIMIT ?3";
            all(db, sql, params![last, before.0, most], |row| {
                let digest: String = row.get("digest")?;
                Ok((digest.parse()?, crate::row::count(row, "size")?))
            })
        })
        .await
    }

    /// How many uploads nobody went on with since `before`.
    ///
    /// # Errors
    /// Of the store.
    pub async fn count_old_blob_uploads(&self, before: Timestamp) -> Result<u64> {
        self.read("counting old uploads", move |db| {
            let sql = "SELECT count(*) AS uploads FROM blob_upload WHERE touched < ?1";
            let found = first(db, sql, [before.0], |row| crate::row::count(row, "uploads"))?;
            Ok(found.unwrap_or_default())
        })
        .await
    }

    /// Forgets those of `digests` that are in no repository. Gives them, with their sizes.
    ///
    /// # Errors
    /// Of the store.
    pub async fn forget_registry_blobs(
        &self,
        digests: Vec<ContentDigest>,
    ) -> Result<Vec<(ContentDigest, u64)>> {
        self.write("forgetting unused blobs", move |tx| {
            let sql = "DELETE FROM registry_blob WHERE digest = ?1 AND NOT EXISTS
                           (SELECT 1 FROM repository_blob WHERE digest = ?1)
                       RETURNING size";
            let mut gone = Vec::new();
            for digest in digests {
                let size = first(tx, sql, [digest.as_str()], |row| {
                    crate::row::count(row, "size")
                })?;
                gone.extend(size.map(|size| (digest, size)));
            }
            Ok(gone)
        })
        .await
    }

    /// Those of `digests` that the registry does not know.
    ///
    /// # Errors
    /// Of the store.
    pub async fn unknown_registry_blobs(
        &self,
        digests: Vec<ContentDigest>,
    ) -> Result<Vec<ContentDigest>> {
        self.read("looking for blobs", move |db| {
            let sql = "SELECT 1 FROM registry_blob WHERE digest = ?1";
            let mut unknown = Vec::new();
            for digest in digests {
                if first(db, sql, [digest.as_str()], |_| Ok(()))?.is_none() {
                    unknown.push(digest);
                }
            }
            Ok(unknown)
        })
        .await
    }
}
