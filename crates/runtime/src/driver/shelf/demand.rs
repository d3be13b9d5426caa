//! How many sandboxes shall be ready: it follows what is asked for.

use super::Bounds;
use crate::driver::kind::Stem;
use std::time::{Duration, Instant};

/// Most sandboxes on one shelf, without a stem, with a fork of a zygote, with a program of its own.
const MOST: [usize; 3] = [64, 32, 4];
/// Most sandboxes that wait on all shelves.
const MOST_IN_ALL: usize = 256;
/// A shelf that was not used for so long, and that nobody has announced to use, is cleared.
const UNUSED: Duration = Duration::from_secs(600);
/// A shelf is made smaller when nothing has missed for so long.
const CALM: Duration = Duration::from_secs(10);

/// Between what a shelf's size is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    base: usize,
    most: usize,
}

impl Size {
    pub(super) fn of(stem: &Stem, bounds: Bounds) -> Self {
        let [plain, fork, program] = MOST;
        let (base, most) = match stem {
            Stem::None => (bounds.armed, plain),
            Stem::Python(_) | Stem::Snapshot(_) => (bounds.stems, fork),
            Stem::Node { .. } => (bounds.stems.min(2), program),
        };
        let most = if base == 0 { 0 } else { most.max(base) };
        Self { base, most }
    }
}

/// What is asked of one shelf.
pub(super) struct Demand {
    /// How many shall be ready.
    target: usize,
    /// Functions that may use it.
    announced: usize,
    /// The only function that could use it is gone.
    retired: bool,
    used: Instant,
    missed: Instant,
}

impl Demand {
    pub(super) fn new(size: Size, now: Instant) -> Self {
        Self {
            target: size.base,
            announced: 0,
            retired: false,
            used: now,
            missed: now,
        }
    }

    /// One more function may use it.
    pub(super) fn announce(&mut self) {
        self.announced += 1;
        self.retired = false;
    }

    /// One function less. `own`: no other one can use it.
    pub(super) fn withdraw(&mut self, own: bool) {
        self.announced = self.announced.saturating_sub(1);
        self.retired = own && self.announced == 0;
    }

    /// A start looks there.
    pub(super) fn used(&mut self, now: Instant) {
        self.used = now;
        self.retired = false;
    }

    /// None was ready: more shall be the next time.
    pub(super) fn missed(&mut self, size: Size, now: Instant) {
        self.missed = now;
        self.target = (self.target * 2).min(size.most);
    }

    /// How many there shall be, ready or under way, with those that are waited for.
    pub(super) fn wanted(&self, waiters: usize) -> usize {
        let target = if self.retired { 0 } else { self.target };
        target + waiters
    }

    /// Goes down where nothing has missed; how many may stay, and whether it is not needed any more.
    pub(super) fn shrink(&mut self, size: Size, now: Instant) -> (usize, bool) {
        if self.target > size.base && now - self.missed > CALM {
            self.target = (self.target / 2).max(size.base);
            self.missed = now;
        }
        let unused = self.retired || self.announced == 0 && now - self.used > UNUSED;
        // One that was cleared while something was still made for it may be wanted again.
        self.target = if unused {
            0
        } else {
            self.target.max(size.base)
        };
        (self.target, unused)
    }
}

