//! What an image is built on: one of the server's registry, of a file, or nothing.

use super::files::{Files, Stretch};
use super::layer::{digest_of, sha256};
use super::manifest::{MAX_LAYERS, choose, configuration, json, layers, parse};
use super::{Blob, ImageName, LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, MAX_JSON};
use crate::archive;
use crate::client::{self, Client};
use crate::error::{Error, Result};
use model::{ContentDigest, ManifestReference, RepositoryName};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

/// Deepest nesting of indexes.
const MAX_DEPTH: usize = 4;
/// Every kind of manifest that is read.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// An image to build on.
#[derive(Debug)]
pub(crate) struct Base {
    /// What it was named by.
    pub(crate) name: String,
    /// Its manifest; nothing and what `docker save` writes have none.
    pub(crate) digest: Option<ContentDigest>,
    /// Its configuration (OCI image spec, "config"); `None` of nothing.
    pub(super) config: Option<Value>,
    /// Lowest first.
    pub(crate) layers: Vec<Blob>,
    source: Source,
}

/// Where its layers are.
#[derive(Debug)]
enum Source {
    Nothing,
    Registry(RepositoryName),
    Files(BTreeMap<ContentDigest, Stretch>),
}

/// An entry of `docker save`'s `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

impl Base {
    /// No base: `scratch`.
    pub(crate) fn nothing() -> Self {
        Self {
            name: "scratch".to_owned(),
            digest: None,
            config: None,
            layers: Vec::new(),
            source: Source::Nothing,
        }
    }

    /// Whether there is nothing below the layer.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self.source, Source::Nothing)
    }

    /// An image by its name in the server's registry.
    ///
    /// # Errors
    /// One that is not there or of another machine.
    pub(crate) async fn of_registry(name: &ImageName, client: &Client) -> Result<Self> {
        let repository = &name.repository;
        let mut reference = name.reference.clone();
        for _ in 0..MAX_DEPTH {
            let path = format!("{repository}/manifests/{reference}");
            let request = client.registry(Method::GET, &path).header("accept", ACCEPT);
            let response = client
                .send(request)
                .await
                .map_err(|error| absent(name, error))?;
            let body = client::read(response, &path).await?;
            let manifest = parse(&body, "manifest")?;
            let Some(config) = manifest.config.clone() else {
                reference = ManifestReference::Digest(choose(&manifest)?.digest()?);
                continue;
            };
            let path = format!("{repository}/blobs/{}", config.digest()?);
            let response = client.send(client.registry(Method::GET, &path)).await?;
            let config = client::read(response, &path).await?;
            return Ok(Self {
                name: name.to_string(),
                digest: Some(digest_of(&body)?),
                config: Some(configuration(&config)?),
                layers: layers(&manifest)?,
                source: Source::Registry(repository.clone()),
            });
        }
        Err(too_deep())
    }

    /// An image in an OCI layout, folder or tar, or in what `docker save` wrote.
    ///
    /// # Errors
    /// What is neither, or holds no image of this machine.
    pub(crate) fn of_file(path: &Path) -> Result<Self> {
        let files = Files::of(path)?;
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_else(|| "layout".to_owned());
        if let Some(index) = files.find("index.json") {
            return Self::of_layout(name, &files, &index.read(MAX_JSON)?);
        }
        let Some(saved) = files.find("manifest.json") else {
            let path = path.display();
            return Err(Error::Usage(format!(
                "{path} is no image: it has neither index.json (OCI layout) nor manifest.json (docker save)"
            )));
        };
        Self::of_saved(name, &files, &saved.read(MAX_JSON)?)
    }

    fn of_layout(name: String, files: &Files, index: &[u8]) -> Result<Self> {
        let mut manifest = parse(index, "index")?;
        let mut digest = None;
        for _ in 0..=MAX_DEPTH {
            let Some(config) = manifest.config.clone() else {
                let chosen = choose(&manifest)?.digest()?;
                let body = blob_of(files, &chosen)?.read(MAX_JSON)?;
                manifest = parse(&body, "manifest")?;
                digest = Some(chosen);
                continue;
            };
            let layers = layers(&manifest)?;
            let mut stretches = BTreeMap::new();
            for layer in &layers {
                stretches.insert(layer.digest.clone(), blob_of(files, &layer.digest)?);
            }
            let config = blob_of(files, &config.digest()?)?.read(MAX_JSON)?;
            return Ok(Self {
                name,
                digest,
                config: Some(configuration(&config)?),
                layers,
                source: Source::Files(stretches),
            });
        }
        Err(too_deep())
    }

    /// Layers of `docker save` have no digests of their own: they are digested here.
    fn of_saved(name: String, files: &Files, manifest: &[u8]) -> Result<Self> {
        let saved: Vec<Saved> = json(manifest, "manifest.json")?;
        let [saved] = &saved[..] else {
            let reason = format!("{name} holds {} images; save one alone", saved.len());
            return Err(Error::Usage(reason));
        };
        let missing = |file: &str| Error::Usage(format!("{name} has no file {file}"));
        let (mut layers, mut stretches) = (Vec::new(), BTreeMap::new());
        for file in saved.layers.iter().take(MAX_LAYERS) {
            let stretch = files.find(file).ok_or_else(|| missing(file))?;
            let blob = digested(&stretch)?;
            stretches.insert(blob.digest.clone(), stretch);
            layers.push(blob);
        }
        let config = files.find(&saved.config);
        let config = config
            .ok_or_else(|| missing(&saved.config))?
            .read(MAX_JSON)?;
        Ok(Self {
            name,
            digest: None,
            config: Some(configuration(&config)?),
            layers,
            source: Source::Files(stretches),
        })
    }

    /// The repository of the server's registry that has the layers.
    pub(crate) fn repository(&self) -> Option<&RepositoryName> {
        match &self.source {
            Source::Registry(repository) => Some(repository),
            _ => None,
        }
    }

    /// A file that stands at the beginning of a layer's bytes. What only the registry has is fetched, and
    /// its digest checked.
    ///
    /// # Errors
    /// A layer that is not there, or not the one that was named.
    pub(crate) async fn open(&self, layer: &Blob, client: Option<&Client>) -> Result<File> {
        match (&self.source, client) {
            (Source::Files(stretches), _) => match stretches.get(&layer.digest) {
                Some(stretch) if stretch.size == layer.size => stretch.open(),
                _ => Err(Error::Failed(format!(
                    "{} has not all of {}",
                    self.name, layer.digest
                ))),
            },
            (Source::Registry(repository), Some(client)) => {
                let path = format!("{repository}/blobs/{}", layer.digest);
                let mut response = client.send(client.registry(Method::GET, &path)).await?;
                let doing = || Error::io("keeping a layer of the base");
                let mut file = tempfile::tempfile().map_err(doing())?;
                let broken = |reason: String| Error::Answer {
                    request: path.clone(),
                    reason,
                };
                let mut left = layer.size;
                while let Some(chunk) = response
                    .chunk()
                    .await
                    .map_err(|error| broken(client::root_cause(&error)))?
                {
                    left = left
                        .checked_sub(chunk.len() as u64)
                        .ok_or_else(|| broken("it is longer than its manifest says".to_owned()))?;
                    file.write_all(&chunk).map_err(doing())?;
                }
                let (mut file, hex, _) = archive::digest(file).map_err(doing())?;
                if layer.digest != sha256(&hex)? {
                    return Err(broken(
                        "it has another digest than was asked for".to_owned(),
                    ));
                }
                file.rewind().map_err(doing())?;
                Ok(file)
            }
            _ => Err(Error::Failed("a base of nothing has no layers".to_owned())),
        }
    }
}

