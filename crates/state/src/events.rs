//! Tables `event` and `payload`: accepting, showing and purging. Working on them is in `leases`.

use crate::error::{Done, Failure};
use crate::row::{all, count, event_id, first, name, run, time};
use crate::writer::Tx;
use crate::{Result, State, runs};
use bytes::Bytes;
use model::{Event, EventFilter, EventId, EventState, NewEvent, Target, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Bytes of payloads after which a listing or a lease stops, though more was asked for.
pub(crate) const MAX_PAYLOADS: usize = 32 * 1024 * 1024;

/// Events in one listing at most.
const MAX_LIST: u32 = 1000;

/// How many events of one target are where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventCounts {
    /// Waiting, due or not.
    pub waiting: u64,
    /// Under way.
    pub leased: u64,
    /// Ended well.
    pub succeeded: u64,
    /// Dead letters.
    pub dead: u64,
}

impl EventCounts {
    fn of(&mut self, state: EventState) -> &mut u64 {
        match state {
            EventState::Waiting => &mut self.waiting,
            EventState::Leased => &mut self.leased,
            EventState::Succeeded => &mut self.succeeded,
            EventState::Dead => &mut self.dead,
        }
    }
}

/// Reads a row of `event` joined with `payload`, all columns.
pub(crate) fn read(row: &Row<'_>) -> Done<Event> {
    let identity = |column| -> Done<EventId> {
        let missing = || Failure::Corrupt(format!("column {column} is null"));
        event_id(row, column)?.ok_or_else(missing)
    };
    let accepted = NewEvent {
        id: identity("id")?,
        target: read_target(row)?,
        source: row.get("source")?,
        kind: row.get("kind")?,
        subject: row.get("subject")?,
        payload: Bytes::from(row.get::<_, Vec<u8>>("body")?),
        accepted: time(row, "accepted")?,
        cause: event_id(row, "cause")?,
        replay_of: event_id(row, "replay_of")?,
    };
    Ok(Event {
        accepted,
        state: name(row, "state")?,
        attempts: count(row, "attempts")?,
        epoch: count(row, "epoch")?,
        not_before: time(row, "not_before")?,
        last_error: row.get("last_error")?,
        ended: row.get::<_, Option<i64>>("ended")?.map(Timestamp),
        runs: Vec::new(),
    })
}

/// Reads the columns `target` and `path`.
pub(crate) fn read_target(row: &Row<'_>) -> Done<Target> {
    let key: String = row.get("target")?;
    let path: Option<String> = row.get("path")?;
    let corrupt = || Failure::Corrupt(format!("columns target and path: \"{key}\", {path:?}"));
    match &path {
        None => {
            let name = key.strip_prefix("function:").ok_or_else(corrupt)?;
            Ok(Target::Function {
                name: name.parse()?,
            })
        }
        Some(path) => {
            let rest = key.strip_prefix("service:").ok_or_else(corrupt)?;
            let name = rest.strip_suffix(path.as_str()).ok_or_else(corrupt)?;
            Ok(Target::Service {
                name: name.parse()?,
                path: path.clone(),
            })
        }
    }
}

/// Adds events that wait; an id that is there already is left alone.
pub(crate) fn insert(tx: &Tx<'_>, events: &[NewEvent]) -> Done<()> {
    for event in events {
        let path = match &event.target {
            Target::Function { .. } => None,
            Target::Service { path, .. } => Some(path),
        };
        let id = |id: &EventId| id.0.into_bytes();
        let sql = "INSERT INTO event (id, target, path, source, kind, subject, accepted, cause,
                       replay_of, state, not_before, due)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'waiting', ?7, ?7)
                   ON CONFLICT (id) DO NOTHING";
        let row = params![
            id(&event.id),
            event.target.key(),
            path,
            event.source,
            event.kind,
            event.subject,
            event.accepted.0,
            event.cause.as_ref().map(id),
            event.replay_of.as_ref().map(id),
        ];
        if run(tx, sql, row)? == 0 {
            continue;
        }
        let sql = "INSERT INTO payload (event, body) VALUES (?1, ?2)";
        run(
            tx,
            sql,
            params![tx.last_insert_rowid(), event.payload.as_ref()],
        )?;
        tx.events_changed();
    }
    Ok(())
}

/// The keys of all targets that ever had an event that is kept, by one seek each.
pub(crate) fn targets(db: &Connection) -> Done<Vec<String>> {
    let sql = "SELECT target FROM event INDEXED BY event_target WHERE target > ?1
               ORDER BY target LIMIT 1";
    let mut statement = db.prepare_cached(sql)?;
    let mut found: Vec<String> = Vec::new();
    loop {
        let last = found.last().map_or("", String::as_str);
        let next = statement.query_row([last], |row| row.get(0)).optional()?;
        match next {
            Some(target) => found.push(target),
            None => return Ok(found),
        }
    }
}

/// Whether a target's key is meant by `wanted`: the key itself, or the service of which it is a path.
pub(crate) fn belongs(key: &str, wanted: &str) -> bool {
    let rest = key.strip_prefix(wanted);
    rest.is_some_and(|rest| rest.is_empty() || (rest.starts_with('/') && !wanted.contains('/')))
}

