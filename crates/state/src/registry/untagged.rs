//! What the registry holds, tagged or not, and what of it nothing keeps.

use crate::error::{Done, Failure};
use crate::row::{all, count, first, int, run, time, to_json};
use crate::{Result, State};
use model::{ContentDigest, RepositoryName, Timestamp};
use rusqlite::{Connection, Row, params};

/// A repository in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositorySummary {
    /// Its name.
    pub name: String,
    /// Its tags.
    pub tags: u64,
    /// Its manifests, indexes included.
    pub manifests: u64,
    /// Those that no tag is on.
    pub untagged: u64,
    /// Bytes of the blobs that it has; other repositories may have the same.
    pub size: u64,
    /// When a manifest was pushed last; `None` if there is none.
    pub pushed: Option<Timestamp>,
}

/// A manifest of a repository in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestSummary {
    /// Its address.
    pub digest: ContentDigest,
    /// As it was pushed.
    pub media_type: String,
    /// What kind of artifact it says it is.
    pub artifact_type: Option<String>,
    /// What it says it is about.
    pub subject: Option<ContentDigest>,
    /// Its own bytes and those of the blobs that it names and its repository has. The manifests of an index
    /// are not counted in.
    pub size: u64,
    /// When it was pushed last.
    pub pushed: Timestamp,
    /// The tags that are on it.
    pub tags: Vec<String>,
}

/// A manifest that nothing keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UntaggedManifest {
    /// Where it is.
    pub repository: String,
    /// Its address.
    pub digest: ContentDigest,
    /// Bytes of the manifest alone.
    pub size: u64,
    /// When it was pushed last.
    pub pushed: Timestamp,
}

/// Those manifests of repository `?1` that something keeps: a tag, a push since `?2`, or one of the
/// digests `?3` (a JSON list); then what a kept index names, what is about a kept manifest, and
/// what a kept one is about.
const KEPT: &str = "WITH RECURSIVE kept (id, digest, subject) AS (
        SELECT id, digest, subject FROM manifest
        WHERE repository = ?1 AND (pushed >= ?2
            OR EXISTS (SELECT 1 FROM tag WHERE tag.manifest = manifest.id)
            OR digest IN (SELECT value FROM json_each(?3)))
        UNION
        SELECT child.id, child.digest, child.subject FROM kept
        JOIN manifest_reference AS named ON named.manifest = kept.id AND named.is_manifest
        JOIN manifest AS child ON child.repository = ?1 AND child.digest = named.digest
        UNION
        SELECT about.id, about.digest, about.subject FROM kept
        JOIN manifest AS about ON about.repository = ?1 AND about.subject = kept.digest
        UNION
        SELECT meant.id, meant.digest, meant.subject FROM kept
        JOIN manifest AS meant ON meant.repository = ?1 AND meant.digest = kept.subject
    )";

fn digest_in(row: &Row<'_>, column: &str) -> Done<ContentDigest> {
    let digest: String = row.get(column)?;
    Ok(digest.parse()?)
}

/// Those of a repository that nothing keeps, at most `most`: indexes before what they name, which was
/// pushed before them.
fn unkept(
    db: &Connection,
    repository: &str,
    before: Timestamp,
    pinned: &[ContentDigest],
    most: u32,
) -> Done<Vec<(i64, UntaggedManifest)>> {
    let pinned: Vec<&str> = pinned.iter().map(ContentDigest::as_str).collect();
    let sql = format!(
        "{KEPT} SELECT id, digest, size, pushed FROM manifest
         WHERE repository = ?1 AND id NOT IN (SELECT id FROM kept) ORDER BY id DESC LIMIT ?4"
    );
    let key = params![repository, before.0, to_json(&pinned)?, most];
    all(db, &sql, key, |row| {
        let manifest = UntaggedManifest {
            repository: repository.to_owned(),
            digest: digest_in(row, "digest")?,
            size: count(row, "size")?,
            pushed: time(row, "pushed")?,
        };
        Ok((row.get("id")?, manifest))
    })
}

fn summary(db: &Connection, name: String) -> Done<RepositorySummary> {
    let sql = "SELECT count(*) AS manifests, max(pushed) AS pushed,
                   coalesce(sum(NOT EXISTS (SELECT 1 FROM tag WHERE tag.manifest = manifest.id)), 0)
                       AS untagged,
                   (SELECT count(*) FROM tag WHERE repository = ?1) AS tags,
                   (SELECT coalesce(sum(size), 0) FROM repository_blob
                    JOIN registry_blob USING (digest) WHERE repository = ?1) AS size
               FROM manifest WHERE repository = ?1";
    let read = |row: &Row<'_>| {
        let pushed: Option<i64> = row.get("pushed")?;
        Ok((
            count(row, "tags")?,
            count(row, "manifests")?,
            count(row, "untagged")?,
            count(row, "size")?,
            pushed.map(Timestamp),
        ))
    };
    let found = first(db, sql, [&name], read)?;
    let (tags, manifests, untagged, size, pushed) = found.unwrap_or_default();
    Ok(RepositorySummary {
        name,
        tags,
        manifests,
        untagged,
        size,
        pushed,
    })
}

