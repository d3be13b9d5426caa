//! Table `schedule`. What is due is decided, and its events are put, in one transaction with the
//! cursor, so a crash neither loses nor doubles a tick.

use crate::error::{Done, Failure};
use crate::job::Tx;
use crate::row::{all, first, json, run, time, to_json};
use crate::schedule_requests::Once;
use crate::{Result, State, crash, events, schedule_groups};
use model::{ChangeKind, Due, NewEvent, Schedule, ScheduleKey, ScheduleSpec, Timestamp};
use rusqlite::{Connection, Row, params};

/// Most schedules of one server.
const MAX_SCHEDULES: u32 = 100_000;
/// Schedules that one transaction advances at most, so that other writers never wait long.
const MAX_BATCH: u32 = 100;
/// Bytes of payloads after which one transaction advances no further schedule.
const MAX_PAYLOADS: usize = 8 * 1024 * 1024;

/// Which schedules to list, by group and name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScheduleFilter {
    /// Only of this group.
    pub group: Option<model::ScheduleGroupName>,
    /// Only those whose name begins with this.
    pub prefix: String,
    /// Only enabled ones, or only disabled ones.
    pub enabled: Option<bool>,
    /// Only after this one.
    pub after: Option<ScheduleKey>,
    /// At most this many: 1 to 1 000.
    pub limit: u32,
}

/// What one round of ticks did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ticked {
    /// Events that were put.
    pub fired: usize,
    /// Schedules of which ticks were missed that made no event.
    pub dropped: Vec<ScheduleKey>,
    /// Schedules that cannot be read and were put aside, and why.
    pub broken: Vec<(String, String)>,
    /// Whether more are due.
    pub more: bool,
}

fn read(row: &Row<'_>) -> Done<Schedule> {
    let optional = |column| Ok::<_, Failure>(row.get::<_, Option<i64>>(column)?.map(Timestamp));
    let next = match (optional("tick")?, optional("due")?) {
        (Some(tick), Some(at)) => Some(Due { tick, at }),
        _ => None,
    };
    Ok(Schedule {
        spec: json(row, "spec")?,
        created: time(row, "created")?,
        modified: time(row, "modified")?,
        origin: time(row, "origin")?,
        cursor: time(row, "cursor")?,
        next,
    })
}

fn find(db: &Connection, key: &ScheduleKey) -> Done<Option<Schedule>> {
    let sql = "SELECT * FROM schedule WHERE grp = ?1 AND name = ?2";
    first(db, sql, [key.group.as_str(), key.name.as_str()], read)
}

fn require(db: &Connection, key: &ScheduleKey) -> Done<Schedule> {
    find(db, key)?.ok_or_else(|| Failure::not_found("schedule", key.to_string()))
}

/// Adds a schedule whose name is free.
fn insert(tx: &Tx<'_>, schedule: &Schedule) -> Done<()> {
    let key = &schedule.spec.key;
    schedule_groups::require(tx, &key.group)?;
    let sql = "INSERT INTO schedule
                   (grp, name, owner, created, modified, origin, cursor, tick, due, spec)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
               ON CONFLICT (grp, name) DO NOTHING";
    let row = params![
        key.group.as_str(),
        key.name.as_str(),
        schedule.spec.owner,
        schedule.created.0,
        schedule.modified.0,
        schedule.origin.0,
        schedule.cursor.0,
        schedule.next.map(|due| due.tick.0),
        schedule.next.map(|due| due.at.0),
        to_json(&schedule.spec)?,
    ];
    if run(tx, sql, row)? == 0 {
        let reason = "exists already";
        return Err(Failure::conflict("schedule", key.to_string(), reason));
    }
    let sql = "SELECT count(*) FROM schedule INDEXED BY schedule_name";
    let count: u32 = tx.query_row(sql, [], |row| row.get(0))?;
    if count > MAX_SCHEDULES {
        return Err(Failure::bound("schedules", MAX_SCHEDULES));
    }
    Ok(())
}

fn replace(tx: &Tx<'_>, schedule: &Schedule) -> Done<()> {
    let sql = "UPDATE schedule SET owner = ?3, modified = ?4, origin = ?5, cursor = ?6, tick = ?7,
                   due = ?8, spec = ?9
               WHERE grp = ?1 AND name = ?2";
    let key = &schedule.spec.key;
    let row = params![
        key.group.as_str(),
        key.name.as_str(),
        schedule.spec.owner,
        schedule.modified.0,
        schedule.origin.0,
        schedule.cursor.0,
        schedule.next.map(|due| due.tick.0),
        schedule.next.map(|due| due.at.0),
        to_json(&schedule.spec)?,
    ];
    run(tx, sql, row)?;
    Ok(())
}