/// The ids that fit, newest first. Each pair of target and state is a range of an index in that
/// order, so the cost is by the page, unless `since` leaves much out.
fn list_ids(db: &Connection, filter: &EventFilter) -> Done<Vec<EventId>> {
    let limit = filter.limit.min(MAX_LIST);
    let before = filter.before.map_or([u8::MAX; 16], |id| id.0.into_bytes());
    let since = filter.since.map_or(i64::MIN, |since| since.0);
    let read = |row: &Row<'_>| {
        event_id(row, "id")?.ok_or_else(|| Failure::Corrupt("column id is null".to_owned()))
    };
    if filter.target.is_none() && filter.state.is_none() {
        let sql = "SELECT id FROM event WHERE id < ?1 AND accepted >= ?2 ORDER BY id DESC LIMIT ?3";
        return all(db, sql, params![before, since, limit], read);
    }
    let every = [
        EventState::Waiting,
        EventState::Leased,
        EventState::Succeeded,
        EventState::Dead,
    ];
    let states = every
        .into_iter()
        .filter(|state| filter.state.is_none_or(|only| only == *state));
    let states: Vec<EventState> = states.collect();
    let sql = "SELECT id FROM event INDEXED BY event_target
               WHERE target = ?1 AND state = ?2 AND id < ?3 AND accepted >= ?4
               ORDER BY id DESC LIMIT ?5";
    let mut ids = Vec::new();
    for target in targets(db)? {
        if filter
            .target
            .as_ref()
            .is_some_and(|wanted| !belongs(&target, wanted))
        {
            continue;
        }
        for state in &states {
            ids.extend(all(
                db,
                sql,
                params![target, state.as_str(), before, since, limit],
                read,
            )?);
        }
    }
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids.truncate(limit as usize);
    Ok(ids)
}

fn find(db: &Connection, id: EventId) -> Done<Option<Event>> {
    let sql = "SELECT * FROM event JOIN payload ON payload.event = event.seq WHERE id = ?1";
    first(db, sql, [id.0.into_bytes()], read)
}

impl State {
    /// Accepts events; answers when they are on disk. An id that is there already is left alone.
    ///
    /// # Errors
    /// Of the store.
    pub async fn put_events(&self, events: Vec<NewEvent>) -> Result<()> {
        self.write("accepting events", move |tx| insert(tx, &events))
            .await
    }

    /// One event with its runs.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_event(&self, id: EventId) -> Result<Event> {
        self.read("reading an event", move |db| {
            let mut event =
                find(db, id)?.ok_or_else(|| Failure::not_found("event", id.to_string()))?;
            event.runs = runs::of_event(db, id)?;
            Ok(event)
        })
        .await
    }

    /// Events that fit the filter, newest first, without their runs. A page ends early past 32 MiB
    /// of payloads; it is never empty while there is more.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_events(&self, filter: EventFilter) -> Result<Vec<Event>> {
        self.read("listing events", move |db| {
            let mut page = Vec::new();
            let mut bytes = 0;
            for id in list_ids(db, &filter)? {
                let Some(event) = find(db, id)? else { continue };
                bytes += event.accepted.payload.len();
                page.push(event);
                if bytes > MAX_PAYLOADS {
                    break;
                }
            }
            Ok(page)
        })
        .await
    }

    /// How many events are where, for each target key.
    ///
    /// # Errors
    /// Of the store.
    pub async fn count_events(&self) -> Result<Vec<(String, EventCounts)>> {
        self.read("counting events", |db| {
            let sql = "SELECT target, state, count(*) AS n FROM event INDEXED BY event_target
                       GROUP BY target, state ORDER BY target";
            let rows = all(db, sql, [], |row| {
                let target: String = row.get("target")?;
                Ok((target, name(row, "state")?, count(row, "n")?))
            })?;
            let mut counts: Vec<(String, EventCounts)> = Vec::new();
            for (target, state, number) in rows {
                if counts.last().is_none_or(|(last, _)| *last != target) {
                    counts.push((target, EventCounts::default()));
                }
                if let Some((_, count)) = counts.last_mut() {
                    *count.of(state) = number;
                }
            }
            Ok(counts)
        })
        .await
    }

    /// Deletes up to `limit` events that ended before `before`, and their runs. Gives how many.
    ///
    /// # Errors
    /// Of the store.
    pub async fn purge_events(&self, before: Timestamp, limit: u32) -> Result<u64> {
        self.write("purging events", move |tx| {
            let sql = "SELECT seq, id FROM event WHERE ended < ?1 ORDER BY ended LIMIT ?2";
            let old: Vec<(i64, [u8; 16])> = all(tx, sql, params![before.0, limit], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            for (seq, id) in &old {
                run(tx, "DELETE FROM run WHERE event = ?1", [id])?;
                // The payload goes with it (ON DELETE CASCADE).
                run(tx, "DELETE FROM event WHERE seq = ?1", [seq])?;
            }
            Ok(old.len() as u64)
        })
        .await
    }
}
