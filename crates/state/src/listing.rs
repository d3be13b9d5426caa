//! Listing a bucket, by prefix and delimiter, a page at a time.

use crate::error::Done;
use crate::objects::{ObjectRow, read};
use crate::row::{require_bucket, successor};
use crate::{Result, State};
use model::BucketName;
use rusqlite::{Connection, params};

/// Keys and common prefixes of one page at most (S3's bound).
const MAX_PAGE: u32 = 1000;

/// Which keys to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// In which bucket.
    pub bucket: BucketName,
    /// Keys that begin with this.
    pub prefix: String,
    /// Keys that share a part up to this, after the prefix, are shown as that one part.
    pub delimiter: Option<String>,
    /// Only keys and common prefixes after this, in byte order: [`ListPage::next`] of the page
    /// before, or any text. What a common prefix at or before this stands for is not shown.
    pub after: Option<String>,
    /// At most this many keys and common prefixes: 0 to 1 000.
    pub limit: u32,
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListPage {
    /// Objects in byte order of their keys.
    pub objects: Vec<ObjectRow>,
    /// Common prefixes in byte order.
    pub common_prefixes: Vec<String>,
    /// Where the next page begins (`after`); `None` at the end.
    pub next: Option<String>,
}

impl ListQuery {
    /// The common prefix that shows this key, if it has the delimiter after the prefix.
    fn common_prefix<'a>(&self, key: &'a str) -> Option<&'a str> {
        let delimiter = self
            .delimiter
            .as_deref()
            .filter(|delimiter| !delimiter.is_empty())?;
        let at = key.strip_prefix(self.prefix.as_str())?.find(delimiter)?;
        Some(&key[..self.prefix.len() + at + delimiter.len()])
    }

    /// The least key that this page may begin with; `None` if the page is past the end.
    fn begin(&self) -> Option<Vec<u8>> {
        let first = self.prefix.as_bytes();
        let Some(after) = self
            .after
            .as_deref()
            .filter(|after| after.as_bytes() >= first)
        else {
            return Some(first.to_vec());
        };
        match self.common_prefix(after) {
            // Its common prefix is not after itself, nor is anything that it stands for.
            Some(common) => successor(common.as_bytes()),
            None => Some([after.as_bytes(), &[0]].concat()),
        }
    }
}

fn list(db: &Connection, query: &ListQuery) -> Done<ListPage> {
    require_bucket(db, &query.bucket)?;
    let limit = query.limit.min(MAX_PAGE) as usize;
    let mut page = ListPage::default();
    // What is shown last: where the next page begins.
    let mut last = None;
    let mut begin = if limit == 0 { None } else { query.begin() };
    // Bytes that no UTF-8 begins with are an upper bound for all keys.
    let end = successor(query.prefix.as_bytes()).unwrap_or_else(|| vec![u8::MAX]);
    let mut statement = db.prepare_cached(
        "SELECT * FROM object WHERE bucket = ?1 AND key >= ?2 AND key < ?3 ORDER BY key",
    )?;
    // Each turn is one seek, and ends at a common prefix, which the next turn begins after.
    while let Some(from) = begin.take() {
        let mut rows = statement.query(params![query.bucket.as_str(), from, end])?;
        while let Some(row) = rows.next()? {
            if page.objects.len() + page.common_prefixes.len() == limit {
                page.next = last;
                return Ok(page);
            }
            let object = read(row)?;
            if let Some(common) = query.common_prefix(&object.key) {
                begin = successor(common.as_bytes());
                page.common_prefixes.push(common.to_owned());
                last = Some(common.to_owned());
                break;
            }
            last = Some(object.key.clone());
            page.objects.push(object);
        }
    }
    Ok(page)
}

impl State {
    /// Lists a bucket. Cost is by the page, not by the bucket: a common prefix is skipped with one
    /// seek.
    ///
    /// # Errors
    /// `NotFound` (bucket).
    pub async fn list_objects(&self, query: ListQuery) -> Result<ListPage> {
        self.read("listing objects", move |db| list(db, &query))
            .await
    }
}
