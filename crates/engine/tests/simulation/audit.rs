//! The audit: looks into the database with a connection of its own and holds what is there against
//! what those outside know.

use crate::house::ROUTED;
use crate::ledger::{Book, Ledger};
use model::{EventId, Timestamp};
use rusqlite::{Connection, OpenFlags, Row, params};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// An event as the database has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub target: String,
    pub state: String,
    pub attempts: u32,
    pub epoch: u64,
    pub due: Option<i64>,
    pub ended: Option<i64>,
    pub error: Option<String>,
    pub cause: Option<EventId>,
    /// Source and subject.
    pub what: (String, String),
}

impl Entry {
    pub fn is_over(&self) -> bool {
        self.due.is_none()
    }
}

const COLUMNS: &str =
    "id, target, state, attempts, epoch, due, ended, last_error, cause, source, subject";

fn entry(row: &Row<'_>) -> rusqlite::Result<(EventId, Entry)> {
    let id = |bytes: [u8; 16]| EventId(uuid::Uuid::from_bytes(bytes));
    let entry = Entry {
        target: row.get(1)?,
        state: row.get(2)?,
        attempts: row.get(3)?,
        epoch: row.get::<_, i64>(4)? as u64,
        due: row.get(5)?,
        ended: row.get(6)?,
        error: row.get(7)?,
        cause: row.get::<_, Option<[u8; 16]>>(8)?.map(id),
        what: (row.get(9)?, row.get(10)?),
    };
    Ok((id(row.get(0)?), entry))
}

/// What was seen so far, over all lives.
#[derive(Default)]
pub struct Seen {
    pub entries: BTreeMap<EventId, Entry>,
    /// Most attempts of each target that is a function.
    pub most_attempts: BTreeMap<String, u32>,
}

pub struct Audit {
    db: Connection,
    version: i64,
}

