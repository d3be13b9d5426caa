//! Table `replay`: replays of all events that a query means. A replay goes on after a restart: what a
//! step accepts, and how far it came, are one transaction, so no event is accepted twice or left out.

use crate::error::{Done, Failure};
use crate::events::{find, insert};
use crate::row::{all, count, event_id, first, int, json, name, run, to_json};
use crate::{Result, State};
use model::{EventId, NewEvent, Replay, ReplayId, ReplayOrder, ReplayState, Timestamp};
use rusqlite::{Connection, Row, params};

/// Replays that may run at a time.
const MAX_RUNNING: u32 = 16;
/// Bytes of payloads after which a step stops, so that writers never wait long for one.
const STEP_BYTES: usize = 4 * 1024 * 1024;
/// Replays that are remembered; past it the oldest that ended are forgotten.
const KEPT: u32 = 1_000;

/// How far one step of a replay came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayStep {
    /// Where the step began.
    pub from: Option<EventId>,
    /// Where it ended; `None` when nothing is left to look at.
    pub to: Option<EventId>,
    /// The events that were looked at, oldest first, and whether each is accepted again. Else it is
    /// left out.
    pub events: Vec<(EventId, bool)>,
    /// When.
    pub at: Timestamp,
}

fn read(row: &Row<'_>) -> Done<Replay> {
    let missing = || Failure::Corrupt("column before is null".to_owned());
    let limit: Option<i64> = row.get("most")?;
    Ok(Replay {
        id: ReplayId(uuid::Uuid::from_bytes(row.get("id")?)),
        order: ReplayOrder {
            query: json(row, "query")?,
            limit: limit.map(|limit| u64::try_from(limit).unwrap_or(0)),
            version: match row.get::<_, Option<String>>("version")? {
                Some(_) => Some(json(row, "version")?),
                None => None,
            },
        },
        before: event_id(row, "before")?.ok_or_else(missing)?,
        after: event_id(row, "after")?,
        state: name(row, "state")?,
        started: Timestamp(row.get("started")?),
        ended: row.get::<_, Option<i64>>("ended")?.map(Timestamp),
        replayed: count(row, "replayed")?,
        skipped: count(row, "skipped")?,
    })
}

fn load(db: &Connection, id: ReplayId) -> Done<Option<Replay>> {
    let sql = "SELECT * FROM replay WHERE id = ?1";
    first(db, sql, [id.0.into_bytes()], read)
}

fn save(db: &Connection, replay: &Replay) -> Done<()> {
    let sql =
        "REPLACE INTO replay (id, query, most, before, after, state, started, ended, replayed,
                   skipped, version) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let version = replay.order.version.as_ref().map(to_json).transpose()?;
    let row = params![
        replay.id.0.into_bytes(),
        to_json(&replay.order.query)?,
        replay.order.limit.map(int),
        replay.before.0.into_bytes(),
        replay.after.map(|id| id.0.into_bytes()),
        replay.state.as_str(),
        replay.started.0,
        replay.ended.map(|ended| ended.0),
        int(replay.replayed),
        int(replay.skipped),
        version,
    ];
    run(db, sql, row)?;
    Ok(())
}

/// The replays that are not done, oldest first.
pub(crate) fn running(db: &Connection) -> Done<Vec<Replay>> {
    let sql = "SELECT * FROM replay WHERE state = 'running' ORDER BY started, id";
    all(db, sql, [], read)
}

impl State {
    /// Begins a replay, or gives the one that was begun under the same id, and whether it is new.
    ///
    /// # Errors
    /// `Conflict` when the id is that of a replay of something else; `Bound` while 16 run.
    pub async fn start_replay(&self, replay: Replay) -> Result<(Replay, bool)> {
        self.write("beginning a replay", move |tx| {
            if let Some(known) = load(tx, replay.id)? {
                if known.order == replay.order {
                    return Ok((known, false));
                }
                let reason = "is already the id of a replay of other events: name another id";
                return Err(Failure::conflict("replay", replay.id.to_string(), reason));
            }
            if running(tx)?.len() >= MAX_RUNNING as usize {
                return Err(Failure::bound("replays that run", MAX_RUNNING));
            }
            let sql = "DELETE FROM replay WHERE state <> 'running' AND id IN
                           (SELECT id FROM replay ORDER BY started DESC LIMIT -1 OFFSET ?1)";
            run(tx, sql, [KEPT - 1])?;
            save(tx, &replay)?;
            Ok((replay, true))
        })
        .await
    }

