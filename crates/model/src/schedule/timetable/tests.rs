//! Timetables against the documented rules, and against a scan of every minute.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn table(expression: &str, zone: &str) -> Timetable {
    Timetable::new(expression.parse().unwrap(), zone.parse().unwrap())
}

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

/// The first ticks after a point, in UTC.
fn ticks(table: &Timetable, after: &str, count: usize) -> Vec<String> {
    let origin = at(after);
    let mut found = Vec::new();
    let mut last = Timestamp(origin.0 - 1);
    while found.len() < count
        && let Some(next) = table.next(origin, last)
    {
        found.push(next.rfc3339()[..19].to_owned());
        last = next;
    }
    found
}

#[test]
fn a_tick_that_the_clocks_skip_does_not_happen() {
    // Berlin 2026: 29 March 02:00 becomes 03:00.
    let table = table("cron(30 2 * * ? *)", "Europe/Berlin");
    let expected = ["2026-03-28T01:30:00", "2026-03-30T00:30:00"];
    assert_eq!(ticks(&table, "2026-03-28T00:00:00Z", 2), expected);
}

#[test]
fn a_tick_that_the_clocks_show_twice_happens_the_first_time() {
    // Berlin 2026: 25 October 03:00 becomes 02:00.
    let table = table("cron(30 2 * * ? *)", "Europe/Berlin");
    let expected = [
        "2026-10-24T00:30:00",
        "2026-10-25T00:30:00",
        "2026-10-26T01:30:00",
    ];
    assert_eq!(ticks(&table, "2026-10-24T00:00:00Z", 3), expected);
    // Asked between the two, it has been.
    let next = table.next(at("2026-10-25T00:45:00Z"), at("2026-10-25T00:45:00Z"));
    assert_eq!(next, Some(at("2026-10-26T01:30:00Z")));
}

#[test]
fn a_rate_takes_no_notice_of_clocks_and_begins_at_once() {
    let table = table("rate(1 day)", "America/New_York");
    let expected = [
        "2026-03-07T12:00:05",
        "2026-03-08T12:00:05",
        "2026-03-09T12:00:05",
    ];
    assert_eq!(ticks(&table, "2026-03-07T12:00:05Z", 3), expected);
}

#[test]
fn start_and_end_bound_it() {
    let mut table = table("cron(0 12 * * ? *)", "UTC");
    table.start = Some(at("2026-11-23T12:00:00Z"));
    table.end = Some(at("2026-11-25T11:59:59Z"));
    let expected = ["2026-11-23T12:00:00", "2026-11-24T12:00:00"];
    assert_eq!(ticks(&table, "2026-11-01T00:00:00Z", 9), expected);
    table.expression = "rate(18 hours)".parse().unwrap();
    let expected = [
        "2026-11-23T12:00:00",
        "2026-11-24T06:00:00",
        "2026-11-25T00:00:00",
    ];
    assert_eq!(ticks(&table, "2026-11-01T00:00:00Z", 9), expected);
    table.end = table.start;
    assert!(table.check().is_err());
    for far in [i64::MIN, -1, i64::MAX] {
        table.end = None;
        table.start = Some(Timestamp(far));
        assert!(table.check().is_err());
        // What was never checked does not break it either.
        let _ = table.next(at("2026-11-22T00:00:00Z"), at("2026-11-22T00:00:00Z"));
    }
}

#[test]
fn one_point_is_due_once_by_the_clocks_of_its_zone() {
    let table = table("at(2026-07-01T09:00:00)", "Asia/Tokyo");
    assert_eq!(
        ticks(&table, "2026-01-01T00:00:00Z", 9),
        ["2026-07-01T00:00:00"]
    );
    let past = at("2026-07-01T00:00:00Z");
    assert_eq!(table.next(past, past), None);
    let skipped = super::Timetable::new(
        "at(2026-03-29T02:30:00)".parse().unwrap(),
        "Europe/Berlin".parse().unwrap(),
    );
    assert!(skipped.check().unwrap_err().to_string().contains("forward"));
}

#[test]
fn zones_are_those_of_iana() {
    assert_eq!(
        "europe/berlin".parse::<Zone>().unwrap().as_str(),
        "Europe/Berlin"
    );
    for bad in [
        "",
        "Mars/Olympus",
        "+02:00",
        "EST5EDT4",
        "../etc/passwd",
        &"a".repeat(51),
    ] {
        assert!(bad.parse::<Zone>().is_err(), "{bad:?}");
    }
}

/// Zones whose clocks change: by an hour, by half an hour, at midnight, on other days, and a whole day
/// that was left out (Apia, 30 December 2011).
const ZONES: [&str; 9] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Casablanca",
    "Asia/Kolkata",
    "Pacific/Apia",
    "Europe/Dublin",
];

const DAY: i64 = 24 * 60;