fn remove(tx: &Tx<'_>, key: &ScheduleKey) -> Done<usize> {
    let sql = "DELETE FROM schedule WHERE grp = ?1 AND name = ?2";
    run(tx, sql, [key.group.as_str(), key.name.as_str()])
}

/// Removes what an owner's manifest declared.
pub(crate) fn forget(tx: &Tx<'_>, owner: &str) -> Done<()> {
    run(tx, "DELETE FROM schedule WHERE owner = ?1", [owner])?;
    Ok(())
}

impl State {
    /// Adds a schedule.
    ///
    /// # Errors
    /// `NotFound` (group), `Conflict` when the name is taken, `Bound` past 100 000 schedules.
    pub async fn create_schedule(
        &self,
        spec: ScheduleSpec,
        now: Timestamp,
        once: Option<Once>,
    ) -> Result<()> {
        self.write("creating a schedule", move |tx| {
            if !Once::is_new(once.as_ref(), tx)? {
                return Ok(());
            }
            insert(tx, &Schedule::new(spec, now))?;
            crash::point("schedule-row");
            Ok(())
        })
        .await
    }

    /// Changes a schedule to what `change` makes of its declaration, but for its key.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn change_schedule(
        &self,
        key: ScheduleKey,
        now: Timestamp,
        once: Option<Once>,
        change: impl FnOnce(&ScheduleSpec) -> ScheduleSpec + Send + 'static,
    ) -> Result<()> {
        self.write("changing a schedule", move |tx| {
            if !Once::is_new(once.as_ref(), tx)? {
                return Ok(());
            }
            let before = require(tx, &key)?;
            let spec = ScheduleSpec {
                key,
                ..change(&before.spec)
            };
            replace(tx, &before.changed(spec, now))
        })
        .await
    }

    /// Makes the schedules of an owner those that its manifest declares. One that was paused stays so.
    /// Tells what became of each, removed ones not told.
    ///
    /// # Errors
    /// `Conflict` when a name is taken by a schedule that is not this owner's; then nothing is done.
    pub async fn declare_schedules(
        &self,
        owner: String,
        specs: Vec<ScheduleSpec>,
        now: Timestamp,
    ) -> Result<Vec<(ScheduleKey, ChangeKind)>> {
        self.write("declaring schedules", move |tx| {
            let sql = "SELECT * FROM schedule WHERE owner = ?1";
            for present in all(tx, sql, [&owner], read)? {
                let key = &present.spec.key;
                if !specs.iter().any(|spec| spec.key == *key) {
                    remove(tx, key)?;
                }
            }
            let mut changes = Vec::new();
            for mut spec in specs {
                let key = spec.key.clone();
                spec.owner = Some(owner.clone());
                let change = match find(tx, &key)? {
                    None => {
                        insert(tx, &Schedule::new(spec, now))?;
                        ChangeKind::Created
                    }
                    Some(before) if before.spec.owner.as_ref() != Some(&owner) => {
                        let reason = "exists already and is not declared by this manifest's \
                                      function or service; give the trigger another name";
                        return Err(Failure::conflict("schedule", key.to_string(), reason));
                    }
                    Some(before) => {
                        spec.enabled = before.spec.enabled;
                        if before.spec == spec {
                            ChangeKind::Unchanged
                        } else {
                            replace(tx, &before.changed(spec, now))?;
                            ChangeKind::Updated
                        }
                    }
                };
                changes.push((key, change));
            }
            Ok(changes)
        })
        .await
    }

    /// One schedule.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_schedule(&self, key: ScheduleKey) -> Result<Schedule> {
        self.read("reading a schedule", move |db| require(db, &key))
            .await
    }

    /// The schedules that an owner's manifest declared, by group and name.
    ///
    /// # Errors
    /// Of the database.
    pub async fn schedules_of(&self, owner: String) -> Result<Vec<Schedule>> {
        self.read("listing an owner's schedules", move |db| {
            let sql = "SELECT * FROM schedule WHERE owner = ?1 ORDER BY grp, name";
            all(db, sql, [&owner], read)
        })
        .await
    }

    /// Schedules that fit, by group and name.
    ///
    /// # Errors
    /// `NotFound` (group).
    pub async fn list_schedules(&self, filter: ScheduleFilter) -> Result<Vec<Schedule>> {
        self.read("listing schedules", move |db| {
            let group = filter.group.as_ref();
            if let Some(group) = group {
                schedule_groups::require(db, group)?;
            }
            let after = filter.after.as_ref();
            let (after_group, after_name) =
                after.map_or(("", ""), |key| (key.group.as_str(), key.name.as_str()));
            let sql = "SELECT * FROM schedule
                       WHERE (grp, name) > (?1, ?2) AND (?3 IS NULL OR grp = ?3)
                           AND substr(name, 1, length(?4)) = ?4
                           AND (?5 IS NULL OR (spec ->> '$.enabled') = ?5)
                       ORDER BY grp, name LIMIT ?6";
            let params = params![
                after_group,
                after_name,
                group.map(|group| group.as_str()),
                filter.prefix,
                filter.enabled,
                filter.limit.min(1000)
            ];
            all(db, sql, params, read)
        })
        .await
    }

    /// Removes a schedule.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_schedule(&self, key: ScheduleKey, once: Option<Once>) -> Result<()> {
        self.write("deleting a schedule", move |tx| {
            if !Once::is_new(once.as_ref(), tx)? {
                return Ok(());
            }
            match remove(tx, &key)? {
                0 => Err(Failure::not_found("schedule", key.to_string())),
                _ => Ok(()),
            }
        })
        .await
    }

    /// When the next schedule is due.
    ///
    /// # Errors
    /// Of the store.
    pub async fn next_schedule(&self) -> Result<Option<Timestamp>> {
        self.read("looking for the next schedule", |db| {
            let sql = "SELECT due FROM schedule INDEXED BY schedule_due
                       WHERE due IS NOT NULL ORDER BY due LIMIT 1";
            first(db, sql, [], |row| time(row, "due"))
        })
        .await
    }

    /// Advances schedules that are due at `now`, the oldest first: puts an event, as `event` makes it,
    /// for each tick that happens, and moves the cursors, in one transaction. A part of them, if they
    /// are many: then `more` is told.
    ///
    /// # Errors
    /// Of the store; then nothing was done.
    pub async fn tick_schedules(
        &self,
        now: Timestamp,
        event: impl Fn(&Schedule, Timestamp) -> NewEvent + Send + 'static,
    ) -> Result<Ticked> {
        self.write("advancing schedules", move |tx| {
            let sql = "SELECT seq FROM schedule INDEXED BY schedule_due
                       WHERE due IS NOT NULL AND due <= ?1 ORDER BY due LIMIT ?2";
            let due: Vec<i64> = all(tx, sql, params![now.0, MAX_BATCH], |row| Ok(row.get(0)?))?;
            let mut ticked = Ticked {
                more: due.len() == MAX_BATCH as usize,
                ..Ticked::default()
            };
            let mut payloads = 0;
            for seq in due {
                if payloads > MAX_PAYLOADS {
                    ticked.more = true;
                    break;
                }
                payloads += tick(tx, seq, now, &event, &mut ticked)?;
            }
            Ok(ticked)
        })
        .await
    }
}

