//! Events to their targets: leased in turns, attempted, settled.
//!
//! One loop leases. It wakes when events are accepted, become due, or when a place is free that it
//! had none of before. Each leased event is a task of its own: attempt, decision, settlement.

use crate::attempt::{Attempted, Job, PATIENCE};
use crate::engine::Corridor;
use crate::retry::{self, Decision, Tried};
use crate::{Error, Result, chance, delivery, queues, routing, share, webhook};
use model::{Event, FunctionName, NewEvent, RequestId, RetryPolicy, Run, Target, Timestamp};
use state::{Leased, Settlement, Verdict, crash};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Most deliveries under way to one service or queue, and to a target that does not exist (which is quick).
const SERVICE_AT_ONCE: usize = 16;
/// A lease outlives everything that an attempt may take by this much.
const MARGIN: Duration = Duration::from_secs(60);
/// It is looked at least this often, should the clock be set or the store have failed.
const LOOK: Duration = Duration::from_secs(60);
/// How long the loop waits after the store failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Counts what is under way.
pub(crate) struct Dispatcher {
    places: usize,
    under_way: Mutex<HashMap<Target, usize>>,
    /// Some target had due events and no place; the next place that is freed wakes the loop.
    starved: AtomicBool,
    freed: Notify,
}

impl Dispatcher {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places: places.max(1),
            under_way: Mutex::default(),
            starved: AtomicBool::new(false),
            freed: Notify::new(),
        }
    }

    /// Something ended that may have been in the way of an event.
    pub(crate) fn slot_freed(&self) {
        if self.starved.swap(false, Ordering::AcqRel) {
            self.freed.notify_one();
        }
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<Target, usize>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that an event holds.
struct Place {
    corridor: Arc<Corridor>,
    target: Target,
}

impl Place {
    fn take(corridor: &Arc<Corridor>, target: &Target) -> Self {
        let mut under_way = corridor.dispatcher.under_way();
        *under_way.entry(target.clone()).or_default() += 1;
        Self {
            corridor: corridor.clone(),
            target: target.clone(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.corridor.dispatcher.under_way();
        if let Some(count) = under_way.get_mut(&self.target) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.target);
            }
        }
        drop(under_way);
        self.corridor.dispatcher.slot_freed();
    }
}

