//! An image as one file: an OCI layout in a tar.

use super::{Base, Blob, INDEX, Image, ImageName, Layer, MANIFEST};
use crate::client::Client;
use crate::error::{Error, Result};
use serde_json::json;
use std::fs::File;
use std::io::{BufWriter, Read, Seek as _};
use std::path::Path;
use tar::{Builder, Header};

/// Writes the image to a file, in the place of what is there; the same image gives the same bytes.
///
/// # Errors
/// Of the file system; a layer of the base that cannot be had.
pub(crate) async fn write(
    path: &Path,
    name: &ImageName,
    image: &Image,
    base: &Base,
    layer: &mut Layer,
    client: Option<&Client>,
) -> Result<()> {
    let doing = || Error::io(format!("writing {}", path.display()));
    // Beside it first, so that the file is there whole or as it was.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let fresh = tempfile::NamedTempFile::new_in(folder).map_err(doing())?;
    let mut tar = Builder::new(BufWriter::new(fresh.as_file()));
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [{
            "mediaType": MANIFEST, "digest": image.digest.as_str(), "size": image.manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": name.to_string()},
        }],
    });
    add(
        &mut tar,
        "oci-layout",
        &br#"{"imageLayoutVersion":"1.0.0"}"#[..],
    )
    .map_err(doing())?;
    add(&mut tar, "index.json", index.to_string().as_bytes()).map_err(doing())?;
    add(&mut tar, &place(&image.digest), &image.manifest[..]).map_err(doing())?;
    add(
        &mut tar,
        &place(&image.config.digest),
        &image.config_bytes[..],
    )
    .map_err(doing())?;
    let mut written: Vec<&Blob> = Vec::new();
    for blob in &base.layers {
        // A base may have the same layer twice.
        if !written.contains(&blob) {
            let file = base.open(blob, client).await?;
            add_file(&mut tar, blob, file).map_err(doing())?;
            written.push(blob);
        }
    }
    layer.file.rewind().map_err(doing())?;
    let file = layer.file.try_clone().map_err(doing())?;
    add_file(&mut tar, &layer.blob, file).map_err(doing())?;
    let out = tar.into_inner().map_err(doing())?;
    out.into_inner()
        .map_err(|error| doing()(error.into_error()))?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fresh.as_file().set_permissions(mode).map_err(doing())?;
    fresh.persist(path).map_err(|error| doing()(error.error))?;
    Ok(())
}

fn place(digest: &model::ContentDigest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

type Tar<'a> = Builder<BufWriter<&'a File>>;

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn add(tar: &mut Tar<'_>, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    tar.append_data(&mut header(bytes.len() as u64), name, bytes)
}

fn add_file(tar: &mut Tar<'_>, blob: &Blob, file: File) -> std::io::Result<()> {
    let mut bytes = file.take(blob.size);
    tar.append_data(&mut header(blob.size), place(&blob.digest), &mut bytes)?;
    match bytes.limit() {
        0 => Ok(()),
        _ => Err(std::io::Error::other(
            "a layer is shorter than it should be",
        )),
    }
}
