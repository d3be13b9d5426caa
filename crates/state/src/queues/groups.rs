//! Table `message_group`: the groups of FIFO queues. A group can be received from when its first
//! message is visible; what follows waits for it.

use crate::error::{Done, Failure};
use crate::row::{first, run};
use model::Timestamp;
use rusqlite::{Connection, params};

/// The number of a group, which is made if it has no messages yet. Its first message is set by
/// [`refresh`].
pub(super) fn ensure(db: &Connection, queue: i64, name: &str) -> Done<i64> {
    let sql = "INSERT INTO message_group (queue, name, head, visible) VALUES (?1, ?2, 0, 0)
               ON CONFLICT (queue, name) DO UPDATE SET name = excluded.name RETURNING id";
    first(db, sql, params![queue, name], |row| Ok(row.get(0)?))?
        .ok_or_else(|| Failure::Corrupt(format!("the message group {name:?} was not made")))
}

/// Says anew which message is the first and when it is visible; without any the group goes.
pub(super) fn refresh(db: &Connection, group: i64) -> Done<()> {
    let sql = "SELECT seq, visible FROM message INDEXED BY message_order
               WHERE grp = ?1 ORDER BY seq LIMIT 1";
    let head: Option<(i64, i64)> = first(db, sql, [group], |row| Ok((row.get(0)?, row.get(1)?)))?;
    match head {
        Some((seq, visible)) => {
            let sql = "UPDATE message_group SET head = ?2, visible = ?3 WHERE id = ?1";
            run(db, sql, params![group, seq, visible])?;
        }
        None => {
            run(db, "DELETE FROM message_group WHERE id = ?1", [group])?;
        }
    }
    Ok(())
}

/// Groups whose first message is visible, the one that has been so longest first.
pub(super) fn ready(db: &Connection, queue: i64, now: Timestamp, limit: usize) -> Done<Vec<i64>> {
    let sql = "SELECT id FROM message_group INDEXED BY message_group_ready
               WHERE queue = ?1 AND visible <= ?2 ORDER BY visible, head LIMIT ?3";
    crate::row::all(db, sql, params![queue, now.0, limit as i64], |row| {
        Ok(row.get(0)?)
    })
}
