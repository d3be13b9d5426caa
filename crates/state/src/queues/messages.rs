//! Tables `message` and `message_body`: sending, deleting and hiding. Receiving is in
//! `receive`.

use super::counts::{Delta, Hidden};
use super::{Kept, deduplication, groups, require};
use crate::counters::Change;
use crate::error::{Done, Failure};
use crate::job::Tx;
use crate::row::{first, int, run, to_json};
use crate::{Result, State, crash};
use model::{
    Chain, Invalid, MessageAttribute, MessageId, NewMessage, QueueName, ReceiptHandle, Timestamp,
};
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A message that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Its identity; that of the first one if it repeats one within five minutes.
    pub id: MessageId,
    /// Its place in the order of all messages.
    pub sequence: i64,
}

/// What became of a message that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone, or was before, or was received again since (then it stays).
    Done,
    /// FIFO: it is visible again, so it may be somebody else's; it stays.
    Expired,
}

/// What became of a message whose hiding was to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It is hidden until then.
    Done,
    /// There is no such message, or it was received again since.
    Gone,
    /// It is not in flight.
    NotInFlight,
}

/// What is kept of a message beside its body and never changes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) sender: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) attributes: BTreeMap<String, MessageAttribute>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deduplication: Option<String>,
    #[serde(default, skip_serializing_if = "Chain::is_beginning")]
    pub(super) chain: Chain,
}

/// What a row of `message` says, without its body.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) seq: i64,
    pub(super) queue: i64,
    pub(super) id: MessageId,
    pub(super) group: Option<i64>,
    pub(super) sent: Timestamp,
    pub(super) visible: Timestamp,
    pub(super) hidden: Hidden,
    pub(super) epoch: u32,
    pub(super) receives: u32,
    pub(super) tries: u32,
    pub(super) first_received: Option<i64>,
    pub(super) origin: Option<String>,
}

impl Place {
    pub(super) fn read(row: &Row<'_>) -> Done<Self> {
        let id = row
            .get_ref("id")?
            .as_blob()
            .map_err(rusqlite::Error::from)?;
        let id = uuid::Uuid::from_slice(id)
            .map_err(|error| Failure::Corrupt(format!("column id: {error}")))?;
        Ok(Self {
            seq: row.get("seq")?,
            queue: row.get("queue")?,
            id: MessageId(id),
            group: row.get("grp")?,
            sent: Timestamp(row.get("sent")?),
            visible: Timestamp(row.get("visible")?),
            hidden: Hidden::of(row.get("hidden")?),
            epoch: row.get("epoch")?,
            receives: row.get("receives")?,
            tries: row.get("tries")?,
            first_received: row.get("first_received")?,
            origin: row.get("origin")?,
        })
    }
}

/// Adds a message whose own rules were checked. The queue's are checked here.
pub(super) fn put(
    db: &Connection,
    kept: &Kept,
    message: &NewMessage,
    origin: Option<&str>,
    delta: &mut Delta,
) -> Done<std::result::Result<Accepted, Invalid>> {
    let attributes = &kept.queue.attributes;
    if message.size() > attributes.max_message as usize {
        let reason = format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {} bytes.",
            attributes.max_message
        );
        return Ok(Err(Invalid::new("MessageBody", reason)));
    }
    let fifo = kept.queue.name.is_fifo();
    if fifo {
        match deduplication::find(db, kept, message)? {
            Ok(None) => {}
            Ok(Some(before)) => return Ok(Ok(before)),
            Err(invalid) => return Ok(Err(invalid)),
        }
    }
    let group = match &message.group {
        Some(name) if fifo => Some(groups::ensure(db, kept.number, name)?),
        _ => None,
    };
    let delay = message.delay.unwrap_or(attributes.delay);
    let visible = message.sent.0.saturating_add(i64::from(delay) * 1000);
    let hidden = if delay > 0 {
        Hidden::Delayed
    } else {
        Hidden::No
    };
    let sql = "INSERT INTO message (queue, id, grp, sent, visible, hidden, origin)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let id = message.id.0.into_bytes();
    run(
        db,
        sql,
        params![
            kept.number,
            id,
            group,
            message.sent.0,
            visible,
            hidden as i64,
            origin
        ],
    )?;
    let seq = db.last_insert_rowid();
    crash::point("message-row");
    let head = Head {
        sender: message.sender.clone(),
        attributes: message.attributes.clone(),
        trace: message.trace.clone(),
        group: message.group.clone(),
        deduplication: message
            .deduplication
            .clone()
            .or_else(|| message.digest.clone()),
        chain: message.chain,
    };
    let sql = "INSERT INTO message_body (message, head, body) VALUES (?1, ?2, ?3)";
    run(db, sql, params![seq, to_json(&head)?, message.body])?;
    crash::point("message-body");
    if let Some(group) = group {
        deduplication::remember(db, kept, message, seq)?;
        groups::refresh(db, group)?;
    }
    delta.add(hidden);
    Ok(Ok(Accepted {
        id: message.id,
        sequence: seq,
    }))
}

/// Puts an event's message into its queue, as part of the transaction that settles the event.
///
/// # Errors
/// `NotFound` without the queue; `Conflict` when it does not take such a message.
pub(crate) fn deliver(tx: &Tx<'_>, name: &QueueName, message: &NewMessage) -> Done<()> {
    let kept = require(tx, name)?;
    let mut delta = Delta::default();
    if let Err(invalid) = put(tx, &kept, message, None, &mut delta)? {
        return Err(Failure::conflict(
            "queue",
            name.as_str(),
            &invalid.to_string(),
        ));
    }
    tx.count(Change::Messages(name.clone(), delta.sent()));
    delta.apply(tx, kept.number)
}

