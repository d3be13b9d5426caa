//! What an archive says it holds: an OCI image layout or what `docker save` writes, or both
//! (<https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md>).

use crate::entry_path::{Dialect, EntryPath, shown};
use crate::{Error, Result, inflate};
use model::{Digest, ImageConfig};
use oci_spec::image::{Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, Os};
use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Largest index, manifest or configuration.
const MAX_JSON: u64 = 4 << 20;
/// Largest configuration: 1 MiB. Read, it takes up to 40 times as much memory (`"history":[{},{},…]`).
const MAX_CONFIG: usize = 1 << 20;
/// Most layers of an image.
const MAX_LAYERS: usize = 200;
/// Indexes within indexes.
pub(crate) const MAX_NESTING: usize = 4;
/// Manifests and indexes looked at to find the one.
const MAX_LOOKED_AT: usize = 1_000;
/// The annotation in which containerd and docker keep a full name.
const FULL_NAME: &str = "io.containerd.image.name";
/// The annotation of the OCI image spec: often only a tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// One layer of the chosen image.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    /// Where it is in the layout.
    path: String,
    /// What its file must be, if the archive says so.
    blob: Option<String>,
    /// What it must be inflated: hex SHA-256.
    pub(crate) diff_id: String,
}

/// The image that was chosen, its manifest and configuration checked.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// Address of the manifest; of the configuration where `docker save` wrote no manifest.
    pub(crate) digest: Digest,
    /// The name that the archive gives it.
    pub(crate) name: Option<String>,
    pub(crate) config: ImageConfig,
    /// The configuration as it stands in the archive.
    pub(crate) config_json: Vec<u8>,
    /// From the lowest.
    pub(crate) layers: Vec<Layer>,
}

/// A folder that holds a layout.
pub(crate) struct Layout {
    folder: OwnedFd,
}

/// An entry of `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

fn refuse<T>(reason: impl Into<String>) -> Result<T> {
    Err(Error::Archive(reason.into()))
}

