//! Manifests that no tag is on and nothing else keeps.

use super::collection::before;
use crate::{Result, Storage, blocking};
use model::ContentDigest;
use state::UntaggedManifest;
use std::time::Duration;

/// Manifests that go in one step; pushes wait for no more than one.
const STEP: u32 = 200;
/// Manifests that are listed of what would go.
const LISTED: usize = 1_000;
/// Repositories that are asked for at once.
const PAGE: usize = 1_000;

/// Untagged manifests that a collection would take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Untagged {
    /// How many.
    pub count: u64,
    /// Their own bytes, without the blobs that they name.
    pub bytes: u64,
    /// The first of them, by repository; a thousand at most.
    pub listed: Vec<UntaggedManifest>,
}

impl Storage {
    async fn repositories(&self) -> Result<Vec<String>> {
        let mut all: Vec<String> = Vec::new();
        loop {
            let last = all.last().cloned().unwrap_or_default();
            let (page, more) = self.state().list_repositories(last, PAGE).await?;
            all.extend(page);
            if !more {
                return Ok(all);
            }
        }
    }

    /// What [`Storage::collect_untagged`] would take now. Changes nothing.
    ///
    /// # Errors
    /// Of the store.
    pub async fn untagged(&self, age: Duration, pinned: &[ContentDigest]) -> Result<Untagged> {
        let before = before(age);
        let mut found = Untagged::default();
        for repository in self.repositories().await? {
            let pinned = pinned.to_vec();
            let state = self.state();
            let manifests = state.untagged_manifests(repository, before, pinned, u32::MAX);
            for manifest in manifests.await? {
                found.count += 1;
                found.bytes += manifest.size;
                if found.listed.len() < LISTED {
                    found.listed.push(manifest);
                }
            }
        }
        Ok(found)
    }

    /// Deletes manifests that no tag is on and that were pushed before `age`, but those of `pinned`, what a
    /// kept index names, what is about a kept manifest, and what such a one is about. Gives how many
    /// went. The blobs that they named are [`Storage::collect_registry`]'s. Safe beside pushes and deployments, and wherever
    /// it is cut short.
    ///
    /// # Errors
    /// Of the store.
    pub async fn collect_untagged(&self, age: Duration, pinned: &[ContentDigest]) -> Result<u64> {
        let before = before(age);
        let mut gone = 0;
        for repository in self.repositories().await? {
            loop {
                let (storage, repository) = (self.clone(), repository.clone());
                let pinned = pinned.to_vec();
                let step = blocking::to_the_end(async move {
                    // Not while an image is laid out, manifest by manifest.
                    let _alone = storage.registry_turn().write_owned().await;
                    let state = storage.state();
                    let step = state.delete_untagged_manifests(repository, before, pinned, STEP);
                    Ok(step.await?.0)
                });
                match step.await? {
                    0 => break,
                    count => gone += count,
                }
            }
        }
        Ok(gone)
    }
}
