//! Manifests, indexes and configurations of a base, as they are read.

use super::{Blob, LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, architecture};
use crate::error::{Error, Result};
use model::ContentDigest;
use serde::Deserialize;
use serde_json::Value;

/// Most layers of a base.
pub(super) const MAX_LAYERS: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) config: Option<Descriptor>,
    #[serde(default)]
    pub(super) layers: Vec<Descriptor>,
    #[serde(default)]
    pub(super) manifests: Vec<Descriptor>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default)]
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    pub(super) platform: Option<Platform>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Platform {
    pub(super) architecture: String,
    pub(super) os: String,
}

impl Descriptor {
    pub(super) fn digest(&self) -> Result<ContentDigest> {
        let parsed = self.digest.parse();
        parsed.map_err(|error| Error::Usage(format!("the base names a blob whose {error}")))
    }

    /// As a layer of an OCI image.
    pub(super) fn layer(&self) -> Result<Blob> {
        let kind = match self.media_type.as_str() {
            "application/vnd.docker.image.rootfs.diff.tar.gzip" | LAYER_GZIP => LAYER_GZIP,
            "application/vnd.docker.image.rootfs.diff.tar" | LAYER_TAR => LAYER_TAR,
            LAYER_ZSTD => LAYER_ZSTD,
            other => {
                let other = crate::output::clean(other, false);
                let reason =
                    format!("the base has a layer of the type {other}, which cannot be built on");
                return Err(Error::Usage(reason));
            }
        };
        Ok(Blob {
            digest: self.digest()?,
            size: self.size,
            media_type: kind.to_owned(),
        })
    }
}

pub(super) fn json<T: serde::de::DeserializeOwned>(body: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(body)
        .map_err(|error| Error::Usage(format!("the base's {what} cannot be read: {error}")))
}

pub(super) fn parse(body: &[u8], what: &str) -> Result<Manifest> {
    json(body, what)
}

pub(super) fn configuration(body: &[u8]) -> Result<Value> {
    let config: Value = json(body, "configuration")?;
    let said = |key| config.get(key).and_then(Value::as_str).unwrap_or_default();
    let (os, processor) = (said("os"), said("architecture"));
    if os != "linux" || processor != architecture() {
        let shown = crate::output::clean(&format!("{os}/{processor}"), false);
        let reason = format!(
            "the base is for {shown}, and this machine is linux/{}",
            architecture()
        );
        return Err(Error::Usage(reason));
    }
    Ok(config)
}

/// Of an index, the image for this machine; its only one, if it says nothing.
pub(super) fn choose(index: &Manifest) -> Result<&Descriptor> {
    let fits = |named: &&Descriptor| {
        let platform = named.platform.as_ref();
        platform.is_some_and(|one| one.os == "linux" && one.architecture == architecture())
    };
    let chosen = index
        .manifests
        .iter()
        .find(fits)
        .or(match &index.manifests[..] {
            [only] if only.platform.is_none() => Some(only),
            _ => None,
        });
    chosen.ok_or_else(|| {
        let reason = format!(
            "the base has no image for linux/{}, or several",
            architecture()
        );
        Error::Usage(reason)
    })
}

pub(super) fn layers(manifest: &Manifest) -> Result<Vec<Blob>> {
    if manifest.layers.len() > MAX_LAYERS {
        return Err(Error::Usage(format!(
            "the base has more than {MAX_LAYERS} layers"
        )));
    }
    manifest.layers.iter().map(Descriptor::layer).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn described(manifests: &str) -> Manifest {
        parse(
            format!(r#"{{"manifests":[{manifests}]}}"#).as_bytes(),
            "index",
        )
        .unwrap()
    }

    fn entry(letter: &str, platform: &str) -> String {
        let digest = letter.repeat(64);
        format!(r#"{{"digest":"sha256:{digest}","size":1{platform}}}"#)
    }

    #[test]
    fn of_an_index_the_image_of_this_machine_is_taken() {
        let of = |processor: &str| {
            format!(r#","platform":{{"os":"linux","architecture":"{processor}"}}"#)
        };
        let both = format!(
            "{},{}",
            entry("a", &of("mips")),
            entry("b", &of(architecture()))
        );
        assert!(choose(&described(&both)).unwrap().digest.contains("bbb"));
        assert!(
            choose(&described(&entry("c", "")))
                .unwrap()
                .digest
                .contains("ccc")
        );
        let unclear = format!("{},{}", entry("a", ""), entry("b", ""));
        for wrong in [entry("a", &of("mips")), unclear, String::new()] {
            assert!(choose(&described(&wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_base_of_another_machine_is_refused() {
        let config = |processor: &str| format!(r#"{{"os":"linux","architecture":"{processor}"}}"#);
        assert!(configuration(config(architecture()).as_bytes()).is_ok());
        assert!(configuration(config("mips").as_bytes()).is_err());
        assert!(configuration(b"[]").is_err());
    }

    #[test]
    fn types_of_docker_become_those_of_oci() {
        let of = |kind: &str| Descriptor {
            media_type: kind.to_owned(),
            digest: format!("sha256:{}", "a".repeat(64)),
            size: 1,
            platform: None,
        };
        let gzip = of("application/vnd.docker.image.rootfs.diff.tar.gzip").layer();
        assert_eq!(gzip.unwrap().media_type, LAYER_GZIP);
        assert!(of("application/vnd.in-toto+json").layer().is_err());
    }
}
