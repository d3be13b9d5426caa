//! Idle instances of all functions, stopped in the order in which they were used.

use crate::pool::Pool;
use std::sync::Arc;
use tokio::time::Instant;

/// How many to take of each list, so that it is the `count` earliest of all. Each list is in order.
fn earliest(lists: &[Vec<Instant>], count: usize) -> Vec<usize> {
    let each = lists.iter().enumerate();
    let mut all: Vec<(Instant, usize)> = each
        .flat_map(|(at, list)| list.iter().map(move |since| (*since, at)))
        .collect();
    all.sort_unstable();
    let mut taken = vec![0; lists.len()];
    for (_, at) in all.into_iter().take(count) {
        taken[at] += 1;
    }
    taken
}

/// Stops the `count` instances that were idle for the longest time over all pools; with `all`, those
/// that `min_instances` keeps too. Gives how many of which.
pub(crate) fn stop_idle(pools: &[Arc<Pool>], count: usize, all: bool) -> Vec<(&Arc<Pool>, usize)> {
    if count == 0 {
        return Vec::new();
    }
    let spare: Vec<_> = pools.iter().map(|pool| pool.spare(all)).collect();
    let counts = pools.iter().zip(earliest(&spare, count));
    let stopped = counts.filter(|(_, count)| *count > 0);
    stopped
        .map(|(pool, count)| (pool, pool.give_up(count, all)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        #[test]
        fn nothing_that_stays_is_older_than_what_goes(
            ages in proptest::collection::vec(proptest::collection::vec(0u64..1_000, 0..10), 0..8),
            count in 0usize..60,
        ) {
            let begin = Instant::now();
            let lists: Vec<Vec<Instant>> = ages
                .iter()
                .map(|ages| {
                    let mut list: Vec<_> =
                        ages.iter().map(|age| begin + Duration::from_millis(*age)).collect();
                    list.sort_unstable();
                    list
                })
                .collect();
            let taken = earliest(&lists, count);
            let all: usize = lists.iter().map(Vec::len).sum();
            prop_assert_eq!(taken.iter().sum::<usize>(), count.min(all));
            let parts = || lists.iter().zip(&taken);
            let newest_gone = parts().flat_map(|(list, taken)| list[..*taken].last()).max();
            let oldest_kept = parts().flat_map(|(list, taken)| list[*taken..].first()).min();
            if let (Some(gone), Some(kept)) = (newest_gone, oldest_kept) {
                prop_assert!(gone <= kept);
            }
        }
    }
}
