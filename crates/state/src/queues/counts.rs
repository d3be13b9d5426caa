//! Table `queue_count`: how many messages are where, kept up with each change, so that nobody counts.

use super::require;
use crate::counters::QueueTotals;
use crate::error::Done;
use crate::row::{all, count, first, run, time};
use crate::{Result, State};
use model::{QueueCounts, QueueName, Timestamp};
use rusqlite::{Connection, params};

/// Messages whose hiding is over and that the sweep has not seen yet: so many are told apart.
const UNSWEPT: u32 = 10_000;

/// Why a message is hidden, as the column `hidden` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hidden {
    No = 0,
    Flight = 1,
    Delayed = 2,
}

impl Hidden {
    pub(super) fn of(column: i64) -> Self {
        match column {
            1 => Self::Flight,
            2 => Self::Delayed,
            _ => Self::No,
        }
    }
}

/// What a change does to the counts of one queue.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delta {
    pub(super) total: i64,
    flight: i64,
    delayed: i64,
}

impl Delta {
    /// So many more (or fewer) are marked so.
    pub(super) fn mark(&mut self, hidden: Hidden, by: i64) {
        match hidden {
            Hidden::No => {}
            Hidden::Flight => self.flight += by,
            Hidden::Delayed => self.delayed += by,
        }
    }

    /// A message with this mark is gone.
    pub(super) fn remove(&mut self, hidden: Hidden) {
        self.total -= 1;
        self.mark(hidden, -1);
    }

    /// A message with this mark is new.
    pub(super) fn add(&mut self, hidden: Hidden) {
        self.total += 1;
        self.mark(hidden, 1);
    }

    /// As messages that were sent.
    pub(super) fn sent(self) -> QueueTotals {
        QueueTotals {
            sent: u64::try_from(self.total).unwrap_or(0),
            ..QueueTotals::default()
        }
    }

    /// As messages that were deleted.
    pub(super) fn deleted(self) -> QueueTotals {
        QueueTotals {
            deleted: u64::try_from(-self.total).unwrap_or(0),
            ..QueueTotals::default()
        }
    }

    pub(super) fn apply(self, db: &Connection, queue: i64) -> Done<()> {
        if self != Self::default() {
            let sql = "UPDATE queue_count SET total = total + ?2, flight = flight + ?3,
                           delayed = delayed + ?4 WHERE queue = ?1";
            run(
                db,
                sql,
                params![queue, self.total, self.flight, self.delayed],
            )?;
        }
        Ok(())
    }
}

/// How many messages are marked as in flight.
pub(super) fn flight(db: &Connection, queue: i64) -> Done<u64> {
    let sql = "SELECT flight FROM queue_count WHERE queue = ?1";
    Ok(first(db, sql, [queue], |row| count(row, "flight"))?.unwrap_or(0))
}

pub(super) fn counts(db: &Connection, queue: i64, now: Timestamp) -> Done<QueueCounts> {
    let sql = "SELECT total, flight, delayed FROM queue_count WHERE queue = ?1";
    let read = |row: &rusqlite::Row<'_>| {
        Ok((
            count::<u64>(row, "total")?,
            count::<u64>(row, "flight")?,
            count::<u64>(row, "delayed")?,
        ))
    };
    let (total, mut in_flight, mut delayed) = first(db, sql, [queue], read)?.unwrap_or_default();
    let sql = "SELECT hidden, count(*) AS many FROM
                   (SELECT hidden FROM message INDEXED BY message_hidden
                    WHERE queue = ?1 AND hidden <> 0 AND visible <= ?2 LIMIT ?3)
               GROUP BY hidden";
    let over = all(db, sql, params![queue, now.0, UNSWEPT], |row| {
        Ok((Hidden::of(row.get("hidden")?), count::<u64>(row, "many")?))
    })?;
    for (hidden, many) in over {
        match hidden {
            Hidden::No => {}
            Hidden::Flight => in_flight = in_flight.saturating_sub(many),
            Hidden::Delayed => delayed = delayed.saturating_sub(many),
        }
    }
    Ok(QueueCounts {
        visible: total.saturating_sub(in_flight + delayed),
        in_flight,
        delayed,
    })
}

impl State {
    /// When the oldest message of a queue was sent.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn oldest_message(&self, name: QueueName) -> Result<Option<Timestamp>> {
        self.read("looking for the oldest message", move |db| {
            let sql = "SELECT sent FROM message INDEXED BY message_sent
                       WHERE queue = ?1 ORDER BY sent LIMIT 1";
            first(db, sql, [require(db, &name)?.number], |row| {
                time(row, "sent")
            })
        })
        .await
    }

    /// How many messages of a queue are where. Right up to 10 000 messages whose hiding ended within
    /// the last seconds.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn queue_counts(&self, name: QueueName, now: Timestamp) -> Result<QueueCounts> {
        self.read("counting messages", move |db| {
            counts(db, require(db, &name)?.number, now)
        })
        .await
    }
}
