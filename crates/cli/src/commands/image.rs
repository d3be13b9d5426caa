//! `rouse image`: images that functions and services are made from.

use crate::client::lines::Lines;
use crate::client::{self, Client, segment, with_query};
use crate::commands::progress::{byte_bar, spinner};
use crate::commands::upload;
use crate::error::{Error, Result};
use crate::output;
use clap::{Args, Subcommand};
use model::{Digest, ImageRecord, Kind};
use reqwest::Method;
use serde::Deserialize;
use std::io::Seek as _;
use std::path::PathBuf;

/// Import, list and remove images
///
/// Examples:
///   docker save shop/resize:1 -o resize.tar
///   rouse image import resize.tar --name shop/resize:1
///   skopeo copy docker-daemon:shop/resize:1 oci-archive:resize.tar && rouse image import resize.tar
///   rouse image pull docker.io/library/redis:7
///   rouse image ls
///   rouse image rm shop/resize:1
///
/// An archive is what `docker save` writes or an OCI layout in a tar, plain or compressed. It is
/// flattened to one read-only folder, once. What is pulled comes through an upstream (`rouse upstream`);
/// a deployment does the same by itself.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Import an archive or a layout folder; - reads standard input
    Import(Import),
    /// Pull an image through an upstream and make it ready to run
    Pull(Pull),
    /// List images
    Ls(List),
    /// Remove an image's name, and its files if nothing else needs them
    Rm(Remove),
}

#[derive(Debug, Args)]
struct Import {
    /// The archive, or the folder of an OCI layout; - for standard input
    file: PathBuf,
    /// What to call it, such as shop/resize:1 [default: the archive's own name]
    #[arg(long, value_name = "REFERENCE")]
    name: Option<String>,
    /// Print the image as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Pull {
    /// Such as docker.io/library/redis:7, or hub/library/redis:7 with an upstream "hub"
    reference: String,
    /// Print the image as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Remove {
    /// Such as shop/resize:1
    reference: String,
}

/// One line of the answer to an import.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum ImportLine {
    Done { image: ImageRecord },
    Failed { error: Failure },
    Progress { progress: Progress },
}

/// How far an import is.
#[derive(Debug, Deserialize)]
struct Progress {
    layer: usize,
    layers: usize,
    bytes: u64,
}

#[derive(Debug, Deserialize)]
struct Failure {
    kind: Kind,
    message: String,
}

/// Runs the command.
pub(crate) async fn run(options: &Options, client: &Client) -> Result<()> {
    match &options.action {
        Action::Import(options) => import(options, client).await,
        Action::Pull(options) => {
            let image = pull(client, &options.reference).await?;
            if options.json {
                return output::json(&image);
            }
            output::line(format_args!(
                "{} is here ({}, {})",
                output::clean(&options.reference, false),
                image.digest,
                output::bytes(image.size)
            ))
        }
        Action::Ls(options) => list(options, client).await,
        Action::Rm(options) => {
            let path = format!("images/{}", path_of(&options.reference));
            client.send(client.request(Method::DELETE, &path)).await?;
            output::note(format_args!(
                "{} is removed",
                output::clean(&options.reference, false)
            ));
            Ok(())
        }
    }
}

/// What an image's name means on the server.
#[derive(Debug, Deserialize)]
pub(super) struct Resolved {
    pub(super) reference: String,
    pub(super) digest: Digest,
    /// Whether it is an upstream's, of which not all may be here.
    pulled: bool,
}

/// Asks what an image's name means.
///
/// # Errors
/// `Refused` (`NotFound`).
pub(super) async fn resolve(client: &Client, reference: &str) -> Result<Resolved> {
    let path = format!("images/{}", path_of(reference));
    let response = client.send(client.request(Method::GET, &path)).await?;
    client::parse(response, "GET images").await
}

/// Brings an upstream's image here whole, showing how far that is, so that no deployment waits for it unseen.
pub(super) async fn bring(client: &Client, found: &Resolved) -> Result<()> {
    if found.pulled {
        pull(client, &found.reference).await?;
    }
    Ok(())
}

