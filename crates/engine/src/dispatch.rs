//! Events to their targets: leased in turns, attempted, settled.
//!
//! One loop leases. It wakes when events are accepted, become due, or when a place is free that it
//! had none of before. Each leased event is a task of its own: attempt, decision, settlement.

use crate::attempt::PATIENCE;
use crate::engine::Corridor;
use crate::judged::{Judged, attempt};
use crate::retry::{Decision, Why};
use crate::{Result, delivery, destination, queues, routing, share};
use model::{Event, NewEvent, Target, Timestamp};
use state::{Leased, MaxAges, Settlement, Verdict, crash};
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
/// And a settlement that it refused again and again.
const MOST_PAUSE: Duration = Duration::from_secs(8);

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
    let lost_wakeup = state::planted::bug("lost-wakeup");
    if !lost_wakeup {
        dispatcher.starved.store(true, Ordering::Release);
    }
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
    if lost_wakeup {
        dispatcher.starved.store(starved, Ordering::Release);
    }
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
    let own = corridor.functions.event_invokes(name).unwrap_or_default();
    let retry = &function.spec.retry;
    let own = own.into_iter();
    let own = own.map(|(qualifier, config)| (qualifier, config.over(retry).max_age));
    let ages = MaxAges {
        qualified: own.collect(),
        others: retry.max_age,
    };
    let until = now.after(longest(target) + MARGIN);
    let leased = corridor.state.lease_overdue(target, ages, now, until);
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
    let Leased { event, until } = leased;
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
    match settle(corridor, &event, until, settlement, effects).await {
        Ok(true) => {}
        Ok(false) => tracing::warn!(event = %id, epoch, "lease was lost before the attempt ended"),
        Err(error) => {
            tracing::error!(event = %id, %error, "not settled; it is tried again when its lease has ended");
        }
    }
}

/// Hands a settlement to the store until it is taken: an event whose settlement a disk refused for a
/// moment must not wait until its lease, which outlives the longest call, has ended. One that is refused
/// until then is given up: the event is leased again, and its place is another's.
///
/// # Errors
/// When the server or the lease ends before.
async fn settle(
    corridor: &Corridor,
    event: &Event,
    until: Timestamp,
    settlement: Settlement,
    effects: Vec<NewEvent>,
) -> state::Result<bool> {
    let id = settlement.id;
    let mut pause = PAUSE;
    loop {
        let store = &corridor.state;
        let mut settled = store.settle_with(settlement.clone(), effects.clone()).await;
        if let Target::Queue { name } = &event.accepted.target {
            settled = queues::settled(corridor, name, event, settled).await;
        }
        crash::point("settled");
        match &settled {
            Ok(_) | Err(state::Error::Closed) => return settled,
            Err(_) if Timestamp::now() >= until => return settled,
            Err(error) => tracing::warn!(event = %id, %error, "not settled; trying again"),
        }
        tokio::select! {
            biased;
            () = corridor.node.kill.cancelled() => return settled,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(MOST_PAUSE);
    }
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
        Decision::Bury { error, why } => match why {
            Why::Age => Verdict::Expire { error },
            Why::Attempts | Why::Hopeless => Verdict::Bury { error },
        },
    }
}
