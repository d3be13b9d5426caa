//! Tables `manifest` and `manifest_reference`: manifests byte for byte, and what they name.

use super::{blobs, tags};
use crate::error::{Done, Failure};
use crate::job::Tx;
use crate::row::{count, first, int, json, run, to_json};
use crate::{Result, State};
use bytes::Bytes;
use model::{ContentDigest, ManifestReference, RepositoryName, Tag, Timestamp};
use rusqlite::{Connection, Row, params};
use std::collections::BTreeMap;

/// Most bytes of one page of referrers, as JSON: an answer stays below the 4 MiB that clients must take
/// (OCI distribution spec). A manifest whose annotations alone are more is not accepted.
const MAX_PAGE: usize = 3 << 20;

/// Bytes of a descriptor beside its annotations, its two types and the digest, with room to spare.
const DESCRIPTOR: usize = 512;

/// Something that a manifest names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReferenceRow {
    /// Its address.
    pub digest: ContentDigest,
    /// Whether it is a manifest; else a blob.
    pub is_manifest: bool,
}

/// What is known of a manifest beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestRow {
    /// Its address.
    pub digest: ContentDigest,
    /// As it was pushed.
    pub media_type: String,
    /// Bytes.
    pub size: u64,
    /// What kind of artifact it says it is.
    pub artifact_type: Option<String>,
    /// What it says about itself.
    pub annotations: BTreeMap<String, String>,
}

/// A manifest as it is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewManifest {
    /// What is known of it beside its bytes.
    pub row: ManifestRow,
    /// What it says it is about.
    pub subject: Option<ContentDigest>,
    /// What it names and cannot do without.
    pub references: Vec<ReferenceRow>,
    /// Blobs that it names and that may be elsewhere. What the repository has of them is kept for it.
    pub optional: Vec<ContentDigest>,
    /// Its bytes.
    pub body: Bytes,
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestPut {
    /// It is stored.
    Stored,
    /// It names what the repository does not have; nothing is stored.
    Missing(Vec<ReferenceRow>),
}

/// All columns but the body.
const COLUMNS: &str = "digest, media_type, size, artifact_type, annotations";

fn read(row: &Row<'_>) -> Done<ManifestRow> {
    let digest: String = row.get("digest")?;
    Ok(ManifestRow {
        digest: digest.parse()?,
        media_type: row.get("media_type")?,
        size: count(row, "size")?,
        artifact_type: row.get("artifact_type")?,
        annotations: json(row, "annotations")?,
    })
}

/// The row's number of a manifest.
pub(super) fn find(
    db: &Connection,
    repository: &RepositoryName,
    reference: &ManifestReference,
) -> Done<i64> {
    let found = match reference {
        ManifestReference::Tag(tag) => tags::manifest_of(db, repository, tag)?,
        ManifestReference::Digest(digest) => {
            let sql = "SELECT id FROM manifest WHERE repository = ?1 AND digest = ?2";
            let key = [repository.as_str(), digest.as_str()];
            first(db, sql, key, |row| Ok(row.get(0)?))?
        }
    };
    found.ok_or_else(|| Failure::not_found("manifest", format!("{repository}:{reference}")))
}

fn missing(
    db: &Connection,
    repository: &RepositoryName,
    references: &[ReferenceRow],
) -> Done<Vec<ReferenceRow>> {
    let mut missing = Vec::new();
    for named in references {
        let is_there = match named.is_manifest {
            true => {
                let sql = "SELECT 1 FROM manifest WHERE repository = ?1 AND digest = ?2";
                let key = [repository.as_str(), named.digest.as_str()];
                first(db, sql, key, |_| Ok(()))?.is_some()
            }
            false => blobs::find(db, repository, &named.digest)?.is_some(),
        };
        if !is_there {
            missing.push(named.clone());
        }
    }
    Ok(missing)
}

pub(super) fn insert(
    tx: &Tx<'_>,
    repository: &RepositoryName,
    new: &NewManifest,
    now: Timestamp,
) -> Done<i64> {
    let NewManifest {
        row,
        subject,
        references,
        optional,
        body,
    } = new;
    let sql = "INSERT INTO manifest (repository, digest, media_type, artifact_type, subject,
                                     annotations, size, pushed, body)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
               ON CONFLICT (repository, digest) DO UPDATE
               SET media_type = excluded.media_type, pushed = excluded.pushed
               RETURNING id";
    let columns = params![
        repository.as_str(),
        row.digest.as_str(),
        row.media_type,
        row.artifact_type,
        subject.as_ref().map(ContentDigest::as_str),
        to_json(&row.annotations)?,
        int(row.size),
        now.0,
        &body[..],
    ];
    let id = first(tx, sql, columns, |row| Ok(row.get(0)?))?;
    let id: i64 = id.ok_or_else(|| Failure::Corrupt("a manifest without a number".to_owned()))?;
    let sql = "INSERT INTO manifest_reference (manifest, digest, is_manifest) VALUES (?1, ?2, ?3)
               ON CONFLICT DO NOTHING";
    let needed = references
        .iter()
        .map(|named| (&named.digest, named.is_manifest));
    for (digest, is_manifest) in needed.chain(optional.iter().map(|digest| (digest, false))) {
        run(tx, sql, params![id, digest.as_str(), is_manifest])?;
    }
    Ok(id)
}

