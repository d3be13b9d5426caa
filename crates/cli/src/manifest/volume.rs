//! Named volumes: declared at the top, mounted in services.

use super::Context;
use super::fields::Fields;
use super::node::{Node, Value};
use super::place::Result;
use model::VolumeMount;

const NO_BIND: &str = "a folder of this machine is not shown to services; pack it with `build`, or \
                       use a named volume such as `data:/data`";

/// A volume of the top-level `volumes`.
#[derive(Debug)]
pub(crate) struct DeclaredVolume {
    /// How services of the file call it.
    key: String,
    /// How the server calls it.
    name: String,
}

/// The top-level `volumes`.
pub(crate) fn parse_declared(node: Option<&Node>) -> Result<Vec<DeclaredVolume>> {
    let mut volumes = Vec::new();
    let Some(node) = node else {
        return Ok(volumes);
    };
    for (key, node) in node.map("volumes")? {
        let mut fields = Fields::of(node, format!("volume \"{}\"", key.text.escape_debug()))?;
        super::labels::parse_labels(fields.take("labels"))?;
        if let Some(driver) = fields.take("driver") {
            driver.parsed("driver", |text| match text {
                "local" | "default" => Ok(()),
                other => Err(format!(
                    "must be local, or left out, since volumes are folders below the data folder; and is {other:?}"
                )),
            })?;
        }
        let name = fields
            .take("name")
            .map(|node| node.text("name"))
            .transpose()?;
        fields.finish(&[
            (
                "driver_opts",
                "volumes are folders below the data folder; leave it out",
            ),
            ("external", "volumes are made by themselves; leave it out"),
        ])?;
        volumes.push(DeclaredVolume {
            key: key.text.clone(),
            name: name.unwrap_or(&key.text).to_owned(),
        });
    }
    Ok(volumes)
}

/// The `volumes` of a service.
pub(crate) fn parse_mounts(context: &Context, node: Option<&Node>) -> Result<Vec<VolumeMount>> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    let mut mounts: Vec<VolumeMount> = Vec::new();
    for entry in node.list("volumes")? {
        let mut mount = match &entry.value {
            Value::Map(_) => parse_long(entry)?,
            _ => parse_short(entry)?,
        };
        let mut declared = context.volumes.iter();
        if let Some(volume) = declared.find(|volume| volume.key == mount.volume) {
            mount.volume.clone_from(&volume.name);
        } else {
            return Err(entry
                .error(format!(
                    "no volume \"{}\" is declared",
                    mount.volume.escape_debug()
                ))
                .hint(format!(
                    "add `{}:` below `volumes:` at the top level",
                    mount.volume
                )));
        }
        if !mount.target.starts_with('/') {
            return Err(entry.error(format!(
                "the target must be an absolute path, and is {:?}",
                mount.target
            )));
        }
        if mounts.iter().any(|other| other.target == mount.target) {
            return Err(entry.error(format!("{} is mounted twice", mount.target)));
        }
        mounts.push(mount);
    }
    Ok(mounts)
}

fn is_path(source: &str) -> bool {
    source.starts_with(['.', '/', '~']) || source.contains('/')
}

fn parse_short(node: &Node) -> Result<VolumeMount> {
    let text = node.text("volumes")?;
    let mut parts = text.split(':');
    let (Some(source), Some(target), mode, None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(node
            .error(format!("{text:?} is not a named volume"))
            .hint("write `NAME:/path` or `NAME:/path:ro`"));
    };
    if is_path(source) {
        return Err(node
            .error(format!("{text:?} binds a folder of this machine"))
            .hint(NO_BIND));
    }
    let read_only = match mode {
        None | Some("rw") => false,
        Some("ro") => true,
        Some(other) => {
            return Err(node.error(format!("the mode {other:?} is not known: use ro or rw")));
        }
    };
    Ok(VolumeMount {
        volume: source.to_owned(),
        target: target.to_owned(),
        read_only,
    })
}

fn parse_long(node: &Node) -> Result<VolumeMount> {
    let mut fields = Fields::of(node, "volume")?;
    let sort = fields.require("type", "volume")?;
    match sort.text("type")? {
        "volume" => {}
        "bind" => {
            return Err(sort
                .error("a bind shows a folder of this machine")
                .hint(NO_BIND));
        }
        "tmpfs" => {
            return Err(sort
                .error("volumes of type \"tmpfs\" are not served")
                .hint("/tmp is in memory and writable already"));
        }
        other => {
            return Err(sort.error(format!(
                "volumes of type {other:?} are not served: use volume"
            )));
        }
    }
    let source = fields.require("source", "data")?;
    let source = match &source.value {
        Value::Text(text) if !is_path(text) => text.clone(),
        _ => {
            return Err(source
                .error("source must be the name of a volume")
                .hint(NO_BIND));
        }
    };
    let target = fields
        .require("target", "/data")?
        .text("target")?
        .to_owned();
    let read_only = fields.take("read_only").map(|node| node.flag("read_only"));
    if let Some(node) = fields.take("volume") {
        let mut own = Fields::of(node, "volume")?;
        // What a volume has when it is made: nothing is copied into it from an image.
        if let Some(node) = own
            .take("nocopy")
            .filter(|node| node.text("").ok() != Some("true"))
        {
            return Err(node.error("nocopy must be true: nothing is copied into a volume"));
        }
        own.finish(&[("subpath", "mount the whole volume; leave it out")])?;
    }
    fields.finish(&[
        ("bind", NO_BIND),
        ("tmpfs", "/tmp is in memory and writable already"),
        (
            "consistency",
            "a volume is a folder of this machine; leave it out",
        ),
    ])?;
    Ok(VolumeMount {
        volume: source,
        target,
        read_only: read_only.transpose()?.unwrap_or(false),
    })
}
