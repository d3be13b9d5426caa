//! Working on events: lease and settle. The table is described in `events`.

use crate::counters::Change;
use crate::error::{Done, Failure};
use crate::events::{MAX_PAYLOADS, insert, read, targets};
use crate::job::Tx;
use crate::row::{all, first, int, run};
use crate::{Result, State, cancellations, crash, partitions, planted, queues, runs};
use model::{Event, EventId, EventState, NewEvent, NewMessage, QueueName, Run, Target, Timestamp};
use rusqlite::{Connection, params};

/// Events in one lease at most.
const MAX_LEASE: u32 = 1000;

/// Bytes that are kept of why an attempt failed.
const MAX_ERROR: usize = 8 * 1024;

/// Due events of a target in a partition, oldest first, in the order of the index.
pub(crate) fn due_sql(part: i64) -> String {
    format!(
        "SELECT seq, due FROM event_{part} INDEXED BY event_due_{part}
         WHERE target = ?1 AND due IS NOT NULL AND due <= ?2 ORDER BY due, seq LIMIT ?3"
    )
}

/// An event and the right to work on it until `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// The event; its `epoch` is this lease's.
    pub event: Event,
    /// When the lease ends by itself.
    pub until: Timestamp,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The target took it: an end state.
    Ack,
    /// A queue takes it as this message, put there in the same transaction: an end state.
    Deliver {
        /// Which queue.
        queue: QueueName,
        /// The message.
        message: Box<NewMessage>,
    },
    /// Try again at `not_before`; the attempt is spent.
    Retry {
        /// No attempt before this.
        not_before: Timestamp,
        /// Why it failed.
        error: String,
    },
    /// Try again at `not_before`; the attempt is not spent (throttled, no instance, shutdown).
    Postpone {
        /// No attempt before this.
        not_before: Timestamp,
        /// Why.
        reason: String,
    },
    /// Dead letter: an end state.
    Bury {
        /// Why, such as "3 attempts failed", and the last error.
        error: String,
    },
    /// It is too old: an end state.
    Expire {
        /// How old it may be, and the last error.
        error: String,
    },
}

/// The end of an attempt, with what it leaves, committed in one transaction.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// Which event.
    pub id: EventId,
    /// The lease's epoch. A settlement with another epoch than the event's changes nothing.
    pub epoch: u64,
    /// What became of it.
    pub verdict: Verdict,
    /// The record of the attempt, if there was one; without, an end counts no attempt.
    pub run: Option<Run>,
    /// When the attempt ended.
    pub at: Timestamp,
}

/// After the server died: what was leased waits again, now, under a new epoch.
pub(crate) fn recover(db: &mut Connection, now: Timestamp) -> Done<()> {
    let tx = db.transaction()?;
    for part in partitions::unsettled(&tx)? {
        let sql = format!(
            "UPDATE event_{part} SET state = 'waiting', epoch = epoch + 1, not_before = ?2, due = ?2
             WHERE target = ?1 AND state = 'leased'"
        );
        for target in targets(&tx, part)? {
            run(&tx, &sql, params![target, now.0])?;
        }
    }
    crash::point("recovery-before-commit");
    tx.commit()?;
    crash::point("recovery-after");
    Ok(())
}

/// Where the due events of a target are, oldest first: partition and row.
pub(crate) fn due(
    db: &Connection,
    target: &str,
    limit: u32,
    now: Timestamp,
) -> Done<Vec<(i64, i64)>> {
    let mut found: Vec<(i64, i64, i64)> = Vec::new();
    for part in partitions::unsettled(db)? {
        // Once there are enough, only what is due earlier than the last of them is wanted.
        let enough = found.len() >= limit as usize;
        let last = found.last().filter(|_| enough).map(|last| last.0 - 1);
        let range = params![target, last.unwrap_or(now.0), limit];
        let rows = all(db, &due_sql(part), range, |row| {
            Ok((row.get::<_, i64>("due")?, part, row.get("seq")?))
        })?;
        if !found.is_empty() && !rows.is_empty() {
            found.extend(rows);
            found.sort_unstable();
        } else {
            found.extend(rows);
        }
        found.truncate(limit as usize);
    }
    Ok(found
        .into_iter()
        .map(|(_, part, seq)| (part, seq))
        .collect())
}

fn lease(
    tx: &Tx<'_>,
    target: &str,
    limit: u32,
    now: Timestamp,
    until: Timestamp,
) -> Done<Vec<Leased>> {
    let places = due(tx, target, limit.min(MAX_LEASE), now)?;
    take(tx, target, &places, until, |_| true)
}

/// Leases those events of a target that are `wanted`; fewer if their payloads are large, and none while
/// a target of that name that was deleted has some left.
pub(crate) fn take(
    tx: &Tx<'_>,
    target: &str,
    places: &[(i64, i64)],
    until: Timestamp,
    wanted: impl Fn(&Event) -> bool,
) -> Done<Vec<Leased>> {
    let mut leased = Vec::new();
    let mut bytes = 0;
    if cancellations::holds(tx, target)? {
        return Ok(leased);
    }
    for (part, seq) in places {
        if bytes > MAX_PAYLOADS {
            break;
        }
        let sql =
            format!("SELECT * FROM event_{part} JOIN payload_{part} ON event = seq WHERE seq = ?1");
        let gone = || Failure::Corrupt(format!("event {seq} of partition {part} is not whole"));
        let mut event = first(tx, &sql, [seq], read)?.ok_or_else(gone)?;
        if !wanted(&event) {
            continue;
        }
        bytes += event.accepted.payload.len();
        if event.state == EventState::Waiting {
            let (target, from) = (target.to_owned(), EventState::Waiting);
            tx.count(Change::Moved(target, from, EventState::Leased, 1));
        }
        crash::point("lease-chosen");
        event.state = EventState::Leased;
        event.epoch += 1;
        let sql = format!(
            "UPDATE event_{part} SET state = 'leased', epoch = ?2, due = ?3 WHERE seq = ?1"
        );
        run(tx, &sql, params![seq, int(event.epoch), until.0])?;
        crash::point("lease-row");
        leased.push(Leased { event, until });
    }
    Ok(leased)
}

