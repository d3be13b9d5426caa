//! Going through the events that a query means, oldest first, in pages of bounded cost.

use crate::error::{Done, Failure};
use crate::events::{MAX_PAYLOADS, belongs, find, read_target, targets};
use crate::row::{all, event_id, name, time};
use crate::{Result, State, partitions};
use model::{Event, EventId, EventQuery, EventState, Target, Timestamp};
use rusqlite::{Connection, Row, params};

/// Rows that one page looks at in each range of an index, so that a query that hardly anything fits
/// holds nobody up.
const LOOK: u32 = 1_000;

/// An event that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Which.
    pub id: EventId,
    /// What it wakes.
    pub target: Target,
}

/// A page of a walk. It may be empty though there is more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenPage {
    /// Oldest first.
    pub chosen: Vec<Chosen>,
    /// Where the next page goes on; `None` after the last.
    pub next: Option<EventId>,
}

/// A row that was looked at.
struct Seen {
    chosen: Chosen,
    fits: bool,
}

fn seen(row: &Row<'_>, query: &EventQuery) -> Done<Seen> {
    let id = event_id(row, "id")?.ok_or_else(|| Failure::Corrupt("column id is null".into()))?;
    let source: String = row.get("source")?;
    let fits = query.fits(time(row, "accepted")?, &source, name(row, "state")?);
    let target = read_target(row)?;
    Ok(Seen {
        chosen: Chosen { id, target },
        fits,
    })
}

/// The states whose ranges are read.
fn states(query: &EventQuery) -> Vec<EventState> {
    let wanted = |state: &EventState| query.states.is_empty() || query.states.contains(state);
    EventState::ALL.into_iter().filter(wanted).collect()
}

/// The rows after `after` and before `before`, the first 1 000 of each range.
fn look(db: &Connection, query: &EventQuery, after: [u8; 16], before: [u8; 16]) -> Done<Vec<Seen>> {
    let columns = "SELECT id, target, path, accepted, source, state FROM";
    let mut found = Vec::new();
    for part in partitions::since(db, query.since.unwrap_or(Timestamp(0)))? {
        let Some(wanted) = &query.target else {
            let sql =
                format!("{columns} event_{part} WHERE id > ?1 AND id < ?2 ORDER BY id LIMIT ?3");
            let range = params![after, before, LOOK];
            found.extend(all(db, &sql, range, |row| seen(row, query))?);
            continue;
        };
        let sql = format!(
            "{columns} event_{part} INDEXED BY event_target_{part}
             WHERE target = ?1 AND state = ?2 AND id > ?3 AND id < ?4 ORDER BY id LIMIT ?5"
        );
        for target in targets(db, part)?.iter().filter(|key| belongs(key, wanted)) {
            for state in states(query) {
                let range = params![target, state.as_str(), after, before, LOOK];
                found.extend(all(db, &sql, range, |row| seen(row, query))?);
            }
        }
    }
    Ok(found)
}

