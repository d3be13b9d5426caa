//! A folder with a handler as an OCI image, without a Docker daemon: a base and one layer.
//!
//! The same folder on the same base gives the same digest: entries are sorted, have no time and no owner,
//! and nothing tells when or where it was built.

mod archive;
mod base;
mod convention;
mod dockerfile;
mod files;
mod image;
mod layer;
mod manifest;
mod name;
mod program;
mod push;
mod recipe;

pub(crate) use archive::write;
pub(crate) use base::Base;
pub(crate) use dockerfile::Dockerfile;
pub(crate) use image::Image;
pub(crate) use layer::Layer;
pub(crate) use name::ImageName;
pub(crate) use push::push;
pub(crate) use recipe::{Recipe, Wanted};

/// `application/vnd.oci.image.manifest.v1+json`.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// Largest manifest, index or configuration that is read, in bytes: the registry's own bound.
const MAX_JSON: u64 = 4 << 20;

/// The processor by its name in images.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Bytes that an image names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: model::ContentDigest,
    pub(crate) size: u64,
    pub(crate) media_type: String,
}

impl Blob {
    /// As a manifest names it.
    fn descriptor(&self) -> serde_json::Value {
        serde_json::json!({
            "mediaType": self.media_type, "digest": self.digest.as_str(), "size": self.size,
        })
    }
}
