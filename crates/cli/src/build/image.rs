//! An image put together: its configuration and its manifest, byte for byte the same for the same input.

use super::layer::digest_of;
use super::{Base, Blob, CONFIG, Layer, MANIFEST, Recipe, architecture};
use crate::error::{Error, Result};
use model::{CONTRACT_LABEL, ContentDigest, Contract};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What an image is beside its layers.
#[derive(Debug)]
pub(crate) struct Image {
    /// The address of the manifest.
    pub(crate) digest: ContentDigest,
    /// The manifest.
    pub(crate) manifest: Vec<u8>,
    /// How the manifest names the configuration.
    pub(crate) config: Blob,
    /// The configuration.
    pub(crate) config_bytes: Vec<u8>,
}

impl Image {
    /// Of a base and a layer on it, run as the recipe says.
    ///
    /// # Errors
    /// A base whose configuration cannot be built on.
    pub(crate) fn assemble(
        base: &Base,
        layer: &Layer,
        recipe: &Recipe,
        contract: Contract,
        labels: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let config = configuration(base, layer, recipe, contract, labels)?;
        let layers: Vec<&Blob> = base.layers.iter().chain([&layer.blob]).collect();
        let below = base.digest.as_ref().map(|digest| {
            json!({
                "org.opencontainers.image.base.digest": digest.as_str(),
                "org.opencontainers.image.base.name": base.name,
            })
        });
        Self::of(&config, &layers, below)
    }

    /// A base by itself.
    ///
    /// # Errors
    /// There is nothing of it.
    pub(crate) fn alone(base: &Base) -> Result<Self> {
        let Some(config) = &base.config else {
            return Err(Error::Usage("an image of nothing cannot be run".to_owned()));
        };
        let layers: Vec<&Blob> = base.layers.iter().collect();
        Self::of(config, &layers, None)
    }

    fn of(config: &Value, layers: &[&Blob], annotations: Option<Value>) -> Result<Self> {
        let config_bytes = written(config)?;
        let config = Blob {
            digest: digest_of(&config_bytes)?,
            size: config_bytes.len() as u64,
            media_type: CONFIG.to_owned(),
        };
        let layers: Vec<Value> = layers.iter().map(|layer| layer.descriptor()).collect();
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config.descriptor(), "layers": layers,
        });
        if let Some(annotations) = annotations {
            manifest["annotations"] = annotations;
        }
        let manifest = written(&manifest)?;
        Ok(Self {
            digest: digest_of(&manifest)?,
            manifest,
            config,
            config_bytes,
        })
    }
}

fn written(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| Error::Failed(format!("writing the image: {error}")))
}

fn configuration(
    base: &Base,
    layer: &Layer,
    recipe: &Recipe,
    contract: Contract,
    labels: &BTreeMap<String, String>,
) -> Result<Value> {
    let strange = || {
        Error::Usage(format!(
            "the configuration of {} cannot be built on",
            base.name
        ))
    };
    let mut whole = match &base.config {
        Some(Value::Object(config)) => config.clone(),
        Some(_) => return Err(strange()),
        None => Map::new(),
    };
    // When and in which container the base was built is not so of what is built on it.
    for key in [
        "created",
        "container",
        "container_config",
        "id",
        "parent",
        "docker_version",
    ] {
        whole.remove(key);
    }
    whole.insert("architecture".to_owned(), json!(architecture()));
    whole.insert("os".to_owned(), json!("linux"));
    let rootfs = whole
        .entry("rootfs")
        .or_insert_with(|| json!({"type": "layers", "diff_ids": []}));
    let ids = rootfs
        .get_mut("diff_ids")
        .and_then(Value::as_array_mut)
        .ok_or_else(strange)?;
    if ids.len() != base.layers.len() {
        return Err(strange());
    }
    ids.push(json!(layer.diff_id.as_str()));
    let step = json!({"created_by": "rouse build"});
    match whole.get_mut("history") {
        Some(history) => history.as_array_mut().ok_or_else(strange)?.push(step),
        None if base.is_nothing() => drop(whole.insert("history".to_owned(), json!([step]))),
        // A history must tell of every layer or of none.
        None => {}
    }
    let run = whole.entry("config").or_insert_with(|| json!({}));
    if run.is_null() {
        *run = json!({});
    }
    let run = run.as_object_mut().ok_or_else(strange)?;
    run.insert("Entrypoint".to_owned(), json!(recipe.entrypoint));
    run.insert("Cmd".to_owned(), json!(recipe.command));
    run.insert("WorkingDir".to_owned(), json!("/var/task"));
    let told = run.entry("Labels").or_insert_with(|| json!({}));
    if told.is_null() {
        *told = json!({});
    }
    let told = told.as_object_mut().ok_or_else(strange)?;
    let contract = match contract {
        Contract::Lambda => "lambda",
        Contract::Http => "http",
    };
    told.insert(CONTRACT_LABEL.to_owned(), json!(contract));
    for (key, value) in labels {
        told.insert(key.clone(), json!(value));
    }
    Ok(Value::Object(whole))
}
