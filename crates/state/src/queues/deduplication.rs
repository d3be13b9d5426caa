//! Table `deduplication`: what was sent to FIFO queues within five minutes.

use super::Kept;
use super::messages::Accepted;
use crate::error::Done;
use crate::row::{first, run};
use model::{DEDUPLICATION, Invalid, MessageId, NewMessage};
use rusqlite::{Connection, params};

/// Within what an id counts: the group, or the queue.
fn scope<'a>(kept: &Kept, message: &'a NewMessage) -> &'a str {
    match &message.group {
        Some(group) if kept.queue.attributes.deduplicate_by_group => group,
        _ => "",
    }
}

/// The message that a message of a FIFO queue repeats; `None` if it is new.
pub(super) fn find(
    db: &Connection,
    kept: &Kept,
    message: &NewMessage,
) -> Done<std::result::Result<Option<Accepted>, Invalid>> {
    let attributes = &kept.queue.attributes;
    let content = message
        .digest
        .as_ref()
        .filter(|_| attributes.content_deduplication);
    let Some(id) = message.deduplication.as_ref().or(content) else {
        let reason = "is missing: the queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly";
        return Ok(Err(Invalid::new("MessageDeduplicationId", reason)));
    };
    let scope = scope(kept, message);
    let sql = "SELECT message, seq FROM deduplication
               WHERE queue = ?1 AND scope = ?2 AND id = ?3 AND expires > ?4";
    let before = first(
        db,
        sql,
        params![kept.number, scope, id, message.sent.0],
        |row| {
            let id: [u8; 16] = row.get(0)?;
            Ok(Accepted {
                id: MessageId(uuid::Uuid::from_bytes(id)),
                sequence: row.get(1)?,
            })
        },
    )?;
    Ok(Ok(before))
}

/// Remembers a message for five minutes.
pub(super) fn remember(db: &Connection, kept: &Kept, message: &NewMessage, seq: i64) -> Done<()> {
    let scope = scope(kept, message);
    let id = message.deduplication.as_ref().or(message.digest.as_ref());
    let sql = "INSERT OR REPLACE INTO deduplication (queue, scope, id, message, seq, expires)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let expires = message.sent.0.saturating_add(DEDUPLICATION);
    run(
        db,
        sql,
        params![
            kept.number,
            scope,
            id,
            message.id.0.into_bytes(),
            seq,
            expires
        ],
    )?;
    Ok(())
}
