//! What became of events: listing. The tables are described in `events`.

use crate::error::{Done, Failure};
use crate::events::{MAX_PAYLOADS, belongs, find, targets};
use crate::row::{all, event_id};
use crate::{Result, State, partitions};
use model::{Event, EventFilter, EventId, EventState};
use rusqlite::{Connection, Row, params};

/// Events in one listing at most.
const MAX_LIST: u32 = 1000;

/// The ids that fit, newest first. In each partition each pair of target and state is a range of an
/// index in that order, so the cost is by the page, unless `since` leaves much out.
fn list_ids(db: &Connection, filter: &EventFilter) -> Done<Vec<EventId>> {
    let limit = filter.limit.min(MAX_LIST);
    let before = filter.before.map_or([u8::MAX; 16], |id| id.0.into_bytes());
    let since = filter.since.map_or(i64::MIN, |since| since.0);
    let read = |row: &Row<'_>| {
        event_id(row, "id")?.ok_or_else(|| Failure::Corrupt("column id is null".to_owned()))
    };
    let states = EventState::ALL
        .into_iter()
        .filter(|state| filter.state.is_none_or(|only| only == *state));
    let states: Vec<EventState> = states.collect();
    let mut ids = Vec::new();
    let parts = match filter.since {
        Some(since) => partitions::since(db, since)?,
        None => partitions::every(db)?,
    };
    for part in parts {
        if filter.target.is_none() && filter.state.is_none() {
            let sql = format!(
                "SELECT id FROM event_{part} WHERE id < ?1 AND accepted >= ?2
                 ORDER BY id DESC LIMIT ?3"
            );
            ids.extend(all(db, &sql, params![before, since, limit], read)?);
            continue;
        }
        let sql = format!(
            "SELECT id FROM event_{part} INDEXED BY event_target_{part}
             WHERE target = ?1 AND state = ?2 AND id < ?3 AND accepted >= ?4
             ORDER BY id DESC LIMIT ?5"
        );
        let wanted = |key: &String| filter.target.as_ref().is_none_or(|only| belongs(key, only));
        for target in targets(db, part)?.iter().filter(|key| wanted(key)) {
            for state in &states {
                let range = params![target, state.as_str(), before, since, limit];
                ids.extend(all(db, &sql, range, read)?);
            }
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
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{event, function, service, store};
    use bytes::Bytes;
    use model::{NewEvent, Timestamp};

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
}
