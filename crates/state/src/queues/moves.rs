//! Table `move_task`: moves of dead letters back to where they came from. A move goes on after a
//! restart: each step and its count are one transaction.

use super::counts::{Delta, counts};
use super::messages::{Head, Place, put, remove};
use super::{Kept, find, groups, require};
use crate::error::{Done, Failure};
use crate::row::{all, count, first, int, json, name, run};
use crate::{Result, State, crash};
use model::{MessageId, MoveState, MoveTask, NewMessage, QueueName, Timestamp};
use rusqlite::{Connection, Row, params};

/// Tasks that are kept of one queue, the newest, as AWS lists them.
const KEPT: u32 = 10;

/// What one step of a move did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveStep {
    /// Where the task is now.
    pub state: MoveState,
    /// Messages that this step moved.
    pub moved: u32,
    /// The queues that were given some.
    pub into: Vec<QueueName>,
}

fn read(row: &Row<'_>) -> Done<MoveTask> {
    let id: [u8; 16] = row.get("id")?;
    let destination: Option<String> = row.get("destination")?;
    Ok(MoveTask {
        id: uuid::Uuid::from_bytes(id),
        source: name(row, "source")?,
        destination: destination.map(|text| text.parse()).transpose()?,
        rate: row.get("rate")?,
        state: name(row, "state")?,
        started: Timestamp(row.get("started")?),
        moved: count(row, "moved")?,
        to_move: count(row, "to_move")?,
        failure: row.get("failure")?,
    })
}

fn find_task(db: &Connection, id: uuid::Uuid) -> Done<Option<MoveTask>> {
    first(
        db,
        "SELECT * FROM move_task WHERE id = ?1",
        [id.into_bytes()],
        read,
    )
}

fn of_source(db: &Connection, source: &QueueName, limit: u32) -> Done<Vec<MoveTask>> {
    let sql = "SELECT * FROM move_task WHERE source = ?1 ORDER BY started DESC, id LIMIT ?2";
    all(db, sql, params![source.as_str(), limit.min(KEPT)], read)
}

fn end(db: &Connection, id: uuid::Uuid, state: MoveState, failure: Option<&str>) -> Done<()> {
    let sql = "UPDATE move_task SET state = ?2, failure = ?3 WHERE id = ?1 AND state = 'RUNNING'";
    run(db, sql, params![id.into_bytes(), state.as_str(), failure])?;
    Ok(())
}

/// The next messages of the source that are visible.
fn ready(db: &Connection, source: &Kept, now: Timestamp, limit: u32) -> Done<Vec<Place>> {
    if !source.queue.name.is_fifo() {
        let sql = "SELECT * FROM message INDEXED BY message_ready
                   WHERE grp IS NULL AND queue = ?1 AND visible <= ?2 ORDER BY visible, seq LIMIT ?3";
        return all(db, sql, params![source.number, now.0, limit], Place::read);
    }
    let Some(group) = groups::ready(db, source.number, now, 1)?.first().copied() else {
        return Ok(Vec::new());
    };
    let sql = "SELECT * FROM message INDEXED BY message_order WHERE grp = ?1 ORDER BY seq LIMIT ?2";
    let places = all(db, sql, params![group, limit], Place::read)?;
    Ok(places
        .into_iter()
        .take_while(|place| place.visible <= now)
        .collect())
}

/// Moves one message: as on AWS, a new one with the old one's content. Says why it cannot be.
fn transfer(
    db: &Connection,
    task: &MoveTask,
    source: &Kept,
    place: &Place,
    now: Timestamp,
) -> Done<std::result::Result<QueueName, String>> {
    let destination = match (&task.destination, &place.origin) {
        (Some(name), _) => name.clone(),
        (None, Some(origin)) => origin.parse()?,
        (None, None) => return Ok(Err("CouldNotDetermineMessageSource".to_owned())),
    };
    let Some(to) = find(db, &destination)? else {
        return Ok(Err("AWS.SimpleQueueService.NonExistentQueue".to_owned()));
    };
    let sql = "SELECT head, body FROM message_body WHERE message = ?1";
    let found = first(db, sql, [place.seq], |row| {
        Ok((json::<Head>(row, "head")?, row.get::<_, String>("body")?))
    })?;
    let Some((head, body)) = found else {
        return Err(Failure::Corrupt(format!(
            "message {} has no body",
            place.seq
        )));
    };
    let id = MessageId::generate();
    let message = NewMessage {
        id,
        body,
        attributes: head.attributes,
        trace: head.trace,
        sender: head.sender,
        group: head.group,
        // What was sent within five minutes must not swallow what comes back.
        deduplication: place.group.map(|_| id.to_string()),
        digest: None,
        delay: None,
        sent: now,
        chain: head.chain,
    };
    let mut added = Delta::default();
    if let Err(invalid) = put(db, &to, &message, None, &mut added)? {
        return Ok(Err(invalid.to_string()));
    }
    added.apply(db, to.number)?;
    crash::point("message-copied");
    let mut removed = Delta::default();
    remove(db, place, &mut removed)?;
    removed.apply(db, source.number)?;
    if let Some(group) = place.group {
        groups::refresh(db, group)?;
    }
    Ok(Ok(destination))
}

