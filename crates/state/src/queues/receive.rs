//! Receiving: what is visible is hidden and given out, what was received too often goes to the
//! dead-letter queue, what is too old is dropped, all in one transaction.

use super::counts::{Delta, Hidden, flight};
use super::messages::{Head, Place, remove};
use super::sweep::sweep_queue;
use super::{Kept, find, groups, require};
use crate::counters::{Change, QueueTotals};
use crate::error::Done;
use crate::row::{all, first, json, run};
use crate::{Result, State, crash};
use model::{MAX_IN_FLIGHT, Message, NewMessage, QueueName, ReceiptHandle, Timestamp};
use rusqlite::{Connection, params};
use std::collections::{BTreeSet, HashMap};

/// Messages that one transaction drops or moves away at most while it looks for some to give out.
const MAX_DROPPED: usize = 200;

const READY: &str = "SELECT * FROM message INDEXED BY message_ready
     WHERE grp IS NULL AND queue = ?1 AND visible <= ?2 AND (visible, seq) > (?3, ?4)
     ORDER BY visible, seq LIMIT ?5";
const ORDER: &str = "SELECT * FROM message INDEXED BY message_order
     WHERE grp = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";

/// What is to be received.
#[derive(Debug, Clone)]
pub struct Receive {
    /// From which queue.
    pub queue: QueueName,
    /// Messages at most: 1 to 10 000.
    pub limit: usize,
    /// Bytes of bodies and attributes after which it is enough, but for one message.
    pub bytes: usize,
    /// Seconds for which they are hidden; the queue's if it does not say.
    pub visibility: Option<u32>,
}

/// What was received.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// The messages, hidden from now on.
    pub messages: Vec<Message>,
    /// There may be more that can be received now: it stopped for a bound, not for want of messages.
    pub more: bool,
    /// When the next hidden message becomes visible.
    pub next: Option<Timestamp>,
    /// So many are in flight that no more are given out.
    pub full: bool,
    /// Seconds that the queue says to wait.
    pub wait: u32,
    /// Dead-letter queue that messages were moved to.
    pub buried_in: Option<QueueName>,
}

/// One receive under way.
struct Turn<'a> {
    db: &'a Connection,
    kept: &'a Kept,
    /// The dead-letter queue, if it is there, and after how many receives.
    dead_letter: Option<(Kept, u32)>,
    now: Timestamp,
    until: Timestamp,
    limit: usize,
    bytes: usize,
    dropped: usize,
    delta: Delta,
    buried: Delta,
    received: Received,
}

impl Turn<'_> {
    fn is_over(&self) -> bool {
        self.received.messages.len() >= self.limit || self.bytes == 0 || self.dropped >= MAX_DROPPED
    }

    fn is_expired(&self, place: &Place) -> bool {
        let kept = i64::from(self.kept.queue.attributes.retention) * 1000;
        place.sent.0.saturating_add(kept) <= self.now.0
    }

    /// Deals with one message that is visible.
    fn deal(&mut self, place: &Place) -> Done<()> {
        if self.is_expired(place) {
            self.dropped += 1;
            return remove(self.db, place, &mut self.delta);
        }
        if let Some((to, most)) = &self.dead_letter
            && place.tries >= *most
        {
            self.dropped += 1;
            self.received.buried_in = Some(to.queue.name.clone());
            bury(self.db, self.kept, to, place, self.now, &mut self.buried)?;
            self.delta.remove(place.hidden);
            return Ok(());
        }
        let message = self.give_out(place)?;
        self.bytes = self.bytes.saturating_sub(message.sent.size());
        self.received.messages.push(message);
        Ok(())
    }

    fn give_out(&mut self, place: &Place) -> Done<Message> {
        let hidden = if self.until > self.now {
            Hidden::Flight
        } else {
            Hidden::No
        };
        let sql = "UPDATE message SET visible = ?2, hidden = ?3, epoch = epoch + 1,
                       receives = receives + 1, tries = tries + 1,
                       first_received = coalesce(first_received, ?4)
                   WHERE seq = ?1";
        run(
            self.db,
            sql,
            params![place.seq, self.until.0, hidden as i64, self.now.0],
        )?;
        crash::point("message-hidden");
        self.delta.mark(place.hidden, -1);
        self.delta.mark(hidden, 1);
        let sql = "SELECT head, body FROM message_body WHERE message = ?1";
        let body = first(self.db, sql, [place.seq], |row| {
            Ok((json::<Head>(row, "head")?, row.get::<_, String>("body")?))
        })?;
        let missing =
            || crate::error::Failure::Corrupt(format!("message {} has no body", place.seq));
        let (head, body) = body.ok_or_else(missing)?;
        let origin = place.origin.as_ref().map(|name| name.parse()).transpose()?;
        Ok(Message {
            sent: NewMessage {
                id: place.id,
                body,
                attributes: head.attributes,
                trace: head.trace,
                sender: head.sender,
                group: head.group,
                deduplication: head.deduplication,
                digest: None,
                delay: None,
                sent: place.sent,
                chain: head.chain,
            },
            sequence: place.seq,
            receives: place.receives + 1,
            first_received: Timestamp(place.first_received.unwrap_or(self.now.0)),
            dead_letter_of: origin,
            handle: ReceiptHandle {
                sequence: place.seq,
                id: place.id,
                epoch: place.epoch + 1,
            },
        })
    }

    /// The longest visible first, in rounds: what was dropped makes room for the next ones.
    fn standard(&mut self) -> Done<()> {
        let (mut visible, mut seq) = (i64::MIN, i64::MIN);
        loop {
            let left = self.left();
            let round = params![self.kept.number, self.now.0, visible, seq, left as i64];
            let places = all(self.db, READY, round, Place::read)?;
            for place in &places {
                if self.is_over() {
                    return Ok(());
                }
                // One that is hidden for no time at all is visible again, after the others.
                if !self.is_given(place) {
                    self.deal(place)?;
                }
                (visible, seq) = (place.visible.0, place.seq);
            }
            if places.len() < left {
                return Ok(());
            }
        }
    }

    /// Group by group, the one that has been visible longest first.
    fn fifo(&mut self) -> Done<()> {
        let mut seen = BTreeSet::new();
        loop {
            let most = self.left() + seen.len();
            let ready = groups::ready(self.db, self.kept.number, self.now, most)?;
            let fresh: Vec<i64> = ready
                .into_iter()
                .filter(|group| seen.insert(*group))
                .collect();
            if fresh.is_empty() {
                return Ok(());
            }
            for group in fresh {
                if self.is_over() {
                    return Ok(());
                }
                self.group(group)?;
                groups::refresh(self.db, group)?;
            }
        }
    }

    /// A group from its first message on, as far as they are visible: those behind one that is hidden
    /// wait for it.
    fn group(&mut self, group: i64) -> Done<()> {
        let mut seq = i64::MIN;
        loop {
            let left = self.left();
            let places = all(
                self.db,
                ORDER,
                params![group, seq, left as i64],
                Place::read,
            )?;
            for place in &places {
                if place.visible > self.now || self.is_over() {
                    return Ok(());
                }
                self.deal(place)?;
                seq = place.seq;
            }
            if places.len() < left {
                return Ok(());
            }
        }
    }

    /// How many may still be given out.
    fn left(&self) -> usize {
        self.limit
            .saturating_sub(self.received.messages.len())
            .max(1)
    }

    fn is_given(&self, place: &Place) -> bool {
        let given = self.received.messages.iter();
        self.until <= self.now && given.rev().any(|message| message.sequence == place.seq)
    }
}

