//! What is due when: no tick twice, none lost but by policy.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::Target;
use proptest::prelude::*;

const MINUTE: i64 = 60_000;

pub(in super::super) fn spec(expression: &str) -> ScheduleSpec {
    ScheduleSpec {
        key: "s".parse().unwrap(),
        description: String::new(),
        timetable: super::super::Timetable::new(
            expression.parse().unwrap(),
            super::super::Zone::default(),
        ),
        window: None,
        enabled: true,
        catch_up: CatchUp::Once,
        after_completion: AfterCompletion::Keep,
        target: Target::Function {
            name: "f".parse().unwrap(),
        },
        input: None,
        owner: None,
        entry: None,
        delivery: Default::default(),
        annotations: Default::default(),
    }
}

fn made(expression: &str, catch_up: CatchUp) -> Schedule {
    let spec = ScheduleSpec {
        catch_up,
        ..spec(expression)
    };
    Schedule::new(spec, Timestamp(0))
}

/// Ticks in minutes.
fn fired(advance: &Advance) -> Vec<i64> {
    advance.fire.iter().map(|tick| tick.0 / MINUTE).collect()
}

#[test]
fn a_rate_begins_at_once_and_goes_on_from_there() {
    let schedule = made("rate(5 minutes)", CatchUp::Once);
    assert_eq!(schedule.next.unwrap().at, Timestamp(0));
    let first = schedule.advance(Timestamp(3));
    assert_eq!(fired(&first), [0]);
    let schedule = first.schedule.unwrap();
    assert_eq!(schedule.next.unwrap().at, Timestamp(5 * MINUTE));
    assert!(schedule.advance(Timestamp(4 * MINUTE)).fire.is_empty());
    assert_eq!(fired(&schedule.advance(Timestamp(5 * MINUTE))), [5]);
}

#[test]
fn what_was_missed_is_made_up_for_as_declared() {
    // Down from the first minute to shortly after the tenth.
    for (catch_up, after, expected, dropped) in [
        (CatchUp::Skip, 30_000, vec![], true),
        (CatchUp::Skip, 4_000, vec![10], true),
        (CatchUp::Once, 30_000, vec![10], true),
        (CatchUp::All, 30_000, (1..=10).collect(), false),
    ] {
        let schedule = made("rate(1 minute)", catch_up);
        let schedule = schedule.advance(Timestamp(0)).schedule.unwrap();
        let back = schedule.advance(Timestamp(10 * MINUTE + after));
        assert_eq!(fired(&back), expected, "{catch_up:?}");
        assert_eq!(back.dropped, dropped, "{catch_up:?}");
        let next = back.schedule.unwrap().next.unwrap();
        assert_eq!(next.tick, Timestamp(11 * MINUTE), "{catch_up:?}");
    }
}

#[test]
fn a_long_absence_is_made_up_for_within_a_bound() {
    let schedule = made("cron(* * * * ? *)", CatchUp::All);
    let years = 3 * 365 * 24 * 60;
    let back = schedule.advance(Timestamp(years * MINUTE + 1));
    let latest: Vec<i64> = (years - 99..=years).collect();
    assert_eq!(fired(&back), latest);
    assert!(back.dropped);
}

#[test]
fn one_point_fires_once_and_then_goes_or_stays() {
    for (after_completion, stays) in [
        (AfterCompletion::Keep, true),
        (AfterCompletion::Delete, false),
    ] {
        let spec = ScheduleSpec {
            after_completion,
            ..spec("at(1970-01-01T00:10:00)")
        };
        let schedule = Schedule::new(spec, Timestamp(0));
        let advance = schedule.advance(Timestamp(10 * MINUTE));
        assert_eq!(fired(&advance), [10]);
        assert_eq!(advance.schedule.is_some(), stays);
        if let Some(schedule) = advance.schedule {
            assert_eq!(schedule.next, None);
            assert!(schedule.advance(Timestamp(i64::MAX / 2)).fire.is_empty());
        }
    }
}

#[test]
fn one_point_that_was_missed_is_not_lost() {
    let schedule = made("at(1970-01-01T00:10:00)", CatchUp::Once);
    assert_eq!(fired(&schedule.advance(Timestamp(99 * MINUTE))), [10]);
}

