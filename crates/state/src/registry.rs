//! The registry: repositories, what they hold, and uploads under way.

mod blobs;
mod collection;
mod manifests;
mod pulled;
mod repositories;
mod tags;
mod untagged;
mod uploads;

pub(crate) use pulled::{forget_below, has_below};

pub use collection::LinkCursor;
pub use manifests::{ManifestPut, ManifestRow, NewManifest, ReferenceRow};
pub use untagged::{ManifestSummary, RepositorySummary, UntaggedManifest};
pub use uploads::{BlobUploadRow, MAX_BLOB_UPLOADS};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
pub(crate) mod tests;
