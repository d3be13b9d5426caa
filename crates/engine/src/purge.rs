//! Retention: ended events and runs are deleted after a while, in small steps.

use crate::engine::Corridor;
use model::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(60);
/// How many rows one transaction deletes, so that writers never wait long.
const STEP: u32 = 500;

/// Runs until the engine drains.
pub(crate) async fn run(corridor: Arc<Corridor>, retention: Duration) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = corridor.draining.cancelled() => return,
        }
        if let Err(error) = purge(&corridor, retention).await {
            tracing::warn!(%error, "old events and runs could not be deleted; trying again later");
        }
    }
}

async fn purge(corridor: &Corridor, retention: Duration) -> state::Result<()> {
    let kept = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let before = Timestamp(Timestamp::now().0.saturating_sub(kept));
    while corridor.state.purge_events(before, STEP).await? >= u64::from(STEP) {}
    while corridor.state.purge_runs(before, STEP).await? >= u64::from(STEP) {}
    Ok(())
}
