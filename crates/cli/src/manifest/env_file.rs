//! `env_file`: variables of a service, from files. `environment` wins over them, later files over earlier.

use super::Context;
use super::dotenv::{self, Format};
use super::fields::Fields;
use super::node::{Node, Value};
use super::place::Result;
use super::project::read_bounded;
use std::collections::BTreeMap;

/// Most files of one service.
const MAX_FILES: usize = 32;

/// The variables of all files of a service; a name without `=` takes its value from the shell or `.env`.
pub(super) fn parse_env_file(
    context: &Context,
    node: Option<&Node>,
) -> Result<BTreeMap<String, String>> {
    let mut environment = BTreeMap::new();
    let Some(node) = node else {
        return Ok(environment);
    };
    let files = match &node.value {
        Value::List(files) => files.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if files.len() > MAX_FILES {
        return Err(node.error(format!("env_file names more than {MAX_FILES} files")));
    }
    for file in files {
        read(context, file, &mut environment)?;
    }
    Ok(environment)
}

fn read(context: &Context, file: &Node, environment: &mut BTreeMap<String, String>) -> Result<()> {
    let (path, required, format) = match &file.value {
        Value::Map(_) => {
            let mut fields = Fields::of(file, "env_file")?;
            let path = fields.require("path", "./service.env")?;
            let required = fields.take("required").map(|node| node.flag("required"));
            let format = fields.take("format").map(parse_format).transpose()?;
            fields.finish(&[])?;
            (
                path,
                required.transpose()?.unwrap_or(true),
                format.unwrap_or(Format::Quoted),
            )
        }
        _ => (file, true, Format::Quoted),
    };
    let written = context.folder.join(path.text("env_file")?);
    if !written.exists() {
        if !required {
            return Ok(());
        }
        let message = format!("the file {} does not exist", written.display());
        let hint =
            "paths are relative to the manifest's folder; or write `{path: …, required: false}`";
        return Err(path.error(message).hint(hint));
    }
    let text = read_bounded(&written).map_err(|error| path.error(error.to_string()))?;
    let mut variables = context.variables.clone();
    let before: Vec<String> = variables.unset().map(str::to_owned).collect();
    for (name, value) in &*environment {
        variables.put(name, value);
    }
    let pairs = dotenv::parse(&text, format, &mut variables)
        .map_err(|error| path.error(format!("{}:{error}", written.display())))?;
    let unset = variables
        .unset()
        .filter(|name| !before.iter().any(|known| known == name));
    for name in unset {
        let shown = written.display();
        context.note(format!("{shown}: ${name} is not set; it is taken as empty"));
    }
    for (name, value) in pairs {
        if let Some(value) = value.or_else(|| context.variables.get(&name).map(str::to_owned)) {
            environment.insert(name, value);
        }
    }
    Ok(())
}

fn parse_format(node: &Node) -> Result<Format> {
    node.parsed("format", |text| match text {
        "raw" => Ok(Format::Raw),
        other => Err(format!("must be raw, or left out, and is {other:?}")),
    })
}
