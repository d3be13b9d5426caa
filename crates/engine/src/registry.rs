//! What the registry no longer needs: collected by itself, and when it is asked for.

use crate::{Engine, Error, Result};
use model::{ContentDigest, ImageRecord, Kind, Timestamp};
use std::time::Duration;
use storage::{Collected, Surplus, Untagged};

/// How often it is collected.
const EVERY: Duration = Duration::from_secs(3600);

impl Engine {
    /// Deletes blobs of the registry that no manifest names and nobody pushed, mounted or asked for within
    /// `grace`, uploads that nobody went on with, what was made ready of images on which nothing runs, and
    /// manifests of upstreams, with their tags, on which nothing runs and that nobody asked for in 30 days.
    ///
    /// # Errors
    /// Of the store and the file system.
    pub async fn collect_registry(&self, grace: Duration) -> Result<Collected> {
        self.forget_images(grace).await?;
        let pinned = self.pinned_manifests().await?;
        self.corridor.forget_pulled(&pinned).await?;
        let in_use = self.digests_in_use().await?;
        Ok(self
            .corridor
            .storage
            .collect_registry(grace, &in_use)
            .await?)
    }

    /// What [`Engine::collect_registry`] would take now, and the names of the images that it would
    /// forget. Changes nothing.
    ///
    /// # Errors
    /// Of the store and the file system.
    pub async fn registry_surplus(&self, grace: Duration) -> Result<(Surplus, Vec<String>)> {
        let in_use = self.digests_in_use().await?;
        let ready = self.old_images(grace).await?.into_iter();
        let unused = ready.filter(|image| !in_use.contains(&image.digest));
        let images = unused.map(|image| image.reference).collect();
        let storage = &self.corridor.storage;
        Ok((storage.registry_surplus(grace, &in_use).await?, images))
    }

    /// Deletes manifests of the registry that no tag is on, that were pushed before `age`, and that nothing
    /// keeps: no function, version or service runs on them, no kept index names them, they are not about
    /// a kept manifest, nor is one of those about them. Gives how many went.
    ///
    /// # Errors
    /// Of the store.
    pub async fn collect_untagged(&self, age: Duration) -> Result<u64> {
        let pinned = self.pinned_manifests().await?;
        Ok(self.corridor.storage.collect_untagged(age, &pinned).await?)
    }

    /// What [`Engine::collect_untagged`] would take now. Changes nothing.
    ///
    /// # Errors
    /// Of the store.
    pub async fn untagged_manifests(&self, age: Duration) -> Result<Untagged> {
        let pinned = self.pinned_manifests().await?;
        Ok(self.corridor.storage.untagged(age, &pinned).await?)
    }

    /// The manifests on which something runs, and the indexes by which they were found.
    async fn pinned_manifests(&self) -> Result<Vec<ContentDigest>> {
        let in_use = self.digests_in_use().await?;
        let mut pinned: Vec<ContentDigest> = in_use
            .iter()
            .filter_map(|digest| digest.as_str().parse().ok())
            .collect();
        for image in self.corridor.storage.list_images().await? {
            if in_use.contains(&image.digest)
                && let Some((_, digest)) = image.reference.rsplit_once('@')
                && let Ok(digest) = digest.parse()
            {
                pinned.push(digest);
            }
        }
        pinned.sort_unstable();
        pinned.dedup();
        Ok(pinned)
    }

    /// Images that were made ready for a deployment before `grace`.
    async fn old_images(&self, grace: Duration) -> Result<Vec<ImageRecord>> {
        let grace = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp(Timestamp::now().0.saturating_sub(grace));
        let mut images = self.corridor.storage.list_images().await?;
        // Only what the registry made ready is named by its digest.
        images.retain(|image| image.imported < before && image.reference.contains("@sha256:"));
        Ok(images)
    }

    /// Removes images that were made ready for a deployment before `grace` and on which nothing runs any
    /// more. A deployment makes them ready again from what was pushed.
    async fn forget_images(&self, grace: Duration) -> Result<()> {
        for image in self.old_images(grace).await? {
            match self.delete_image(&image.reference).await {
                Ok(()) => tracing::info!(image = image.reference, "nothing runs on it: removed"),
                Err(Error::InUse(_)) => {}
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
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
