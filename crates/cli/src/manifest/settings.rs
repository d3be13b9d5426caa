//! What functions and services share: name, code, environment, limits, labels.

use super::Context;
use super::env_file::parse_env_file;
use super::fields::Fields;
use super::node::{Key, Node, Value};
use super::place::{Place, Result};
use crate::build::{Dockerfile, ImageName, Wanted};
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
    /// A Dockerfile, to be built.
    Dockerfile {
        /// What is built.
        source: Dockerfile,
        /// The image's name; without, the project's and the service's.
        name: Option<ImageName>,
        /// Where the manifest names it.
        place: Place,
    },
    /// A folder that becomes a layer on a base, as by `rouse build`.
    Built {
        /// The folder.
        path: PathBuf,
        /// What is below; without, nothing.
        base: Option<ImageName>,
        /// How it is run.
        wanted: Wanted,
        /// Where the manifest names the base.
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

/// `environment`: a mapping, or a list of `NAME=value`; and `env_file`, over which it wins. A name alone takes its value
/// from the shell or `.env`; without one there it is left out.
pub(crate) fn parse_environment(
    context: &Context,
    fields: &mut Fields<'_>,
) -> Result<BTreeMap<String, String>> {
    let of_files = parse_env_file(context, fields.take("env_file"))?;
    let node = fields.take("environment");
    let mut environment = parse_variables(context, "environment", node)?;
    for (name, value) in of_files {
        environment.entry(name).or_insert(value);
    }
    Ok(environment)
}

/// Values by name, as a mapping or a list of `NAME=value`; a name alone takes its value from the shell or `.env`.
pub(super) fn parse_variables(
    context: &Context,
    what: &str,
    node: Option<&Node>,
) -> Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    let Some(node) = node else {
        return Ok(values);
    };
    let mut put = |name: &str, value: Option<&str>, node: &Node| {
        let Some(value) = value.or_else(|| context.variables.get(name)) else {
            return Ok(());
        };
        match values.insert(name.to_owned(), value.to_owned()) {
            None => Ok(()),
            Some(_) => Err(node.error(format!("{what}: {name} is set twice"))),
        }
    };
    if let Value::List(entries) = &node.value {
        for entry in entries {
            let text = entry.text(what)?;
            match text.split_once('=') {
                Some((name, value)) => put(name, Some(value), entry)?,
                None => put(text, None, entry)?,
            }
        }
    } else {
        for (key, value) in node.map(what)? {
            match value.value {
                Value::Null => put(&key.text, None, value)?,
                _ => put(&key.text, Some(value.text(&key.text)?), value)?,
            }
        }
    }
    Ok(values)
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
