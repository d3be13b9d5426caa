//! Listing the versions of a bucket's keys, by prefix and delimiter, a page at a time.

use crate::error::Done;
use crate::listing::MAX_PAGE;
use crate::object_versions::{self, newest_marker};
use crate::row::{require_bucket, successor};
use crate::{ListQuery, ObjectVersion, Result, State, objects};
use rusqlite::{Connection, Rows, params};

/// Which versions to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionQuery {
    /// Of which keys, and how many versions and common prefixes. Nothing of the key `after` is
    /// shown, unless a version is named.
    pub keys: ListQuery,
    /// Of the key `after`, versions below this one are shown first: [`VersionPage::next`] of the
    /// page before. It need not exist any more; if its name does not tell its place, as that of
    /// `null`, all versions of the key are shown.
    pub after_version: Option<String>,
}

/// A version in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedVersion {
    /// The version.
    pub version: ObjectVersion,
    /// Whether it is the newest of its key.
    pub is_latest: bool,
}

/// One page of a listing of versions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VersionPage {
    /// By key in byte order, of each key the newest first.
    pub versions: Vec<ListedVersion>,
    /// Common prefixes in byte order.
    pub common_prefixes: Vec<String>,
    /// Where the next page begins: key or common prefix, and version; `None` at the end.
    pub next: Option<(String, Option<String>)>,
}

/// Where a page begins: at a key, whose versions count below this place in the order.
struct Begin {
    key: Vec<u8>,
    below: Option<(String, u64)>,
}

impl VersionQuery {
    fn begin(&self, db: &Connection) -> Done<Option<Begin>> {
        let plain = || {
            let begin = |key| Begin { key, below: None };
            self.keys.begin().map(begin)
        };
        let (Some(after), Some(version)) = (&self.keys.after, &self.after_version) else {
            return Ok(plain());
        };
        let listed = after.starts_with(&self.keys.prefix);
        if !listed || self.keys.common_prefix(after).is_some() {
            return Ok(plain());
        }
        let bucket = &self.keys.bucket;
        let place = match object_versions::place(version) {
            Some(place) => Some(place),
            None => {
                object_versions::find(db, bucket, after, version)?.map(|version| version.sequence())
            }
        };
        Ok(Some(Begin {
            key: after.as_bytes().to_vec(),
            below: place.map(|place| (after.clone(), place)),
        }))
    }
}

const OBJECTS: &str =
    "SELECT * FROM object WHERE bucket = ?1 AND key >= ?2 AND key < ?3 ORDER BY key";
const OTHERS: &str = "SELECT * FROM object_version
     WHERE bucket = ?1 AND key >= ?2 AND key < ?3 ORDER BY key, sequence DESC";

/// Objects and what is kept beside them, as one sequence: an object is above all else of its key.
struct Merged<'a> {
    objects: Rows<'a>,
    others: Rows<'a>,
    object: Option<ObjectVersion>,
    other: Option<ObjectVersion>,
}

impl<'a> Merged<'a> {
    fn new(objects: Rows<'a>, others: Rows<'a>) -> Done<Self> {
        let mut merged = Self {
            objects,
            others,
            object: None,
            other: None,
        };
        merged.next_object()?;
        merged.next_other()?;
        Ok(merged)
    }

    fn next_object(&mut self) -> Done<()> {
        let row = self.objects.next()?.map(objects::read).transpose()?;
        self.object = row.map(ObjectVersion::Object);
        Ok(())
    }

    fn next_other(&mut self) -> Done<()> {
        let row = self.others.next()?;
        self.other = row.map(object_versions::read).transpose()?;
        Ok(())
    }

    /// The next version, and whether it is its key's newest.
    fn next(&mut self, db: &Connection) -> Done<Option<ListedVersion>> {
        let object_first = match (&self.object, &self.other) {
            (Some(object), Some(other)) => object.key() <= other.key(),
            (object, _) => object.is_some(),
        };
        let (version, is_latest) = if object_first {
            let next = self.object.take();
            self.next_object()?;
            (next, true)
        } else {
            let next = self.other.take();
            self.next_other()?;
            // Of those that are not in the table of objects, only a marker can be the newest.
            let newest = match &next {
                Some(ObjectVersion::Marker(marker)) => {
                    newest_marker(db, &marker.bucket, &marker.key)?
                }
                _ => None,
            };
            let sequence = next.as_ref().map(ObjectVersion::sequence);
            (
                next,
                newest.is_some_and(|newest| Some(newest.sequence) == sequence),
            )
        };
        Ok(version.map(|version| ListedVersion { version, is_latest }))
    }
}

fn list(db: &Connection, query: &VersionQuery) -> Done<VersionPage> {
    let keys = &query.keys;
    require_bucket(db, &keys.bucket)?;
    let limit = keys.limit.min(MAX_PAGE) as usize;
    let mut page = VersionPage::default();
    let mut last = None;
    let mut begin = if limit == 0 { None } else { query.begin(db)? };
    // Bytes that no UTF-8 begins with are an upper bound for all keys.
    let end = successor(keys.prefix.as_bytes()).unwrap_or_else(|| vec![u8::MAX]);
    let (mut objects, mut others) = (db.prepare_cached(OBJECTS)?, db.prepare_cached(OTHERS)?);
    // Each turn ends at a common prefix, which the next turn begins after.
    while let Some(Begin { key, below }) = begin.take() {
        let range = params![keys.bucket.as_str(), key, end];
        let mut merged = Merged::new(objects.query(range)?, others.query(range)?)?;
        while let Some(listed) = merged.next(db)? {
            let version = &listed.version;
            let shown =
                |(key, place): &(String, u64)| version.key() == key && version.sequence() >= *place;
            if below.as_ref().is_some_and(shown) {
                continue;
            }
            if page.versions.len() + page.common_prefixes.len() == limit {
                page.next = last;
                return Ok(page);
            }
            if let Some(common) = keys.common_prefix(version.key()) {
                let key = successor(common.as_bytes());
                begin = key.map(|key| Begin { key, below: None });
                page.common_prefixes.push(common.to_owned());
                last = Some((common.to_owned(), None));
                break;
            }
            last = Some((version.key().to_owned(), Some(version.version().to_owned())));
            page.versions.push(listed);
        }
    }
    Ok(page)
}

impl State {
    /// Lists the versions of a bucket's keys, also of a bucket that never kept any: there every
    /// object is its version `null`. Cost is by the page: a common prefix is skipped with one seek.
    ///
    /// # Errors
    /// `NotFound` (bucket).
    pub async fn list_object_versions(&self, query: VersionQuery) -> Result<VersionPage> {
        self.read("listing versions of objects", move |db| list(db, &query))
            .await
    }
}