/// Removes a message. Its group must be refreshed afterwards.
pub(super) fn remove(db: &Connection, place: &Place, delta: &mut Delta) -> Done<()> {
    run(db, "DELETE FROM message WHERE seq = ?1", [place.seq])?;
    delta.remove(place.hidden);
    Ok(())
}

/// The message that a handle means, if the handle is of its last receive.
pub(super) fn held(db: &Connection, queue: i64, handle: &ReceiptHandle) -> Done<Option<Place>> {
    let sql = "SELECT * FROM message WHERE seq = ?1";
    let place = first(db, sql, [handle.sequence], Place::read)?;
    Ok(place.filter(|place| {
        place.queue == queue && place.id == handle.id && place.epoch == handle.epoch
    }))
}

fn delete(
    db: &Connection,
    kept: &Kept,
    handle: &ReceiptHandle,
    now: Timestamp,
    delta: &mut Delta,
) -> Done<Deleted> {
    let Some(place) = held(db, kept.number, handle)? else {
        return Ok(Deleted::Done);
    };
    if place.group.is_some() && place.visible <= now {
        return Ok(Deleted::Expired);
    }
    remove(db, &place, delta)?;
    crash::point("message-deleted");
    if let Some(group) = place.group {
        groups::refresh(db, group)?;
    }
    Ok(Deleted::Done)
}

/// Hides a message until then, or not at all if that is now. `tries` is added to its receives.
fn hide(
    db: &Connection,
    place: &Place,
    until: Timestamp,
    now: Timestamp,
    tries: i64,
    delta: &mut Delta,
) -> Done<()> {
    let hidden = if until > now {
        Hidden::Flight
    } else {
        Hidden::No
    };
    let sql =
        "UPDATE message SET visible = ?2, hidden = ?3, tries = tries + ?4, receives = receives + ?4
               WHERE seq = ?1";
    run(db, sql, params![place.seq, until.0, hidden as i64, tries])?;
    delta.mark(place.hidden, -1);
    delta.mark(hidden, 1);
    match place.group {
        Some(group) => groups::refresh(db, group),
        None => Ok(()),
    }
}

impl State {
    /// Accepts messages whose own rules were checked ([`NewMessage::check`]); answers when they are on
    /// disk. Each is accepted or refused by itself.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn send_messages(
        &self,
        name: QueueName,
        messages: Vec<NewMessage>,
    ) -> Result<Vec<std::result::Result<Accepted, Invalid>>> {
        self.write("accepting messages", move |tx| {
            let kept = require(tx, &name)?;
            let mut delta = Delta::default();
            let accepted = messages
                .iter()
                .map(|message| put(tx, &kept, message, None, &mut delta))
                .collect::<Done<_>>()?;
            tx.count(Change::Messages(name, delta.sent()));
            delta.apply(tx, kept.number)?;
            Ok(accepted)
        })
        .await
    }

    /// Deletes messages that were received.
    ///
    /// # Errors
    /// `NotFound` (the queue).
    pub async fn delete_messages(
        &self,
        name: QueueName,
        handles: Vec<ReceiptHandle>,
        now: Timestamp,
    ) -> Result<Vec<Deleted>> {
        self.write("deleting messages", move |tx| {
            let kept = require(tx, &name)?;
            let mut delta = Delta::default();
            let deleted = handles
                .iter()
                .map(|handle| delete(tx, &kept, handle, now, &mut delta))
                .collect::<Done<_>>()?;
            tx.count(Change::Messages(name, delta.deleted()));
            delta.apply(tx, kept.number)?;
            Ok(deleted)
        })
        .await
    }

    /// Hides received messages for so many seconds from now instead; 0 makes them visible.
    ///
    /// # Errors
    /// `NotFound` (the queue).
    pub async fn hide_messages(
        &self,
        name: QueueName,
        handles: Vec<(ReceiptHandle, u32)>,
        now: Timestamp,
    ) -> Result<Vec<Changed>> {
        self.write("hiding messages", move |tx| {
            let kept = require(tx, &name)?;
            let mut delta = Delta::default();
            let mut changed = Vec::with_capacity(handles.len());
            for (handle, seconds) in &handles {
                changed.push(match held(tx, kept.number, handle)? {
                    None => Changed::Gone,
                    Some(place) if place.visible <= now => Changed::NotInFlight,
                    Some(place) => {
                        let until = Timestamp(now.0.saturating_add(i64::from(*seconds) * 1000));
                        hide(tx, &place, until, now, 0, &mut delta)?;
                        Changed::Done
                    }
                });
            }
            delta.apply(tx, kept.number)?;
            Ok(changed)
        })
        .await
    }

    /// Gives received messages back as if they had not been received: visible at once or after
    /// `after` milliseconds, and the receive is not counted.
    ///
    /// # Errors
    /// `NotFound` (the queue).
    pub async fn give_back(
        &self,
        name: QueueName,
        handles: Vec<ReceiptHandle>,
        now: Timestamp,
        after: u64,
    ) -> Result<()> {
        self.write("giving messages back", move |tx| {
            let kept = require(tx, &name)?;
            let mut delta = Delta::default();
            for handle in &handles {
                let place = held(tx, kept.number, handle)?;
                if let Some(place) = place.filter(|place| place.visible > now) {
                    let until = Timestamp(now.0.saturating_add(int(after)));
                    hide(tx, &place, until, now, -1, &mut delta)?;
                }
            }
            delta.apply(tx, kept.number)
        })
        .await
    }
}