#[test]
fn a_pause_is_no_absence() {
    let schedule = made("rate(1 minute)", CatchUp::All);
    let schedule = schedule.advance(Timestamp(0)).schedule.unwrap();
    let mut spec = schedule.spec.clone();
    spec.enabled = false;
    let paused = schedule.changed(spec.clone(), Timestamp(5));
    assert_eq!(paused.next, None);
    assert!(paused.advance(Timestamp(9 * MINUTE)).fire.is_empty());
    spec.enabled = true;
    let resumed = paused.changed(spec, Timestamp(9 * MINUTE + 1));
    assert_eq!(resumed.next.unwrap().tick, Timestamp(10 * MINUTE));
}

#[test]
fn a_change_of_what_is_said_keeps_the_tick_that_is_due() {
    let schedule = made("rate(1 minute)", CatchUp::Once);
    let mut spec = schedule.spec.clone();
    spec.input = Some("{}".to_owned());
    let changed = schedule.changed(spec.clone(), Timestamp(7));
    assert_eq!(changed.next, schedule.next);
    spec.timetable.expression = "rate(2 minutes)".parse().unwrap();
    let retimed = changed.changed(spec, Timestamp(7));
    assert_eq!(retimed.next.unwrap().tick, Timestamp(7));
}

#[test]
fn a_next_tick_that_is_none_any_more_does_not_hold_it_up() {
    let mut schedule = made("cron(0 12 * * ? *)", CatchUp::All);
    // As if the zone's rules had been others when it was kept.
    let moved = Timestamp(11 * 60 * MINUTE);
    schedule.next = Some(Due {
        tick: moved,
        at: moved,
    });
    let advance = schedule.advance(moved);
    assert!(advance.fire.is_empty());
    let next = advance.schedule.unwrap().next.unwrap();
    assert_eq!(next.tick, Timestamp(12 * 60 * MINUTE));
}

fn policies() -> impl Strategy<Value = CatchUp> {
    proptest::sample::select(&[CatchUp::Skip, CatchUp::Once, CatchUp::All][..])
}

proptest! {
    /// However the server looks, sleeps and dies: each tick at most once, in order, at or after its
    /// time; and without absences all of them.
    #[test]
    fn ticks_happen_in_order_and_once(
        expression in proptest::sample::select(&[
            "rate(1 minute)", "rate(7 minutes)", "rate(1 hour)", "cron(0/7 * * * ? *)", "cron(10 3 * * ? *)",
            "at(1970-01-01T05:00:00)",
        ][..]),
        catch_up in policies(),
        window in proptest::option::of(1_u32..90),
        naps in proptest::collection::vec((0_i64..200 * MINUTE, any::<bool>()), 1..60),
    ) {
        let spec = ScheduleSpec { catch_up, window, ..spec(expression) };
        let mut schedule = Schedule::new(spec, Timestamp(0));
        let (mut now, mut all, mut absent) = (Timestamp(0), Vec::new(), false);
        for (nap, away) in naps {
            let until = Timestamp(now.0 + nap);
            if away {
                absent = true;
                now = until;
            }
            loop {
                let due = schedule.next.map(|due| due.at.max(now)).filter(|at| *at <= until);
                let Some(at) = due else { break };
                now = at;
                let advance = schedule.advance(now);
                for tick in &advance.fire {
                    let moment = schedule.moment(*tick);
                    prop_assert!(*tick <= moment && moment <= now);
                    let window = i64::from(window.unwrap_or(0)) * MINUTE;
                    prop_assert!(moment.0 - tick.0 < window.max(1));
                }
                prop_assert!(away || absent || !advance.dropped);
                all.extend(advance.fire);
                schedule = advance.schedule.unwrap();
                prop_assert!(schedule.next.is_none_or(|due| due.tick > schedule.cursor));
            }
            now = until;
            prop_assert!(schedule.advance(now).fire.is_empty());
        }
        prop_assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
        if !absent {
            let (mut expected, mut last) = (Vec::new(), Timestamp(-1));
            while let Some(tick) = schedule.spec.timetable.next(Timestamp(0), last)
                && tick <= schedule.cursor
            {
                expected.push(tick);
                last = tick;
            }
            prop_assert_eq!(all, expected);
        }
    }
}
