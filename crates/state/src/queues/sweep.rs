//! What time does to queues: marks whose time is over, messages that are too old, deduplication ids
//! that are forgotten, and what deleted and purged queues left. In small steps.

use super::counts::{Delta, Hidden};
use super::messages::{Place, remove};
use super::{Kept, groups, read};
use crate::error::Done;
use crate::row::{all, first, run};
use crate::{Result, State};
use model::{QueueName, Timestamp};
use rusqlite::{Connection, params};
use std::collections::BTreeSet;

const OVER: &str = "SELECT seq, hidden FROM message INDEXED BY message_hidden
                    WHERE queue = ?1 AND hidden <> 0 AND visible <= ?2 ORDER BY visible LIMIT ?3";
const EXPIRED: &str = "SELECT * FROM message INDEXED BY message_sent
                       WHERE queue = ?1 AND sent <= ?2 ORDER BY sent LIMIT ?3";

/// The latest time of sending of messages that are too old.
fn oldest(kept: &Kept, now: Timestamp) -> i64 {
    now.0
        .saturating_sub(i64::from(kept.queue.attributes.retention) * 1000)
}

/// Up to `limit` rows of one queue. Gives how many.
pub(super) fn sweep_queue(db: &Connection, kept: &Kept, now: Timestamp, limit: u32) -> Done<u32> {
    let mut delta = Delta::default();
    let mut rows = 0;
    let expired = all(
        db,
        EXPIRED,
        params![kept.number, oldest(kept, now), limit],
        Place::read,
    )?;
    let mut touched = BTreeSet::new();
    for place in &expired {
        remove(db, place, &mut delta)?;
        touched.extend(place.group);
        rows += 1;
    }
    for group in touched {
        groups::refresh(db, group)?;
    }
    let over: Vec<(i64, i64)> = all(db, OVER, params![kept.number, now.0, limit], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    for (seq, hidden) in over {
        run(db, "UPDATE message SET hidden = 0 WHERE seq = ?1", [seq])?;
        delta.mark(Hidden::of(hidden), -1);
        rows += 1;
    }
    delta.apply(db, kept.number)?;
    Ok(rows)
}

/// Up to `limit` rows that a deleted or purged queue left. Gives how many; with none left it is forgotten.
fn sweep_gone(db: &Connection, number: i64, limit: u32) -> Done<u32> {
    let mut rows = 0;
    for sql in [
        "DELETE FROM message WHERE seq IN (SELECT seq FROM message INDEXED BY message_sent WHERE queue = ?1 LIMIT ?2)",
        "DELETE FROM message_group WHERE id IN (SELECT id FROM message_group WHERE queue = ?1 LIMIT ?2)",
        "DELETE FROM deduplication WHERE (queue, scope, id) IN (SELECT queue, scope, id FROM deduplication WHERE queue = ?1 LIMIT ?2)",
    ] {
        rows += run(db, sql, params![number, limit])?;
    }
    if rows == 0 {
        run(db, "DELETE FROM queue_count WHERE queue = ?1", [number])?;
        run(db, "DELETE FROM queue_gone WHERE queue = ?1", [number])?;
    }
    Ok(u32::try_from(rows).unwrap_or(u32::MAX))
}

/// Queues that have something to be swept, by two seeks each.
fn due(db: &Connection, now: Timestamp) -> Done<Vec<QueueName>> {
    let mut due = Vec::new();
    for kept in all(db, "SELECT * FROM queue", [], read)? {
        let over = first(db, OVER, params![kept.number, now.0, 1], |_| Ok(()))?;
        let expired = first(
            db,
            EXPIRED,
            params![kept.number, oldest(&kept, now), 1],
            |_| Ok(()),
        )?;
        if over.or(expired).is_some() {
            due.push(kept.queue.name);
        }
    }
    Ok(due)
}

impl State {
    /// Queues with something to be swept, and whether anything else is.
    ///
    /// # Errors
    /// Of the store.
    pub async fn queues_to_sweep(&self, now: Timestamp) -> Result<(Vec<QueueName>, bool)> {
        self.read("looking for what is over in queues", move |db| {
            let gone = first(db, "SELECT 1 FROM queue_gone LIMIT 1", [], |_| Ok(()))?;
            let sql = "SELECT 1 FROM deduplication WHERE expires <= ?1 LIMIT 1";
            let forgotten = first(db, sql, [now.0], |_| Ok(()))?;
            Ok((due(db, now)?, gone.or(forgotten).is_some()))
        })
        .await
    }

    /// Sweeps up to `limit` rows of each sort of one queue; gives how many there were.
    ///
    /// # Errors
    /// Of the store.
    pub async fn sweep_queue(&self, name: QueueName, now: Timestamp, limit: u32) -> Result<u32> {
        self.write("sweeping a queue", move |tx| {
            match super::find(tx, &name)? {
                Some(kept) => sweep_queue(tx, &kept, now, limit),
                None => Ok(0),
            }
        })
        .await
    }

    /// Sweeps up to `limit` rows of each sort that belong to no queue, or to no message any more;
    /// gives how many there were.
    ///
    /// # Errors
    /// Of the store.
    pub async fn sweep_rest(&self, now: Timestamp, limit: u32) -> Result<u32> {
        self.write("sweeping what queues left", move |tx| {
            let sql = "DELETE FROM deduplication WHERE (queue, scope, id) IN
                           (SELECT queue, scope, id FROM deduplication WHERE expires <= ?1 LIMIT ?2)";
            let forgotten = run(tx, sql, params![now.0, limit])?;
            let mut rows = u32::try_from(forgotten).unwrap_or(u32::MAX);
            let gone: Option<i64> = first(tx, "SELECT queue FROM queue_gone LIMIT 1", [], |row| Ok(row.get(0)?))?;
            if let Some(number) = gone {
                // One more, so that it is seen that nothing is left.
                rows += 1 + sweep_gone(tx, number, limit)?;
            }
            Ok(rows)
        })
        .await
    }
}
