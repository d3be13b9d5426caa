//! Replays of all events that a query means: carried out in steps, and gone on with after a restart.

use crate::engine::Corridor;
use crate::{Engine, Result};
use model::{
    Event, EventId, EventQuery, Invalid, Qualifier, Replay, ReplayId, ReplayOrder, ReplayState,
    Target, Timestamp,
};
use state::{Chosen, Lineage, ReplayStep};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Events that one transaction accepts again at most, so that writers never wait long. The store ends a
/// step early whose payloads are large.
const STEP: usize = 100;
/// Events that are counted in one look.
const COUNT: usize = 1_000;
/// How long a replay waits after the store failed.
const PAUSE: Duration = Duration::from_secs(5);

impl Engine {
    /// Begins a replay of all events that are meant and older than now, the oldest first. What was
    /// begun under the same id is not begun again: it is told how far it came.
    ///
    /// # Errors
    /// `Invalid` for a query that cannot be meant, or a version where the query's target is no function;
    /// `NotFound` (version); as [`state::State::start_replay`] says.
    pub async fn start_replay(&self, id: ReplayId, order: ReplayOrder) -> Result<Replay> {
        order.query.check()?;
        let known = self.corridor.state.get_replay(id).await.is_ok();
        if let Some(version) = order.version.as_ref().filter(|_| !known) {
            let key = order.query.target.as_deref().unwrap_or_default();
            self.check_version(key, version).await?;
        }
        let replay = Replay {
            id,
            order,
            before: EventId::generate(),
            after: None,
            state: ReplayState::Running,
            started: Timestamp::now(),
            ended: None,
            replayed: 0,
            skipped: 0,
        };
        let (replay, new) = self.corridor.state.start_replay(replay).await?;
        if new {
            tokio::spawn(carry_out(self.clone(), replay.clone()));
        }
        Ok(replay)
    }

    /// Whether what an event wakes has this version.
    pub(crate) async fn check_version(&self, target: &str, version: &Qualifier) -> Result<()> {
        let Some(name) = target.strip_prefix("function:") else {
            let reason = "only functions have versions: choose the events of one function";
            return Err(Invalid::new("version", reason).into());
        };
        self.get_qualified(&name.parse()?, Some(version)).await?;
        Ok(())
    }

    /// How far a replay came.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_replay(&self, id: ReplayId) -> Result<Replay> {
        Ok(self.corridor.state.get_replay(id).await?)
    }

    /// The replays that are remembered, newest first: `limit` at most.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_replays(&self, limit: u32) -> Result<Vec<Replay>> {
        Ok(self.corridor.state.list_replays(limit).await?)
    }

    /// Stops a replay; what it accepted stays.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn cancel_replay(&self, id: ReplayId) -> Result<Replay> {
        Ok(self
            .corridor
            .state
            .cancel_replay(id, Timestamp::now())
            .await?)
    }

    /// How many events a query means now, `most` at most.
    ///
    /// # Errors
    /// `Invalid`; of the store.
    pub async fn count_chosen(&self, query: EventQuery, most: u64) -> Result<u64> {
        query.check()?;
        let (mut after, mut count) = (None, 0);
        loop {
            let store = &self.corridor.state;
            let page = store.choose_events(query.clone(), after, None, COUNT);
            let page = page.await?;
            count += page.chosen.len() as u64;
            after = page.next;
            if after.is_none() || count >= most {
                return Ok(count.min(most));
            }
        }
    }

    /// A page of the events that a query means, oldest first, and where the next one goes on.
    ///
    /// # Errors
    /// `Invalid`; of the store.
    pub async fn walk_events(
        &self,
        query: EventQuery,
        after: Option<EventId>,
        before: EventId,
        limit: usize,
    ) -> Result<(Vec<Event>, Option<EventId>)> {
        query.check()?;
        let page = self.corridor.state.walk_events(query, after, before, limit);
        Ok(page.await?)
    }

    /// What an event came of and what came of it.
    ///
    /// # Errors
    /// Of the store.
    pub async fn event_lineage(&self, id: EventId) -> Result<Lineage> {
        Ok(self.corridor.state.event_lineage(id).await?)
    }

    /// The next step of a replay. What wakes nothing that is there is left out.
    async fn next_step(&self, replay: &Replay) -> Result<ReplayStep> {
        let left = replay
            .order
            .limit
            .unwrap_or(u64::MAX)
            .saturating_sub(replay.replayed);
        let limit = usize::try_from(left).unwrap_or(STEP).min(STEP);
        let query = replay.order.query.clone();
        let before = Some(replay.before);
        let store = &self.corridor.state;
        let page = store.choose_events(query, replay.after, before, limit);
        let page = page.await?;
        let mut there: HashMap<Target, bool> = HashMap::new();
        let mut events = Vec::new();
        for Chosen { id, target } in page.chosen {
            let known = there.get(&target).copied();
            let is_there = match known {
                Some(is_there) => is_there,
                None => match self.check_target(&target).await {
                    Err(error) if error.kind() != model::Kind::NotFound => return Err(error),
                    found => found.is_ok(),
                },
            };
            there.insert(target, is_there);
            events.push((id, is_there));
        }
        Ok(ReplayStep {
            from: replay.after,
            to: page.next,
            events,
            at: Timestamp::now(),
        })
    }
}

/// Goes on with the replays that the server before this one left.
///
/// # Errors
/// Of the store.
pub(crate) async fn resume(corridor: &Arc<Corridor>) -> Result<()> {
    for replay in corridor.state.running_replays().await? {
        let engine = Engine {
            corridor: corridor.clone(),
        };
        tokio::spawn(carry_out(engine, replay));
    }
    Ok(())
}

async fn carry_out(engine: Engine, mut replay: Replay) {
    let draining = engine.corridor.draining.clone();
    while replay.state == ReplayState::Running && !draining.is_cancelled() {
        let step = async {
            let step = engine.next_step(&replay).await?;
            Ok::<_, crate::Error>(engine.corridor.state.step_replay(replay.id, step).await?)
        };
        match step.await {
            Ok(now) => replay = now,
            Err(error) if error.kind() == model::Kind::NotFound => return,
            Err(error) => {
                tracing::warn!(%error, replay = %replay.id, "events could not be replayed; trying again");
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = draining.cancelled() => return,
                }
            }
        }
    }
}
