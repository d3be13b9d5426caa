//! Events to their targets: leased in turns, attempted, settled.
//!
//! One loop leases. It wakes when events are accepted, become due, or when a place is free that it
//! had none of before. Each leased event is a task of its own: attempt, decision, settlement.

use crate::attempt::{Attempted, Job, PATIENCE};
use crate::engine::Corridor;
use crate::retry::{self, Decision, Tried, Why};
use crate::{Error, Result, chance, delivery, destination, queues, routing, share, webhook};
use model::{
    Delivery, Ending, Event, FunctionName, NewEvent, RequestId, RetryPolicy, Run, Target, Timestamp,
};
use state::{Leased, Settlement, Verdict, crash};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Most deliveries under way to one service or queue, and to a target that does not exist (which is quick).
const SERVICE_AT_ONCE: usize = 16;
/// A lease outlives everything that an attempt may take by this much.
const MARGIN: Duration = Duration::from_secs(60);
/// It is looked at least this often, should the clock be set or the store have failed.
const LOOK: Duration = Duration::from_secs(60);
/// How often it is looked for events that grew too old while their target took none.
const OVERDUE: Duration = Duration::from_secs(5);
/// How long the loop waits after the store failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Counts what is under way.
pub(crate) struct Dispatcher {
    places: usize,
    under_way: Mutex<HashMap<Target, usize>>,
    /// Some target had due events and no place; the next place that is freed wakes the loop.
    starved: AtomicBool,
    freed: Notify,
    /// When it was last looked for overdue events, in milliseconds since 1970.
    looked: AtomicI64,
}

impl Dispatcher {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places: places.max(1),
            under_way: Mutex::default(),
            starved: AtomicBool::new(false),
            freed: Notify::new(),
            looked: AtomicI64::new(0),
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
    let looked = Timestamp(dispatcher.looked.load(Ordering::Relaxed));
    let look = looked > now || looked.after(OVERDUE) <= now;
    let mut starved = false;
    while !due.is_empty() && !corridor.draining.is_cancelled() {
        let mut more = Vec::new();
        for target in due {
            let count = places_for(corridor, &target);
            if count == 0 {
                starved = true;
                if look {
                    dispatcher.looked.store(now.0, Ordering::Relaxed);
                    overdue(corridor, &target).await?;
                }
                continue;
            }
            if lease(corridor, &target, count).await? == count {
                more.push(target.clone());
            }
            *last = Some(target);
        }
        due = more;
    }
    let next = corridor.state.next_due(now).await?;
    // A bug that the simulation must catch: what was freed since the look does not wake the loop.
    #[cfg(feature = "planted-lost-wakeup")]
    dispatcher.starved.store(starved, Ordering::Release);
    if !starved {
        dispatcher.starved.store(false, Ordering::Release);
        return Ok(next);
    }
    let again = now.after(OVERDUE);
    Ok(Some(next.map_or(again, |next| next.min(again))))
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
        | Target::Bucket { .. }
        | Target::Bus { .. } => share::turn(own, SERVICE_AT_ONCE, free),
    }
}

/// Lets those events of a function that has no place go their way that have waited too long for one:
/// they need none.
async fn overdue(corridor: &Arc<Corridor>, target: &Target) -> Result<()> {
    let Target::Function { name } = target else {
        return Ok(());
    };
    let Some(function) = corridor.functions.find(name) else {
        return Ok(());
    };
    let now = Timestamp::now();
    let max_age = function.spec.retry.max_age;
    let leased = corridor
        .state
        .lease_overdue(target, max_age, now, now.after(MARGIN));
    for one in leased.await? {
        let place = Place::take(corridor, target);
        corridor.attempts.spawn(work(place, one));
    }
    Ok(())
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
        Target::Service { .. }
        | Target::Queue { .. }
        | Target::Webhook { .. }
        | Target::Bucket { .. } => delivery::LONGEST,
        Target::Bus { .. } => routing::LONGEST,
    }
}