/// The minutes that are `meant`, by looking at every one: nothing is shared with what is tested.
fn scan(zone: &Zone, begin: i64, days: i64, meant: impl Fn(DateTime) -> bool) -> Vec<Timestamp> {
    let mut shown = DateTime::MIN;
    let mut found = Vec::new();
    // From a day before, so that it is known what the clocks have shown already.
    for now in (begin - DAY)..(begin + days * DAY) {
        let time = Timestamp(now * 60_000);
        let local = zone.local(time).unwrap();
        let first = local > shown;
        shown = shown.max(local);
        if first && now > begin && meant(local) {
            found.push(time);
        }
    }
    found
}

fn list(values: &BTreeSet<i8>) -> String {
    let values: Vec<String> = values.iter().map(i8::to_string).collect();
    values.join(",")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn it_is_what_a_scan_of_every_minute_finds(
        zone in proptest::sample::select(&ZONES[..]),
        minute in 0_i8..60,
        hours in proptest::collection::btree_set(0_i8..24, 1..6),
        weekdays in proptest::collection::btree_set(1_i8..8, 1..8),
        // 2011 to 2030, in days since 1970, and a quarter and a half of a year from there.
        begin in 15_000_i64..22_000,
    ) {
        let days = 270;
        let begin = begin * DAY;
        let zone: Zone = zone.parse().unwrap();
        let text = format!("cron({minute} {} ? * {} *)", list(&hours), list(&weekdays));
        let table = Timetable::new(text.parse().unwrap(), zone.clone());
        let expected = scan(&zone, begin, days, |local| {
            let weekday = local.date().weekday().to_sunday_zero_offset() + 1;
            local.minute() == minute && hours.contains(&local.hour()) && weekdays.contains(&weekday)
        });
        let (mut found, mut last) = (Vec::new(), Timestamp(begin * 60_000));
        let end = Timestamp((begin + days * DAY) * 60_000);
        while let Some(next) = table.next(Timestamp(0), last).filter(|next| *next < end) {
            prop_assert!(next > last);
            last = next;
            found.push(next);
        }
        prop_assert_eq!(found, expected);
    }

    /// Every minute of the calendar, through years: each that the clocks show, once.
    #[test]
    fn every_minute_happens_once(zone in proptest::sample::select(&ZONES[..]), day in 15_000_i64..22_000) {
        let zone: Zone = zone.parse().unwrap();
        let table = Timetable::new("cron(* * * * ? *)".parse().unwrap(), zone.clone());
        let begin = day * DAY;
        let expected = scan(&zone, begin, 3, |_| true);
        let mut last = Timestamp(begin * 60_000);
        for tick in expected {
            prop_assert_eq!(table.next(Timestamp(0), last), Some(tick));
            last = tick;
        }
    }

    #[test]
    fn ticks_grow_and_the_last_is_the_last(
        expression in proptest::sample::select(&[
            "rate(7 minutes)", "rate(3 hours)", "rate(2 days)", "cron(0/17 * * * ? *)",
            "cron(30 2 L * ? *)", "cron(15 1-3 ? * SUN *)", "cron(0 0 29 2 ? *)",
            "cron(0 12 ? * 2#5 *)", "cron(5 4 15W 3,10 ? 2020-2024)",
        ][..]),
        zone in proptest::sample::select(&ZONES[..]),
        origin in 1_300_000_000_000_i64..1_900_000_000_000,
        span in 1_i64..100_000_000_000,
        bounds in any::<(bool, bool)>(),
    ) {
        let mut table = table(expression, zone);
        let (origin, until) = (Timestamp(origin), Timestamp(origin + span));
        table.start = bounds.0.then_some(Timestamp(origin.0 + span / 7));
        table.end = bounds.1.then_some(Timestamp(origin.0 + span / 2));
        let last = table.last(origin, origin, until);
        let first = table.next(origin, origin).filter(|tick| *tick <= until);
        prop_assert_eq!(first.is_some(), last.is_some());
        if let Some(last) = last {
            prop_assert!(last > origin && last <= until);
            prop_assert!(table.start.is_none_or(|start| last >= start));
            prop_assert!(table.end.is_none_or(|end| last <= end));
            // It is a tick, and none follows.
            prop_assert_eq!(table.next(origin, Timestamp(last.0 - 1)), Some(last));
            prop_assert!(table.next(origin, last).is_none_or(|next| next > until));
        }
        let (mut before, mut count) = (origin, 0);
        while let Some(next) = table.next(origin, before)
            && count < 50
        {
            prop_assert!(next > before);
            // Nothing lies between two ticks.
            let middle = Timestamp(before.0 + (next.0 - before.0) / 2);
            prop_assert_eq!(table.next(origin, middle), Some(next));
            (before, count) = (next, count + 1);
        }
    }
}