impl Audit {
    pub fn open(folder: &Path) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(folder.join("state.db"), flags).unwrap();
        Self { db, version: -1 }
    }

    /// The numbers of the partitions, oldest first.
    fn partitions(&self) -> Vec<i64> {
        let sql = "SELECT number FROM event_partition ORDER BY number";
        let mut statement = self.db.prepare_cached(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn entries(&self, condition: &str, since: i64) -> Vec<(EventId, Entry)> {
        let mut found = Vec::new();
        for part in self.partitions() {
            let sql = format!(
                "SELECT {COLUMNS} FROM event_{part} WHERE {condition} AND ?1 IS NOT NULL ORDER BY seq"
            );
            let mut statement = self.db.prepare_cached(&sql).unwrap();
            let rows = statement.query_map(params![since], entry).unwrap();
            found.extend(rows.map(Result::unwrap));
        }
        found
    }

    /// Looks at what may have changed since the last time. Gives whether anything did.
    pub fn look(&mut self, seen: &mut Seen, ledger: &Ledger) -> bool {
        let sql = "PRAGMA data_version";
        let mut statement = self.db.prepare_cached(sql).unwrap();
        let version: i64 = statement.query_row([], |row| row.get(0)).unwrap();
        drop(statement);
        if version == self.version {
            return false;
        }
        self.version = version;
        let mut open: BTreeSet<_> = seen
            .entries
            .iter()
            .filter(|(_, entry)| !entry.is_over())
            .map(|(id, _)| *id)
            .collect();
        let mut book = ledger.book();
        // What has not ended, and what ended lately.
        let mut found = self.entries("due IS NOT NULL", 0);
        found.extend(self.entries("ended >= ?1", Timestamp::now().0 - 10_000));
        for (id, now) in found {
            open.remove(&id);
            check(&mut book, seen, id, now);
        }
        for id in open {
            let name = book.name(id);
            book.broken("no-loss", || {
                format!("{name} was there and is not any more")
            });
        }
        for id in book
            .promised
            .keys()
            .filter(|id| !seen.entries.contains_key(id))
            .copied()
            .collect::<Vec<_>>()
        {
            let name = book.name(id);
            book.broken("no-loss", || {
                format!("{name} was accepted and is not there")
            });
        }
        true
    }

    /// Looks at everything.
    pub fn look_again(&mut self, seen: &mut Seen, ledger: &Ledger) {
        self.version = -1;
        self.look(seen, ledger);
        let all: BTreeMap<_, _> = self.entries("true", 0).into_iter().collect();
        let mut book = ledger.book();
        for (id, before) in &seen.entries {
            if all.get(id) != Some(before) {
                let name = book.name(*id);
                book.broken("one-end-state", || {
                    format!("{name} ended as {before:?} and is now {:?}", all.get(id))
                });
            }
        }
        for id in all.keys().filter(|id| !seen.entries.contains_key(id)) {
            let name = book.name(*id);
            book.broken("conservation", || {
                format!("{name} is there and was never seen to come")
            });
        }
        let unknown: Vec<_> = all
            .iter()
            .filter(|(id, entry)| !is_known(&book, id, entry))
            .map(|(id, _)| *id)
            .collect();
        for id in unknown {
            let name = book.name(id);
            book.broken("conservation", || {
                format!("{name} is there and nobody sent it")
            });
        }
        batches(&mut book, &all);
        names(&mut book, &all);
        ticks(&mut book, &all);
        effects(&mut book, &all);
    }

    /// The records of attempts: never more than attempts that were spent.
    pub fn runs(&self, seen: &Seen, ledger: &Ledger) {
        for part in self.partitions() {
            let sql = format!(
                "SELECT event, count(*) FROM run_{part} WHERE event IS NOT NULL GROUP BY event"
            );
            let mut statement = self.db.prepare(&sql).unwrap();
            let read = |row: &Row<'_>| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, u32>(1)?));
            for row in statement.query_map([], read).unwrap() {
                let (id, runs) = row.unwrap();
                let id = EventId(uuid::Uuid::from_bytes(id));
                let attempts = seen.entries.get(&id).map_or(0, |entry| entry.attempts);
                let mut book = ledger.book();
                if runs > attempts {
                    let name = book.name(id);
                    book.broken("no-old-epoch", || {
                        format!("{name} has {runs} runs of {attempts} attempts")
                    });
                }
            }
        }
    }
}

/// Whether somebody sent it, or something that is there caused it.
fn is_known(book: &Book, id: &EventId, entry: &Entry) -> bool {
    book.promised.contains_key(id)
        || book.unsure.contains_key(id)
        || entry.cause.is_some()
        || entry.what.0.starts_with("schedule:")
        || book.named.values().any(|named| named.tried.contains(id))
}

/// Holds an event as it is now against what was seen of it before.
fn check(book: &mut Book, seen: &mut Seen, id: EventId, now: Entry) {
    let before = seen.entries.get(&id);
    if before == Some(&now) {
        return;
    }
    let name = book.name(id);
    book.note(&format!(
        "{name} {}: {} attempts {} epoch {}{}",
        now.target,
        now.state,
        now.attempts,
        now.epoch,
        now.error
            .as_ref()
            .map(|error| format!(" ({error})"))
            .unwrap_or_default(),
    ));
    if book.refused.contains(&id) {
        book.broken("conservation", || {
            format!("{name} was refused and is there")
        });
    }
    if let Some(before) = before {
        if before.is_over() {
            book.broken("one-end-state", || {
                format!("{name} ended as {before:?} and is now {now:?}")
            });
        }
        if now.epoch < before.epoch || now.attempts < before.attempts {
            book.broken("no-old-epoch", || {
                format!("{name} went back from {before:?} to {now:?}")
            });
        }
    }
    let most = seen
        .most_attempts
        .get(&now.target)
        .copied()
        .unwrap_or(u32::MAX);
    if now.attempts > most {
        book.broken("attempts-in-policy", || {
            format!("{name} had {} of {most}", now.attempts)
        });
    }
    settled(book, &name, id, &now);
    seen.entries.insert(id, now);
}

/// An event that is not leased any more was settled by the call of its own epoch, which has ended.
fn settled(book: &mut Book, name: &str, id: EventId, now: &Entry) {
    let called = book.calls.get(&(id, now.epoch));
    let deleted = now.error.as_deref() == Some("function deleted");
    if now.state == "leased" || deleted || !now.target.starts_with("function:") {
        return;
    }
    let ended = called.map(|called| called.ended);
    if ended == Some(None) {
        let state = &now.state;
        book.broken("no-old-epoch", || {
            format!(
                "{name} is {state}, and the call of its epoch {} is under way",
                now.epoch
            )
        });
    }
    if now.state != "succeeded" {
        return;
    }
    let at = now.ended.unwrap_or(0);
    let well = matches!(ended, Some(Some((end, true))) if end.0 <= at);
    if !well {
        book.broken("no-old-epoch", || {
            format!(
                "{name} succeeded in epoch {}, whose call had not",
                now.epoch
            )
        });
    }
}

/// Of what was sent together and not answered, all is there or nothing.
fn batches(book: &mut Book, all: &BTreeMap<EventId, Entry>) {
    let mut batches: BTreeMap<usize, BTreeSet<bool>> = BTreeMap::new();
    for (id, batch) in &book.unsure {
        let there = all.contains_key(id);
        batches.entry(*batch).or_default().insert(there);
    }
    if batches.values().any(|there| there.len() > 1) {
        book.broken("all-or-none", || {
            "a part of a change was accepted".to_owned()
        });
    }
}

/// Of what was sent under one name, one is there at most.
fn names(book: &mut Book, all: &BTreeMap<EventId, Entry>) {
    let twice = book.named.iter().find_map(|(key, named)| {
        let there = named.tried.iter().filter(|id| all.contains_key(id)).count();
        (there > 1).then(|| format!("{key} is there {there} times"))
    });
    if let Some(seen) = twice {
        book.broken("once-per-name", || seen);
    }
}

/// A tick of a schedule has one event at most.
fn ticks(book: &mut Book, all: &BTreeMap<EventId, Entry>) {
    let mut ticks = BTreeSet::new();
    for entry in all
        .values()
        .filter(|entry| entry.what.0.starts_with("schedule:"))
    {
        if !ticks.insert(&entry.what) {
            book.broken("one-event-a-tick", || format!("{:?} has two", entry.what));
        }
    }
}

/// An event of the bus that was routed has caused one event for each target of the rule, no other has.
fn effects(book: &mut Book, all: &BTreeMap<EventId, Entry>) {
    let mut caused: BTreeMap<EventId, usize> = BTreeMap::new();
    for cause in all.values().filter_map(|entry| entry.cause) {
        *caused.entry(cause).or_default() += 1;
    }
    for (id, entry) in all {
        let routed = entry.target.starts_with("bus:") && entry.state == "succeeded";
        let expected = if routed { ROUTED } else { 0 };
        let caused = caused.get(id).copied().unwrap_or(0);
        if caused != expected {
            let name = book.name(*id);
            book.broken("effects-once", || {
                format!(
                    "{name} {} caused {caused} events, not {expected}",
                    entry.state
                )
            });
        }
    }
}
