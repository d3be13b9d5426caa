//! A world that a test holds in its hand: its time, and all that is random in it, come from a seed.
//!
//! Only with the feature `simulation`, which no released binary has. A world belongs to the thread
//! that entered it; everything that is simulated runs there, so nothing needs to be handed a clock.

use crate::Timestamp;
use std::cell::RefCell;
use std::time::Duration;

#[cfg(not(debug_assertions))]
compile_error!("the feature `simulation` is for tests: a release build must not have it");

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

struct World {
    now: Box<dyn Fn() -> Timestamp>,
    random: SplitMix,
    /// Identities made so far.
    made: u64,
    /// Longest time that the disk takes.
    disk: Duration,
}

/// As long as it lives, this thread is in a simulated world.
pub struct Entered(());

impl Drop for Entered {
    fn drop(&mut self) {
        WORLD.take();
    }
}

/// Enters a world. `now` tells its time, `disk` how long one access to the store takes at most.
pub fn enter(seed: u64, disk: Duration, now: impl Fn() -> Timestamp + 'static) -> Entered {
    WORLD.set(Some(World {
        now: Box::new(now),
        random: SplitMix(seed),
        made: 0,
        disk,
    }));
    Entered(())
}

/// Whether this thread is in a simulated world.
pub fn is_on() -> bool {
    WORLD.with_borrow(Option::is_some)
}

/// The world's time.
pub(crate) fn now() -> Option<Timestamp> {
    WORLD.with_borrow(|world| world.as_ref().map(|world| (world.now)()))
}

/// 64 random bits of the world.
pub fn bits() -> Option<u64> {
    WORLD.with_borrow_mut(|world| world.as_mut().map(|world| world.random.next()))
}

/// How long the disk takes this time: often no time at all. Whole milliseconds, as tokio's timers.
pub fn disk() -> Option<Duration> {
    WORLD.with_borrow_mut(|world| {
        let world = world.as_mut()?;
        let most = world.disk.as_millis() as u64;
        let random = world.random.next();
        let slow = random & 1 == 1;
        Some(Duration::from_millis(match slow {
            true => (random >> 1) % (most + 1),
            false => 0,
        }))
    })
}

/// What makes an identity: how many were made before, and 128 random bits.
pub(crate) fn identity() -> Option<(u64, [u8; 16])> {
    WORLD.with_borrow_mut(|world| {
        let world = world.as_mut()?;
        let before = world.made;
        world.made += 1;
        let high = u128::from(world.random.next()) << 64;
        Some((
            before,
            (high | u128::from(world.random.next())).to_be_bytes(),
        ))
    })
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventId, InstanceId, RequestId};

    fn look(seed: u64) -> (Timestamp, EventId, EventId, InstanceId, RequestId) {
        let _world = enter(seed, Duration::ZERO, || Timestamp(1_000));
        let (first, second) = (EventId::generate(), EventId::generate());
        let ids = (InstanceId::generate(), RequestId::generate());
        (Timestamp::now(), first, second, ids.0, ids.1)
    }

    #[test]
    fn a_world_is_its_seed() {
        let seen = look(7);
        assert_eq!(seen, look(7));
        assert_ne!(seen.1, look(8).1);
        assert_eq!(seen.0, Timestamp(1_000));
        assert!(seen.1 < seen.2, "ids sort by time");
        assert!(!is_on());
        assert!(Timestamp::now() > Timestamp(1_000), "back in this one");
    }
}
