//! Where identities come from.

use std::sync::Mutex;
use uuid::{ContextV7, Timestamp, Uuid};

/// The time and count of the last ordered identity. A clock that is set back does not take it back.
static LAST: Mutex<ContextV7> = Mutex::new(ContextV7::new());

/// A random one (version 4).
pub(crate) fn random() -> Uuid {
    #[cfg(feature = "simulation")]
    if let Some((_, bytes)) = crate::simulation::identity() {
        return uuid::Builder::from_random_bytes(bytes).into_uuid();
    }
    Uuid::new_v4()
}

/// One that sorts by time (version 7), after all that were made before in this process and all that it
/// was told of ([`follow`]).
pub(crate) fn ordered() -> Uuid {
    #[cfg(feature = "simulation")]
    if let Some((before, random)) = crate::simulation::identity() {
        let [.., high, low] = before.to_be_bytes();
        let [a, b, c, d, e, f, g, h, ..] = random;
        let millis = u64::try_from(crate::Timestamp::now().0).unwrap_or(0);
        let rest = [high, low, a, b, c, d, e, f, g, h];
        return uuid::Builder::from_unix_timestamp_millis(millis, &rest).into_uuid();
    }
    Uuid::new_v7(Timestamp::now(&LAST))
}

/// From now on, ordered identities come after this one, whatever the clock says. Other versions than 7
/// tell no time and change nothing; neither does this in a simulated world, whose clock is not set back.
pub(crate) fn follow(last: Uuid) {
    let time = last.get_timestamp();
    let Some(time) = time.filter(|_| last.get_version_num() == 7) else {
        return;
    };
    let (seconds, nanos) = time.to_unix();
    let millis = seconds * 1_000 + u64::from(nanos) / 1_000_000 + 1;
    let nanos = (millis % 1_000) as u32 * 1_000_000;
    let _ = Timestamp::from_unix(&LAST, millis / 1_000, nanos);
}
