//! Listing a bucket, by prefix and delimiter, a page at a time.

use crate::error::Done;
use crate::objects::{ObjectRow, read};
use crate::row::{require_bucket, successor};
use crate::{Result, State};
use model::BucketName;
use rusqlite::{Connection, params};

/// Keys and common prefixes of one page at most (S3's bound).
pub(crate) const MAX_PAGE: u32 = 1000;

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
    pub(crate) fn common_prefix<'a>(&self, key: &'a str) -> Option<&'a str> {
        let delimiter = self
            .delimiter
            .as_deref()
            .filter(|delimiter| !delimiter.is_empty())?;
        let at = key.strip_prefix(self.prefix.as_str())?.find(delimiter)?;
        Some(&key[..self.prefix.len() + at + delimiter.len()])
    }

    /// The least key that this page may begin with; `None` if the page is past the end.
    pub(crate) fn begin(&self) -> Option<Vec<u8>> {
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

const RANGE: &str =
    "SELECT * FROM object WHERE bucket = ?1 AND key >= ?2 AND key < ?3 ORDER BY key";

fn list(db: &Connection, query: &ListQuery) -> Done<ListPage> {
    require_bucket(db, &query.bucket)?;
    let limit = query.limit.min(MAX_PAGE) as usize;
    let mut page = ListPage::default();
    // What is shown last: where the next page begins.
    let mut last = None;
    let mut begin = if limit == 0 { None } else { query.begin() };
    // Bytes that no UTF-8 begins with are an upper bound for all keys.
    let end = successor(query.prefix.as_bytes()).unwrap_or_else(|| vec![u8::MAX]);
    let mut statement = db.prepare_cached(RANGE)?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Precondition;
    use crate::fixture::{object, store_with_bucket};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// What a page shows: everything that the bucket shows, in order, after `after`, up to `limit`.
    fn naive(keys: &BTreeSet<String>, query: &ListQuery) -> (Vec<String>, Option<String>) {
        let delimiter = query.delimiter.as_deref().unwrap_or("");
        let shown: BTreeSet<String> = keys
            .iter()
            .filter_map(|key| {
                let rest = key.strip_prefix(&query.prefix)?;
                let parts = rest.split_once(delimiter).filter(|_| !delimiter.is_empty());
                Some(match parts {
                    Some((part, _)) => format!("{}{part}{delimiter}", query.prefix),
                    None => key.clone(),
                })
            })
            .filter(|entry| query.after.as_ref().is_none_or(|after| entry > after))
            .collect();
        let page: Vec<String> = shown.iter().take(query.limit as usize).cloned().collect();
        let next = page.last().filter(|_| page.len() < shown.len()).cloned();
        (page, next)
    }

    /// The page's entries as one list; checks that each of the two is in order.
    fn entries(page: ListPage) -> Vec<String> {
        let keys: Vec<String> = page.objects.into_iter().map(|object| object.key).collect();
        assert!(keys.is_sorted() && page.common_prefixes.is_sorted());
        let mut entries = [keys, page.common_prefixes].concat();
        entries.sort();
        entries
    }

    fn text() -> impl Strategy<Value = String> {
        // Few letters, so that prefixes and delimiters meet; bytes at the edges of UTF-8 as well.
        let letter = prop::sample::select(vec![
            "a",
            "b",
            "/",
            "/",
            "\u{1}",
            "\u{7f}",
            "é",
            "\u{10ffff}",
        ]);
        prop::collection::vec(letter, 0..5).prop_map(|letters| letters.concat())
    }

    fn queries() -> impl Strategy<Value = Vec<(String, Option<String>, Option<String>, u32)>> {
        let delimiter = prop::option::of(prop_oneof![Just("/".to_owned()), text()]);
        prop::collection::vec(
            (text(), delimiter, prop::option::of(text()), 0..6_u32),
            1..20,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn pages_are_as_a_naive_listing_has_them(
            keys in prop::collection::btree_set(text().prop_filter("a key", |key| !key.is_empty()), 0..40),
            queries in queries(),
        ) {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let (_folder, state, bucket) = store_with_bucket().await;
                for key in &keys {
                    let row = object(&bucket, key, key);
                    state.put_object(row, Precondition::None, |_| Vec::new()).await.unwrap();
                }
                for (prefix, delimiter, after, limit) in queries {
                    let bucket = bucket.clone();
                    let mut query = ListQuery { bucket, prefix, delimiter, after, limit };
                    // This page, and all that follow it.
                    loop {
                        let page = state.list_objects(query.clone()).await.unwrap();
                        let next = page.next.clone();
                        assert_eq!((entries(page), next.clone()), naive(&keys, &query), "{query:?}");
                        if next.is_none() {
                            break;
                        }
                        query.after = next;
                    }
                }
            });
        }
    }

    #[tokio::test]
    async fn folders_of_many_objects_cost_one_seek_each() {
        let (_folder, state, bucket) = store_with_bucket().await;
        let seed = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 49999)
            INSERT INTO object
                (bucket, key, data, size, etag, sequence, modified, headers, metadata)
            SELECT 'photos', CAST(printf('%d/%05d', i % 10, i) AS BLOB),
                i, 1, 'e', 1, 1, '{}', '{}' FROM n";
        state
            .write("seeding", move |tx| Ok(tx.execute_batch(seed)?))
            .await
            .unwrap();
        let query = ListQuery {
            bucket,
            prefix: String::new(),
            delimiter: Some("/".to_owned()),
            after: None,
            limit: 1000,
        };
        let steps = state
            .read("listing", move |db| {
                let page = list(db, &query)?;
                assert_eq!(page.common_prefixes.len(), 10);
                let statement = db.prepare_cached(RANGE)?;
                Ok(statement.get_status(rusqlite::StatementStatus::VmStep))
            })
            .await
            .unwrap();
        assert!(
            (1..1000).contains(&steps),
            "{steps} steps of SQLite's machine"
        );
    }

    #[tokio::test]
    async fn a_bucket_that_is_not_there_is_not_found() {
        let (_folder, state, _) = store_with_bucket().await;
        let query = ListQuery {
            bucket: "other".parse().unwrap(),
            prefix: String::new(),
            delimiter: None,
            after: None,
            limit: 0,
        };
        let error = state.list_objects(query).await.unwrap_err();
        assert_eq!(error.to_string(), "bucket \"other\" does not exist");
    }
}