/// The dead-letter queue of a queue, and after how many receives. Without the queue that its redrive policy
/// names, messages go on being received, as on AWS.
pub(super) fn dead_letter(db: &Connection, kept: &Kept) -> Done<Option<(Kept, u32)>> {
    Ok(match &kept.queue.attributes.redrive {
        Some(redrive) => find(db, &redrive.dead_letter)?.map(|to| (to, redrive.max_receives)),
        None => None,
    })
}

/// Moves a message to the dead-letter queue. In a standard queue its age goes on; in a FIFO queue it
/// begins anew, as on AWS.
pub(super) fn bury(
    db: &Connection,
    from: &Kept,
    to: &Kept,
    place: &Place,
    now: Timestamp,
    delta: &mut Delta,
) -> Done<()> {
    let (group, sent) = match place.group {
        None => (None, place.sent),
        Some(old) => {
            let sql = "SELECT name FROM message_group WHERE id = ?1";
            let name: Option<String> = first(db, sql, [old], |row| Ok(row.get(0)?))?;
            (
                Some(groups::ensure(
                    db,
                    to.number,
                    name.as_deref().unwrap_or("-"),
                )?),
                now,
            )
        }
    };
    let sql =
        "UPDATE message SET queue = ?2, grp = ?3, sent = ?4, visible = ?5, hidden = 0, tries = 0,
                   epoch = epoch + 1, origin = ?6
               WHERE seq = ?1";
    let origin = from.queue.name.as_str();
    run(
        db,
        sql,
        params![place.seq, to.number, group, sent.0, now.0, origin],
    )?;
    crash::point("message-buried");
    if let Some(group) = group {
        groups::refresh(db, group)?;
    }
    delta.add(Hidden::No);
    Ok(())
}

/// When the next hidden message becomes visible.
fn next(db: &Connection, kept: &Kept, now: Timestamp) -> Done<Option<Timestamp>> {
    let sql = if kept.queue.name.is_fifo() {
        "SELECT visible FROM message_group INDEXED BY message_group_ready
         WHERE queue = ?1 AND visible > ?2 ORDER BY visible LIMIT 1"
    } else {
        "SELECT visible FROM message INDEXED BY message_ready
         WHERE grp IS NULL AND queue = ?1 AND visible > ?2 ORDER BY visible LIMIT 1"
    };
    first(db, sql, params![kept.number, now.0], |row| {
        Ok(Timestamp(row.get(0)?))
    })
}

