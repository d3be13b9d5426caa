//! Table `queue`. Its messages are in `messages`, how many there are in `counts`.

mod counts;
mod deduplication;
mod groups;
mod mappings;
mod messages;
mod moves;
mod receive;
mod refusals;
mod sweep;

pub(crate) use messages::deliver;
pub use messages::{Accepted, Changed, Deleted};
pub use moves::MoveStep;
pub use receive::{Receive, Received};

use crate::error::{Done, Failure};
use crate::row::{all, first, json, name, run, time, to_json};
use crate::{Result, State};
use model::{Invalid, MAX_TAGS, Queue, QueueAttributes, QueueName, RedriveAllow, Timestamp};
use rusqlite::{Connection, Row, params};
use std::collections::BTreeMap;

/// Queues in one page at most.
const MAX_PAGE: u32 = 1000;

/// A queue and the number that its messages are kept under.
pub(crate) struct Kept {
    pub(crate) number: i64,
    pub(crate) queue: Queue,
}

fn read(row: &Row<'_>) -> Done<Kept> {
    Ok(Kept {
        number: row.get("number")?,
        queue: Queue {
            name: name(row, "name")?,
            created: time(row, "created")?,
            modified: time(row, "modified")?,
            attributes: json(row, "attributes")?,
            tags: json(row, "tags")?,
        },
    })
}

fn find(db: &Connection, name: &QueueName) -> Done<Option<Kept>> {
    first(
        db,
        "SELECT * FROM queue WHERE name = ?1",
        [name.as_str()],
        read,
    )
}

/// The queue, or `NotFound`.
fn require(db: &Connection, name: &QueueName) -> Done<Kept> {
    find(db, name)?.ok_or_else(|| Failure::not_found("queue", name.as_str()))
}

/// A number that no queue ever had.
fn next_number(db: &Connection) -> Done<i64> {
    let sql = "UPDATE counter SET value = value + 1 WHERE name = 'queue' RETURNING value";
    let next = first(db, sql, [], |row| Ok(row.get(0)?))?;
    let number =
        next.ok_or_else(|| Failure::Corrupt("the counter of queues is gone".to_owned()))?;
    let sql = "INSERT INTO queue_count (queue, total, flight, delayed) VALUES (?1, 0, 0, 0)";
    run(db, sql, [number])?;
    Ok(number)
}

/// A name's dead-letter queue must be there and let itself be used.
fn check_redrive(db: &Connection, name: &QueueName, attributes: &QueueAttributes) -> Done<()> {
    let Some(redrive) = &attributes.redrive else {
        return Ok(());
    };
    let refuse =
        |reason: &str| Failure::conflict("dead-letter queue", redrive.dead_letter.as_str(), reason);
    let Some(target) = find(db, &redrive.dead_letter)? else {
        return Err(refuse("does not exist; make it first"));
    };
    match &target.queue.attributes.redrive_allow {
        RedriveAllow::All => Ok(()),
        RedriveAllow::Queues(queues) if queues.contains(name) => Ok(()),
        RedriveAllow::Queues(_) | RedriveAllow::Nobody => Err(refuse(
            "does not let this queue use it: see its RedriveAllowPolicy",
        )),
    }
}

fn put_attributes(
    db: &Connection,
    name: &QueueName,
    attributes: &QueueAttributes,
    now: Timestamp,
) -> Done<()> {
    check_redrive(db, name, attributes)?;
    let dead_letter = attributes
        .redrive
        .as_ref()
        .map(|redrive| redrive.dead_letter.as_str());
    let sql = "UPDATE queue SET attributes = ?2, dead_letter = ?3, modified = ?4 WHERE name = ?1";
    run(
        db,
        sql,
        params![name.as_str(), to_json(attributes)?, dead_letter, now.0],
    )?;
    Ok(())
}

/// Leaves the queue's messages to the sweep.
fn abandon(db: &Connection, number: i64) -> Done<()> {
    run(db, "INSERT INTO queue_gone (queue) VALUES (?1)", [number])?;
    Ok(())
}

