//! `rouse build`: a folder becomes an image.

use crate::build::{self, Base, Image, ImageName, Layer, Recipe, Wanted};
use crate::client::Client;
use crate::commands::progress;
use crate::data::DataFolder;
use crate::error::{Error, Result};
use crate::output;
use clap::Args;
use model::Contract;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Make an image of a folder with a handler, without Docker, and push it to the server's registry
///
/// Examples:
///   rouse build --base localhost:4566/library/node:20-slim --tag shop/thumbnail:prod ./thumbnail
///   rouse build ./page --base python.tar --contract http        # python.tar: docker save
///   rouse build ./tool --output tool.tar                        # a file, and no server is asked
///   rouse build ./any --base shop/base:1 -- ./server --verbose  # any program
///
/// What the folder holds says how it is run: package.json or index.js (Node), app.py, main.py or
/// requirements.txt (Python), Cargo.toml (Rust: its release binary alone), an executable bootstrap (anything).
/// The image is the base and one layer, the folder as /var/task. The same folder on the same base gives the
/// same digest. What .rouseignore or .dockerignore names stays out. A folder with a Dockerfile is for
/// `docker build`.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// The folder
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// What to build on: an image of the server's registry, the file or folder of an OCI layout, a file of
    /// `docker save`, or scratch
    #[arg(long, value_name = "IMAGE", default_value = "scratch")]
    base: String,
    /// The image's name, such as shop/thumbnail:prod [default: the folder's name]
    #[arg(short, long, value_name = "NAME")]
    tag: Option<ImageName>,
    /// file.function, for Node and Python [default: index.handler, app.handler or what else is usual]
    #[arg(long, value_name = "HANDLER")]
    handler: Option<String>,
    /// How it is talked to: lambda or http
    #[arg(long, default_value = "lambda", value_parser = |text: &str| text.parse::<Contract>())]
    contract: Contract,
    /// A label, such as org.opencontainers.image.revision=abc; again for more
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Write the image to this file, an OCI layout in a tar, in place of pushing it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// With --output: push it too
    #[arg(long, requires = "output")]
    push: bool,
    /// Print what was built as JSON
    #[arg(long)]
    json: bool,
    /// The program and its arguments, in place of a handler
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

fn label(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be like org.opencontainers.image.version=1.2".to_owned()),
    }
}

/// Runs the command.
pub(crate) async fn run(options: &Options, data: &DataFolder) -> Result<()> {
    if !options.folder.is_dir() {
        let message = format!("{} is no folder", options.folder.display());
        return Err(Error::Usage(message));
    }
    let name = match &options.tag {
        Some(name) => name.clone(),
        None => named(&options.folder)?,
    };
    let wanted = Wanted {
        handler: options.handler.clone(),
        command: options.command.clone(),
        contract: options.contract,
    };
    let mut recipe = Recipe::of(&options.folder, &wanted)?;
    let pushes = options.output.is_none() || options.push;
    let (base, client) = base(options, pushes, data).await?;
    recipe.check(&base)?;
    let spinner = progress::spinner(format!("packing {}", options.folder.display()));
    let layer = Layer::pack(recipe.items.clone());
    spinner.finish_and_clear();
    let mut layer = layer?;
    let labels: BTreeMap<_, _> = options.labels.iter().cloned().collect();
    let image = Image::assemble(&base, &layer, &recipe, options.contract, &labels)?;
    if let Some(path) = &options.output {
        build::write(path, &name, &image, &base, &mut layer, client.as_ref()).await?;
    }
    if let Some(client) = client.as_ref().filter(|_| pushes) {
        build::push(&name, &image, &base, Some(&mut layer), client).await?;
    }
    report(options, &name, &image, &base, &layer, &recipe)
}

/// What is built on, and the server, if one is needed.
async fn base(
    options: &Options,
    pushes: bool,
    data: &DataFolder,
) -> Result<(Base, Option<Client>)> {
    let text = options.base.as_str();
    let path = Path::new(text);
    let is_file = path.exists() && (path.is_file() || path.join("index.json").is_file());
    let client = match pushes || !(is_file || text == "scratch") {
        true => Some(Client::new(data)?),
        false => None,
    };
    let base = match &client {
        _ if text == "scratch" => Base::nothing(),
        _ if is_file => Base::of_file(path)?,
        Some(client) => {
            Base::of_registry(&text.parse::<ImageName>().map_err(usage)?, client).await?
        }
        None => return Err(Error::Usage(format!("the base {text} is not there"))),
    };
    Ok((base, client))
}

fn usage(invalid: model::Invalid) -> Error {
    Error::Usage(format!("the base: {invalid}"))
}

/// A folder's name as an image's.
fn named(folder: &Path) -> Result<ImageName> {
    let whole = std::fs::canonicalize(folder).map_err(Error::io("finding the folder's name"))?;
    let name = whole
        .file_name()
        .map(|name| name.to_string_lossy().to_lowercase());
    let name = name.and_then(|name| name.parse().ok());
    name.ok_or_else(|| {
        let shown = whole.display();
        Error::Usage(format!(
            "the folder {shown} gives no image's name: say one with --tag"
        ))
    })
}

fn report(
    options: &Options,
    name: &ImageName,
    image: &Image,
    base: &Base,
    layer: &Layer,
    recipe: &Recipe,
) -> Result<()> {
    let layers = base.layers.iter().chain([&layer.blob]);
    let size: u64 = layers.map(|layer| layer.size).sum();
    if options.json {
        return output::json(&json!({
            "reference": name.to_string(),
            "digest": image.digest.as_str(),
            "size": size,
            "language": recipe.language,
            "entrypoint": recipe.entrypoint,
            "command": recipe.command,
            "base": {"name": base.name, "digest": base.digest.as_ref().map(|digest| digest.as_str())},
            "layer": {
                "digest": layer.blob.digest.as_str(),
                "diff_id": layer.diff_id.as_str(),
                "size": layer.blob.size,
            },
        }));
    }
    let size = output::bytes(size);
    output::line(format_args!(
        "{name}@{} ({}, {size})",
        image.digest, recipe.language
    ))?;
    match &options.output {
        Some(path) => output::note(format_args!("written to {}", path.display())),
        None => output::note(format_args!(
            "pushed; `rouse deploy --image {name}` runs it"
        )),
    }
    Ok(())
}
