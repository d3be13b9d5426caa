//! What became of events: listing, counting and purging. The table is described in `events`.

use crate::error::{Done, Failure};
use crate::events::{MAX_PAYLOADS, belongs, find, targets};
use crate::row::{all, count, event_id, name, run};
use crate::{Result, State};
use model::{Event, EventFilter, EventId, EventState, Timestamp};
use rusqlite::{Connection, Row, params};

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

impl State {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{event, function, run, service, store};
    use crate::row::first;
    use crate::{Settlement, Verdict};
    use bytes::Bytes;
    use model::NewEvent;

    fn filter(target: Option<&str>, limit: u32) -> EventFilter {
        EventFilter {
            target: target.map(str::to_owned),
            limit,
            ..EventFilter::default()
        }
    }

    async fn ids(state: &State, filter: EventFilter) -> Vec<EventId> {
        let events = state.list_events(filter).await.unwrap();
        events.iter().map(|event| event.accepted.id).collect()
    }

    #[tokio::test]
    async fn lists_what_fits_newest_first_in_pages() {
        let (_folder, state) = store().await;
        let targets = [
            function("f"),
            function("f2"),
            service("s", "/a"),
            service("s", "/b"),
            service("s2", "/a"),
        ];
        let events: Vec<_> = (0..20).map(|n| event(&targets[n % 5], n as i64)).collect();
        let newest = |fits: &dyn Fn(usize) -> bool| -> Vec<EventId> {
            (0..20)
                .rev()
                .filter(|n| fits(*n))
                .map(|n| events[n].id)
                .collect()
        };
        state.put_events(events.clone()).await.unwrap();
        assert_eq!(ids(&state, filter(None, 100)).await, newest(&|_| true));
        assert_eq!(
            ids(&state, filter(Some("function:f"), 100)).await,
            newest(&|n| n % 5 == 0)
        );
        assert_eq!(
            ids(&state, filter(Some("service:s"), 100)).await,
            newest(&|n| [2, 3].contains(&(n % 5)))
        );
        assert_eq!(
            ids(&state, filter(Some("service:s/b"), 100)).await,
            newest(&|n| n % 5 == 3)
        );
        let since = EventFilter {
            since: Some(Timestamp(12)),
            ..filter(Some("service:s"), 100)
        };
        assert_eq!(
            ids(&state, since).await,
            newest(&|n| n >= 12 && [2, 3].contains(&(n % 5)))
        );
        state
            .lease_events(&targets[0], 1, Timestamp(99), Timestamp(199))
            .await
            .unwrap();
        let leased = EventFilter {
            state: Some(EventState::Leased),
            ..filter(None, 100)
        };
        assert_eq!(ids(&state, leased).await, [events[0].id]);
        let mut paged = Vec::new();
        while paged.len() < 20 {
            let page = EventFilter {
                before: paged.last().copied(),
                ..filter(None, 7)
            };
            let page = ids(&state, page).await;
            assert!(!page.is_empty());
            paged.extend(page);
        }
        assert_eq!(paged, newest(&|_| true));
    }

    #[tokio::test]
    async fn large_payloads_shorten_a_page_and_a_lease() {
        let (_folder, state) = store().await;
        let target = function("f");
        let large = Bytes::from(vec![b' '; MAX_PAYLOADS / 4]);
        let events = (0..8).map(|n| NewEvent {
            payload: large.clone(),
            ..event(&target, n)
        });
        state.put_events(events.collect()).await.unwrap();
        assert_eq!(state.list_events(filter(None, 100)).await.unwrap().len(), 5);
        let lease = || state.lease_events(&target, 100, Timestamp(50), Timestamp(99));
        assert_eq!(lease().await.unwrap().len(), 5);
        assert_eq!(lease().await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn counts_and_purges_what_ended() {
        let (_folder, state) = store().await;
        let (f, g) = (function("f"), function("g"));
        let events: Vec<_> = (0..4).map(|n| event(&f, n)).chain([event(&g, 1)]).collect();
        state.put_events(events.clone()).await.unwrap();
        let leased = state
            .lease_events(&f, 3, Timestamp(50), Timestamp(99))
            .await
            .unwrap();
        let verdicts = [Verdict::Ack, Verdict::Bury { error: "e".into() }];
        for (leased, verdict) in leased.iter().zip(verdicts) {
            let id = leased.event.accepted.id;
            let run = Some(run(&f, Some(id), 1));
            let at = leased.event.accepted.accepted;
            let settlement = Settlement {
                id,
                epoch: 1,
                verdict,
                run,
                at,
            };
            assert!(state.settle_event(settlement).await.unwrap());
        }
        let counts = EventCounts {
            waiting: 1,
            leased: 1,
            succeeded: 1,
            dead: 1,
        };
        let expected = [
            (f.key(), counts),
            (
                g.key(),
                EventCounts {
                    waiting: 1,
                    ..Default::default()
                },
            ),
        ];
        assert_eq!(state.count_events().await.unwrap(), expected);

        assert_eq!(state.purge_events(Timestamp(0), 9).await.unwrap(), 0);
        assert_eq!(state.purge_events(Timestamp(9), 1).await.unwrap(), 1);
        assert!(
            state.get_event(events[0].id).await.is_err(),
            "the one that ended first"
        );
        assert_eq!(state.purge_events(Timestamp(9), 9).await.unwrap(), 1);
        assert_eq!(state.list_runs(None, 9).await.unwrap(), []);
        assert_eq!(state.list_events(filter(None, 9)).await.unwrap().len(), 3);
        let orphans = "SELECT count(*) FROM payload WHERE event NOT IN (SELECT seq FROM event)";
        let count = state.read("counting", move |db| {
            first(db, orphans, [], |row| Ok(row.get::<_, i64>(0)?))
        });
        assert_eq!(count.await.unwrap(), Some(0));
    }
}
