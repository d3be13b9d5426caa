//! How many instances a function should have: a pure plan from what is seen, carried out by the pool.

use model::Scaling;
use std::time::Duration;
use tokio::time::Instant;

/// What one function has now.
#[derive(Debug, Clone)]
pub(crate) struct View {
    /// Starts under way or queued.
    pub(crate) starting: usize,
    /// Instances that answer calls.
    pub(crate) busy: usize,
    /// The idle instances, the longest idle first.
    pub(crate) idle: Vec<Rest>,
    /// What the function declared.
    pub(crate) scaling: Scaling,
    /// Each instance answers one call in its life.
    pub(crate) fresh: bool,
    /// The revision was replaced or removed: nothing is started, nothing idle is kept.
    pub(crate) retired: bool,
    /// After failed starts: before this, none is made that no call waits for.
    pub(crate) hold_until: Option<Instant>,
    /// The machine runs short of memory: no start is made that no call waits for.
    pub(crate) short: bool,
}

/// How an instance waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest {
    /// Since when.
    pub(crate) since: Instant,
    /// Nothing of it runs.
    pub(crate) frozen: bool,
}

/// What is asked of one function now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Demand {
    /// Calls that wait for an instance.
    pub(crate) waiting: usize,
}

/// What shall be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start so many instances.
    Start(usize),
    /// Stop so many idle instances, those that waited longest.
    StopOldest(usize),
    /// Freeze so many idle instances, those that waited longest; some are frozen already.
    FreezeOldest(usize),
}

impl View {
    /// Instances that work or could.
    fn live(&self) -> usize {
        self.busy + self.idle.len()
    }

    /// Instances that may be added.
    fn room(&self) -> usize {
        self.scaling.most().saturating_sub(self.live())
    }

    /// Instances that count for `min_instances`: one that is used once is of no use to the next call.
    fn ready(&self) -> usize {
        if self.fresh {
            self.idle.len()
        } else {
            self.live()
        }
    }

    /// Idle instances beyond `min_instances`.
    pub(crate) fn spare(&self) -> usize {
        let spare = self.ready().saturating_sub(self.scaling.least());
        spare.min(self.idle.len())
    }

    /// How long an idle instance is kept: one that is used once has nothing to be kept for.
    fn keep_alive(&self) -> Duration {
        match self.fresh {
            true => Duration::ZERO,
            false => Duration::from_millis(self.scaling.keep_alive),
        }
    }

    fn freeze_after(&self) -> Option<Duration> {
        self.scaling.freeze_after.map(Duration::from_millis)
    }

    /// Instances that the waiting calls fill.
    fn needed_by(&self, demand: Demand) -> usize {
        demand.waiting.div_ceil(self.scaling.per_instance as usize)
    }

    /// Starts that somebody waits for, or that `min_instances` asks for. A queued start beyond it is
    /// given up when its turn comes.
    pub(crate) fn starts_needed(&self, demand: Demand) -> usize {
        let needed = self.needed_by(demand);
        let lacking = self.scaling.least().saturating_sub(self.ready());
        let wanted = match (self.retired, self.short, self.fresh) {
            (true, ..) => 0,
            (_, true, _) => needed,
            // What a waiting call takes cannot be kept for the next.
            (_, _, true) => needed + lacking,
            (_, _, false) => needed.max(lacking),
        };
        wanted.min(self.room())
    }
}

/// One start for what each instance's worth of waiting calls needs and up to `min_instances`, never
/// above what the function may have; idle instances are frozen after a while, and past their
/// keep-alive they go, but not below `min_instances`.
pub(crate) fn plan(view: &View, demand: Demand, now: Instant) -> Vec<Action> {
    if view.retired {
        return match view.idle.len() {
            0 => Vec::new(),
            all => vec![Action::StopOldest(all)],
        };
    }
    let mut actions = Vec::new();
    let held = view.hold_until.is_some_and(|until| now < until);
    let needed = if held {
        view.needed_by(demand).min(view.room())
    } else {
        view.starts_needed(demand)
    };
    let starts = needed.saturating_sub(view.starting);
    if starts > 0 {
        actions.push(Action::Start(starts));
    }
    let waited = |rest: &Rest, time| now.duration_since(rest.since) >= time;
    let stale = view.idle.iter();
    let stale = stale.take_while(|rest| waited(rest, view.keep_alive()));
    let mut stops = stale.count().min(view.spare());
    if demand.waiting > 0 {
        stops = 0;
    }
    if stops > 0 {
        actions.push(Action::StopOldest(stops));
    }
    if let Some(after) = view.freeze_after() {
        let quiet = view.idle[stops..].iter();
        let quiet = quiet.take_while(|rest| waited(rest, after)).count();
        if view.idle[stops..][..quiet].iter().any(|rest| !rest.frozen) {
            actions.push(Action::FreezeOldest(quiet));
        }
    }
    actions
}

/// When the plan could change though nothing happens.
pub(crate) fn next_change(view: &View) -> Option<Instant> {
    let expiry = view
        .idle
        .first()
        .filter(|_| view.spare() > 0)
        .map(|rest| rest.since + view.keep_alive());
    let freeze = view.freeze_after().and_then(|after| {
        let awake = view.idle.iter().find(|rest| !rest.frozen);
        awake.map(|rest| rest.since + after)
    });
    let lacking = view.ready() + view.starting < view.scaling.least();
    let lacking = lacking && view.starting < view.room() && !view.short;
    let hold = view.hold_until.filter(|_| lacking);
    [expiry, freeze, hold].into_iter().flatten().min()
}

/// When the plan could first change because of an instance that becomes idle at `now`.
pub(crate) fn first_change(scaling: &Scaling, now: Instant) -> Instant {
    let first = scaling
        .keep_alive
        .min(scaling.freeze_after.unwrap_or(u64::MAX));
    now + Duration::from_millis(first)
}

/// How long starts that nobody waits for are held back after so many failures in a row: half a
/// second, doubling to 30 s.
pub(crate) fn hold_after(failures: u32) -> Duration {
    let doubled = 500_u64.saturating_mul(1 << failures.saturating_sub(1).min(10));
    Duration::from_millis(doubled.min(30_000))
}

#[cfg(test)]
mod tests;