/// The least id that an event can have that was accepted at `since`: ids hold when they were made, and
/// that is not later than the acceptance, but for a schedule's tick that is caught up with.
fn floor(since: Option<Timestamp>) -> [u8; 16] {
    const SLACK: i64 = 3_600_000;
    let millis = since.map_or(0, |since| since.0.saturating_sub(SLACK).max(0));
    let mut id = [0; 16];
    id[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    id
}

/// One page: at most `limit` events that are meant, after `after` and before `before`.
pub(crate) fn page(
    db: &Connection,
    query: &EventQuery,
    after: Option<EventId>,
    before: Option<EventId>,
    limit: usize,
) -> Done<ChosenPage> {
    let after = after.map_or_else(|| floor(query.since), |id| id.0.into_bytes());
    let before = before.map_or([u8::MAX; 16], |id| id.0.into_bytes());
    let mut rows = look(db, query, after, before)?;
    rows.sort_unstable_by_key(|seen| seen.chosen.id);
    // Past this many, a range that was cut may lack ids that lie between.
    let whole = rows.len() < LOOK as usize;
    rows.truncate(LOOK as usize);
    let mut chosen = Vec::new();
    let mut next = None;
    for seen in &rows {
        next = Some(seen.chosen.id);
        if seen.fits {
            chosen.push(seen.chosen.clone());
        }
        if chosen.len() == limit {
            return Ok(ChosenPage { chosen, next });
        }
    }
    let next = next.filter(|_| !whole);
    Ok(ChosenPage { chosen, next })
}

impl State {
    /// A page of the events that a query means, oldest first: at most `limit`, and at most 1 000 rows
    /// of each of its targets and states are looked at.
    ///
    /// # Errors
    /// Of the store.
    pub async fn choose_events(
        &self,
        query: EventQuery,
        after: Option<EventId>,
        before: Option<EventId>,
        limit: usize,
    ) -> Result<ChosenPage> {
        self.read("choosing events", move |db| {
            page(db, &query, after, before, limit)
        })
        .await
    }

    /// The same with the events themselves, without their runs, and where the next page goes on. A page
    /// ends early past 32 MiB of payloads.
    ///
    /// # Errors
    /// Of the store.
    pub async fn walk_events(
        &self,
        query: EventQuery,
        after: Option<EventId>,
        before: EventId,
        limit: usize,
    ) -> Result<(Vec<Event>, Option<EventId>)> {
        self.read("reading events", move |db| {
            let page = page(db, &query, after, Some(before), limit)?;
            let mut events = Vec::new();
            let mut bytes = 0;
            for Chosen { id, .. } in page.chosen {
                let Some(event) = find(db, id)? else { continue };
                bytes += event.accepted.payload.len();
                events.push(event);
                if bytes > MAX_PAYLOADS {
                    return Ok((events, Some(id)));
                }
            }
            Ok((events, page.next))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{event, function, service, store};
    use crate::job::Tx;
    use model::NewEvent;
    use proptest::prelude::*;

    async fn walk(state: &State, query: &EventQuery, limit: usize) -> Vec<EventId> {
        let mut after = None;
        let mut found = Vec::new();
        loop {
            let page = state.choose_events(query.clone(), after, None, limit);
            let page = page.await.unwrap();
            assert!(page.chosen.len() <= limit);
            found.extend(page.chosen.into_iter().map(|chosen| chosen.id));
            match page.next {
                Some(next) => {
                    assert!(after.is_none_or(|after| next > after), "it goes on");
                    after = Some(next);
                }
                None => return found,
            }
        }
    }

    fn queries() -> impl Strategy<Value = EventQuery> {
        let target = prop::option::of(prop::sample::select(vec![
            "function:f",
            "service:s",
            "service:s/b",
            "function:none",
        ]));
        let source = prop::option::of(prop::sample::select(vec!["s3:photos", "invoke"]));
        let states = prop::sample::subsequence(vec![EventState::Waiting, EventState::Leased], 0..3);
        let times = prop::option::of(0..40_i64);
        (target, source, states, times.clone(), times).prop_map(
            |(target, source, states, since, until)| EventQuery {
                target: target.map(str::to_owned),
                source: source.map(str::to_owned),
                states,
                since: since.map(Timestamp),
                until: until.map(Timestamp),
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn pages_are_as_a_naive_walk_has_them(
            kinds in prop::collection::vec((0..4_usize, any::<bool>(), any::<bool>(), 0..9_u8), 0..40),
            queries in prop::collection::vec((queries(), 1..9_usize), 1..8),
        ) {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let (_folder, state) = store().await;
                let targets = [function("f"), function("g"), service("s", "/a"), service("s", "/b")];
                let events: Vec<NewEvent> = kinds.iter().enumerate().map(|(at, (target, invoked, ..))| {
                    let source = if *invoked { "invoke" } else { "s3:photos" };
                    NewEvent { source: source.into(), ..event(&targets[*target], at as i64) }
                }).collect();
                for (event, (_, _, leased, part)) in events.iter().zip(&kinds) {
                    if *part == 0 {
                        let begin = |tx: &Tx<'_>| partitions::begin(tx, 1, Timestamp::now());
                        state.write("beginning", begin).await.unwrap();
                    }
                    state.put_events(vec![event.clone()]).await.unwrap();
                    if *leased {
                        let lease = state.lease_events(&event.target, 1, Timestamp(99), Timestamp(199));
                        lease.await.unwrap();
                    }
                }
                for (query, limit) in queries {
                    let mut expected = Vec::new();
                    for event in &events {
                        let now = state.get_event(event.id).await.unwrap();
                        let key = event.target.key();
                        let wanted = query.target.as_ref();
                        if wanted.is_none_or(|wanted| belongs(&key, wanted))
                            && query.fits(event.accepted, &event.source, now.state)
                        {
                            expected.push(event.id);
                        }
                    }
                    assert_eq!(walk(&state, &query, limit).await, expected, "{query:?}");
                }
            });
        }
    }

    #[tokio::test]
    async fn what_hardly_anything_fits_is_looked_for_in_steps() {
        let (_folder, state) = store().await;
        let target = function("f");
        let mut events: Vec<NewEvent> = (0..2_500).map(|at| event(&target, at)).collect();
        events[2_400].source = "rare".into();
        let rare = events[2_400].id;
        state.put_events(events).await.unwrap();
        let query = EventQuery {
            target: Some("function:f".into()),
            source: Some("rare".into()),
            ..EventQuery::default()
        };
        let first = state.choose_events(query.clone(), None, None, 10);
        let first = first.await.unwrap();
        assert!(first.chosen.is_empty() && first.next.is_some());
        assert_eq!(walk(&state, &query, 10).await, [rare]);
    }
}
