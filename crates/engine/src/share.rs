//! Who gets the next free place: a pure rule that keeps one target from filling the machine.

/// Most events that are leased for one target before the next one has its turn.
const TURN: usize = 16;

/// How many more events to lease for a target that has `under_way`, may have `most`, and finds
/// `free` of the machine's places.
///
/// A target never holds more places than it leaves free, so one target alone gets half of them, two
/// get a third each, and there is a place for the first event of the next (the "dynamic threshold"
/// of shared-memory switches).
pub(crate) fn turn(under_way: usize, most: usize, free: usize) -> usize {
    let own = most.saturating_sub(under_way);
    // n more are fair as long as under_way + n <= free - n; the first is always, if there is a place.
    let fair = free.saturating_sub(under_way) / 2;
    let fair = if under_way == 0 { fair.max(1) } else { fair };
    fair.min(own).min(free).min(TURN)
}

/// Whether one that holds `held` places gives one up to another that holds `other` and waits for one:
/// if it still has at least as many afterwards.
pub(crate) fn yields(held: usize, other: usize) -> bool {
    held > other + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Targets that always want more, each asking in turn until none gets any.
    fn fill(places: usize, targets: usize) -> Vec<usize> {
        let mut held = vec![0; targets];
        loop {
            let before = held.clone();
            for at in 0..targets {
                let free = places - held.iter().sum::<usize>();
                held[at] += turn(held[at], usize::MAX, free);
            }
            if held == before {
                return held;
            }
        }
    }

    #[test]
    fn one_target_gets_half_and_two_a_third_each() {
        assert_eq!(fill(256, 1), [128]);
        let two = fill(256, 2);
        assert!(two.iter().all(|held| (80..=90).contains(held)), "{two:?}");
        assert_eq!(fill(1, 1), [1]);
    }

    proptest! {
        #[test]
        fn places_move_until_they_are_even(
            mut held in proptest::collection::vec(0usize..50, 2..8), turns: Vec<(usize, usize)>,
        ) {
            let all: usize = held.iter().sum();
            // Whoever asks whom, in any order: it ends, and then nobody has two more than another.
            let pairs = (0..held.len()).flat_map(|a| (0..held.len()).map(move |b| (a, b)));
            let every: Vec<_> = pairs.collect();
            let count = held.len();
            let mut step = |(from, to): (usize, usize)| {
                let moves = yields(held[from % count], held[to % count]);
                if moves {
                    held[from % count] -= 1;
                    held[to % count] += 1;
                }
                moves
            };
            for turn in turns {
                step(turn);
            }
            let mut moves = 0;
            while every.iter().any(|pair| step(*pair)) {
                moves += 1;
                prop_assert!(moves <= all * all);
            }
            prop_assert_eq!(held.iter().sum::<usize>(), all);
            let spread = held.iter().max().unwrap_or(&0) - held.iter().min().unwrap_or(&0);
            prop_assert!(spread <= 1, "{held:?}");
        }

        #[test]
        fn a_turn_keeps_every_bound(
            under_way in 0usize..300, most in 0usize..300, free in 0usize..300,
        ) {
            let more = turn(under_way, most, free);
            prop_assert!(more <= free && more <= TURN);
            prop_assert!(more == 0 || under_way + more <= most);
        }

        #[test]
        fn the_first_event_of_a_target_finds_a_place(places in 2usize..300, others in 1usize..8) {
            let held = fill(places, others);
            let free = places - held.iter().sum::<usize>();
            if free > 0 {
                prop_assert_eq!(turn(0, 1, free), 1);
            } else {
                prop_assert!(others >= places.ilog2() as usize);
            }
        }
    }
}