/// One leased event: attempt, decision, settlement.
async fn work(place: Place, leased: Leased) {
    let corridor = &place.corridor;
    let event = leased.event;
    let (id, epoch) = (event.accepted.id, event.epoch);
    crash::point("dispatched");
    let judged = attempt(corridor, event.clone()).await;
    crash::point("decided");
    let left = destination::effects(corridor, &event, &judged);
    let Judged {
        decision,
        run,
        mut effects,
        ..
    } = judged;
    effects.extend(left);
    let at = Timestamp::now();
    let settlement = Settlement {
        id,
        epoch,
        verdict: verdict(decision, at),
        run,
        at,
    };
    match settle(corridor, &event, settlement, effects).await {
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
    event: &Event,
    settlement: Settlement,
    effects: Vec<NewEvent>,
) -> state::Result<bool> {
    let id = settlement.id;
    loop {
        let store = &corridor.state;
        let mut settled = store.settle_with(settlement.clone(), effects.clone()).await;
        if let Target::Queue { name } = &event.accepted.target {
            settled = queues::settled(corridor, name, event, settled).await;
        }
        crash::point("settled");
        match &settled {
            Ok(_) | Err(state::Error::Closed) => return settled,
            Err(error) => tracing::warn!(event = %id, %error, "not settled; trying again"),
        }
        tokio::select! {
            biased;
            () = corridor.node.kill.cancelled() => return settled,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

/// What becomes of an event that was leased.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) decision: Decision,
    pub(crate) run: Option<Run>,
    /// Events that are accepted with the settlement.
    pub(crate) effects: Vec<NewEvent>,
    /// How the attempt ended, if there was one that can have an answer.
    pub(crate) response: Option<Ending>,
}

impl Judged {
    pub(crate) fn of(decision: Decision, run: Option<Run>) -> Self {
        Self {
            decision,
            run,
            effects: Vec::new(),
            response: None,
        }
    }

    /// What no attempt could ever help.
    pub(crate) fn buried(error: String) -> Self {
        let why = Why::Hopeless;
        Self::of(Decision::Bury { error, why }, None)
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
        return Judged::buried(error);
    }
    let target = event.accepted.target.clone();
    let course = Course::of(&event);
    let before = policy(corridor, &target);
    if let Some(policy) = before.clone()
        && let policy = course.wanted.policy(policy)
        && let last = event.last_error.as_deref()
        && let Some(decision) = retry::overdue(&policy, course.tried().age, last)
    {
        return Judged::of(decision, None);
    }
    let attempted = match &target {
        Target::Queue { name } => return queues::enqueue(name, &event),
        Target::Bus { name } => return routing::route(corridor, name, event).await,
        Target::Service { name, path } => delivery::deliver(corridor, name, path, event).await,
        Target::Webhook { name } => webhook::deliver(corridor, name, event).await,
        Target::Bucket { name } => destination::bucket::deliver(corridor, name, event).await,
        Target::Function { name } => function(corridor, name, event).await,
    };
    // The policy of now, or of then if the function was deleted meanwhile.
    let policy = policy(corridor, &target).or(before).unwrap_or_default();
    judge(
        corridor,
        attempted,
        &target,
        &course,
        &course.wanted.policy(policy),
    )
}

/// Where a leased event is in its life.
struct Course {
    attempt: u32,
    postponed: u32,
    accepted: Timestamp,
    wanted: Delivery,
}

impl Course {
    fn of(event: &Event) -> Self {
        let earlier = u64::from(event.attempts) + 1;
        let postponed = event.epoch.saturating_sub(earlier);
        Self {
            attempt: event.attempts + 1,
            postponed: u32::try_from(postponed).unwrap_or(u32::MAX),
            accepted: event.accepted.accepted,
            wanted: event.accepted.delivery.clone(),
        }
    }

    fn tried(&self) -> Tried {
        Tried {
            attempt: self.attempt,
            postponed: self.postponed,
            age: Duration::from_millis(Timestamp::now().since(self.accepted)),
        }
    }
}

/// How a target's events are retried. `None` for what takes them at once or not at all, and for what
/// is not there.
fn policy(corridor: &Corridor, target: &Target) -> Option<RetryPolicy> {
    match target {
        Target::Function { name } => {
            let function = corridor.functions.find(name)?;
            Some(function.spec.retry.clone())
        }
        Target::Service { .. } | Target::Webhook { .. } | Target::Bucket { .. } => {
            Some(retry::service_policy())
        }
        Target::Queue { .. } | Target::Bus { .. } => None,
    }
}

/// Decides from how an attempt ended.
fn judge(
    corridor: &Corridor,
    attempted: Result<Attempted>,
    target: &Target,
    course: &Course,
    policy: &RetryPolicy,
) -> Judged {
    let random = chance::fraction();
    // The server ends and broke the call off: nothing is decided, the next start goes on.
    let broken_off = || {
        let decision = Decision::Postpone {
            after: Duration::ZERO,
            reason: Error::Draining.to_string(),
        };
        Judged::of(decision, None)
    };
    match attempted {
        Ok(Attempted { outcome, .. }) if is_broken_off(corridor, &outcome.ending) => broken_off(),
        Ok(Attempted { outcome, run }) => {
            let decision = retry::next(policy, &outcome.ending, course.tried(), random);
            // What reached nobody is told by the event, not as an attempt.
            let reached = !matches!(outcome.ending, Ending::Unavailable { .. });
            Judged {
                response: Some(outcome.ending),
                ..Judged::of(decision, reached.then_some(run))
            }
        }
        Err(error) if error.kind() == model::Kind::NotFound => {
            Judged::buried(format!("its target {target} does not exist any more"))
        }
        Err(Error::Draining) => broken_off(),
        Err(error) => {
            let decision = retry::unspent(policy, course.tried(), error.to_string(), random);
            Judged::of(decision, None)
        }
    }
}

fn is_broken_off(corridor: &Corridor, ending: &Ending) -> bool {
    corridor.node.kill.is_cancelled() && matches!(ending, Ending::Unavailable { .. })
}

async fn function(corridor: &Corridor, name: &FunctionName, event: Event) -> Result<Attempted> {
    let job = Job {
        request_id: RequestId::generate(),
        payload: event.accepted.payload.clone(),
        http: None,
        event: Some(Box::new(event)),
        client_context: None,
        trace_id: None,
    };
    corridor.attempt(name, job).await
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
        Decision::Bury { error, .. } => Verdict::Bury { error },
    }
}
