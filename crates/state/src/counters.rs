//! How many events are where, kept up with each commit in memory, so that nobody counts.

use crate::error::Done;
use crate::row::{all, count, name};
use crate::{Result, State};
use model::{EventState, QueueName};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many events of one target are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EventCounts {
    /// Waiting, due or not.
    pub waiting: u64,
    /// Under way.
    pub leased: u64,
    /// Ended well.
    pub succeeded: u64,
    /// Dead letters.
    pub dead: u64,
    /// Grown too old.
    #[serde(default)]
    pub expired: u64,
    /// Without a target any more.
    #[serde(default)]
    pub cancelled: u64,
}

impl EventCounts {
    fn of(&mut self, state: EventState) -> &mut u64 {
        match state {
            EventState::Waiting => &mut self.waiting,
            EventState::Leased => &mut self.leased,
            EventState::Succeeded => &mut self.succeeded,
            EventState::Dead => &mut self.dead,
            EventState::Expired => &mut self.expired,
            EventState::Cancelled => &mut self.cancelled,
        }
    }

    fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// What happened to the events of one target since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventTotals {
    /// Accepted.
    pub accepted: u64,
    /// Ended well.
    pub succeeded: u64,
    /// Dead letters.
    pub dead: u64,
    /// Grown too old.
    pub expired: u64,
    /// Without a target any more.
    pub cancelled: u64,
}

/// What happened to the messages of one queue since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueTotals {
    /// Sent, or put there by an event.
    pub sent: u64,
    /// Received; again each time.
    pub received: u64,
    /// Deleted by who received them.
    pub deleted: u64,
}

/// Targets and queues whose totals are kept; past it new ones are not counted until the next start.
const MOST: usize = 20_000;

/// Counts by target key.
pub(crate) type Counts = BTreeMap<String, EventCounts>;

/// One change of a transaction.
#[derive(Debug)]
pub(crate) enum Change {
    /// An event of this target was accepted.
    Accepted(String),
    /// So many events of this target went from one state to another.
    Moved(String, EventState, EventState, u64),
    /// Messages of this queue were sent, received or deleted.
    Messages(QueueName, QueueTotals),
    /// A row of so many bytes was added to the newest partition.
    Grown(u64),
    /// The next partition was begun.
    Begun,
    /// A partition with these events was dropped.
    Forgotten(Counts),
}

#[derive(Default)]
struct Kept {
    counts: Counts,
    totals: BTreeMap<String, EventTotals>,
    queues: BTreeMap<QueueName, QueueTotals>,
    /// In the newest partition, about.
    bytes: u64,
}

/// What is counted.
#[derive(Default)]
pub(crate) struct Counters {
    kept: Mutex<Kept>,
}

impl Counters {
    /// From what is in the store when it is opened: counted where events may still change, else read.
    pub(crate) fn load(db: &Connection) -> Done<Self> {
        let mut counts = Counts::new();
        for part in crate::partitions::every(db)? {
            for (target, found) in crate::partitions::count_kept(db, part)? {
                let sum = counts.entry(target).or_default();
                for state in EventState::ALL {
                    let mut found = found;
                    *sum.of(state) += *found.of(state);
                }
            }
        }
        let kept = Kept {
            counts,
            bytes: crate::partitions::size(db)?,
            ..Kept::default()
        };
        Ok(Self {
            kept: Mutex::new(kept),
        })
    }

    /// Takes over what a transaction did that is on disk.
    pub(crate) fn apply(&self, changes: Vec<Change>) {
        let mut kept = self.lock();
        let kept = &mut *kept;
        for change in changes {
            match change {
                Change::Accepted(target) => {
                    if let Some(totals) = totals(&mut kept.totals, &target) {
                        totals.accepted += 1;
                    }
                    kept.counts.entry(target).or_default().waiting += 1;
                }
                Change::Moved(target, from, to, many) => {
                    match (to, totals(&mut kept.totals, &target)) {
                        (EventState::Succeeded, Some(totals)) => totals.succeeded += many,
                        (EventState::Dead, Some(totals)) => totals.dead += many,
                        (EventState::Expired, Some(totals)) => totals.expired += many,
                        (EventState::Cancelled, Some(totals)) => totals.cancelled += many,
                        _ => {}
                    }
                    let counts = kept.counts.entry(target).or_default();
                    let left = counts.of(from);
                    *left = left.saturating_sub(many);
                    *counts.of(to) += many;
                }
                Change::Messages(queue, more) => {
                    if let Some(totals) = totals(&mut kept.queues, &queue) {
                        totals.sent += more.sent;
                        totals.received += more.received;
                        totals.deleted += more.deleted;
                    }
                }
                Change::Grown(bytes) => kept.bytes += bytes,
                Change::Begun => kept.bytes = 0,
                Change::Forgotten(gone) => forget(&mut kept.counts, gone),
            }
        }
    }