impl State {
    /// Stores a manifest and moves a tag to it, if the repository has all that it names.
    ///
    /// # Errors
    /// Of the store.
    pub async fn put_manifest(
        &self,
        repository: RepositoryName,
        tag: Option<Tag>,
        new: NewManifest,
        now: Timestamp,
    ) -> Result<ManifestPut> {
        self.write("storing a manifest", move |tx| {
            let missing = missing(tx, &repository, &new.references)?;
            if !missing.is_empty() {
                return Ok(ManifestPut::Missing(missing));
            }
            let id = insert(tx, &repository, &new, now)?;
            if let Some(tag) = &tag {
                tags::put(tx, &repository, tag, id, now)?;
            }
            Ok(ManifestPut::Stored)
        })
        .await
    }

    /// What is known of a manifest.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn find_manifest(
        &self,
        repository: RepositoryName,
        reference: ManifestReference,
    ) -> Result<ManifestRow> {
        self.read("reading a manifest's record", move |db| {
            let id = find(db, &repository, &reference)?;
            let sql = format!("SELECT {COLUMNS} FROM manifest WHERE id = ?1");
            first(db, &sql, [id], read)?
                .ok_or_else(|| Failure::not_found("manifest", reference.to_string()))
        })
        .await
    }

    /// A manifest, byte for byte.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn read_manifest(
        &self,
        repository: RepositoryName,
        reference: ManifestReference,
    ) -> Result<(ManifestRow, Bytes)> {
        self.read("reading a manifest", move |db| {
            let id = find(db, &repository, &reference)?;
            let sql = "SELECT * FROM manifest WHERE id = ?1";
            let both = |row: &Row<'_>| {
                let body: Vec<u8> = row.get("body")?;
                Ok((read(row)?, Bytes::from(body)))
            };
            first(db, sql, [id], both)?
                .ok_or_else(|| Failure::not_found("manifest", reference.to_string()))
        })
        .await
    }

    /// What a manifest names, without the blobs that its repository does not have.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn manifest_references(
        &self,
        repository: RepositoryName,
        digest: ContentDigest,
    ) -> Result<Vec<ReferenceRow>> {
        self.read("reading what a manifest names", move |db| {
            let id = find(db, &repository, &ManifestReference::Digest(digest))?;
            let sql = "SELECT digest, is_manifest FROM manifest_reference AS named
                       WHERE manifest = ?1 AND (is_manifest OR EXISTS
                           (SELECT 1 FROM repository_blob
                            WHERE repository = ?2 AND digest = named.digest))";
            crate::row::all(db, sql, params![id, repository.as_str()], |row| {
                let digest: String = row.get("digest")?;
                Ok(ReferenceRow {
                    digest: digest.parse()?,
                    is_manifest: row.get("is_manifest")?,
                })
            })
        })
        .await
    }

    /// Deletes a tag, or a manifest with all its tags.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` while another manifest of the repository names it.
    pub async fn delete_manifest(
        &self,
        repository: RepositoryName,
        reference: ManifestReference,
    ) -> Result<()> {
        self.write("deleting a manifest", move |tx| {
            let id = find(tx, &repository, &reference)?;
            let digest = match reference {
                ManifestReference::Tag(tag) => return tags::remove(tx, &repository, &tag),
                ManifestReference::Digest(digest) => digest,
            };
            let sql = "SELECT manifest.digest FROM manifest_reference AS named
                       JOIN manifest ON manifest.id = named.manifest
                       WHERE named.digest = ?2 AND is_manifest AND repository = ?1 LIMIT 1";
            let key = [repository.as_str(), digest.as_str()];
            let user: Option<String> = first(tx, sql, key, |row| Ok(row.get(0)?))?;
            if let Some(user) = user {
                let reason = format!("the index {user} names it; delete that first");
                return Err(Failure::conflict("manifest", digest.as_str(), &reason));
            }
            // Tags and references go with it (ON DELETE CASCADE).
            run(tx, "DELETE FROM manifest WHERE id = ?1", [id])?;
            Ok(())
        })
        .await
    }

    /// Manifests whose subject is `subject`, by digest, after `last`; of one type of artifact only, if
    /// `artifact_type` says so. At most `most`, and whether there are more.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_referrers(
        &self,
        repository: RepositoryName,
        subject: ContentDigest,
        artifact_type: Option<String>,
        last: String,
        most: usize,
    ) -> Result<(Vec<ManifestRow>, bool)> {
        self.read("listing referrers", move |db| {
            let sql = format!(
                "SELECT {COLUMNS} FROM manifest
                 WHERE repository = ?1 AND subject = ?2 AND digest > ?3
                     AND (?4 IS NULL OR artifact_type = ?4)
                 ORDER BY digest"
            );
            let key = params![repository.as_str(), subject.as_str(), last, artifact_type];
            let mut statement = db.prepare_cached(&sql)?;
            let mut rows = statement.query(key)?;
            let (mut found, mut bytes) = (Vec::new(), 0);
            while let Some(row) = rows.next()? {
                // The column is what stands in the answer, byte for byte.
                let annotations = row.get_ref("annotations")?.as_str();
                let annotations = annotations.map_err(rusqlite::Error::from)?.len();
                let row = read(row)?;
                let types =
                    row.media_type.len() + row.artifact_type.as_ref().map_or(0, String::len);
                let size = DESCRIPTOR + annotations + types;
                let is_full = !found.is_empty() && bytes + size > MAX_PAGE;
                if found.len() == most || is_full {
                    return Ok((found, true));
                }
                bytes += size;
                found.push(row);
            }
            Ok((found, false))
        })
        .await
    }
}
