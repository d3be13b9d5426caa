//! Table `tag`: names that move from manifest to manifest.

use crate::error::{Done, Failure};
use crate::job::Tx;
use crate::row::{all, first, int, run, time};
use crate::{Result, State};
use model::{ContentDigest, RepositoryName, Tag, Timestamp};
use rusqlite::{Connection, params};

/// The row's number of the manifest that a tag is on.
pub(super) fn manifest_of(
    db: &Connection,
    repository: &RepositoryName,
    tag: &Tag,
) -> Done<Option<i64>> {
    let sql = "SELECT manifest FROM tag WHERE repository = ?1 AND name = ?2";
    let key = [repository.as_str(), tag.as_str()];
    first(db, sql, key, |row| Ok(row.get(0)?))
}

/// Adds a tag, or moves it.
pub(super) fn put(
    tx: &Tx<'_>,
    repository: &RepositoryName,
    tag: &Tag,
    manifest: i64,
    now: Timestamp,
) -> Done<()> {
    let sql = "REPLACE INTO tag (repository, name, manifest, moved) VALUES (?1, ?2, ?3, ?4)";
    let row = params![repository.as_str(), tag.as_str(), manifest, now.0];
    run(tx, sql, row)?;
    Ok(())
}

/// Takes a tag away; its manifest stays.
pub(super) fn remove(tx: &Tx<'_>, repository: &RepositoryName, tag: &Tag) -> Done<()> {
    let sql = "DELETE FROM tag WHERE repository = ?1 AND name = ?2";
    match run(tx, sql, [repository.as_str(), tag.as_str()])? {
        0 => Err(Failure::not_found("tag", tag.as_str())),
        _ => Ok(()),
    }
}

impl State {
    /// The manifest or index that a tag is on, and since when; `None` if there is no such tag.
    ///
    /// # Errors
    /// Of the store.
    pub async fn find_tag(
        &self,
        repository: RepositoryName,
        tag: Tag,
    ) -> Result<Option<(ContentDigest, Timestamp)>> {
        self.read("reading a tag", move |db| {
            let sql = "SELECT digest, moved FROM tag JOIN manifest ON manifest.id = tag.manifest
                       WHERE tag.repository = ?1 AND tag.name = ?2";
            let key = [repository.as_str(), tag.as_str()];
            first(db, sql, key, |row| {
                let digest: String = row.get("digest")?;
                Ok((digest.parse()?, time(row, "moved")?))
            })
        })
        .await
    }

    /// Tags of a repository after `last`, in the order of the OCI distribution spec (lexical, letters
    /// of either case alike); at most `most`, and whether there are more.
    ///
    /// # Errors
    /// `NotFound` when the repository holds nothing.
    pub async fn list_tags(
        &self,
        repository: RepositoryName,
        last: String,
        most: usize,
    ) -> Result<(Vec<String>, bool)> {
        self.read("listing tags", move |db| {
            if !super::repositories::exists(db, &repository)? {
                return Err(Failure::not_found("repository", repository.as_str()));
            }
            let sql = "SELECT name FROM tag WHERE repository = ?1
                           AND (name COLLATE NOCASE, name) > (?2, ?2)
                       ORDER BY name COLLATE NOCASE, name LIMIT ?3";
            let limit = int(most.saturating_add(1) as u64);
            let row = params![repository.as_str(), last, limit];
            let mut tags = all(db, sql, row, |row| Ok(row.get(0)?))?;
            let more = tags.len() > most;
            tags.truncate(most);
            Ok((tags, more))
        })
        .await
    }
}