    /// About how large the newest partition is.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The totals of a key; none for a new one when there are too many.
fn totals<'a, K: Ord + Clone, V: Default>(
    all: &'a mut BTreeMap<K, V>,
    key: &K,
) -> Option<&'a mut V> {
    if !all.contains_key(key) {
        if all.len() >= MOST {
            return None;
        }
        all.insert(key.clone(), V::default());
    }
    all.get_mut(key)
}

fn forget(counts: &mut Counts, gone: Counts) {
    for (target, mut gone) in gone {
        if let Some(counts) = counts.get_mut(&target) {
            for state in EventState::ALL {
                let left = counts.of(state);
                *left = left.saturating_sub(*gone.of(state));
            }
        }
    }
    counts.retain(|_, counts| !counts.is_zero());
}

/// Counts one partition, by an index.
pub(crate) fn count_partition(db: &Connection, part: i64) -> Done<Counts> {
    let sql = format!(
        "SELECT target, state, count(*) AS n FROM event_{part} INDEXED BY event_target_{part}
         GROUP BY target, state"
    );
    let mut counts = Counts::new();
    let rows = all(db, &sql, [], |row| {
        let target: String = row.get("target")?;
        Ok((target, name(row, "state")?, count(row, "n")?))
    })?;
    for (target, state, number) in rows {
        *counts.entry(target).or_default().of(state) = number;
    }
    Ok(counts)
}

impl State {
    /// How many events are where, for each target key that has some. Nothing is read for it.
    ///
    /// # Errors
    /// None now; a second implementation may have some.
    pub async fn count_events(&self) -> Result<Vec<(String, EventCounts)>> {
        let kept = self.inner.counters.lock();
        let shown = kept.counts.iter().filter(|(_, counts)| !counts.is_zero());
        Ok(shown.map(|(key, counts)| (key.clone(), *counts)).collect())
    }

    /// What happened since the store was opened, for each target key.
    pub fn event_totals(&self) -> Vec<(String, EventTotals)> {
        let kept = self.inner.counters.lock();
        let totals = kept.totals.iter();
        totals.map(|(key, totals)| (key.clone(), *totals)).collect()
    }

    /// What happened to the messages of a queue since the store was opened.
    pub fn queue_totals(&self, queue: &QueueName) -> QueueTotals {
        let kept = self.inner.counters.lock();
        kept.queues.get(queue).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{event, function, store};
    use crate::{Settlement, Verdict};
    use model::Timestamp;

    #[tokio::test]
    async fn what_is_undone_is_not_counted() {
        let (_folder, state) = store().await;
        let new = event(&function("f"), 1);
        let work = move |tx: &crate::job::Tx<'_>| -> Done<()> {
            crate::events::insert(tx, &[new])?;
            Err(crate::error::Failure::bound("of a test", 1))
        };
        state.write("failing", work).await.unwrap_err();
        assert_eq!(state.count_events().await.unwrap(), []);
        assert_eq!(state.event_totals(), []);
    }

    #[tokio::test]
    async fn totals_grow_and_begin_again_at_a_restart() {
        let (folder, state) = store().await;
        let f = function("f");
        let events: Vec<_> = (0..3).map(|at| event(&f, at)).collect();
        state.put_events(events).await.unwrap();
        let lease = state.lease_events(&f, 2, Timestamp(9), Timestamp(99));
        let verdicts = [Verdict::Ack, Verdict::Bury { error: "e".into() }];
        for (leased, verdict) in lease.await.unwrap().iter().zip(verdicts) {
            let settlement = Settlement {
                id: leased.event.accepted.id,
                epoch: 1,
                verdict,
                run: None,
                at: Timestamp(10),
            };
            assert!(state.settle_event(settlement.clone()).await.unwrap());
            assert!(!state.settle_event(settlement).await.unwrap());
        }
        let totals = EventTotals {
            accepted: 3,
            succeeded: 1,
            dead: 1,
            ..EventTotals::default()
        };
        assert_eq!(state.event_totals(), [(f.key(), totals)]);
        let counts = state.count_events().await.unwrap();
        state.put_events(vec![event(&f, 5)]).await.unwrap();
        let bytes = state.inner.counters.bytes();
        state.close().await;
        let state = State::open(folder.path()).await.unwrap();
        assert!(bytes > 0);
        assert_eq!(state.inner.counters.bytes(), bytes, "counted anew");
        assert_eq!(state.event_totals(), []);
        let expected = EventCounts {
            waiting: counts[0].1.waiting + 1,
            ..counts[0].1
        };
        assert_eq!(state.count_events().await.unwrap(), [(f.key(), expected)]);
    }
}
