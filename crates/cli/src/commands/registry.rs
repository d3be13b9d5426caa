//! `rouse registry`: what the server's registry holds, and what of it nobody needs.

mod ls;

use crate::client::{self, Client, with_query};
use crate::error::Result;
use crate::manifest::parse_duration;
use crate::output;
use clap::{Args, Subcommand};
use model::Timestamp;
use reqwest::Method;
use serde::{Deserialize, Serialize};

/// List what the registry holds, and collect what it does not need
///
/// Examples:
///   rouse registry ls                      # repositories
///   rouse registry ls shop/thumbnail       # tags, digests, sizes, age
///   rouse registry gc --dry-run            # what would go
///   rouse registry gc --grace 1h
///   rouse registry gc --untagged 30d       # manifests that no tag is on, too
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Ls(ls::Options),
    Gc(Gc),
}

/// Collect what the registry does not need
///
/// Every hour the server does so by itself. What goes: blobs that no manifest of their repository names,
/// uploads that nobody goes on with, and what was made ready to run of images on which nothing runs, once the
/// grace has passed since somebody pushed, mounted or asked for them. Manifests and tags stay.
///
/// With --untagged, manifests go that no tag is on, once the given age has passed since they were pushed
/// last. What a function, one of its versions or a service runs on stays; so do the manifests of an index that
/// stays, and signatures and the like that are about what stays, with what they are about.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct Gc {
    /// How long ago it must have been used: a push that is shorter under way loses nothing
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    grace: u64,
    /// Manifests without a tag too, of this age; 7d without one
    #[arg(long, value_name = "AGE", num_args = 0..=1, default_missing_value = "7d")]
    #[arg(value_parser = parse_duration)]
    untagged: Option<u64>,
    /// Show what would go, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What went.
#[derive(Debug, Serialize, Deserialize)]
struct Collected {
    /// Manifests that no tag was on.
    manifests: u64,
    /// Taken out of repositories.
    links: u64,
    blobs: u64,
    bytes: u64,
    uploads: u64,
}

/// What would go.
#[derive(Debug, Serialize, Deserialize)]
struct Surplus {
    blobs: u64,
    bytes: u64,
    uploads: u64,
    /// The first of the blobs.
    listed: Vec<Blob>,
    images: Vec<String>,
    /// Manifests that no tag is on; absent if they were not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifests: Option<u64>,
    /// The first of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    untagged: Vec<Manifest>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    repository: String,
    digest: String,
    size: u64,
    pushed: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
struct Blob {
    digest: String,
    size: u64,
}

/// Runs the command.
pub(crate) async fn run(options: &Options, client: &Client) -> Result<()> {
    match &options.action {
        Action::Ls(options) => ls::run(options, client).await,
        Action::Gc(options) => gc(options, client).await,
    }
}

async fn gc(options: &Gc, client: &Client) -> Result<()> {
    // Milliseconds to whole seconds, and not less than was said.
    let seconds = |millis: u64| millis.div_ceil(1_000).to_string();
    let mut query = vec![("grace", seconds(options.grace))];
    query.extend(options.untagged.map(|age| ("untagged", seconds(age))));
    if options.dry_run {
        let surplus: Surplus = client.get("registry/collections", &query).await?;
        return show(&surplus, options.json);
    }
    let path = with_query("registry/collections", &query);
    let response = client.send(client.request(Method::POST, &path)).await?;
    let collected: Collected = client::parse(response, "POST registry/collections").await?;
    if options.json {
        return output::json(&collected);
    }
    if options.untagged.is_some() {
        output::line(format_args!("{} manifests went", collected.manifests))?;
    }
    output::line(format_args!(
        "{} blobs went ({}), {} uploads were given up",
        collected.blobs,
        output::bytes(collected.bytes),
        collected.uploads
    ))
}

fn show(surplus: &Surplus, json: bool) -> Result<()> {
    if json {
        return output::json(surplus);
    }
    let mut table = output::table(["WOULD GO", "SIZE"]);
    for image in &surplus.images {
        table.add_row([
            format!("made ready: {}", output::cell(image, 200)),
            String::new(),
        ]);
    }
    for manifest in &surplus.untagged {
        table.add_row([
            format!(
                "{}@{}, pushed {} ago",
                output::cell(&manifest.repository, 100),
                output::cell(&manifest.digest, 160),
                output::age(manifest.pushed)
            ),
            output::bytes(manifest.size),
        ]);
    }
    for blob in &surplus.listed {
        table.add_row([output::cell(&blob.digest, 160), output::bytes(blob.size)]);
    }
    output::print_table(&table, "nothing would go")?;
    if let Some(manifests) = surplus.manifests {
        output::note(format_args!(
            "{manifests} manifests would go, and later the blobs that only they name"
        ));
    }
    output::note(format_args!(
        "{} blobs would go ({}), {} uploads would be given up",
        surplus.blobs,
        output::bytes(surplus.bytes),
        surplus.uploads
    ));
    Ok(())
}
