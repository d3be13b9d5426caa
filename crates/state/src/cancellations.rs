//! Table `cancellation`, and events that end because somebody wants it: with their target, or by an order of the
//! server's owner.

use crate::counters::Change;
use crate::error::{Done, Failure};
use crate::events::{belongs, find, targets};
use crate::job::Tx;
use crate::row::{all, event_id, first, run, time};
use crate::{Result, State, partitions};
use model::{EventId, EventState, Timestamp};
use rusqlite::{Connection, Row, params};

/// Events that one transaction cancels at most, so that writers never wait long.
const STEP: usize = 500;

/// What is left to do for a target that was deleted.
struct Cancellation {
    target: String,
    before: EventId,
    reason: String,
    at: Timestamp,
}

fn read(row: &Row<'_>) -> Done<Cancellation> {
    let missing = || Failure::Corrupt("column before is null".to_owned());
    Ok(Cancellation {
        target: row.get("target")?,
        before: event_id(row, "before")?.ok_or_else(missing)?,
        reason: row.get("reason")?,
        at: time(row, "at")?,
    })
}

/// Cancels what a target that is deleted in this transaction has waiting or in flight, or a path of it: the first
/// 500 events here, and the others by [`State::cancel_step`].
pub(crate) fn begin(tx: &Tx<'_>, target: &str, reason: &str) -> Done<()> {
    let deleted = Cancellation {
        target: target.to_owned(),
        before: EventId::generate(),
        reason: reason.to_owned(),
        at: Timestamp::now(),
    };
    if step(tx, &deleted)? < STEP {
        return forget(tx, target);
    }
    // One that is here already is of the same name: what it left is before this, too.
    let sql = "REPLACE INTO cancellation (target, before, reason, at) VALUES (?1, ?2, ?3, ?4)";
    let before = deleted.before.0.into_bytes();
    run(tx, sql, params![target, before, reason, deleted.at.0])?;
    Ok(())
}

fn forget(tx: &Tx<'_>, target: &str) -> Done<()> {
    let sql = "DELETE FROM cancellation WHERE target = ?1";
    run(tx, sql, [target])?;
    // What came after it, for another of the same name, may be given out now.
    tx.events_changed();
    Ok(())
}

/// Cancels the next events; gives how many. Fewer than a step's are the last.
fn step(tx: &Tx<'_>, deleted: &Cancellation) -> Done<usize> {
    let mut left = STEP;
    for part in partitions::unsettled(tx)? {
        let sql = format!(
            "UPDATE event_{part} SET state = 'cancelled', due = NULL, ended = ?4, last_error = ?5
             WHERE seq IN (SELECT seq FROM event_{part} INDEXED BY event_target_{part}
                 WHERE target = ?1 AND state = ?2 AND id < ?3 ORDER BY id LIMIT ?6)"
        );
        let mut keys = targets(tx, part)?;
        keys.retain(|key| belongs(key, &deleted.target));
        for key in keys {
            // What is in flight first, so that it is not settled as anything else.
            for from in [EventState::Leased, EventState::Waiting] {
                let change = params![
                    key,
                    from.as_str(),
                    deleted.before.0.into_bytes(),
                    deleted.at.0,
                    deleted.reason,
                    left as i64,
                ];
                let cancelled = run(tx, &sql, change)?;
                let many = cancelled as u64;
                tx.count(Change::Moved(
                    key.clone(),
                    from,
                    EventState::Cancelled,
                    many,
                ));
                left = left.saturating_sub(cancelled);
                if left == 0 {
                    return Ok(STEP);
                }
            }
        }
    }
    Ok(STEP - left)
}

/// The ids below which events of deleted targets are still being cancelled: what is made from now on must
/// not be among them.
pub(crate) fn bounds(db: &Connection) -> Done<Vec<EventId>> {
    let sql = "SELECT before FROM cancellation";
    let found = all(db, sql, [], |row| event_id(row, "before"))?;
    Ok(found.into_iter().flatten().collect())
}

/// Whether events of a target are still being cancelled, so that none of it may be given out.
pub(crate) fn holds(db: &Connection, target: &str) -> Done<bool> {
    let sql = "SELECT target FROM cancellation";
    let deleted = all(db, sql, [], |row| Ok(row.get::<_, String>("target")?))?;
    Ok(deleted.iter().any(|deleted| belongs(target, deleted)))
}

/// Cancels one event if it waits; gives whether it did.
fn cancel(tx: &Tx<'_>, id: EventId, reason: &str, at: Timestamp) -> Done<bool> {
    for part in partitions::holders(tx, id)? {
        let sql = format!(
            "UPDATE event_{part} SET state = 'cancelled', due = NULL, ended = ?2, last_error = ?3
             WHERE id = ?1 AND state = 'waiting' RETURNING target"
        );
        let change = params![id.0.into_bytes(), at.0, reason];
        if let Some(target) = first(tx, &sql, change, |row| Ok(row.get::<_, String>(0)?))? {
            let (from, to) = (EventState::Waiting, EventState::Cancelled);
            tx.count(Change::Moved(target, from, to, 1));
            return Ok(true);
        }
    }
    Ok(false)
}

impl State {
    /// Cancels the next 500 events, at most, of a target that was deleted; gives whether there was one.
    /// To be called after each deletion, and after the start, until there is none.
    ///
    /// # Errors
    /// Of the store.
    pub async fn cancel_step(&self) -> Result<bool> {
        let sql = "SELECT * FROM cancellation LIMIT 1";
        let look = move |db: &Connection| Ok(first(db, sql, [], read)?.is_some());
        if !self.read("looking for deleted targets", look).await? {
            return Ok(false);
        }
        self.write("cancelling events of a deleted target", move |tx| {
            let Some(deleted) = first(tx, sql, [], read)? else {
                return Ok(false);
            };
            if step(tx, &deleted)? < STEP {
                forget(tx, &deleted.target)?;
            }
            Ok(true)
        })
        .await
    }

    /// Ends an event that waits as cancelled, for this reason.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is in flight or has ended.
    pub async fn cancel_event(&self, id: EventId, reason: String, at: Timestamp) -> Result<()> {
        self.write("cancelling an event", move |tx| {
            if cancel(tx, id, &reason, at)? {
                return Ok(());
            }
            let why = match find(tx, id)?.map(|event| event.state) {
                None => return Err(Failure::not_found("event", id.to_string())),
                Some(EventState::Leased | EventState::Waiting) => {
                    "is being worked on, and only what waits can be cancelled; let the attempt end, \
                     or try again after it"
                        .to_owned()
                }
                Some(ended) => format!("has ended already: it is {}", ended.as_str()),
            };
            Err(Failure::conflict("event", id.to_string(), &why))
        })
        .await
    }

    /// Ends those of these events that wait as cancelled, all in one transaction; gives how many did. To
    /// be called with few hundreds at a time.
    ///
    /// # Errors
    /// Of the store.
    pub async fn cancel_events(
        &self,
        ids: Vec<EventId>,
        reason: String,
        at: Timestamp,
    ) -> Result<u64> {
        self.write("cancelling events", move |tx| {
            let mut cancelled = 0;
            for id in ids {
                cancelled += u64::from(cancel(tx, id, &reason, at)?);
            }
            Ok(cancelled)
        })
        .await
    }
}

#[cfg(test)]
mod tests;