/// What a verdict makes of an event: its state, whether the attempt is spent, when it is due again,
/// and why.
struct Becomes<'a> {
    state: EventState,
    spent: i64,
    not_before: Option<Timestamp>,
    error: Option<&'a str>,
}

fn becomes(settlement: &Settlement) -> Becomes<'_> {
    // What ends without an attempt spends none.
    let tried = i64::from(settlement.run.is_some());
    let (state, spent, not_before, error) = match &settlement.verdict {
        Verdict::Ack | Verdict::Deliver { .. } => (EventState::Succeeded, tried, None, None),
        Verdict::Bury { error } => (EventState::Dead, tried, None, Some(error)),
        Verdict::Expire { error } => (EventState::Expired, tried, None, Some(error)),
        Verdict::Retry { not_before, error } => {
            (EventState::Waiting, 1, Some(*not_before), Some(error))
        }
        Verdict::Postpone { not_before, reason } => {
            (EventState::Waiting, 0, Some(*not_before), Some(reason))
        }
    };
    Becomes {
        state,
        spent,
        not_before,
        error: error.map(|error| cut(error)),
    }
}

/// Gives whether the lease was still held.
fn settle(tx: &Tx<'_>, settlement: &Settlement) -> Done<bool> {
    let becomes = becomes(settlement);
    let ended = becomes.not_before.is_none().then_some(settlement.at.0);
    let not_before = becomes.not_before.map(|time| time.0);
    for part in partitions::holders(tx, settlement.id)? {
        let sql = format!(
            "UPDATE event_{part} SET state = ?3, attempts = attempts + ?4,
                 not_before = coalesce(?5, not_before), due = ?5, ended = ?6, last_error = ?7
             WHERE id = ?1 AND epoch = ?2 AND state = 'leased' RETURNING target"
        );
        // Whoever was leased the event once may settle it.
        let sql = if planted::bug("no-epoch-guard") {
            sql.replace("epoch = ?2", "?2 <= epoch")
        } else {
            sql
        };
        let change = params![
            settlement.id.0.into_bytes(),
            int(settlement.epoch),
            becomes.state.as_str(),
            becomes.spent,
            not_before,
            ended,
            becomes.error,
        ];
        let Some(target) = first(tx, &sql, change, |row| Ok(row.get::<_, String>(0)?))? else {
            continue;
        };
        match becomes.state {
            EventState::Succeeded => crash::point("settle-row"),
            EventState::Dead | EventState::Expired => crash::point("dead-letter-row"),
            _ => crash::point("retry-row"),
        }
        tx.count(Change::Moved(target, EventState::Leased, becomes.state, 1));
        if let Verdict::Deliver { queue, message } = &settlement.verdict {
            queues::deliver(tx, queue, message)?;
            crash::point("delivered-to-queue");
        }
        if let Some(record) = &settlement.run {
            runs::insert(tx, part, record)?;
            crash::point("run-row");
        }
        return Ok(true);
    }
    Ok(false)
}

/// The beginning of a text that somebody outside chose.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_ERROR)]
}

impl State {
    /// Leases up to `limit` due events of `target` (1 000 at most, and 32 MiB of payloads), oldest
    /// first. Expired leases count as due.
    ///
    /// # Errors
    /// Of the store.
    pub async fn lease_events(
        &self,
        target: &Target,
        limit: u32,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Leased>> {
        let key = target.key();
        self.write("leasing events", move |tx| {
            lease(tx, &key, limit, now, until)
        })
        .await
    }

    /// Records the end of an attempt; 8 KiB are kept of an error. Gives `false`, and changes nothing, if the lease was lost.
    ///
    /// # Errors
    /// Of the store; `NotFound` and `Conflict` when a queue that the event is for is not there or does
    /// not take it: then nothing is changed.
    pub async fn settle_event(&self, settlement: Settlement) -> Result<bool> {
        self.settle_with(settlement, Vec::new()).await
    }

    /// The same, and accepts `effects` in the same transaction: all of it is done, or nothing.
    ///
    /// # Errors
    /// Of the store.
    pub async fn settle_with(
        &self,
        settlement: Settlement,
        effects: Vec<NewEvent>,
    ) -> Result<bool> {
        self.write("settling an event", move |tx| {
            let held = settle(tx, &settlement)?;
            if held {
                insert(tx, &effects)?;
                if !effects.is_empty() {
                    crash::point("effects-accepted");
                }
            }
            if matches!(
                settlement.verdict,
                Verdict::Retry { .. } | Verdict::Postpone { .. }
            ) {
                tx.events_changed();
            }
            Ok(held)
        })
        .await
    }
}

#[cfg(test)]
mod tests;
