//! Tables `event_N` and `payload_N`, N being a partition's number: accepting and reading. Working on them is in `leases`, what became
//! of them in `history`.

use crate::acceptance::accept;
use crate::counters::Change;
use crate::error::{Done, Failure};
use crate::job::Tx;
use crate::row::{count, event_id, first, json, name, time, to_json};
use crate::{Result, State, crash, partitions, runs};
use bytes::Bytes;
use model::{Delivery, Event, EventId, NewEvent, Target, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Bytes of payloads after which a listing or a lease stops, though more was asked for.
pub(crate) const MAX_PAYLOADS: usize = 32 * 1024 * 1024;

/// Bytes that an event takes in its partition besides its payload, about.
pub(crate) const ROW: u64 = 400;

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
        delivery: match row.get::<_, Option<String>>("delivery")? {
            Some(_) => json(row, "delivery")?,
            None => Delivery::default(),
        },
    };
    Ok(Event {
        accepted,
        state: name(row, "state")?,
        attempts: count(row, "attempts")?,
        epoch: count(row, "epoch")?,
        not_before: time(row, "not_before")?,
        last_error: row.get("last_error")?,
        depth: count(row, "depth")?,
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
            let (kind, name) = key.split_once(':').ok_or_else(corrupt)?;
            Ok(match kind {
                "function" => Target::Function {
                    name: name.parse()?,
                },
                "queue" => Target::Queue {
                    name: name.parse()?,
                },
                "bus" => Target::Bus {
                    name: name.parse()?,
                },
                "webhook" => Target::Webhook {
                    name: name.parse()?,
                },
                "bucket" => Target::Bucket {
                    name: name.parse()?,
                },
                _ => return Err(corrupt()),
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

/// Adds events that wait, to the newest partition; an id that is there already is left alone.
pub(crate) fn insert(tx: &Tx<'_>, events: &[NewEvent]) -> Done<()> {
    if events.is_empty() {
        return Ok(());
    }
    let part = partitions::newest(tx)?;
    let closed = partitions::last_closed(tx)?;
    let event_sql = format!(
        "INSERT INTO event_{part} (id, target, path, source, kind, subject, accepted, cause,
             replay_of, state, not_before, due, depth, delivery)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'waiting', ?7, ?7, ?10, ?11)
         ON CONFLICT (id) DO NOTHING"
    );
    let payload_sql = format!("INSERT INTO payload_{part} (event, body) VALUES (?1, ?2)");
    let mut add = tx.prepare_cached(&event_sql)?;
    let mut add_payload = tx.prepare_cached(&payload_sql)?;
    for event in events {
        let path = match &event.target {
            Target::Service { path, .. } => Some(path),
            _ => None,
        };
        let id = |id: &EventId| id.0.into_bytes();
        let target = event.target.key();
        let wants = !event.delivery.is_plain();
        let delivery = wants.then(|| to_json(&event.delivery)).transpose()?;
        let row = params![
            id(&event.id),
            target,
            path,
            event.source,
            event.kind,
            event.subject,
            event.accepted.0,
            event.cause.as_ref().map(id),
            event.replay_of.as_ref().map(id),
            depth(tx, event.cause)?,
            delivery,
        ];
        let fresh = partitions::made(event.id) > Some(closed);
        if (!fresh && is_older(tx, event.id, part)?) || add.execute(row)? == 0 {
            continue;
        }
        crash::point("event-row");
        let row = params![tx.last_insert_rowid(), event.payload.as_ref()];
        add_payload.execute(row)?;
        crash::point("event-payload");
        tx.count(Change::Grown(ROW + event.payload.len() as u64));
        tx.count(Change::Accepted(target));
        tx.events_changed();
    }
    Ok(())
}

/// Whether an event is in an older partition than this one.
fn is_older(db: &Connection, id: EventId, newest: i64) -> Done<bool> {
    for part in partitions::holders(db, id)? {
        let sql = format!("SELECT 1 FROM event_{part} WHERE id = ?1");
        if part != newest && first(db, &sql, [id.0.into_bytes()], |_| Ok(()))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How deep an event is that has this cause: one deeper, or 0 if that is not kept.
fn depth(db: &Connection, cause: Option<EventId>) -> Done<u32> {
    let Some(cause) = cause else { return Ok(0) };
    for part in partitions::holders(db, cause)? {
        let sql = format!("SELECT depth FROM event_{part} WHERE id = ?1");
        let found = first(db, &sql, [cause.0.into_bytes()], |row| {
            count::<u32>(row, "depth")
        })?;
        if let Some(depth) = found {
            return Ok(depth.saturating_add(1));
        }
    }
    Ok(0)
}

/// The keys of all targets that have an event in a partition, by one seek each.
pub(crate) fn targets(db: &Connection, part: i64) -> Done<Vec<String>> {
    let sql = format!(
        "SELECT target FROM event_{part} INDEXED BY event_target_{part} WHERE target > ?1
         ORDER BY target LIMIT 1"
    );
    let mut statement = db.prepare_cached(&sql)?;
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

/// One event without its runs, and its partition.
pub(crate) fn locate(db: &Connection, id: EventId) -> Done<Option<(i64, Event)>> {
    for part in partitions::holders(db, id)? {
        let sql =
            format!("SELECT * FROM event_{part} JOIN payload_{part} ON event = seq WHERE id = ?1");
        if let Some(event) = first(db, &sql, [id.0.into_bytes()], read)? {
            return Ok(Some((part, event)));
        }
    }
    Ok(None)
}

/// One event without its runs.
pub(crate) fn find(db: &Connection, id: EventId) -> Done<Option<Event>> {
    Ok(locate(db, id)?.map(|(_, event)| event))
}

impl State {
    /// Accepts events; answers when they are on disk. An id that is there already is left alone.
    ///
    /// # Errors
    /// Of the store.
    pub async fn put_events(&self, events: Vec<NewEvent>) -> Result<()> {
        let (job, answer) = accept(events);
        self.inner.hand_in(job, answer).await
    }

    /// One event with its runs.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_event(&self, id: EventId) -> Result<Event> {
        self.read("reading an event", move |db| {
            let (part, mut event) =
                locate(db, id)?.ok_or_else(|| Failure::not_found("event", id.to_string()))?;
            event.runs = runs::of_event(db, part, id)?;
            Ok(event)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{event, service, store};
    use model::EventState;

    #[tokio::test]
    async fn an_event_is_kept_as_accepted_and_only_once() {
        let (_folder, state) = store().await;
        let cause = Some(EventId::generate());
        let first = NewEvent {
            cause,
            replay_of: cause,
            delivery: Delivery {
                max_attempts: Some(7),
                group: Some("g".into()),
                ..Delivery::default()
            },
            ..event(&service("s", "/a/b"), 5)
        };
        let again = NewEvent {
            subject: "other".into(),
            ..first.clone()
        };
        state.put_events(vec![first.clone()]).await.unwrap();
        state.put_events(vec![again]).await.unwrap();
        let kept = state.get_event(first.id).await.unwrap();
        assert_eq!(kept.accepted, first);
        assert_eq!(
            (kept.state, kept.attempts, kept.epoch),
            (EventState::Waiting, 0, 0)
        );
        assert_eq!((kept.not_before, kept.ended), (Timestamp(5), None));
        let missing = state.get_event(EventId::generate()).await.unwrap_err();
        assert_eq!(missing.kind(), model::Kind::NotFound);
    }

    #[tokio::test]
    async fn an_event_is_one_deeper_than_its_cause() {
        let (_folder, state) = store().await;
        let mut cause = None;
        for depth in 0..3 {
            let next = NewEvent {
                cause,
                ..event(&service("s", "/"), 5)
            };
            cause = Some(next.id);
            // Together with its cause or after it: the same.
            state.put_events(vec![next.clone()]).await.unwrap();
            assert_eq!(state.get_event(next.id).await.unwrap().depth, depth);
        }
    }
}
