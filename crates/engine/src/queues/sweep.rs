//! What time does to queues is written down every few seconds, in small steps.

use crate::engine::Corridor;
use model::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(5);
/// How many rows one transaction changes, so that writers never wait long.
const STEP: u32 = 500;

/// Runs until the engine drains.
pub(crate) async fn run(corridor: Arc<Corridor>) {
    loop {
        tokio::select! {
            biased;
            () = corridor.draining.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(error) = sweep(&corridor).await {
            tracing::warn!(%error, "queues could not be swept; trying again later");
        }
    }
}

async fn sweep(corridor: &Corridor) -> state::Result<()> {
    let now = Timestamp::now();
    let (queues, rest) = corridor.state.queues_to_sweep(now).await?;
    for name in queues {
        while corridor.state.sweep_queue(name.clone(), now, STEP).await? >= STEP {}
    }
    if rest {
        while corridor.state.sweep_rest(now, STEP).await? >= STEP {}
    }
    Ok(())
}
