//! What the registry no longer needs: collected by itself, and when it is asked for.

use crate::{Engine, Result};
use std::time::Duration;
use storage::Collected;

/// How often it is collected.
const EVERY: Duration = Duration::from_secs(3600);

impl Engine {
    /// Deletes blobs of the registry that no manifest names and nobody pushed, mounted or asked for within
    /// `grace`, and uploads that nobody went on with.
    ///
    /// # Errors
    /// Of the store and the file system.
    pub async fn collect_registry(&self, grace: Duration) -> Result<Collected> {
        let in_use = self.digests_in_use().await?;
        Ok(self
            .corridor
            .storage
            .collect_registry(grace, &in_use)
            .await?)
    }
}

/// Collects until the engine drains.
pub(crate) async fn run(engine: Engine, grace: Duration) {
    loop {
        tokio::select! {
            biased;
            () = engine.corridor.draining.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        match engine.collect_registry(grace).await {
            Ok(Collected {
                blobs: 0,
                uploads: 0,
                ..
            }) => {}
            Ok(Collected {
                blobs,
                bytes,
                uploads,
                ..
            }) => tracing::info!(
                blobs,
                bytes,
                uploads,
                "collected what the registry does not need"
            ),
            Err(error) => {
                tracing::warn!(%error, "the registry could not be collected; trying again later");
            }
        }
    }
}
