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
mod tests {
    use super::*;
    use crate::fixture::store;
    use crate::{ManifestPut, ManifestRow, NewManifest, ReferenceRow};
    use model::Tag;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn digest(number: usize) -> ContentDigest {
        format!("sha256:{number:064x}").parse().unwrap()
    }

    fn shop() -> RepositoryName {
        "shop/a".parse().unwrap()
    }

    /// A manifest as a test describes it.
    #[derive(Debug, Clone, Default)]
    struct Sketch {
        children: Vec<usize>,
        subject: Option<usize>,
        tagged: bool,
        pushed: i64,
    }

    async fn push(state: &State, number: usize, sketch: &Sketch) {
        let references = sketch.children.iter().map(|child| ReferenceRow {
            digest: digest(*child),
            is_manifest: true,
        });
        let new = NewManifest {
            row: ManifestRow {
                digest: digest(number),
                media_type: "application/x".into(),
                size: 10,
                artifact_type: None,
                annotations: BTreeMap::new(),
            },
            subject: sketch.subject.map(digest),
            references: references.collect(),
            optional: Vec::new(),
            body: vec![b'x'; 10].into(),
        };
        let tag: Option<Tag> = sketch.tagged.then(|| format!("t{number}").parse().unwrap());
        let put = state.put_manifest(shop(), tag, new, Timestamp(sketch.pushed));
        assert_eq!(put.await.unwrap(), ManifestPut::Stored);
    }

    async fn rest(state: &State) -> BTreeSet<ContentDigest> {
        let (all, more) = state
            .list_manifests(shop(), String::new(), 1_000)
            .await
            .unwrap_or_default();
        assert!(!more);
        all.into_iter().map(|one| one.digest).collect()
    }

    async fn collect(state: &State, before: i64, pinned: &[usize]) -> u64 {
        let pinned: Vec<ContentDigest> = pinned.iter().map(|number| digest(*number)).collect();
        let mut gone = 0;
        loop {
            let step = state.delete_untagged_manifests(
                "shop/a".into(),
                Timestamp(before),
                pinned.clone(),
                2,
            );
            match step.await.unwrap() {
                (0, _) => return gone,
                (count, bytes) => {
                    assert_eq!(bytes, count * 10);
                    gone += count;
                }
            }
        }
    }

    #[tokio::test]
    async fn only_what_nothing_keeps_goes() {
        let (_folder, state) = store().await;
        let plain = Sketch::default();
        let sketches = [
            plain.clone(), // 0: of the tagged index 1
            Sketch {
                children: vec![0],
                tagged: true,
                ..plain.clone()
            }, // 1
            Sketch {
                subject: Some(0),
                ..plain.clone()
            }, // 2: about 0
            plain.clone(), // 3: of the untagged index 4
            Sketch {
                children: vec![3],
                ..plain.clone()
            }, // 4
            plain.clone(), // 5: pinned
            Sketch {
                pushed: 100,
                ..plain.clone()
            }, // 6: young
            plain.clone(), // 7
            Sketch {
                subject: Some(7),
                ..plain.clone()
            }, // 8: about 7, which goes
            plain.clone(), // 9: what 10 is about
            Sketch {
                subject: Some(9),
                tagged: true,
                ..plain.clone()
            }, // 10
            Sketch {
                subject: Some(99),
                ..plain.clone()
            }, // 11: about what is not there
        ];
        for (number, sketch) in sketches.iter().enumerate() {
            push(&state, number, sketch).await;
        }
        let listed = state.untagged_manifests("shop/a".into(), Timestamp(50), vec![digest(5)], 100);
        let listed: BTreeSet<_> = listed
            .await
            .unwrap()
            .into_iter()
            .map(|one| one.digest)
            .collect();
        assert_eq!(listed, [3, 4, 7, 8, 11].map(digest).into());
        assert_eq!(collect(&state, 50, &[5]).await, 5);
        assert_eq!(
            rest(&state).await,
            [0, 1, 2, 5, 6, 9, 10].map(digest).into()
        );
        let (summed, more) = state
            .summarize_repositories(String::new(), 10)
            .await
            .unwrap();
        assert!(!more);
        assert_eq!(
            (summed[0].tags, summed[0].manifests, summed[0].untagged),
            (2, 7, 5)
        );
        assert_eq!(summed[0].pushed, Some(Timestamp(100)));
        let (page, more) = state
            .list_manifests(shop(), digest(1).to_string(), 1)
            .await
            .unwrap();
        assert!(more && page[0].digest == digest(2) && page[0].subject == Some(digest(0)));
    }

    #[tokio::test]
    async fn a_repository_that_holds_nothing_is_not_listed() {
        let (_folder, state) = store().await;
        assert!(
            state
                .list_manifests(shop(), String::new(), 1)
                .await
                .is_err()
        );
        push(&state, 0, &Sketch::default()).await;
        assert_eq!(collect(&state, 50, &[]).await, 1);
        let (none, _) = state
            .summarize_repositories(String::new(), 10)
            .await
            .unwrap();
        assert!(none.is_empty());
    }

    fn sketch(number: usize) -> impl Strategy<Value = Sketch> {
        let earlier = 0..number.max(1);
        let children =
            proptest::collection::vec(earlier.clone(), 0..if number == 0 { 1 } else { 3 });
        let subject = proptest::option::of(0..12usize);
        (children, subject, prop::bool::weighted(0.2), 0..100i64).prop_map(
            move |(children, subject, tagged, pushed)| Sketch {
                children: if number == 0 { Vec::new() } else { children },
                subject: subject.filter(|subject| *subject != number),
                tagged,
                pushed,
            },
        )
    }

    fn sketches() -> impl Strategy<Value = Vec<Sketch>> {
        (1..12usize).prop_flat_map(|count| (0..count).map(sketch).collect::<Vec<_>>())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn what_is_kept_is_whole_and_what_is_not_goes(sketches in sketches(), before in 0..120i64, pinned in 0..12usize) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (all, left) = runtime.block_on(async {
                let (_folder, state) = store().await;
                for (number, sketch) in sketches.iter().enumerate() {
                    push(&state, number, sketch).await;
                }
                let all = rest(&state).await;
                collect(&state, before, &[pinned]).await;
                (all, rest(&state).await)
            });
            // The same closure, by hand.
            let mut kept: BTreeSet<usize> = (0..sketches.len())
                .filter(|number| {
                    let one = &sketches[*number];
                    one.tagged || one.pushed >= before || *number == pinned
                })
                .collect();
            loop {
                let more: BTreeSet<usize> = (0..sketches.len())
                    .filter(|number| {
                        let named = kept.iter().any(|k| sketches[*k].children.contains(number));
                        let about = sketches[*number].subject.is_some_and(|s| kept.contains(&s));
                        let meant = kept.iter().any(|k| sketches[*k].subject == Some(*number));
                        kept.contains(number) || named || about || meant
                    })
                    .collect();
                if more == kept {
                    break;
                }
                kept = more;
            }
            let kept: BTreeSet<ContentDigest> = kept.into_iter().map(digest).collect();
            prop_assert!(left.is_subset(&all));
            prop_assert_eq!(left, kept);
        }
    }
}