/// Leases and spawns until the engine drains.
pub(crate) async fn run(corridor: Arc<Corridor>) {
    let mut last = None;
    loop {
        let sleep = match round(&corridor, &mut last).await {
            Ok(Some(due)) => {
                Duration::from_millis(due.since(Timestamp::now()).saturating_add(1)).min(LOOK)
            }
            Ok(None) => LOOK,
            Err(error) => {
                tracing::warn!(%error, "events could not be leased; trying again");
                PAUSE
            }
        };
        tokio::select! {
            biased;
            () = corridor.draining.cancelled() => return,
            () = corridor.state.events_changed() => {}
            () = corridor.dispatcher.freed.notified() => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// Leases what is due and finds a place, one turn for each target after the other. Gives when the
/// next event becomes due.
async fn round(corridor: &Arc<Corridor>, last: &mut Option<Target>) -> Result<Option<Timestamp>> {
    // Set before looking: a place that is freed from here on wakes the loop once more.
    let dispatcher = &corridor.dispatcher;
    #[cfg(not(feature = "planted-lost-wakeup"))]
    dispatcher.starved.store(true, Ordering::Release);
    let now = Timestamp::now();
    let due = corridor.state.due_targets(now).await?;
    let mut due = in_turn(due.into_iter().map(|(target, _)| target), last.as_ref());
    let mut starved = false;
    while !due.is_empty() && !corridor.draining.is_cancelled() {
        let mut more = Vec::new();
        for target in due {
            let count = places_for(corridor, &target);
            if count == 0 {
                starved = true;
                continue;
            }
            if lease(corridor, &target, count).await? == count {
                more.push(target.clone());
            }
            *last = Some(target);
        }
        due = more;
    }
    if !starved {
        dispatcher.starved.store(false, Ordering::Release);
    }
    let next = corridor.state.next_due(now).await?;
    // A bug that the simulation must catch: what was freed since the look does not wake the loop.
    #[cfg(feature = "planted-lost-wakeup")]
    dispatcher.starved.store(starved, Ordering::Release);
    Ok(next)
}

/// The targets, beginning after the one that was served last.
fn in_turn(targets: impl Iterator<Item = Target>, last: Option<&Target>) -> Vec<Target> {
    let mut targets: Vec<_> = targets.collect();
    targets.sort_unstable();
    if let Some(last) = last {
        let first = targets.partition_point(|target| target <= last);
        targets.rotate_left(first);
    }
    targets
}

/// How many events may be leased for a target now.
fn places_for(corridor: &Corridor, target: &Target) -> usize {
    let (own, total) = {
        let under_way = corridor.dispatcher.under_way();
        let own = under_way.get(target).copied().unwrap_or(0);
        (own, under_way.values().sum())
    };
    let free = corridor.dispatcher.places.saturating_sub(total);
    match target {
        Target::Function { name } => match corridor.functions.pool(name) {
            Ok(pool) => share::turn(own, pool.places(), free).min(pool.room()),
            Err(_) => share::turn(own, SERVICE_AT_ONCE, free),
        },
        Target::Service { .. }
        | Target::Queue { .. }
        | Target::Webhook { .. }
        | Target::Bus { .. } => share::turn(own, SERVICE_AT_ONCE, free),
    }
}

/// Leases up to `count` events and lets each go its way. Gives how many there were.
async fn lease(corridor: &Arc<Corridor>, target: &Target, count: usize) -> Result<usize> {
    let now = Timestamp::now();
    let until = now.after(longest(target) + MARGIN);
    let limit = u32::try_from(count).unwrap_or(u32::MAX);
    let leased = corridor
        .state
        .lease_events(target, limit, now, until)
        .await?;
    let found = leased.len();
    if found > 0 {
        crash::point("leased");
    }
    for one in leased {
        let place = Place::take(corridor, target);
        corridor.attempts.spawn(work(place, one));
    }
    Ok(found)
}

/// The longest call that a function can declare: its timeout may be raised while an attempt waits.
const LONGEST_CALL: Duration = Duration::from_secs(900);

/// The longest that an attempt can take: waiting for an instance and one call. Leases end with the
/// server anyway, so a long one costs nothing.
fn longest(target: &Target) -> Duration {
    match target {
        Target::Function { .. } => 2 * LONGEST_CALL + PATIENCE,
        Target::Service { .. } | Target::Queue { .. } | Target::Webhook { .. } => delivery::LONGEST,
        Target::Bus { .. } => routing::LONGEST,
    }
}

/// One leased event: attempt, decision, settlement.
async fn work(place: Place, leased: Leased) {
    let corridor = &place.corridor;
    let event = leased.event;
    let (id, epoch) = (event.accepted.id, event.epoch);
    let target = event.accepted.target.clone();
    crash::point("dispatched");
    let Judged {
        decision,
        run,
        effects,
    } = attempt(corridor, event).await;
    crash::point("decided");
    let at = Timestamp::now();
    let settlement = Settlement {
        id,
        epoch,
        verdict: verdict(decision, at),
        run,
        at,
    };
    match settle(corridor, &target, settlement, effects).await {
        Ok(true) => {}
        Ok(false) => tracing::warn!(event = %id, epoch, "lease was lost before the attempt ended"),
        Err(error) => {
            tracing::error!(event = %id, %error, "not settled; it is tried again at the next start");
        }
    }
}

/// Hands a settlement to the store until it is taken: an event whose settlement a disk refused for a
/// moment must not wait until its lease, which outlives the longest call, has ended.
///
/// # Errors
/// When the server ends before.
async fn settle(
    corridor: &Corridor,
    target: &Target,
    settlement: Settlement,
    effects: Vec<NewEvent>,
) -> state::Result<bool> {
    let (id, epoch) = (settlement.id, settlement.epoch);
    loop {
        let store = &corridor.state;
        let mut settled = store.settle_with(settlement.clone(), effects.clone()).await;
        if let Target::Queue { name } = target {
            settled = queues::settled(corridor, name, (id, epoch), settled).await;
        }
        crash::point("settled");
        match &settled {
            Ok(_) | Err(state::Error::Closed) => return settled,
            Err(error) => tracing::warn!(event = %id, %error, "not settled; trying again"),
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = corridor.node.kill.cancelled() => return settled,
        }
    }
}

/// What becomes of an event that was leased.
pub(crate) struct Judged {
    pub(crate) decision: Decision,
    pub(crate) run: Option<Run>,
    /// Events that are accepted with the settlement.
    pub(crate) effects: Vec<NewEvent>,
}

impl Judged {
    pub(crate) fn of(decision: Decision, run: Option<Run>) -> Self {
        Self {
            decision,
            run,
            effects: Vec::new(),
        }
    }
}

/// Attempts an event and decides what becomes of it.
async fn attempt(corridor: &Corridor, event: Event) -> Judged {
    if event.depth > corridor.max_depth {
        let error = format!(
            "it is event {} of a chain in which each was caused by the one before, and the server \
             cuts chains after {}: is this a loop? (`rouse serve --max-depth`)",
            u64::from(event.depth) + 1,
            corridor.max_depth
        );
        return Judged::of(Decision::Bury { error }, None);
    }
    let attempt = event.attempts + 1;
    let earlier = u64::from(event.attempts) + 1;
    let postponed = u32::try_from(event.epoch.saturating_sub(earlier)).unwrap_or(u32::MAX);
    let accepted = event.accepted.accepted;
    let target = event.accepted.target.clone();
    let (attempted, policy) = match &target {
        Target::Function { name } => function(corridor, name, event).await,
        Target::Service { name, path } => {
            let delivered = delivery::deliver(corridor, name, path, event).await;
            (delivered, retry::service_policy())
        }
        Target::Webhook { name } => {
            let delivered = webhook::deliver(corridor, name, event).await;
            (delivered, retry::service_policy())
        }
        Target::Queue { name } => return queues::enqueue(name, &event),
        Target::Bus { name } => return routing::route(corridor, name, event).await,
    };
    let random = chance::fraction();
    match attempted {
        // The server ends and broke the call off: nothing is decided, the next start goes on.
        Ok(Attempted { outcome, .. }) if broken_off(corridor, &outcome.ending) => {
            let decision = Decision::Postpone {
                after: Duration::ZERO,
                reason: Error::Draining.to_string(),
            };
            Judged::of(decision, None)
        }
        Ok(Attempted { outcome, run }) => {
            let tried = Tried {
                attempt,
                postponed,
                age: Duration::from_millis(Timestamp::now().since(accepted)),
            };
            let decision = retry::next(&policy, &outcome.ending, tried, random);
            // What was only put off reached nobody: it is told by the event, not as an attempt.
            let reached = !matches!(decision, Decision::Postpone { .. });
            Judged::of(decision, reached.then_some(run))
        }
        Err(error) if error.kind() == model::Kind::NotFound => {
            let error = format!("its target {target} does not exist any more");
            Judged::of(Decision::Bury { error }, None)
        }
        Err(Error::Draining) => {
            let decision = Decision::Postpone {
                after: Duration::ZERO,
                reason: Error::Draining.to_string(),
            };
            Judged::of(decision, None)
        }
        Err(error) => {
            let decision = retry::postpone(postponed, error.to_string(), random);
            Judged::of(decision, None)
        }
    }
}

fn broken_off(corridor: &Corridor, ending: &model::Ending) -> bool {
    corridor.node.kill.is_cancelled() && matches!(ending, model::Ending::Unavailable { .. })
}

async fn function(
    corridor: &Corridor,
    name: &FunctionName,
    event: Event,
) -> (Result<Attempted>, RetryPolicy) {
    let policy = |corridor: &Corridor| corridor.functions.find(name).map(|f| f.spec.retry.clone());
    let before = policy(corridor);
    let job = Job {
        request_id: RequestId::generate(),
        payload: event.accepted.payload.clone(),
        http: None,
        event: Some(Box::new(event)),
        client_context: None,
        trace_id: None,
    };
    let attempted = corridor.attempt(name, job).await;
    // The policy of now, or of then if the function was deleted meanwhile.
    let policy = policy(corridor).or(before).unwrap_or_default();
    (attempted, policy)
}

fn verdict(decision: Decision, at: Timestamp) -> Verdict {
    match decision {
        Decision::Ack => Verdict::Ack,
        Decision::Enqueue { queue, message } => Verdict::Deliver { queue, message },
        Decision::Retry { after, error } => Verdict::Retry {
            not_before: at.after(after),
            error,
        },
        Decision::Postpone { after, reason } => Verdict::Postpone {
            not_before: at.after(after),
            reason,
        },
        Decision::Bury { error } => Verdict::Bury { error },
    }
}