fn step(db: &Connection, id: uuid::Uuid, limit: u32, now: Timestamp) -> Done<MoveStep> {
    let task = find_task(db, id)?
        .ok_or_else(|| Failure::not_found("message move task", id.to_string()))?;
    let mut done = MoveStep {
        state: task.state,
        moved: 0,
        into: Vec::new(),
    };
    if task.state != MoveState::Running {
        return Ok(done);
    }
    let stop = |done: &mut MoveStep, state, failure: Option<&str>| {
        done.state = state;
        end(db, id, state, failure)
    };
    let Some(source) = find(db, &task.source)? else {
        stop(
            &mut done,
            MoveState::Failed,
            Some("AWS.SimpleQueueService.NonExistentQueue"),
        )?;
        return Ok(done);
    };
    // Not more than there were: what fails again and comes back is not moved for ever.
    let left = u32::try_from(task.to_move.saturating_sub(task.moved)).unwrap_or(u32::MAX);
    let places = ready(db, &source, now, limit.min(left))?;
    let mut failure = None;
    for place in &places {
        match transfer(db, &task, &source, place, now)? {
            Ok(into) => {
                done.moved += 1;
                if !done.into.contains(&into) {
                    done.into.push(into);
                }
            }
            Err(reason) => {
                failure = Some(reason);
                break;
            }
        }
    }
    let sql = "UPDATE move_task SET moved = moved + ?2 WHERE id = ?1";
    run(db, sql, params![id.into_bytes(), done.moved])?;
    if let Some(reason) = failure {
        stop(&mut done, MoveState::Failed, Some(&reason))?;
    } else if places.is_empty() || done.moved >= left {
        stop(&mut done, MoveState::Completed, None)?;
    }
    Ok(done)
}

impl State {
    /// Starts a move: of a dead-letter queue that has no other under way.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when the source is no queue's dead-letter queue, another move runs, or the
    /// destination cannot take its messages.
    pub async fn start_move(&self, task: MoveTask) -> Result<MoveTask> {
        self.write("starting a move of messages", move |tx| {
            let source = require(tx, &task.source)?;
            let refuse = |reason| Err(Failure::conflict("queue", task.source.as_str(), reason));
            let sql = "SELECT 1 FROM queue WHERE dead_letter = ?1 LIMIT 1";
            if first(tx, sql, [task.source.as_str()], |_| Ok(()))?.is_none() {
                return refuse("Source queue must be configured as a Dead Letter Queue.");
            }
            if of_source(tx, &task.source, KEPT)?.iter().any(|task| task.state == MoveState::Running) {
                return refuse("There is already a task running. Only one active task is allowed for a source queue arn at a given time.");
            }
            if let Some(destination) = &task.destination {
                require(tx, destination)?;
                if destination.is_fifo() != task.source.is_fifo() {
                    return refuse("a FIFO queue's messages go to a FIFO queue, a standard queue's to a standard one");
                }
                if *destination == task.source {
                    return refuse("Source queue arn and destination queue arn cannot be the same");
                }
            }
            let counted = counts(tx, source.number, task.started)?;
            let task = MoveTask { to_move: counted.visible + counted.in_flight + counted.delayed, ..task };
            let sql = "INSERT INTO move_task (id, source, destination, rate, state, started, moved, to_move)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            let row = params![
                task.id.into_bytes(),
                task.source.as_str(),
                task.destination.as_ref().map(QueueName::as_str),
                task.rate,
                task.state.as_str(),
                task.started.0,
                int(task.moved),
                int(task.to_move),
            ];
            run(tx, sql, row)?;
            let sql = "DELETE FROM move_task WHERE source = ?1 AND state <> 'RUNNING' AND id NOT IN
                           (SELECT id FROM move_task WHERE source = ?1 ORDER BY started DESC, id LIMIT ?2)";
            run(tx, sql, params![task.source.as_str(), KEPT])?;
            Ok(task)
        })
        .await
    }

    /// Moves up to `limit` messages more.
    ///
    /// # Errors
    /// `NotFound` (the task).
    pub async fn move_messages(
        &self,
        id: uuid::Uuid,
        limit: u32,
        now: Timestamp,
    ) -> Result<MoveStep> {
        self.write("moving messages", move |tx| step(tx, id, limit, now))
            .await
    }

    /// The newest moves of a queue, 10 at most.
    ///
    /// # Errors
    /// `NotFound` (the queue).
    pub async fn list_moves(&self, source: QueueName, limit: u32) -> Result<Vec<MoveTask>> {
        self.read("listing moves of messages", move |db| {
            require(db, &source)?;
            of_source(db, &source, limit)
        })
        .await
    }

    /// Moves that run.
    ///
    /// # Errors
    /// Of the store.
    pub async fn running_moves(&self) -> Result<Vec<MoveTask>> {
        self.read("listing moves of messages", |db| {
            all(
                db,
                "SELECT * FROM move_task WHERE state = 'RUNNING'",
                [],
                read,
            )
        })
        .await
    }

    /// Stops a move that runs; gives how many messages it moved.
    ///
    /// # Errors
    /// `NotFound` when there is no such move that runs.
    pub async fn cancel_move(&self, id: uuid::Uuid) -> Result<u64> {
        self.write("cancelling a move of messages", move |tx| {
            let task = find_task(tx, id)?.filter(|task| task.state == MoveState::Running);
            let task =
                task.ok_or_else(|| Failure::not_found("message move task", id.to_string()))?;
            end(tx, id, MoveState::Cancelled, None)?;
            Ok(task.moved)
        })
        .await
    }
}