/// Of shelves, with how many are ready and whether one lacks, that which is filled next: the emptiest. None
/// when all together hold enough.
pub(super) fn emptiest<T>(shelves: impl Iterator<Item = (T, usize, bool)>) -> Option<T> {
    let mut all = 0;
    let mut found: Option<(T, usize)> = None;
    for (shelf, ready, lacks) in shelves {
        all += ready;
        if lacks && found.as_ref().is_none_or(|(_, least)| ready < *least) {
            found = Some((shelf, ready));
        }
    }
    let (shelf, _) = found?;
    (all < MOST_IN_ALL).then_some(shelf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::kind::Preload;

    const BOUNDS: Bounds = Bounds { armed: 8, stems: 4 };
    const MOMENT: Duration = Duration::from_millis(1);

    fn node() -> Stem {
        Stem::Node {
            argv: Vec::new(),
            environment: Vec::new(),
        }
    }

    fn size(stem: &Stem, armed: usize, stems: usize) -> (usize, usize) {
        let Size { base, most } = Size::of(stem, Bounds { armed, stems });
        (base, most)
    }

    /// Of plain sandboxes.
    fn plain() -> (Size, Instant, Demand) {
        let (size, begun) = (Size::of(&Stem::None, BOUNDS), Instant::now());
        (size, begun, Demand::new(size, begun))
    }

    #[test]
    fn each_kind_has_its_bounds_and_what_is_turned_off_has_none() {
        let python = Stem::Python(Preload::Modules);
        assert_eq!(size(&Stem::None, 8, 4), (8, 64));
        assert_eq!(size(&python, 8, 4), (4, 32));
        assert_eq!(size(&node(), 8, 4), (2, 4));
        // Who asks for more gets it; but of programs of their own.
        assert_eq!(size(&Stem::None, 100, 50), (100, 100));
        assert_eq!(size(&python, 100, 50), (50, 50));
        assert_eq!(size(&node(), 100, 50), (2, 4));
        assert_eq!(size(&Stem::None, 0, 4), (0, 0));
        assert_eq!(size(&python, 8, 0), (0, 0));
        assert_eq!(size(&node(), 8, 0), (0, 0));
    }

    #[test]
    fn a_shelf_grows_with_what_it_lacks_up_to_its_bound() {
        let (size, begun, mut demand) = plain();
        assert_eq!(demand.wanted(0), 8);
        for expected in [16, 32, 64, 64] {
            demand.missed(size, begun);
            assert_eq!(demand.wanted(0), expected);
        }
        assert_eq!(demand.wanted(3), 67, "who waits comes on top");
        let off = Size::of(&Stem::None, Bounds { armed: 0, stems: 4 });
        let mut demand = Demand::new(off, begun);
        demand.missed(off, begun);
        assert_eq!((demand.wanted(0), demand.wanted(1)), (0, 1));
    }

    #[test]
    fn a_shelf_shrinks_by_halves_once_nothing_has_missed_for_a_while() {
        let (size, begun, mut demand) = plain();
        demand.announce();
        for _ in 0..3 {
            demand.missed(size, begun);
        }
        assert_eq!(demand.shrink(size, begun + CALM), (64, false));
        let mut now = begun;
        for expected in [32, 16, 8, 8] {
            now += CALM + MOMENT;
            assert_eq!(demand.shrink(size, now), (expected, false));
            // Once, until as much time has passed again.
            assert_eq!(demand.shrink(size, now + CALM), (expected, false));
        }
        demand.missed(size, now);
        assert_eq!(demand.shrink(size, now + CALM), (16, false));
    }

    #[test]
    fn a_shelf_is_cleared_that_nobody_uses_or_has_announced() {
        let (size, begun, mut demand) = plain();
        let later = begun + UNUSED + MOMENT;
        demand.announce();
        assert_eq!(demand.shrink(size, later), (8, false));
        demand.withdraw(false);
        assert_eq!(demand.shrink(size, begun + UNUSED), (8, false));
        demand.used(later);
        assert_eq!(demand.shrink(size, later + UNUSED), (8, false));
        assert_eq!(demand.shrink(size, later + UNUSED + MOMENT), (0, true));
        assert_eq!(demand.wanted(0), 0);
        // If it is still there, since one was being made, it may be used again.
        demand.announce();
        assert_eq!(demand.shrink(size, later + UNUSED + MOMENT), (8, false));
    }

    #[test]
    fn a_shelf_of_one_function_goes_with_it() {
        let (size, begun, mut demand) = plain();
        demand.announce();
        demand.announce();
        demand.withdraw(true);
        assert_eq!(
            (demand.wanted(0), demand.shrink(size, begun)),
            (8, (8, false))
        );
        demand.withdraw(true);
        assert_eq!(demand.wanted(0), 0, "nothing more is made");
        // It is deployed again, or a start was under way.
        demand.announce();
        assert_eq!(
            (demand.wanted(0), demand.shrink(size, begun)),
            (8, (8, false))
        );
        demand.withdraw(true);
        demand.used(begun);
        assert_eq!(demand.wanted(0), 8);
        demand.withdraw(true);
        assert_eq!(demand.shrink(size, begun), (0, true));
    }

    #[test]
    fn the_emptiest_shelf_is_filled_first_until_there_is_enough_in_all() {
        let next = |shelves: &[(&'static str, usize, bool)]| emptiest(shelves.iter().copied());
        assert_eq!(next(&[]), None);
        assert_eq!(next(&[("full", 0, false)]), None);
        let shelves = [
            ("a", 3, true),
            ("b", 1, true),
            ("c", 0, false),
            ("d", 1, true),
        ];
        assert_eq!(next(&shelves), Some("b"));
        assert_eq!(next(&[("a", MOST_IN_ALL - 1, true)]), Some("a"));
        // Also what is on other shelves counts.
        assert_eq!(next(&[("a", 0, true), ("b", MOST_IN_ALL, false)]), None);
    }
}
