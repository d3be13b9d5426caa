//! Where identities come from.

use uuid::Uuid;

/// A random one (version 4).
pub(crate) fn random() -> Uuid {
    #[cfg(feature = "simulation")]
    if let Some((_, bytes)) = crate::simulation::identity() {
        return uuid::Builder::from_random_bytes(bytes).into_uuid();
    }
    Uuid::new_v4()
}

/// One that sorts by time (version 7), after all that were made before in this process.
pub(crate) fn ordered() -> Uuid {
    #[cfg(feature = "simulation")]
    if let Some((before, random)) = crate::simulation::identity() {
        let [.., high, low] = before.to_be_bytes();
        let [a, b, c, d, e, f, g, h, ..] = random;
        let millis = u64::try_from(crate::Timestamp::now().0).unwrap_or(0);
        let rest = [high, low, a, b, c, d, e, f, g, h];
        return uuid::Builder::from_unix_timestamp_millis(millis, &rest).into_uuid();
    }
    Uuid::now_v7()
}