    /// One replay.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_replay(&self, id: ReplayId) -> Result<Replay> {
        self.read("reading a replay", move |db| {
            load(db, id)?.ok_or_else(|| Failure::not_found("replay", id.to_string()))
        })
        .await
    }

    /// The replays that are remembered, newest first: `limit` at most.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_replays(&self, limit: u32) -> Result<Vec<Replay>> {
        let sql = "SELECT * FROM replay ORDER BY started DESC, id LIMIT ?1";
        self.read("listing replays", move |db| all(db, sql, [limit], read))
            .await
    }

    /// The replays that run.
    ///
    /// # Errors
    /// Of the store.
    pub async fn running_replays(&self) -> Result<Vec<Replay>> {
        self.read("listing replays", running).await
    }

    /// Stops a replay that runs; one that has ended stays as it is.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn cancel_replay(&self, id: ReplayId, at: Timestamp) -> Result<Replay> {
        self.write("stopping a replay", move |tx| {
            let mut replay =
                load(tx, id)?.ok_or_else(|| Failure::not_found("replay", id.to_string()))?;
            if replay.state == ReplayState::Running {
                replay.state = ReplayState::Cancelled;
                replay.ended = Some(at);
                save(tx, &replay)?;
            }
            Ok(replay)
        })
        .await
    }

    /// Accepts events again, as new ones that name the old, and notes how far the replay came, which is
    /// less far than the step if there are more than 4 MiB of payloads. A step that does not begin where
    /// the replay is, or of one that does not run, changes nothing. Gives the replay as it is then.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn step_replay(&self, id: ReplayId, step: ReplayStep) -> Result<Replay> {
        self.write("replaying events", move |tx| {
            let mut replay =
                load(tx, id)?.ok_or_else(|| Failure::not_found("replay", id.to_string()))?;
            if replay.state != ReplayState::Running || replay.after != step.from {
                return Ok(replay);
            }
            let mut again = Vec::new();
            let (mut to, mut bytes) = (step.to, 0);
            let mut last = None;
            for (id, wanted) in step.events {
                if bytes >= STEP_BYTES {
                    to = last;
                    break;
                }
                last = Some(id);
                // One that is not kept any more cannot be replayed.
                let found = if wanted { find(tx, id)? } else { None };
                let Some(old) = found else {
                    replay.skipped += 1;
                    continue;
                };
                bytes += old.accepted.payload.len();
                let mut new = NewEvent {
                    id: EventId::generate(),
                    accepted: step.at,
                    replay_of: Some(id),
                    ..old.accepted
                };
                if let Some(version) = &replay.order.version {
                    new.delivery.qualifier = Some(version.clone());
                }
                again.push(new);
            }
            insert(tx, &again)?;
            replay.replayed += again.len() as u64;
            replay.after = to.or(replay.after);
            let full = replay
                .order
                .limit
                .is_some_and(|most| replay.replayed >= most);
            if to.is_none() || full {
                replay.state = ReplayState::Done;
                replay.ended = Some(step.at);
            }
            save(tx, &replay)?;
            Ok(replay)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{event, function, store};
    use model::{EventQuery, Kind};

    fn replay(limit: Option<u64>) -> Replay {
        Replay {
            id: ReplayId::generate(),
            order: ReplayOrder {
                query: EventQuery::default(),
                limit,
                version: None,
            },
            before: EventId::generate(),
            after: None,
            state: ReplayState::Running,
            started: Timestamp(1),
            ended: None,
            replayed: 0,
            skipped: 0,
        }
    }

    fn step(from: Option<EventId>, to: Option<EventId>, events: &[EventId]) -> ReplayStep {
        ReplayStep {
            from,
            to,
            events: events.iter().map(|id| (*id, true)).collect(),
            at: Timestamp(50),
        }
    }

    #[tokio::test]
    async fn a_step_counts_once_across_a_restart() {
        let (folder, state) = store().await;
        let old: Vec<_> = (0..2).map(|at| event(&function("f"), at)).collect();
        let ids: Vec<EventId> = old.iter().map(|event| event.id).collect();
        state.put_events(old).await.unwrap();
        let asked = replay(None);
        assert!(state.start_replay(asked.clone()).await.unwrap().1);
        let first = step(None, Some(ids[0]), &ids[..1]);
        state.step_replay(asked.id, first.clone()).await.unwrap();
        state.close().await;

        let state = State::open(folder.path()).await.unwrap();
        let (known, new) = state.start_replay(asked.clone()).await.unwrap();
        assert!(!new);
        assert_eq!((known.after, known.replayed), (Some(ids[0]), 1));
        assert_eq!(state.running_replays().await.unwrap(), [known]);
        // The same step once more, as by a server that does not know that it was done.
        state.step_replay(asked.id, first).await.unwrap();
        let last = step(Some(ids[0]), None, &[ids[1], EventId::generate()]);
        let done = state.step_replay(asked.id, last).await.unwrap();
        assert_eq!(
            (done.state, done.replayed, done.skipped),
            (ReplayState::Done, 2, 1)
        );
        for id in ids {
            let found = state.event_lineage(id).await.unwrap().replays;
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].accepted.accepted, Timestamp(50));
        }
        assert_eq!(state.running_replays().await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_step_ends_where_its_payloads_are_many_bytes() {
        let (_folder, state) = store().await;
        let large = |_| NewEvent {
            payload: vec![b' '; STEP_BYTES / 2].into(),
            ..event(&function("f"), 1)
        };
        let old: Vec<_> = (0..4).map(large).collect();
        let ids: Vec<EventId> = old.iter().map(|event| event.id).collect();
        state.put_events(old).await.unwrap();
        let asked = replay(None);
        state.start_replay(asked.clone()).await.unwrap();
        let mut all = step(None, None, &ids);
        all.events[3].1 = false;
        let half = state.step_replay(asked.id, all.clone()).await.unwrap();
        assert_eq!(
            (half.after, half.replayed, half.skipped),
            (Some(ids[1]), 2, 0)
        );
        assert_eq!(half.state, ReplayState::Running);
        all.from = half.after;
        all.events.drain(..2);
        let done = state.step_replay(asked.id, all).await.unwrap();
        assert_eq!((done.replayed, done.skipped), (3, 1));
        assert_eq!(done.state, ReplayState::Done);
    }

    /// The clock was ahead when the replay began, and is right again after a restart.
    #[tokio::test]
    async fn a_replay_does_not_meet_its_own_copies_though_the_clock_was_set_back() {
        let (folder, state) = store().await;
        let ahead = |hours: i64| {
            let millis = Timestamp::now().0 + hours * 3_600_000;
            let time = uuid::Timestamp::from_unix(uuid::NoContext, millis as u64 / 1_000, 0);
            EventId(uuid::Uuid::new_v7(time))
        };
        let old = event(&function("f"), 1);
        let of_then = NewEvent {
            id: ahead(1),
            ..event(&function("g"), 1)
        };
        let query = EventQuery {
            target: Some("function:f".into()),
            ..EventQuery::default()
        };
        let mut asked = replay(None);
        asked.before = ahead(2);
        asked.order.query = query.clone();
        let late = of_then.id;
        state.put_events(vec![old.clone(), of_then]).await.unwrap();
        state.start_replay(asked.clone()).await.unwrap();
        state.close().await;

        let state = State::open(folder.path()).await.unwrap();
        assert!(EventId::generate() > asked.before && asked.before > late);
        let mut now = asked.clone();
        while now.state == ReplayState::Running && now.replayed < 10 {
            let page = state.choose_events(query.clone(), now.after, Some(now.before), 1);
            let page = page.await.unwrap();
            let ids: Vec<EventId> = page.chosen.iter().map(|chosen| chosen.id).collect();
            let next = step(now.after, page.next, &ids);
            now = state.step_replay(now.id, next).await.unwrap();
        }
        assert_eq!((now.state, now.replayed), (ReplayState::Done, 1));
    }

    #[tokio::test]
    async fn an_id_is_of_one_replay_and_few_run_at_a_time() {
        let (_folder, state) = store().await;
        let asked = replay(None);
        state.start_replay(asked.clone()).await.unwrap();
        let other = Replay {
            id: asked.id,
            ..replay(Some(1))
        };
        let error = state.start_replay(other).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        for _ in 1..MAX_RUNNING {
            state.start_replay(replay(None)).await.unwrap();
        }
        let error = state.start_replay(replay(None)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::TooLarge);
        let cancelled = state.cancel_replay(asked.id, Timestamp(9)).await.unwrap();
        assert_eq!(cancelled.state, ReplayState::Cancelled);
        let late = state.step_replay(asked.id, step(None, None, &[])).await;
        assert_eq!(late.unwrap(), cancelled);
        let last = Replay {
            started: Timestamp(2),
            ..replay(None)
        };
        state.start_replay(last.clone()).await.unwrap();
        let listed = state.list_replays(2).await.unwrap();
        assert_eq!((listed.len(), &listed[0]), (2, &last));
    }

    #[tokio::test]
    async fn old_replays_are_forgotten() {
        let (_folder, state) = store().await;
        let seed = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 1999)
            INSERT INTO replay SELECT randomblob(16), '{}', NULL, zeroblob(16), NULL, 'done', i, i,
                0, 0, NULL FROM n";
        let seed = move |tx: &crate::job::Tx<'_>| Ok(tx.execute_batch(seed)?);
        state.write("seeding", seed).await.unwrap();
        state.start_replay(replay(None)).await.unwrap();
        let sql = "SELECT count(*) FROM replay";
        let kept = state.read("counting", move |db| {
            first(db, sql, [], |row| Ok(row.get::<_, u32>(0)?))
        });
        assert_eq!(kept.await.unwrap(), Some(KEPT));
    }
}