/// Advances one schedule. Gives the bytes of its events' payloads.
fn tick(
    tx: &Tx<'_>,
    seq: i64,
    now: Timestamp,
    event: &impl Fn(&Schedule, Timestamp) -> NewEvent,
    ticked: &mut Ticked,
) -> Done<usize> {
    let sql = "SELECT * FROM schedule WHERE seq = ?1";
    let schedule = match first(tx, sql, [seq], read) {
        Ok(Some(schedule)) => schedule,
        Ok(None) => return Ok(0),
        // One that cannot be read must not keep all others from their ticks.
        Err(Failure::Corrupt(reason)) => {
            let sql = "UPDATE schedule SET tick = NULL, due = NULL WHERE seq = ?1
                       RETURNING grp || '/' || name";
            let key = first(tx, sql, [seq], |row| Ok(row.get(0)?))?;
            ticked.broken.extend(key.map(|key| (key, reason)));
            return Ok(0);
        }
        Err(failure) => return Err(failure),
    };
    crash::point("tick-due");
    let advance = schedule.advance(now);
    let fired = advance.fire.iter().map(|tick| event(&schedule, *tick));
    let fired: Vec<NewEvent> = fired.collect();
    events::insert(tx, &fired)?;
    crash::point("tick-events");
    match &advance.schedule {
        Some(schedule) => replace(tx, schedule)?,
        None => {
            remove(tx, &schedule.spec.key)?;
        }
    }
    crash::point("cursor-moved");
    if advance.dropped {
        ticked.dropped.push(schedule.spec.key);
    }
    ticked.fired += fired.len();
    Ok(fired.iter().map(|event| event.payload.len()).sum())
}

#[cfg(test)]
mod tests;