fn read(row: &Row<'_>) -> Done<ManifestSummary> {
    let subject: Option<String> = row.get("subject")?;
    let tags: String = row.get("tags")?;
    Ok(ManifestSummary {
        digest: digest_in(row, "digest")?,
        media_type: row.get("media_type")?,
        artifact_type: row.get("artifact_type")?,
        subject: subject.map(|digest| digest.parse()).transpose()?,
        size: count(row, "size")?,
        pushed: time(row, "pushed")?,
        tags: tags.split_ascii_whitespace().map(str::to_owned).collect(),
    })
}

impl State {
    /// Repositories after `last` in short, in the order of their bytes; at most `most`, and whether there
    /// are more.
    ///
    /// # Errors
    /// Of the store.
    pub async fn summarize_repositories(
        &self,
        last: String,
        most: usize,
    ) -> Result<(Vec<RepositorySummary>, bool)> {
        let (names, more) = self.list_repositories(last, most).await?;
        self.read("summing up repositories", move |db| {
            let all: Done<Vec<_>> = names.iter().map(|name| summary(db, name.clone())).collect();
            Ok((all?, more))
        })
        .await
    }

    /// The manifests of a repository, tagged or not, by digest after `last`; at most `most`, and whether
    /// there are more.
    ///
    /// # Errors
    /// `NotFound` when the repository holds nothing.
    pub async fn list_manifests(
        &self,
        repository: RepositoryName,
        last: String,
        most: usize,
    ) -> Result<(Vec<ManifestSummary>, bool)> {
        self.read("listing manifests", move |db| {
            if !super::repositories::exists(db, &repository)? {
                return Err(Failure::not_found("repository", repository.as_str()));
            }
            // A tag has no blanks.
            let sql = "SELECT digest, media_type, artifact_type, subject, pushed,
                           size + (SELECT coalesce(sum(blob.size), 0) FROM manifest_reference AS named
                                   JOIN registry_blob AS blob ON blob.digest = named.digest
                                   JOIN repository_blob AS link ON link.digest = blob.digest
                                       AND link.repository = manifest.repository
                                   WHERE named.manifest = manifest.id AND NOT is_manifest) AS size,
                           coalesce((SELECT group_concat(name, ' ') FROM tag
                                     WHERE tag.manifest = manifest.id), '') AS tags
                       FROM manifest WHERE repository = ?1 AND digest > ?2
                       ORDER BY digest LIMIT ?3";
            let limit = int(most.saturating_add(1) as u64);
            let key = params![repository.as_str(), last, limit];
            let mut found = all(db, sql, key, read)?;
            let more = found.len() > most;
            found.truncate(most);
            Ok((found, more))
        })
        .await
    }

    /// Manifests of a repository that nothing keeps: that no tag is on, that were pushed before `before`,
    /// are none of `pinned`, and are neither named by an index that is kept, nor about a manifest that
    /// is, nor what such a one is about. At most `most`.
    ///
    /// # Errors
    /// Of the store.
    pub async fn untagged_manifests(
        &self,
        repository: String,
        before: Timestamp,
        pinned: Vec<ContentDigest>,
        most: u32,
    ) -> Result<Vec<UntaggedManifest>> {
        self.read("listing untagged manifests", move |db| {
            let found = unkept(db, &repository, before, &pinned, most)?;
            Ok(found.into_iter().map(|(_, manifest)| manifest).collect())
        })
        .await
    }

    /// Deletes at most `most` of what [`State::untagged_manifests`] gives, and gives how many and their
    /// bytes. What a step leaves for the next may be an index's manifests, never the index alone.
    ///
    /// # Errors
    /// Of the store.
    pub async fn delete_untagged_manifests(
        &self,
        repository: String,
        before: Timestamp,
        pinned: Vec<ContentDigest>,
        most: u32,
    ) -> Result<(u64, u64)> {
        self.write("deleting untagged manifests", move |tx| {
            let gone = unkept(tx, &repository, before, &pinned, most)?;
            for (id, _) in &gone {
                // References go with it (ON DELETE CASCADE).
                run(tx, "DELETE FROM manifest WHERE id = ?1", [id])?;
            }
            let bytes = gone.iter().map(|(_, manifest)| manifest.size).sum();
            Ok((gone.len() as u64, bytes))
        })
        .await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
