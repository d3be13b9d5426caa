//! The registry: blobs by digest that repositories name, uploads of them, manifests.

mod blobs;
mod collection;
mod digests;
pub(crate) mod image;
pub(crate) mod manifest;
mod names;
mod pulled;
mod untagged;
mod uploads;

pub use collection::{Collected, Surplus};
pub use image::registry_tag;
pub use manifest::{MAX_MANIFEST, PushedManifest};
pub(crate) use names::Names;
pub use pulled::Lack;
pub use untagged::Untagged;
pub use uploads::ChunkWriter;
pub(crate) use uploads::Hashing;
