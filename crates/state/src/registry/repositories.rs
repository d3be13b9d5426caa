//! Repositories: there while they hold a manifest or a blob.

use crate::error::Done;
use crate::row::first;
use crate::{Result, State};
use model::RepositoryName;
use rusqlite::Connection;

/// Whether a repository holds anything.
pub(super) fn exists(db: &Connection, name: &RepositoryName) -> Done<bool> {
    let sql = "SELECT 1 WHERE EXISTS (SELECT 1 FROM manifest WHERE repository = ?1)
                   OR EXISTS (SELECT 1 FROM repository_blob WHERE repository = ?1)";
    Ok(first(db, sql, [name.as_str()], |_| Ok(()))?.is_some())
}

/// The first repository after `last`: two seeks, however much each holds.
fn next(db: &Connection, last: &str) -> Done<Option<String>> {
    let sql = "SELECT min(name) FROM
                   (SELECT min(repository) AS name FROM manifest WHERE repository > ?1
                    UNION ALL
                    SELECT min(repository) FROM repository_blob WHERE repository > ?1)";
    Ok(first(db, sql, [last], |row| Ok(row.get(0)?))?.flatten())
}

impl State {
    /// Repositories after `last`, in the order of their bytes; at most `most`, and whether there are
    /// more.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_repositories(
        &self,
        last: String,
        most: usize,
    ) -> Result<(Vec<String>, bool)> {
        self.read("listing repositories", move |db| {
            let mut found: Vec<String> = Vec::new();
            loop {
                let after = found.last().unwrap_or(&last);
                let Some(name) = next(db, after)? else {
                    return Ok((found, false));
                };
                if found.len() == most {
                    return Ok((found, true));
                }
                found.push(name);
            }
        })
        .await
    }
}
