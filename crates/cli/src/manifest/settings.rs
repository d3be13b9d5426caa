//! What functions and services share: name, code, environment, limits, labels.

use super::env_file::parse_env_file;
use super::fields::Fields;
use super::node::{Key, Node, Value};
use super::place::{Place, Result};
use super::{Context, compose};
use model::{Destination, Egress, Limits};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where the code of a function or service comes from.
#[derive(Debug, Clone)]
pub(crate) enum CodeSource {
    /// A folder, to be archived.
    Folder {
        /// As an absolute path, or relative to the working directory.
        path: PathBuf,
        /// Where the manifest names it.
        place: Place,
    },
    /// An imported image.
    Image {
        /// Its reference.
        reference: String,
        /// Where the manifest names it.
        place: Place,
    },
}

/// A name that obeys its rule.
pub(crate) fn parse_name<T>(key: &Key) -> Result<T>
where
    T: std::str::FromStr<Err = model::Invalid>,
{
    key.text.parse().map_err(|invalid: model::Invalid| {
        key.place
            .error(format!("{}: {}", invalid.field, invalid.reason))
    })
}

/// `build`, `image`, or `code` of the `x-rouse` block: exactly one of them.
pub(crate) fn parse_code(
    context: &Context,
    what: &str,
    fields: &mut Fields<'_>,
    code: Option<&Node>,
    place: &Place,
) -> Result<CodeSource> {
    let build = fields.take("build");
    let image = fields.take("image");
    if let (Some(_), Some(image)) = (build.or(code), image) {
        return Err(image
            .error(format!("{what} has both a folder and an image"))
            .hint("keep `build` for a folder, or `image` for an imported image"));
    }
    if let (Some(_), Some(code)) = (build, code) {
        return Err(code
            .error(format!("{what} has both `build` and `x-rouse.code`"))
            .hint("they mean the same; keep `build`, which `docker compose config` knows too"));
    }
    if let Some(image) = image {
        return Ok(CodeSource::Image {
            reference: image.text("image")?.to_owned(),
            place: image.place.clone(),
        });
    }
    let folder = match (build, code) {
        (Some(build), _) => build_context(build)?,
        (None, Some(code)) => code,
        (None, None) => {
            return Err(place
                .error(format!("{what} has no code"))
                .hint("add `build: ./folder`, or `image: NAME` for an imported image"));
        }
    };
    let written = folder.text("the folder")?;
    let path = context.folder.join(written);
    if !path.is_dir() {
        return Err(folder
            .error(format!("the folder {} does not exist", path.display()))
            .hint("paths are relative to the manifest's own folder"));
    }
    Ok(CodeSource::Folder {
        path,
        place: folder.place.clone(),
    })
}

fn build_context(build: &Node) -> Result<&Node> {
    match &build.value {
        Value::Map(_) => {
            let mut fields = Fields::of(build, "build")?;
            let context = fields.require("context", "./folder")?;
            fields.finish(compose::BUILD)?;
            Ok(context)
        }
        _ => Ok(build),
    }
}

/// `environment`: a mapping, or a list of `NAME=value`; and `env_file`, over which it wins. A name alone takes its value
/// from the shell or `.env`; without one there it is left out.
pub(crate) fn parse_environment(
    context: &Context,
    fields: &mut Fields<'_>,
) -> Result<BTreeMap<String, String>> {
    let of_files = parse_env_file(context, fields.take("env_file"))?;
    let mut environment = BTreeMap::new();
    let Some(node) = fields.take("environment") else {
        return Ok(of_files);
    };
    let mut put = |name: &str, value: Option<&str>, node: &Node| {
        let Some(value) = value.or_else(|| context.variables.get(name)) else {
            return Ok(());
        };
        match environment.insert(name.to_owned(), value.to_owned()) {
            None => Ok(()),
            Some(_) => Err(node.error(format!("environment: {name} is set twice"))),
        }
    };
    if let Value::List(entries) = &node.value {
        for entry in entries {
            let text = entry.text("environment")?;
            match text.split_once('=') {
                Some((name, value)) => put(name, Some(value), entry)?,
                None => put(text, None, entry)?,
            }
        }
    } else {
        for (key, value) in node.map("environment")? {
            match value.value {
                Value::Null => put(&key.text, None, value)?,
                _ => put(&key.text, Some(value.text(&key.text)?), value)?,
            }
        }
    }
    for (name, value) in of_files {
        environment.entry(name).or_insert(value);
    }
    Ok(environment)
}

/// Sets one limit and checks its bounds, so that an error stands at its value.
pub(crate) fn set_limit(
    limits: &mut Limits,
    node: Option<&Node>,
    set: impl FnOnce(&mut Limits, &Node) -> Result<()>,
) -> Result<()> {
    let Some(node) = node else {
        return Ok(());
    };
    set(limits, node)?;
    limits
        .check()
        .map_err(|invalid| node.error(format!("{}: {}", invalid.field, invalid.reason)))
}

/// `none`, `public` or a list of destinations; without, the server's default.
pub(crate) fn parse_egress(node: Option<&Node>) -> Result<Option<Egress>> {
    let Some(node) = node else {
        return Ok(None);
    };
    let told = |node: &Node, invalid: model::Invalid| {
        node.error(format!("{}: {}", invalid.field, invalid.reason))
    };
    let Value::List(entries) = &node.value else {
        let word = node.text("egress")?.parse();
        return word.map(Some).map_err(|invalid| told(node, invalid));
    };
    for entry in entries {
        let destination = entry.text("egress")?.parse::<Destination>();
        destination.map_err(|invalid| told(entry, invalid))?;
    }
    let texts = node.texts("egress")?;
    let list = Egress::list(texts.iter().map(String::as_str));
    list.map(Some).map_err(|invalid| told(node, invalid))
}

/// `profiles` were read before, for all services together.
pub(crate) fn accept_chosen(fields: &mut Fields<'_>) {
    fields.take("profiles");
}