impl Layout {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = fs::open(folder, flags, Mode::empty());
        let folder = opened.map_err(|error| Error::io("opening the layout", folder, error))?;
        Ok(Self { folder })
    }

    /// A file of the layout; `None` if it is not there. Links lead no further than the layout.
    fn file(&self, path: &str) -> Result<Option<File>> {
        let checked = EntryPath::parse(path.as_bytes(), Dialect::Zip);
        let checked = checked.or_else(|rule| {
            refuse(format!(
                "the image names the file \"{}\": {rule}",
                shown(path.as_bytes())
            ))
        })?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match fs::openat2(&self.folder, checked.bytes(), flags, Mode::empty(), resolve) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(None),
            Err(error) => Err(unreadable(path, error.into())),
        }
    }

    fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.file(path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(MAX_JSON + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(path, error))?;
        if bytes.len() as u64 > MAX_JSON {
            let path = shown(path.as_bytes());
            return refuse(format!(
                "the image's \"{path}\" is larger than {MAX_JSON} bytes"
            ));
        }
        Ok(Some(bytes))
    }

    /// A small blob, checked against its digest.
    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let (path, hex) = blob_path(descriptor)?;
        let Some(bytes) = self.bytes(&path)? else {
            return refuse(format!(
                "the image lacks the blob sha256:{hex}; save it again"
            ));
        };
        check("blob", &hex, &hex::encode(Sha256::digest(&bytes)))?;
        Ok(bytes)
    }

    /// The file of a layer, checked against its digest.
    pub(crate) fn layer(&self, layer: &Layer) -> Result<File> {
        let open = || match self.file(&layer.path)? {
            Some(file) => Ok(file),
            None => {
                let path = shown(layer.path.as_bytes());
                refuse(format!(
                    "the image lacks its layer \"{path}\"; save it again"
                ))
            }
        };
        if let Some(expected) = &layer.blob {
            let found =
                inflate::digest_of(open()?).map_err(|error| unreadable(&layer.path, error))?;
            check("layer", expected, &found)?;
        }
        open()
    }

    /// Finds the image: the one that is there, or the one that `reference` names among several, for
    /// this machine's kind of processor.
    pub(crate) fn choose(&self, reference: Option<&str>) -> Result<Chosen> {
        let saved: Vec<Saved> = match self.bytes("manifest.json")? {
            Some(bytes) => parse("manifest.json", &bytes)?,
            None => Vec::new(),
        };
        if let Some(index) = self.bytes("index.json")? {
            return self.choose_in_index(&parse("index.json", &index)?, &saved, reference);
        }
        let named = |entry: &&Saved| {
            let mut tags = entry.repo_tags.iter().flatten();
            reference.is_some_and(|reference| tags.any(|tag| tag == reference))
        };
        match (saved.as_slice(), saved.iter().find(named)) {
            (_, Some(entry)) => self.choose_saved(entry),
            ([entry], None) => self.choose_saved(entry),
            ([], _) => refuse(
                "the archive holds neither index.json nor manifest.json: it is no image; \
                 make one with docker save, skopeo or buildah",
            ),
            _ => refuse("the archive holds several images; save one, or name one of them"),
        }
    }

    fn choose_in_index(
        &self,
        index: &ImageIndex,
        saved: &[Saved],
        reference: Option<&str>,
    ) -> Result<Chosen> {
        let mut found = Vec::new();
        let mut left = MAX_LOOKED_AT;
        for descriptor in index.manifests() {
            let name = full_name(descriptor);
            if let Some(manifest) = self.manifest_below(descriptor, 0, &mut left)? {
                found.push((name, manifest));
            }
        }
        let named = found
            .iter()
            .position(|(name, _)| reference.is_some() && name.as_deref() == reference);
        // The same image under several names stands there once for each.
        let same = found.windows(2).all(|pair| pair[0].1 == pair[1].1);
        let (name, manifest) = match (found.len(), named) {
            (_, Some(position)) => found.swap_remove(position),
            (0, _) => return refuse(format!("the archive holds no image for {}", platform())),
            (_, None) if same => found.swap_remove(0),
            _ => return refuse("the archive holds several images; save one, or name one of them"),
        };
        let tag = match saved {
            [only] => only.repo_tags.iter().flatten().next().cloned(),
            _ => None,
        };
        self.choose_manifest(&manifest, tag.or(name))
    }

    /// The manifest that a descriptor means for this machine.
    fn manifest_below(
        &self,
        descriptor: &Descriptor,
        nesting: usize,
        left: &mut usize,
    ) -> Result<Option<Descriptor>> {
        if nesting > MAX_NESTING || *left == 0 {
            return refuse(format!(
                "the image's indexes are nested deeper than {MAX_NESTING} or name more than \
                 {MAX_LOOKED_AT} manifests"
            ));
        }
        *left -= 1;
        if !fits(descriptor) {
            return Ok(None);
        }
        let kind = descriptor.media_type().to_string();
        if !kind.contains("image.index") && !kind.contains("manifest.list") {
            return Ok(Some(descriptor.clone()));
        }
        let index: ImageIndex = parse("index", &self.blob(descriptor)?)?;
        for inner in index.manifests() {
            if let Some(manifest) = self.manifest_below(inner, nesting + 1, left)? {
                return Ok(Some(manifest));
            }
        }
        Ok(None)
    }

    fn choose_manifest(&self, descriptor: &Descriptor, name: Option<String>) -> Result<Chosen> {
        let (_, hex) = blob_path(descriptor)?;
        let manifest: ImageManifest = parse("manifest", &self.blob(descriptor)?)?;
        let config_json = self.blob(manifest.config())?;
        let paths = manifest.layers().iter().map(|layer| {
            let (path, hex) = blob_path(layer)?;
            Ok((path, Some(hex)))
        });
        let paths = paths.collect::<Result<Vec<_>>>()?;
        chosen(&hex, name, config_json, paths)
    }

    /// What `docker save` wrote before version 25: no manifest, the layers unsigned but for their
    /// diff ids.
    fn choose_saved(&self, saved: &Saved) -> Result<Chosen> {
        let Some(config_json) = self.bytes(&saved.config)? else {
            let path = shown(saved.config.as_bytes());
            return refuse(format!(
                "the image lacks its configuration \"{path}\"; save it again"
            ));
        };
        let found = hex::encode(Sha256::digest(&config_json));
        let file = saved.config.rsplit('/').next().unwrap_or_default();
        check("configuration", file.trim_end_matches(".json"), &found)?;
        let name = saved.repo_tags.iter().flatten().next().cloned();
        let paths = saved.layers.iter().map(|path| (path.clone(), None));
        chosen(&found, name, config_json, paths.collect())
    }
}