async fn pull(client: &Client, reference: &str) -> Result<ImageRecord> {
    let path = with_query("pulls", &[("reference", reference.to_owned())]);
    let response = client.send(client.request(Method::POST, &path)).await?;
    let shown = output::cell(reference, 60);
    follow(
        Lines::of(response, "POST pulls"),
        &format!("pulling {shown}:"),
    )
    .await
}

/// A reference as the rest of a path: its slashes stay.
pub(super) fn path_of(reference: &str) -> String {
    reference
        .split('/')
        .map(segment)
        .collect::<Vec<_>>()
        .join("/")
}

async fn import(options: &Import, client: &Client) -> Result<()> {
    let shown = options.file.display().to_string();
    let mut query = Vec::new();
    if let Some(name) = &options.name {
        query.push(("reference", name.clone()));
    }
    let request = client
        .request(Method::POST, &with_query("images", &query))
        .header("content-type", "application/x-tar");
    let (request, bar) = if shown == "-" {
        let bar = spinner("uploading standard input");
        (
            request.body(upload::body(tokio::io::stdin(), bar.clone())),
            bar,
        )
    } else {
        let doing = || Error::io(format!("opening {shown}"));
        let file = if options.file.is_dir() {
            packed(options.file.clone()).await?
        } else {
            tokio::fs::File::open(&options.file)
                .await
                .map_err(doing())?
        };
        let metadata = file.metadata().await.map_err(doing())?;
        let bar = byte_bar(format!("uploading {shown}"), metadata.len());
        let request = request.header("content-length", metadata.len());
        (request.body(upload::body(file, bar.clone())), bar)
    };
    let response = client.send(request).await;
    bar.finish_and_clear();
    let image = follow(Lines::of(response?, "POST images"), "unpacking").await?;
    if options.json {
        return output::json(&image);
    }
    output::line(format_args!(
        "imported {} ({}, {})",
        output::clean(&image.reference, false),
        image.digest,
        output::bytes(image.size)
    ))
}

/// An OCI layout's folder as a tar, in a file that has no name any more.
async fn packed(folder: PathBuf) -> Result<tokio::fs::File> {
    let doing = format!("packing {}", folder.display());
    let pack = move || -> std::io::Result<std::fs::File> {
        let mut archive = tar::Builder::new(tempfile::tempfile()?);
        archive.append_dir_all(".", &folder)?;
        let mut file = archive.into_inner()?;
        file.rewind()?;
        Ok(file)
    };
    let packed = tokio::task::spawn_blocking(pack).await;
    let packed = packed.map_err(std::io::Error::other).flatten();
    Ok(tokio::fs::File::from_std(packed.map_err(Error::io(doing))?))
}

async fn follow(mut lines: Lines, doing: &str) -> Result<ImageRecord> {
    let spinner = spinner(doing);
    while let Some(line) = lines.next().await? {
        match line {
            ImportLine::Done { image } => {
                spinner.finish_and_clear();
                return Ok(image);
            }
            ImportLine::Failed { error } => {
                spinner.finish_and_clear();
                return Err(Error::Refused {
                    kind: error.kind,
                    message: output::clean(&error.message, true),
                });
            }
            ImportLine::Progress { progress } => {
                let Progress {
                    layer,
                    layers,
                    bytes,
                } = progress;
                let bytes = output::bytes(bytes);
                spinner.set_message(format!("{doing} layer {layer} of {layers}, {bytes}"));
            }
        }
    }
    Err(Error::Answer {
        request: format!("the request for {doing}"),
        reason: "it ended before the work did; see the server's log".to_owned(),
    })
}

async fn list(options: &List, client: &Client) -> Result<()> {
    let images: Vec<ImageRecord> = client.get("images", &[]).await?;
    if options.json {
        return output::json(&images);
    }
    let mut table = output::table(["IMAGE", "DIGEST", "SIZE", "IMPORTED"]);
    for image in &images {
        table.add_row([
            output::cell(&image.reference, 100),
            image.digest.as_str().chars().take(19).collect(),
            output::bytes(image.size),
            format!("{} ago", output::age(image.imported)),
        ]);
    }
    output::print_table(
        &table,
        "no image is imported; `rouse image --help` shows how",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_keeps_its_slashes_in_a_path() {
        assert_eq!(path_of("shop/resize:1"), "shop/resize%3A1");
    }
}