impl State {
    /// Makes a queue. One that is there is given with `false` and left as it is, whatever its
    /// settings are.
    ///
    /// # Errors
    /// `Conflict` when its dead-letter queue cannot be used.
    pub async fn create_queue(&self, queue: Queue) -> Result<(Queue, bool)> {
        self.write("creating a queue", move |tx| {
            if let Some(present) = find(tx, &queue.name)? {
                return Ok((present.queue, false));
            }
            check_redrive(tx, &queue.name, &queue.attributes)?;
            let redrive = queue.attributes.redrive.as_ref();
            let sql =
                "INSERT INTO queue (name, number, created, modified, dead_letter, attributes, tags)
                       VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6)";
            let row = params![
                queue.name.as_str(),
                next_number(tx)?,
                queue.created.0,
                redrive.map(|redrive| redrive.dead_letter.as_str()),
                to_json(&queue.attributes)?,
                to_json(&queue.tags)?,
            ];
            run(tx, sql, row)?;
            Ok((queue, true))
        })
        .await
    }

    /// One queue.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_queue(&self, name: QueueName) -> Result<Queue> {
        self.read("reading a queue", move |db| Ok(require(db, &name)?.queue))
            .await
    }

    /// Up to `limit` (1 000 at most) queues by name, after `after`, whose names begin with `prefix`.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_queues(
        &self,
        prefix: String,
        after: String,
        limit: u32,
    ) -> Result<Vec<Queue>> {
        self.read("listing queues", move |db| {
            let sql = "SELECT * FROM queue WHERE name > ?1 AND name >= ?2
                           AND substr(name, 1, length(?2)) = ?2 ORDER BY name LIMIT ?3";
            let row = params![after, prefix, limit.min(MAX_PAGE)];
            all(db, sql, row, |row| Ok(read(row)?.queue))
        })
        .await
    }

    /// Names of up to `limit` queues, after `after`, whose dead-letter queue this is.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn dead_letter_sources(
        &self,
        of: QueueName,
        after: String,
        limit: u32,
    ) -> Result<Vec<QueueName>> {
        self.read("listing the queues of a dead-letter queue", move |db| {
            require(db, &of)?;
            let sql = "SELECT name FROM queue WHERE dead_letter = ?1 AND name > ?2 ORDER BY name LIMIT ?3";
            all(db, sql, params![of.as_str(), after, limit.min(MAX_PAGE)], |row| name(row, "name"))
        })
        .await
    }

    /// Changes a queue's settings by `change`, which sees those of now. Gives what they are then.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when its dead-letter queue cannot be used. What `change` refuses is
    /// the inner error.
    pub async fn change_queue(
        &self,
        name: QueueName,
        now: Timestamp,
        change: impl FnOnce(&mut QueueAttributes) -> std::result::Result<(), Invalid> + Send + 'static,
    ) -> Result<std::result::Result<Queue, Invalid>> {
        self.write("changing a queue", move |tx| {
            let mut queue = require(tx, &name)?.queue;
            if let Err(invalid) = change(&mut queue.attributes) {
                return Ok(Err(invalid));
            }
            put_attributes(tx, &name, &queue.attributes, now)?;
            queue.modified = now;
            Ok(Ok(queue))
        })
        .await
    }

    /// Adds and removes tags.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` past 50 tags.
    pub async fn tag_queue(
        &self,
        name: QueueName,
        put: BTreeMap<String, String>,
        remove: Vec<String>,
    ) -> Result<()> {
        self.write("tagging a queue", move |tx| {
            let mut tags = require(tx, &name)?.queue.tags;
            tags.extend(put);
            tags.retain(|key, _| !remove.contains(key));
            if tags.len() > MAX_TAGS {
                return Err(Failure::conflict("queue", name, "has at most 50 tags"));
            }
            let sql = "UPDATE queue SET tags = ?2 WHERE name = ?1";
            run(tx, sql, params![name.as_str(), to_json(&tags)?])?;
            Ok(())
        })
        .await
    }

    /// Removes a queue with all its messages.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_queue(&self, name: QueueName) -> Result<()> {
        self.write("deleting a queue", move |tx| {
            let kept = require(tx, &name)?;
            run(tx, "DELETE FROM queue WHERE name = ?1", [name.as_str()])?;
            abandon(tx, kept.number)
        })
        .await
    }

    /// Removes all messages of a queue, those in flight too, at a cost that does not depend on how many
    /// there are.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn purge_queue(&self, name: QueueName) -> Result<()> {
        self.write("purging a queue", move |tx| {
            let kept = require(tx, &name)?;
            let sql = "UPDATE queue SET number = ?2 WHERE name = ?1";
            run(tx, sql, params![name.as_str(), next_number(tx)?])?;
            abandon(tx, kept.number)
        })
        .await
    }
}
