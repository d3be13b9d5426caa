#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn sample(available: u64, total: u64, stalled: f64) -> Sample {
    Sample {
        available: available * MIB,
        total: total * MIB,
        stalled: Some(stalled),
    }
}

#[test]
fn the_kernels_files_are_read() {
    let meminfo =
        "MemTotal:       24683520 kB\nMemFree:        1 kB\nMemAvailable:   24238080 kB\n";
    let stall =
        "some avg10=12.50 avg60=0.00 avg300=0.00 total=287445\nfull avg10=1.00 avg60=0.00\n";
    let read = parse(meminfo, Some(stall)).unwrap();
    assert_eq!(read.total, 24_683_520 * 1024);
    assert_eq!(read.available, 24_238_080 * 1024);
    assert_eq!(read.stalled, Some(12.5));
    assert_eq!(parse(meminfo, None).unwrap().stalled, None);
    assert_eq!(parse("MemTotal: 1 kB\n", None), None);
    assert!(super::read().unwrap().total > 0);
}

#[test]
fn levels_begin_where_they_are_said_to() {
    let calm = |sample: Sample| level(Pressure::Calm, sample);
    assert_eq!(calm(sample(4_000, 10_000, 0.0)), Pressure::Calm);
    assert_eq!(calm(sample(999, 10_000, 0.0)), Pressure::High);
    assert_eq!(calm(sample(399, 10_000, 0.0)), Pressure::Critical);
    assert_eq!(calm(sample(2_000, 10_000, 10.0)), Pressure::High);
    assert_eq!(calm(sample(2_000, 10_000, 40.0)), Pressure::Critical);
    // Only a sandbox at its own limit stalls: the machine has plenty.
    assert_eq!(calm(sample(8_000, 10_000, 99.0)), Pressure::Calm);
    // A tenth of a large machine is a lot.
    assert_eq!(calm(sample(20_000, 500_000, 0.0)), Pressure::Calm);
}

#[test]
fn a_level_ends_later_than_it_begins() {
    let just_enough = sample(1_100, 10_000, 0.0);
    assert_eq!(level(Pressure::Calm, just_enough), Pressure::Calm);
    assert_eq!(level(Pressure::High, just_enough), Pressure::High);
    assert_eq!(level(Pressure::Critical, just_enough), Pressure::High);
    let enough = sample(1_300, 10_000, 0.0);
    assert_eq!(level(Pressure::Critical, enough), Pressure::Calm);
}

proptest! {
    #[test]
    fn less_memory_is_never_less_pressure(
        total in 100u64..1_000_000, share in 0u64..=100, less in 0u64..=100,
        stalled in 0.0f64..100.0, more in 0.0f64..100.0, before in 0usize..3,
    ) {
        let before = [Pressure::Calm, Pressure::High, Pressure::Critical][before];
        let better = sample(total * share / 100, total, stalled);
        let worse = sample(total * share / 100 * less / 100, total, stalled + more);
        prop_assert!(level(before, worse) >= level(before, better));
        // What holds a level does not raise it.
        prop_assert!(level(before, better) <= before.max(level(Pressure::Calm, better)));
    }

    #[test]
    fn some_go_and_never_more_than_there_are(idle in 0usize..2_000) {
        prop_assert_eq!(stops(Pressure::Calm, idle), 0);
        for level in [Pressure::High, Pressure::Critical] {
            let gone = stops(level, idle);
            prop_assert!(gone <= idle && (gone > 0 || idle == 0));
        }
        prop_assert!(stops(Pressure::High, idle) <= stops(Pressure::Critical, idle));
    }
}
