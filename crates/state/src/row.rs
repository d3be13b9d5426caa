//! Rows: running a statement and reading what it gives.

use crate::error::{Done, Failure};
use model::{BucketName, EventId, Timestamp};
use rusqlite::{Connection, Params, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Every row that the statement gives.
pub(crate) fn all<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> Done<T>,
) -> Done<Vec<T>> {
    db.prepare_cached(sql)?
        .query_and_then(params, read)?
        .collect()
}

/// The first row that the statement gives, if there is one.
pub(crate) fn first<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Done<T>,
) -> Done<Option<T>> {
    let mut statement = db.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    rows.next()?.map(read).transpose()
}

/// Runs a statement that gives no row. Gives how many rows it changed.
pub(crate) fn run(db: &Connection, sql: &str, params: impl Params) -> Done<usize> {
    Ok(db.prepare_cached(sql)?.execute(params)?)
}

/// Whether the bucket exists; `NotFound` if not.
pub(crate) fn require_bucket(db: &Connection, name: &BucketName) -> Done<()> {
    let sql = "SELECT 1 FROM bucket WHERE name = ?1";
    first(db, sql, [name.as_str()], |_| Ok(()))?
        .ok_or_else(|| Failure::not_found("bucket", name.as_str()))
}

/// A value as a JSON column.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Done<String> {
    Ok(serde_json::to_string(value)?)
}

/// A JSON column.
pub(crate) fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> Done<T> {
    let text = row
        .get_ref(column)?
        .as_str()
        .map_err(rusqlite::Error::from)?;
    serde_json::from_str(text)
        .map_err(|error| Failure::Corrupt(format!("column {column}: {error}")))
}

/// A text column that is a checked name.
pub(crate) fn name<T>(row: &Row<'_>, column: &str) -> Done<T>
where
    T: std::str::FromStr<Err = model::Invalid>,
{
    let text = row
        .get_ref(column)?
        .as_str()
        .map_err(rusqlite::Error::from)?;
    Ok(text.parse()?)
}

/// A column of bytes that are UTF-8.
pub(crate) fn utf8(row: &Row<'_>, column: &str) -> Done<String> {
    String::from_utf8(row.get(column)?)
        .map_err(|error| Failure::Corrupt(format!("column {column}: {error}")))
}

/// A count, kept in SQLite's signed integers.
pub(crate) fn count<T: TryFrom<i64>>(row: &Row<'_>, column: &str) -> Done<T> {
    let value: i64 = row.get(column)?;
    T::try_from(value).map_err(|_| Failure::Corrupt(format!("column {column}: {value}")))
}

/// A count as SQLite keeps it. Past 2^63 nothing of ours counts; it is cut there.
pub(crate) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A point in time.
pub(crate) fn time(row: &Row<'_>, column: &str) -> Done<Timestamp> {
    Ok(Timestamp(row.get(column)?))
}

/// An event's identity, if the column is not null.
pub(crate) fn event_id(row: &Row<'_>, column: &str) -> Done<Option<EventId>> {
    let Some(bytes) = row
        .get_ref(column)?
        .as_blob_or_null()
        .map_err(rusqlite::Error::from)?
    else {
        return Ok(None);
    };
    let id = uuid::Uuid::from_slice(bytes)
        .map_err(|error| Failure::Corrupt(format!("column {column}: {error}")))?;
    Ok(Some(EventId(id)))
}

/// The least bytes after everything that begins with `prefix`; `None` if there are none.
pub(crate) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let end = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut next = prefix[..=end].to_vec();
    next[end] += 1;
    Some(next)
}