fn absent(name: &ImageName, error: Error) -> Error {
    if error.kind() != model::Kind::NotFound {
        return error;
    }
    Error::Usage(format!(
        "the base {name} is not in the server's registry: docker tag and docker push it there, or give an \
         OCI layout or an archive as a file (./base.tar)"
    ))
}

fn too_deep() -> Error {
    Error::Usage(format!(
        "the base has indexes within indexes, more than {MAX_DEPTH}"
    ))
}

fn blob_of(files: &Files, digest: &ContentDigest) -> Result<Stretch> {
    let path = format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex());
    let found = files.find(&path);
    found.ok_or_else(|| Error::Usage(format!("the base's layout has no file {path}")))
}

fn digested(stretch: &Stretch) -> Result<Blob> {
    let doing = || Error::io("reading a layer of the base");
    let mut copy = tempfile::tempfile().map_err(doing())?;
    std::io::copy(&mut stretch.open()?.take(stretch.size), &mut copy).map_err(doing())?;
    let (mut copy, hex, size) = archive::digest(copy).map_err(doing())?;
    let mut magic = [0; 4];
    let count = copy.read(&mut magic).map_err(doing())?;
    let media_type = match &magic[..count] {
        [0x1f, 0x8b, ..] => LAYER_GZIP,
        [0x28, 0xb5, 0x2f, 0xfd] => LAYER_ZSTD,
        _ => LAYER_TAR,
    };
    Ok(Blob {
        digest: sha256(&hex)?,
        size,
        media_type: media_type.to_owned(),
    })
}
