//! The first start of a new version, before it serves.

use crate::attempt::PATIENCE;
use crate::engine::Corridor;
use crate::pool::{Grant, Pool};
use model::Ending;
use std::sync::Arc;
use std::time::Duration;

/// Longest that a new version's first start is waited for, whatever its timeout. Other changes go on meanwhile.
const LONGEST_TRIAL: Duration = Duration::from_secs(60);

impl Corridor {
    /// Whether an instance of a version starts; if not, why.
    pub(crate) async fn try_start(&self, pool: &Arc<Pool>) -> std::result::Result<(), Unstarted> {
        let timeout = Duration::from_millis(pool.function().spec.limits.timeout);
        match pool.acquire(timeout.min(LONGEST_TRIAL) + PATIENCE).await {
            // Given back unused, for the first call. With nothing reserved there are no calls.
            Ok(Grant::Ready(_)) | Err(crate::pool::Refused::Off) => Ok(()),
            Ok(Grant::Failed(failure)) => {
                let error = failure.ending.error().unwrap_or_default();
                let log = String::from_utf8_lossy(&failure.log_tail);
                // The platform's own last line repeats the error.
                let own = |line: &&str| !line.trim().is_empty() && !line.contains("INIT_REPORT ");
                let last = log.lines().rev().find(own);
                let reason = match last {
                    Some(line) => format!("{error} (its log ends with: {})", line.escape_debug()),
                    None => error,
                };
                let untried = matches!(failure.ending, Ending::Unavailable { .. });
                Err(Unstarted { reason, untried })
            }
            Ok(Grant::Moved) => Err(Unstarted::by_machine("it was taken away meanwhile")),
            Err(_) => Err(Unstarted::by_machine(
                "the machine had no room for it in time",
            )),
        }
    }
}

/// Why no instance of a version started.
pub(crate) struct Unstarted {
    pub(crate) reason: String,
    /// Whether it says nothing of the version: there was no room, or this machine failed.
    pub(crate) untried: bool,
}

impl Unstarted {
    pub(crate) fn by_machine(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            untried: true,
        }
    }
}
