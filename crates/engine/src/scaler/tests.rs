use super::*;
use proptest::prelude::*;

fn view(starting: usize, busy: usize, idle: &[u64], now: Instant) -> View {
    View {
        starting,
        busy,
        idle: idle
            .iter()
            .map(|ago| Rest {
                since: now - Duration::from_millis(*ago),
                frozen: false,
            })
            .collect(),
        scaling: Scaling {
            max_instances: 4,
            keep_alive: 1_000,
            queue: 10,
            freeze_after: None,
            ..Scaling::default()
        },
        fresh: false,
        retired: false,
        hold_until: None,
        short: false,
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
fn calls_that_share_an_instance_share_its_start() {
    let now = now();
    let mut view = view(0, 1, &[], now);
    view.scaling.per_instance = 10;
    let plan_for = |view: &View, waiting| plan(view, Demand { waiting }, now);
    assert_eq!(plan_for(&view, 1), [Action::Start(1)]);
    assert_eq!(plan_for(&view, 10), [Action::Start(1)]);
    assert_eq!(plan_for(&view, 11), [Action::Start(2)]);
    assert_eq!(plan_for(&view, 500), [Action::Start(3)]);
}

#[test]
fn a_reservation_is_the_most() {
    let now = now();
    let mut view = view(0, 1, &[], now);
    view.scaling.min_instances = 3;
    view.scaling.reserved = Some(2);
    assert_eq!(plan(&view, Demand { waiting: 9 }, now), [Action::Start(1)]);
    view.scaling.reserved = Some(0);
    assert_eq!(plan(&view, Demand { waiting: 9 }, now), []);
    assert_eq!(next_change(&view), None);
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
fn idle_instances_are_frozen_once_and_those_that_go_are_not() {
    let now = now();
    let mut view = view(0, 0, &[2_000, 400, 300, 100], now);
    view.scaling.freeze_after = Some(200);
    let both = [Action::StopOldest(1), Action::FreezeOldest(2)];
    assert_eq!(plan(&view, Demand::default(), now), both);
    view.idle.remove(0);
    view.idle[0].frozen = true;
    assert_eq!(
        plan(&view, Demand::default(), now),
        [Action::FreezeOldest(2)]
    );
    view.idle[1].frozen = true;
    assert_eq!(plan(&view, Demand::default(), now), []);
    let last = view.idle[2].since + Duration::from_millis(200);
    assert_eq!(next_change(&view), Some(last));
    view.scaling.freeze_after = None;
    let expiry = view.idle[0].since + Duration::from_secs(1);
    assert_eq!(next_change(&view), Some(expiry));
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
fn while_memory_is_short_only_calls_start_something() {
    let now = now();
    let mut view = view(0, 0, &[], now);
    view.scaling.min_instances = 3;
    view.short = true;
    assert_eq!(plan(&view, Demand::default(), now), []);
    assert_eq!(plan(&view, Demand { waiting: 1 }, now), [Action::Start(1)]);
}

#[test]
fn fresh_instances_are_ready_ahead_and_never_kept() {
    let now = now();
    let mut view = view(0, 2, &[], now);
    view.fresh = true;
    view.scaling.min_instances = 1;
    // Those that work will be of no use to the next call.
    assert_eq!(plan(&view, Demand::default(), now), [Action::Start(1)]);
    assert_eq!(plan(&view, Demand { waiting: 1 }, now), [Action::Start(2)]);
    view.scaling.min_instances = 0;
    assert_eq!(plan(&view, Demand::default(), now), []);
    // One whose call went away.
    view.idle.push(Rest {
        since: now,
        frozen: false,
    });
    assert_eq!(plan(&view, Demand::default(), now), [Action::StopOldest(1)]);
    view.scaling.min_instances = 1;
    assert_eq!(plan(&view, Demand::default(), now), []);
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

/// Any view that can be, and what is asked of it.
fn any_view() -> impl Strategy<Value = (View, usize, Instant)> {
    let counts = (0usize..20, 0usize..20, 0usize..50);
    let idle = proptest::collection::vec((0u64..5_000, any::<bool>()), 0..20);
    let scaling = (
        0u32..10,
        0u32..10,
        0u64..3_000,
        1u32..8,
        proptest::option::of(0u32..12),
        proptest::option::of(0u64..3_000),
    );
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (counts, idle, scaling, flags).prop_map(
        |(
            (starting, busy, waiting),
            mut idle,
            (min, more, keep_alive, per, reserved, freeze_after),
            (held, short, fresh),
        )| {
            let now = now();
            idle.sort_unstable_by(|a, b| b.cmp(a));
            let ages: Vec<_> = idle.iter().map(|(ago, _)| *ago).collect();
            let mut view = view(starting, busy, &ages, now);
            for (rest, (_, frozen)) in view.idle.iter_mut().zip(idle) {
                rest.frozen = frozen;
            }
            view.scaling = Scaling {
                min_instances: min,
                max_instances: (min + more).max(1),
                keep_alive,
                queue: 1,
                per_instance: if fresh { 1 } else { per },
                reserved,
                freeze_after,
            };
            view.hold_until = held.then(|| now + Duration::from_secs(9));
            view.short = short;
            view.fresh = fresh;
            (view, waiting, now)
        },
    )
}

proptest! {
    #[test]
    fn no_plan_breaks_the_bounds((view, waiting, now) in any_view()) {
        let (mut starts, mut stops, mut freezes) = (0, 0, 0);
        for action in plan(&view, Demand { waiting }, now) {
            match action {
                Action::Start(n) => starts += n,
                Action::StopOldest(n) => stops += n,
                Action::FreezeOldest(n) => freezes += n,
            }
        }
        let scaling = &view.scaling;
        let live = view.busy + view.idle.len();
        if starts > 0 {
            prop_assert!(live + view.starting + starts <= scaling.most());
        }
        prop_assert!(stops + freezes <= view.idle.len());
        let kept = if view.fresh { view.idle.len() } else { live };
        prop_assert!(stops == 0 || kept - stops >= scaling.least());
        // Nobody who waits is left without a start while there is room for one.
        let served = (view.starting + starts) * scaling.per_instance as usize;
        let room = scaling.most().saturating_sub(live) * scaling.per_instance as usize;
        prop_assert!(served >= waiting.min(room));
        // No more is started than is asked for.
        let asked = waiting.div_ceil(scaling.per_instance as usize);
        let ahead = if view.short || view.hold_until.is_some() { 0 } else { scaling.least() };
        prop_assert!(starts <= asked + ahead);
        // What is stopped or frozen has really waited that long.
        let waited = |rest: &Rest, time| now.duration_since(rest.since) >= Duration::from_millis(time);
        let keep_alive = if view.fresh { 0 } else { scaling.keep_alive };
        prop_assert!(view.idle[..stops].iter().all(|rest| waited(rest, keep_alive)));
        let frozen = &view.idle[stops..stops + freezes];
        prop_assert!(frozen.iter().all(|rest| waited(rest, scaling.freeze_after.unwrap_or(u64::MAX))));
        prop_assert!(freezes == 0 || frozen.iter().any(|rest| !rest.frozen));
    }

    /// What the plan says, done, leaves nothing for the same moment: so the keeper, who looks when the
    /// plan could change, never looks again and again without an end.
    #[test]
    fn a_plan_that_was_carried_out_is_done((mut view, waiting, now) in any_view()) {
        // With idle instances nobody waits.
        let waiting = if view.idle.is_empty() { waiting } else { 0 };
        for action in plan(&view, Demand { waiting }, now) {
            match action {
                Action::Start(n) => view.starting += n,
                Action::StopOldest(n) => drop(view.idle.drain(..n)),
                Action::FreezeOldest(n) => view.idle[..n].iter_mut().for_each(|rest| rest.frozen = true),
            }
        }
        let stops_for_good = |action: &Action| !matches!(action, Action::Start(_));
        let again = plan(&view, Demand { waiting }, now);
        prop_assert!(!again.iter().any(stops_for_good), "{again:?}");
        if let Some(next) = next_change(&view) {
            prop_assert!(next > now, "{:?} ago", now - next);
        }
    }

    #[test]
    fn the_keeper_is_woken_in_time((view, _, now) in any_view()) {
        let mut view = view;
        view.idle = vec![Rest { since: now, frozen: false }];
        if let Some(next) = next_change(&view).filter(|_| view.hold_until.is_none() && !view.fresh) {
            prop_assert!(first_change(&view.scaling, now) <= next);
        }
    }

    #[test]
    fn holding_grows_to_its_bound(failures in 0u32..100) {
        prop_assert!(hold_after(failures) <= hold_after(failures + 1));
        prop_assert!(hold_after(failures) <= Duration::from_secs(30));
    }
}