fn receive(db: &Connection, asked: &Receive, now: Timestamp) -> Done<Received> {
    let kept = require(db, &asked.queue)?;
    let mut in_flight = flight(db, kept.number)?;
    if in_flight >= MAX_IN_FLIGHT {
        sweep_queue(db, &kept, now, 1_000)?;
        in_flight = flight(db, kept.number)?;
    }
    let room = usize::try_from(MAX_IN_FLIGHT.saturating_sub(in_flight)).unwrap_or(0);
    if room == 0 {
        return Ok(Received {
            full: true,
            next: next(db, &kept, now)?,
            wait: kept.queue.attributes.wait,
            ..Received::default()
        });
    }
    let attributes = &kept.queue.attributes;
    let dead_letter = dead_letter(db, &kept)?;
    let visibility = asked.visibility.unwrap_or(attributes.visibility);
    let mut turn = Turn {
        db,
        kept: &kept,
        dead_letter,
        now,
        until: Timestamp(now.0.saturating_add(i64::from(visibility) * 1000)),
        limit: asked.limit.clamp(1, 10_000).min(room),
        bytes: asked.bytes.max(1),
        dropped: 0,
        delta: Delta::default(),
        buried: Delta::default(),
        received: Received::default(),
    };
    if kept.queue.name.is_fifo() {
        turn.fifo()?;
    } else {
        turn.standard()?;
    }
    turn.received.more = turn.is_over();
    turn.received.wait = attributes.wait;
    let Turn {
        delta,
        buried,
        dead_letter,
        mut received,
        ..
    } = turn;
    let mut deltas = HashMap::from([(kept.number, vec![delta])]);
    if let Some((to, _)) = dead_letter {
        deltas.entry(to.number).or_default().push(buried);
    }
    for (queue, deltas) in deltas {
        for delta in deltas {
            delta.apply(db, queue)?;
        }
    }
    if received.messages.is_empty() {
        received.next = next(db, &kept, now)?;
    }
    Ok(received)
}

impl State {
    /// Gives out messages that are visible at `now`, the longest visible first; from a FIFO queue in
    /// each group's order. Each is hidden, and counted, from then on. May give none though there are
    /// `more`, when all that it looked at were dropped: ask again.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn receive_messages(&self, asked: Receive, now: Timestamp) -> Result<Received> {
        self.write("receiving messages", move |tx| {
            let received = receive(tx, &asked, now)?;
            let totals = QueueTotals {
                received: received.messages.len() as u64,
                ..QueueTotals::default()
            };
            tx.count(Change::Messages(asked.queue, totals));
            Ok(received)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::store;
    use model::{Queue, QueueAttributes};
    use rusqlite::StatementStatus::VmStep;
    use std::collections::BTreeMap;

    /// 50 000 messages that are visible, 50 000 that are not, in a queue of its own; the FIFO ones in
    /// 1 000 groups, and one of 50 000 more whose first is in flight.
    const SEED: &str = "
        WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)
        INSERT INTO message (queue, id, grp, sent, visible, hidden)
        SELECT (SELECT number FROM queue WHERE name = 'q'), randomblob(16), NULL, i, i, i > 49999 FROM n;
        WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
        INSERT INTO message_group (id, queue, name, head, visible)
        SELECT i + 1, (SELECT number FROM queue WHERE name = 'q.fifo'), i, 0, 0 FROM n;
        WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)
        INSERT INTO message (queue, id, grp, sent, visible, hidden)
        SELECT (SELECT number FROM queue WHERE name = 'q.fifo'), randomblob(16),
               iif(i < 50000, 1, 1 + i % 1000), i, iif(i = 0, 99999, i), i = 0 FROM n;
        UPDATE message_group SET (head, visible) =
            (SELECT seq, visible FROM message WHERE grp = message_group.id ORDER BY seq LIMIT 1);
        INSERT INTO message_body SELECT seq, '{\"sender\":\"x\"}', 'b' FROM message;
        UPDATE queue_count SET total = 100000, flight = 0";

    #[tokio::test]
    async fn a_long_queue_costs_what_is_received() {
        let (_folder, state) = store().await;
        for name in ["q", "q.fifo"] {
            let queue = Queue {
                name: name.parse().unwrap(),
                created: Timestamp(0),
                modified: Timestamp(0),
                attributes: QueueAttributes::default(),
                tags: BTreeMap::new(),
            };
            state.create_queue(queue).await.unwrap();
        }
        let seed = move |tx: &crate::job::Tx<'_>| Ok(tx.execute_batch(SEED)?);
        state.write("seeding", seed).await.unwrap();
        for name in ["q", "q.fifo"] {
            let asked = Receive {
                queue: name.parse().unwrap(),
                limit: 10,
                bytes: usize::MAX,
                visibility: None,
            };
            let work = move |tx: &crate::job::Tx<'_>| {
                let received = receive(tx, &asked, Timestamp(60_000))?.messages.len();
                let ready = tx.prepare_cached(READY)?.get_status(VmStep);
                let order = tx.prepare_cached(ORDER)?.get_status(VmStep);
                Ok((received, ready + order))
            };
            let (received, steps) = state.write("receiving", work).await.unwrap();
            assert_eq!(received, 10, "{name}");
            assert!(
                (1..5_000).contains(&steps),
                "{name}: {steps} steps of SQLite's machine"
            );
        }
    }
}