fn chosen(
    hex: &str,
    name: Option<String>,
    config_json: Vec<u8>,
    paths: Vec<(String, Option<String>)>,
) -> Result<Chosen> {
    if config_json.len() > MAX_CONFIG {
        return refuse(format!(
            "the image's configuration is larger than {MAX_CONFIG} bytes"
        ));
    }
    let configuration: ImageConfiguration = parse("configuration", &config_json)?;
    let (os, architecture) = (configuration.os(), configuration.architecture());
    if *os != Os::Linux || *architecture != Arch::default() {
        let reason = format!(
            "the image is for {os}/{architecture}, this machine is {}",
            platform()
        );
        return refuse(reason);
    }
    let diff_ids = configuration.rootfs().diff_ids();
    if paths.len() != diff_ids.len() || paths.is_empty() || paths.len() > MAX_LAYERS {
        let (layers, ids) = (paths.len(), diff_ids.len());
        return refuse(format!(
            "the image has {layers} layers and {ids} diff ids; both must be the same, 1 to {MAX_LAYERS}"
        ));
    }
    let layers = paths.into_iter().zip(diff_ids).map(|((path, blob), id)| {
        let diff_id = id.parse::<Digest>();
        let diff_id = diff_id.or_else(|error| refuse(format!("the image's diff id: {error}")))?;
        Ok(Layer {
            path,
            blob,
            diff_id: diff_id.hex().to_owned(),
        })
    });
    Ok(Chosen {
        digest: Digest::from_hex(hex).or_else(|error| refuse(error.to_string()))?,
        name,
        layers: layers.collect::<Result<_>>()?,
        config: config_of(&configuration),
        config_json,
    })
}

fn config_of(configuration: &ImageConfiguration) -> ImageConfig {
    let Some(config) = configuration.config() else {
        return ImageConfig::default();
    };
    let tcp = |port: &String| {
        let number = match port.split_once('/') {
            Some((number, "tcp")) => number,
            Some(_) => return None,
            None => port,
        };
        number.parse().ok()
    };
    let mut ports: Vec<u16> = config
        .exposed_ports()
        .iter()
        .flatten()
        .filter_map(tcp)
        .collect();
    ports.sort_unstable();
    ImageConfig {
        entrypoint: config.entrypoint().clone().unwrap_or_default(),
        command: config.cmd().clone().unwrap_or_default(),
        environment: config.env().clone().unwrap_or_default(),
        working_dir: config.working_dir().clone().unwrap_or_default(),
        user: config.user().clone().unwrap_or_default(),
        ports,
        labels: config
            .labels()
            .clone()
            .unwrap_or_default()
            .into_iter()
            .collect(),
    }
}

/// Whether a descriptor may be for this machine. One that does not say is asked its configuration.
pub(crate) fn fits(descriptor: &Descriptor) -> bool {
    let attests = descriptor
        .annotations()
        .iter()
        .flatten()
        .any(|(name, value)| {
            name == "vnd.docker.reference.type" && value == "attestation-manifest"
        });
    let platform = descriptor.platform().as_ref();
    let ours = platform.is_none_or(|platform| {
        *platform.os() == Os::Linux && *platform.architecture() == Arch::default()
    });
    ours && !attests
}

/// Such as `linux/amd64`.
pub(crate) fn platform() -> String {
    format!("linux/{}", Arch::default())
}

/// A name with repository and tag; a bare tag names nothing.
fn full_name(descriptor: &Descriptor) -> Option<String> {
    let annotations = descriptor.annotations().as_ref()?;
    let named = annotations
        .get(REF_NAME)
        .filter(|name| name.contains([':', '/']));
    annotations.get(FULL_NAME).or(named).cloned()
}

/// Where a blob is, and its hex digest.
fn blob_path(descriptor: &Descriptor) -> Result<(String, String)> {
    let digest = descriptor.digest().to_string();
    let digest: Digest = digest.parse().or_else(|_| {
        refuse(format!(
            "the image names the digest \"{}\", not a sha256",
            shown(digest.as_bytes())
        ))
    })?;
    Ok((
        format!("blobs/sha256/{}", digest.hex()),
        digest.hex().to_owned(),
    ))
}

fn unreadable(path: &str, error: std::io::Error) -> Error {
    Error::of_entry(format!("the image's \"{}\"", shown(path.as_bytes())), error)
}

fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).or_else(|error| refuse(format!("the image's {what}: {error}")))
}

fn check(what: &str, expected: &str, found: &str) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    let expected = shown(expected.as_bytes());
    Err(Error::Mismatch(format!(
        "the image's {what} has the digest sha256:{found}, not sha256:{expected}; save it again"
    )))
}
