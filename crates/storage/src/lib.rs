//! Bytes: objects and buckets, code, images and their layers, logs, volumes.
//!
//! Below the data folder: `objects/` (one file a put), `blobs/` (by digest: uploaded
//! archives, what was pushed to the registry), `uploads/` (pushes under way),
//! `code/` (unpacked, by digest), `images/` (flattened, by manifest digest), `logs/`, `volumes/`,
//! `staging/` (emptied at start). Everything is 0700 and belongs to the server's user; only below
//! `code/` and `images/` all is readable for everyone, since sandboxed programs are other users.

mod archive;
mod blobs;
mod blocking;
mod body;
mod buckets;
mod bytecode;
mod code;
mod elf;
mod entry_path;
mod entry_size;
mod error;
mod folders;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod images;
mod incoming;
mod inflate;
mod layer;
mod layout;
mod logs;
mod notification;
mod objects;
mod page_cache;
mod reference;
mod registry;
mod rootfs;
mod segments;
mod store;
#[cfg(test)]
mod testing;
mod tree;
mod uploads;
mod volumes;
mod warm_list;

pub use blobs::BlobWriter;
pub use error::{Error, Result};
pub use images::ImportProgress;
pub use logs::LogQuery;
pub use objects::{Body, ByteRange, DeleteObject, ObjectWriter, PutObject};
pub use page_cache::{Guess, Warmed};
pub use registry::{
    ChunkWriter, Collected, Lack, MAX_MANIFEST, PushedManifest, Surplus, Untagged, registry_tag,
};
pub use state::{BlobUploadRow, ManifestRow};
pub use state::{Bucket, ListPage, ListQuery, ObjectRow, PartRow, Precondition, UploadRow};
pub use state::{DeleteMarker, NULL_VERSION, ObjectVersion, Removal, Removed, Versioning};
pub use state::{ListedVersion, VersionPage, VersionQuery};
pub use store::Storage;
