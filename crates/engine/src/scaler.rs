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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn view(starting: usize, busy: usize, idle: &[u64], now: Instant) -> View {
        View {
            starting,
            busy,
            idle: idle
                .iter()
                .map(|ago| now - Duration::from_millis(*ago))
                .collect(),
            scaling: Scaling {
                min_instances: 0,
                max_instances: 4,
                keep_alive: 1_000,
                queue: 10,
            },
            retired: false,
            hold_until: None,
        }
    }

    fn now() -> Instant {
        Instant::now() + Duration::from_secs(1_000_000)
    }

    #[test]
    fn each_waiting_call_gets_a_start_up_to_the_most() {
        let now = now();
        let plan_for = |view: &View, waiting| plan(view, Demand { waiting }, now);
        assert_eq!(plan_for(&view(0, 0, &[], now), 2), [Action::Start(2)]);
        assert_eq!(plan_for(&view(2, 0, &[], now), 2), []);
        assert_eq!(plan_for(&view(1, 2, &[], now), 9), [Action::Start(1)]);
        assert_eq!(plan_for(&view(0, 4, &[], now), 9), []);
    }

    #[test]
    fn idle_past_keep_alive_goes_but_not_below_the_least() {
        let now = now();
        let mut view = view(0, 0, &[3_000, 2_000, 500], now);
        assert_eq!(plan(&view, Demand::default(), now), [Action::StopOldest(2)]);
        view.scaling.min_instances = 2;
        assert_eq!(plan(&view, Demand::default(), now), [Action::StopOldest(1)]);
        view.scaling.min_instances = 3;
        assert_eq!(plan(&view, Demand::default(), now), []);
        assert_eq!(next_change(&view), None);
    }

    #[test]
    fn the_least_is_kept_but_held_back_after_failures() {
        let now = now();
        let mut view = view(0, 1, &[], now);
        view.scaling.min_instances = 3;
        assert_eq!(plan(&view, Demand::default(), now), [Action::Start(2)]);
        view.hold_until = Some(now + Duration::from_secs(1));
        assert_eq!(plan(&view, Demand::default(), now), []);
        assert_eq!(plan(&view, Demand { waiting: 1 }, now), [Action::Start(1)]);
        assert_eq!(next_change(&view), view.hold_until);
    }

    #[test]
    fn a_retired_revision_only_stops() {
        let now = now();
        let mut view = view(1, 1, &[0, 0], now);
        view.retired = true;
        view.scaling.min_instances = 4;
        let actions = plan(&view, Demand { waiting: 3 }, now);
        assert_eq!(actions, [Action::StopOldest(2)]);
        assert_eq!(view.starts_needed(Demand { waiting: 3 }), 0);
    }

    proptest! {
        #[test]
        fn no_plan_breaks_the_bounds(
            starting in 0usize..20, busy in 0usize..20, waiting in 0usize..50,
            idle in proptest::collection::vec(0u64..5_000, 0..20),
            min in 0u32..10, more in 0u32..10, keep_alive in 0u64..3_000, held: bool,
        ) {
            let now = now();
            let mut idle = idle;
            idle.sort_unstable_by(|a, b| b.cmp(a));
            let mut view = view(starting, busy, &idle, now);
            view.scaling = Scaling {
                min_instances: min, max_instances: (min + more).max(1), keep_alive, queue: 1,
            };
            view.hold_until = held.then(|| now + Duration::from_secs(9));
            let (mut starts, mut stops) = (0, 0);
            for action in plan(&view, Demand { waiting }, now) {
                match action {
                    Action::Start(n) => starts += n,
                    Action::StopOldest(n) => stops += n,
                }
            }
            let most = view.scaling.max_instances as usize;
            let live = busy + idle.len();
            if starts > 0 {
                prop_assert!(live + starting + starts <= most);
            }
            prop_assert!(stops <= idle.len());
            prop_assert!(stops == 0 || live - stops >= min as usize);
            // Nobody who waits is left without a start while there is room for one.
            prop_assert!(starting + starts >= waiting.min(most.saturating_sub(live)));
            // What is stopped has really waited that long.
            prop_assert!(idle.iter().take(stops).all(|ago| *ago >= keep_alive));
        }

        #[test]
        fn holding_grows_to_its_bound(failures in 0u32..100) {
            prop_assert!(hold_after(failures) <= hold_after(failures + 1));
            prop_assert!(hold_after(failures) <= Duration::from_secs(30));
        }
    }
}
