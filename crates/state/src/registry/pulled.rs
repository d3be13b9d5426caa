//! What was pulled through from other registries: manifests that are kept though not all that they name is here, in
//! repositories whose first part is an upstream's name.

use super::blobs::link;
use super::manifests::{NewManifest, find, insert};
use super::tags;
use crate::error::Done;
use crate::job::Tx;
use crate::row::{all, first, run, to_json};
use crate::{Result, State};
use model::{ContentDigest, ManifestReference, RepositoryName, Tag, Timestamp, UpstreamName};
use rusqlite::{Connection, params};

/// How exactly it is known when a manifest was last asked for, in milliseconds: a day. It is written no more often.
const USED_STEP: i64 = 24 * 3600 * 1000;

/// The names that begin with `NAME/`, as bounds.
fn below(name: &str) -> (String, String) {
    // `0` follows `/`.
    (format!("{name}/"), format!("{name}0"))
}

/// Whether there is a repository whose first part is this name.
pub(crate) fn has_below(db: &Connection, name: &str) -> Done<bool> {
    let (first_name, end) = below(name);
    let sql = "SELECT 1 WHERE EXISTS
                   (SELECT 1 FROM manifest WHERE repository >= ?1 AND repository < ?2)
               OR EXISTS
                   (SELECT 1 FROM repository_blob WHERE repository >= ?1 AND repository < ?2)";
    Ok(first(db, sql, [first_name, end], |_| Ok(()))?.is_some())
}

/// Takes away what repositories hold whose first part is this name.
pub(crate) fn forget_below(tx: &Tx<'_>, name: &str) -> Done<()> {
    let (first_name, end) = below(name);
    for table in ["manifest", "repository_blob"] {
        let sql = format!("DELETE FROM {table} WHERE repository >= ?1 AND repository < ?2");
        run(tx, &sql, [&first_name, &end])?;
    }
    Ok(())
}

impl State {
    /// Keeps a manifest that was pulled through, and puts a tag on it if that is on another one.
    ///
    /// # Errors
    /// Of the store.
    pub async fn put_pulled_manifest(
        &self,
        repository: RepositoryName,
        tag: Option<Tag>,
        new: NewManifest,
        now: Timestamp,
    ) -> Result<()> {
        self.write("storing a pulled manifest", move |tx| {
            let id = insert(tx, &repository, &new, now)?;
            match tag {
                // Whoever follows the tag sees a push in each time that it is put.
                Some(tag) if tags::manifest_of(tx, &repository, &tag)? != Some(id) => {
                    tags::put(tx, &repository, &tag, id, now)
                }
                _ => Ok(()),
            }
        })
        .await
    }

    /// Puts a tag on a manifest that is here. Whether it is.
    ///
    /// # Errors
    /// Of the store.
    pub async fn move_pulled_tag(
        &self,
        repository: RepositoryName,
        tag: Tag,
        digest: ContentDigest,
        now: Timestamp,
    ) -> Result<bool> {
        self.write("moving a pulled tag", move |tx| {
            let sql = "SELECT id FROM manifest WHERE repository = ?1 AND digest = ?2";
            let key = [repository.as_str(), digest.as_str()];
            let Some(id) = first(tx, sql, key, |row| Ok(row.get::<_, i64>(0)?))? else {
                return Ok(false);
            };
            tags::put(tx, &repository, &tag, id, now)?;
            Ok(true)
        })
        .await
    }

    /// Notes that a pulled manifest was asked for. Whether it is here.
    ///
    /// # Errors
    /// Of the store.
    pub async fn touch_pulled_manifest(
        &self,
        repository: RepositoryName,
        digest: ContentDigest,
        now: Timestamp,
    ) -> Result<bool> {
        let key = (repository.clone(), digest.clone());
        let used = self
            .read("looking for a manifest", move |db| {
                let sql = "SELECT pushed FROM manifest WHERE repository = ?1 AND digest = ?2";
                first(db, sql, [key.0.as_str(), key.1.as_str()], |row| {
                    Ok(row.get::<_, i64>(0)?)
                })
            })
            .await?;
        match used {
            None => return Ok(false),
            Some(used) if used > now.0.saturating_sub(USED_STEP) => return Ok(true),
            Some(_) => {}
        }
        self.write("noting that a manifest is used", move |tx| {
            let sql = "UPDATE manifest SET pushed = ?3 WHERE repository = ?1 AND digest = ?2";
            let row = params![repository.as_str(), digest.as_str(), now.0];
            Ok(run(tx, sql, row)? > 0)
        })
        .await
    }

