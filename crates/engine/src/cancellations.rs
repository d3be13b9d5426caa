//! Events that end because somebody wants it: what deleted targets left, and what the owner cancels.

use crate::engine::Corridor;
use crate::{Engine, Result};
use model::{EventId, EventQuery, EventState, Invalid, Principal, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// How long it is waited after the store failed.
const PAUSE: Duration = Duration::from_secs(5);

/// Events that one call cancels at most, in one transaction.
const STEP: usize = 500;

/// What one step of cancelling came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancelled {
    /// Events that are cancelled by it.
    pub cancelled: u64,
    /// Where the next step goes on; `None` when nothing is left to look at.
    pub next: Option<EventId>,
}

/// Cancels in steps what deleted targets have left, of this server and of those before, until the engine
/// drains.
pub(crate) async fn run(corridor: Arc<Corridor>) {
    loop {
        let failed = match corridor.state.cancel_step().await {
            Ok(true) if corridor.draining.is_cancelled() => return,
            Ok(true) => continue,
            Ok(false) => false,
            Err(error) => {
                tracing::warn!(%error, "events of deleted targets could not be cancelled; trying again");
                true
            }
        };
        tokio::select! {
            biased;
            () = corridor.draining.cancelled() => return,
            () = corridor.deleted.notified() => {}
            () = tokio::time::sleep(PAUSE), if failed => {}
        }
    }
}

/// The reason that a cancelled event shows.
fn reason(who: &Principal) -> String {
    format!("cancelled by {}", who.key())
}

impl Engine {
    /// Ends an event that waits, for its first attempt or its next, as cancelled; who did so is its reason. It
    /// goes to no destination and no dead-letter queue.
    ///
    /// # Errors
    /// `State`: `NotFound`; `Conflict` when it is in flight or has ended.
    pub async fn cancel_event(&self, id: EventId, who: &Principal) -> Result<()> {
        let cancelled = self
            .corridor
            .state
            .cancel_event(id, reason(who), Timestamp::now());
        Ok(cancelled.await?)
    }

    /// The same for up to `limit` of the events that a query means, after `after` and before `before`, oldest
    /// first: 500 at most. What is in flight or has ended is left alone.
    ///
    /// # Errors
    /// `Invalid` for a query that cannot be meant, or that names other states than `waiting`.
    pub async fn cancel_chosen(
        &self,
        mut query: EventQuery,
        after: Option<EventId>,
        before: EventId,
        limit: u64,
        who: &Principal,
    ) -> Result<Cancelled> {
        query.check()?;
        if query
            .states
            .iter()
            .any(|state| *state != EventState::Waiting)
        {
            let reason = "only events that wait can be cancelled: name the state waiting, or none";
            return Err(Invalid::new("states", reason).into());
        }
        query.states = vec![EventState::Waiting];
        let limit = usize::try_from(limit).unwrap_or(STEP).min(STEP);
        let store = &self.corridor.state;
        let page = store.choose_events(query, after, Some(before), limit);
        let page = page.await?;
        let ids: Vec<EventId> = page.chosen.into_iter().map(|chosen| chosen.id).collect();
        let mut cancelled = 0;
        if !ids.is_empty() {
            let step = store.cancel_events(ids, reason(who), Timestamp::now());
            cancelled = step.await?;
        }
        Ok(Cancelled {
            cancelled,
            next: page.next,
        })
    }
}
