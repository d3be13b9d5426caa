//! `rouse registry`: what the server's registry holds and nobody needs.

use crate::client::{self, Client, with_query};
use crate::error::Result;
use crate::manifest::parse_duration;
use crate::output;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde::{Deserialize, Serialize};

/// Collect what the registry does not need
///
/// Examples:
///   rouse registry gc --dry-run            # what would go
///   rouse registry gc --grace 1h
///
/// Every hour the server does so by itself. What goes: blobs that no manifest of their repository names,
/// uploads that nobody goes on with, and what was made ready to run of images on which nothing runs, once the
/// grace has passed since somebody pushed, mounted or asked for them. Manifests and tags stay.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Collect now
    Gc(Gc),
}

#[derive(Debug, Args)]
struct Gc {
    /// How long ago it must have been used: a push that is shorter under way loses nothing
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse_duration)]
    grace: u64,
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
}

#[derive(Debug, Serialize, Deserialize)]
struct Blob {
    digest: String,
    size: u64,
}

/// Runs the command.
pub(crate) async fn run(options: &Options, client: &Client) -> Result<()> {
    let Action::Gc(options) = &options.action;
    // Milliseconds to whole seconds, and not less than was said.
    let query = [("grace", options.grace.div_ceil(1_000).to_string())];
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
    for blob in &surplus.listed {
        table.add_row([output::cell(&blob.digest, 160), output::bytes(blob.size)]);
    }
    output::print_table(&table, "nothing would go")?;
    output::note(format_args!(
        "{} blobs would go ({}), {} uploads would be given up",
        surplus.blobs,
        output::bytes(surplus.bytes),
        surplus.uploads
    ));
    Ok(())
}