    /// Blobs that a manifest names and its repository does not have.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn missing_blobs(
        &self,
        repository: RepositoryName,
        digest: ContentDigest,
    ) -> Result<Vec<ContentDigest>> {
        self.read("looking for what a manifest lacks", move |db| {
            let id = find(db, &repository, &ManifestReference::Digest(digest))?;
            let sql = "SELECT digest FROM manifest_reference AS named
                       WHERE manifest = ?1 AND NOT is_manifest AND NOT EXISTS
                           (SELECT 1 FROM repository_blob
                            WHERE repository = ?2 AND digest = named.digest)";
            all(db, sql, params![id, repository.as_str()], |row| {
                let digest: String = row.get(0)?;
                Ok(digest.parse()?)
            })
        })
        .await
    }

    /// Puts a blob that some repository has into one whose manifest names it. Whether that was so.
    ///
    /// # Errors
    /// Of the store.
    pub async fn adopt_registry_blob(
        &self,
        repository: RepositoryName,
        digest: ContentDigest,
        now: Timestamp,
    ) -> Result<bool> {
        self.write("sharing a blob", move |tx| {
            let sql = "SELECT size FROM registry_blob WHERE digest = ?2 AND EXISTS
                           (SELECT 1 FROM manifest_reference AS named
                            JOIN manifest ON manifest.id = named.manifest
                            WHERE named.digest = ?2 AND NOT is_manifest AND repository = ?1)";
            let key = [repository.as_str(), digest.as_str()];
            let size = first(tx, sql, key, |row| crate::row::count(row, "size"))?;
            match size {
                Some(size) => link(tx, &repository, &digest, size, now)?,
                None => return Ok(false),
            }
            Ok(true)
        })
        .await
    }

    /// Deletes manifests of an upstream's repositories that nobody asked for since `before`, with their tags. Spared
    /// are those of `pinned`, on which something runs, and what another manifest there names. Gives how many.
    ///
    /// # Errors
    /// Of the store.
    pub async fn collect_pulled_manifests(
        &self,
        upstream: UpstreamName,
        before: Timestamp,
        pinned: Vec<ContentDigest>,
    ) -> Result<u64> {
        self.write("deleting unused pulled manifests", move |tx| {
            let (first_name, end) = below(upstream.as_str());
            let sql = "DELETE FROM manifest
                       WHERE repository >= ?1 AND repository < ?2 AND pushed < ?3
                           AND digest NOT IN (SELECT value FROM json_each(?4))
                           AND NOT EXISTS
                               (SELECT 1 FROM manifest_reference AS named
                                JOIN manifest AS other ON other.id = named.manifest
                                WHERE named.digest = manifest.digest AND is_manifest
                                    AND other.repository = manifest.repository)";
            let pinned: Vec<&str> = pinned.iter().map(ContentDigest::as_str).collect();
            let key = params![first_name, end, before.0, to_json(&pinned)?];
            Ok(run(tx, sql, key)? as u64)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::{blob, digest, manifest};
    use super::*;
    use crate::fixture::store;
    use crate::registry::ReferenceRow;

    fn repository() -> RepositoryName {
        "hub/library/x".parse().unwrap()
    }

    async fn put(state: &State, tag: Option<&str>, new: NewManifest, now: i64) {
        let tag = tag.map(|tag| tag.parse().unwrap());
        let put = state.put_pulled_manifest(repository(), tag, new, Timestamp(now));
        put.await.unwrap();
    }

    #[tokio::test]
    async fn a_pulled_manifest_is_kept_though_all_that_it_names_is_missing() {
        let (_folder, state) = store().await;
        put(&state, Some("1"), manifest("a", &["b"], &[]), 5).await;
        put(&state, Some("1"), manifest("a", &["b"], &[]), 9).await;
        let tag = state.find_tag(repository(), "1".parse().unwrap()).await;
        let (on, moved) = tag.unwrap().unwrap();
        assert_eq!((on, moved), (digest("a"), Timestamp(5)), "it did not move");
        let missing = state.missing_blobs(repository(), digest("a")).await;
        assert_eq!(missing.unwrap(), [digest("b")]);
        let now = Timestamp(9);
        let adopted = state.adopt_registry_blob(repository(), digest("b"), now);
        assert!(!adopted.await.unwrap(), "nobody has it");
        blob(&state, "shop/y", "b", 9).await;
        let adopted = state.adopt_registry_blob(repository(), digest("b"), now);
        assert!(adopted.await.unwrap());
        let missing = state.missing_blobs(repository(), digest("a")).await;
        assert!(missing.unwrap().is_empty());
        let unnamed = state.adopt_registry_blob(repository(), digest("c"), now);
        assert!(!unnamed.await.unwrap());
    }

    #[tokio::test]
    async fn what_nothing_names_and_nobody_asks_for_goes() {
        let (_folder, state) = store().await;
        // An index keeps its child; what the tag was on before goes once it was not asked for, then what it is on.
        put(&state, None, manifest("c", &[], &[]), 1).await;
        put(&state, Some("1"), manifest("a", &[], &[]), 1).await;
        put(&state, Some("1"), manifest("b", &[], &["c"]), 1).await;
        let hub: UpstreamName = "hub".parse().unwrap();
        let later = USED_STEP * 40;
        for (name, at) in [("a", later), ("b", later + 1)] {
            let touched = state.touch_pulled_manifest(repository(), digest(name), Timestamp(at));
            assert!(touched.await.unwrap());
        }
        let collect = |before, pinned: &[&str]| {
            let pinned = pinned.iter().map(|name| digest(name)).collect();
            state.collect_pulled_manifests(hub.clone(), Timestamp(before), pinned)
        };
        assert_eq!(collect(later, &[]).await.unwrap(), 0);
        assert_eq!(collect(later + 1, &["a"]).await.unwrap(), 0);
        assert_eq!(collect(later + 1, &[]).await.unwrap(), 1);
        let gone = state.touch_pulled_manifest(repository(), digest("a"), Timestamp(later));
        assert!(!gone.await.unwrap());
        let here = state.touch_pulled_manifest(repository(), digest("c"), Timestamp(1));
        assert!(here.await.unwrap());
        let moved = state.move_pulled_tag(
            repository(),
            "2".parse().unwrap(),
            digest("c"),
            Timestamp(2),
        );
        assert!(moved.await.unwrap());
        let row = ReferenceRow {
            digest: digest("c"),
            is_manifest: true,
        };
        let named = state.manifest_references(repository(), digest("b")).await;
        assert_eq!(named.unwrap(), [row]);
        assert_eq!(collect(later + 2, &[]).await.unwrap(), 1);
        let tag = state.find_tag(repository(), "1".parse().unwrap()).await;
        assert_eq!(tag.unwrap(), None, "it went with what it was on");
    }
}
