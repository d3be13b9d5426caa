//! `rouse registry ls`: repositories, and the manifests of one, tagged or not.

use crate::client::Client;
use crate::error::Result;
use crate::output;
use clap::Args;
use model::{RepositoryName, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// List repositories, or the manifests of one with their tags
///
/// Examples:
///   rouse registry ls
///   rouse registry ls shop/thumbnail       # untagged ones too
///   rouse registry ls shop/thumbnail --json | jq '.manifests[] | select(.tags == [])'
///
/// The newest manifest comes first. SIZE is that of a manifest and the blobs that it names; those of an
/// index are its manifests'. Several may name the same blob.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Options {
    /// The repository, such as shop/thumbnail
    #[arg(value_name = "REPOSITORY")]
    repository: Option<RepositoryName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Repository {
    name: String,
    tags: u64,
    manifests: u64,
    untagged: u64,
    size: u64,
    pushed: Option<Timestamp>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    digest: String,
    media_type: String,
    artifact_type: Option<String>,
    subject: Option<String>,
    size: u64,
    pushed: Timestamp,
    tags: Vec<String>,
}

/// A page that says whether there is another one.
trait Page: DeserializeOwned {
    type Entry;
    fn entries(self) -> (Vec<Self::Entry>, bool);
    fn key(entry: &Self::Entry) -> &str;
}

#[derive(Deserialize)]
struct Repositories {
    repositories: Vec<Repository>,
    more: bool,
}

impl Page for Repositories {
    type Entry = Repository;
    fn entries(self) -> (Vec<Repository>, bool) {
        (self.repositories, self.more)
    }
    fn key(entry: &Repository) -> &str {
        &entry.name
    }
}

#[derive(Deserialize)]
struct Manifests {
    manifests: Vec<Manifest>,
    more: bool,
}

impl Page for Manifests {
    type Entry = Manifest;
    fn entries(self) -> (Vec<Manifest>, bool) {
        (self.manifests, self.more)
    }
    fn key(entry: &Manifest) -> &str {
        &entry.digest
    }
}

/// All pages of a listing.
async fn all<P: Page>(
    client: &Client,
    path: &str,
    query: &[(&str, String)],
) -> Result<Vec<P::Entry>> {
    let mut all: Vec<P::Entry> = Vec::new();
    loop {
        let mut query = query.to_vec();
        if let Some(last) = all.last() {
            query.push(("last", P::key(last).to_owned()));
        }
        let page: P = client.get(path, &query).await?;
        let (entries, more) = page.entries();
        let is_empty = entries.is_empty();
        all.extend(entries);
        if !more || is_empty {
            return Ok(all);
        }
    }
}

/// Runs the command.
pub(super) async fn run(options: &Options, client: &Client) -> Result<()> {
    match &options.repository {
        None => repositories(options.json, client).await,
        Some(repository) => manifests(repository, options.json, client).await,
    }
}

async fn repositories(json: bool, client: &Client) -> Result<()> {
    let found = all::<Repositories>(client, "registry/repositories", &[]).await?;
    if json {
        return output::json(&serde_json::json!({"repositories": found}));
    }
    let header = [
        "REPOSITORY",
        "TAGS",
        "MANIFESTS",
        "UNTAGGED",
        "SIZE",
        "PUSHED",
    ];
    let mut table = output::table(header);
    for one in &found {
        table.add_row([
            output::cell(&one.name, 100),
            one.tags.to_string(),
            one.manifests.to_string(),
            one.untagged.to_string(),
            output::bytes(one.size),
            ago(one.pushed),
        ]);
    }
    output::print_table(
        &table,
        "nothing was pushed yet; `docker push` and `rouse build` do",
    )
}

async fn manifests(repository: &RepositoryName, json: bool, client: &Client) -> Result<()> {
    let query = [("repository", repository.to_string())];
    let mut found = all::<Manifests>(client, "registry/manifests", &query).await?;
    found.sort_by_key(|one| std::cmp::Reverse(one.pushed));
    if json {
        return output::json(&serde_json::json!({"manifests": found}));
    }
    let mut table = output::table(["DIGEST", "TAGS", "TYPE", "SIZE", "PUSHED", "ABOUT"]);
    for one in &found {
        let tags = if one.tags.is_empty() {
            "(untagged)".to_owned()
        } else {
            output::cell(&one.tags.join(", "), 60)
        };
        table.add_row([
            short(&one.digest),
            tags,
            kind(one),
            output::bytes(one.size),
            ago(Some(one.pushed)),
            one.subject.as_deref().map_or_else(String::new, short),
        ]);
    }
    output::print_table(&table, "it has blobs only")
}

fn ago(time: Option<Timestamp>) -> String {
    time.map_or_else(String::new, |time| format!("{} ago", output::age(time)))
}

/// An algorithm and twelve digits.
fn short(digest: &str) -> String {
    let digest = output::cell(digest, 160);
    let (algorithm, hex) = digest.split_once(':').unwrap_or(("", &digest));
    let hex: String = hex.chars().take(12).collect();
    format!("{algorithm}:{hex}")
}

/// What it is, in a word where there is one.
fn kind(manifest: &Manifest) -> String {
    let media = manifest.media_type.as_str();
    let is_index = media.contains(".index.") || media.contains("manifest.list");
    let artifact = manifest.artifact_type.as_deref();
    let is_image = |kind: &str| kind.contains(".image.config.") || kind.contains("container.image");
    match artifact {
        _ if is_index => "index".to_owned(),
        Some(kind) if !is_image(kind) => output::cell(kind, 60),
        _ => "image".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(media: &str, artifact: Option<&str>) -> Manifest {
        Manifest {
            digest: String::new(),
            media_type: media.to_owned(),
            artifact_type: artifact.map(str::to_owned),
            subject: None,
            size: 0,
            pushed: Timestamp(0),
            tags: Vec::new(),
        }
    }

    #[test]
    fn kinds_are_words() {
        let oci = "application/vnd.oci.image.manifest.v1+json";
        let list = "application/vnd.docker.distribution.manifest.list.v2+json";
        let config = "application/vnd.oci.image.config.v1+json";
        let docker = "application/vnd.docker.container.image.v1+json";
        assert_eq!(kind(&manifest(list, None)), "index");
        assert_eq!(kind(&manifest(oci, Some(config))), "image");
        assert_eq!(kind(&manifest(oci, Some(docker))), "image");
        assert_eq!(kind(&manifest(oci, Some("text/spdx"))), "text/spdx");
    }

    #[test]
    fn digests_are_shown_short() {
        assert_eq!(short("sha256:0123456789abcdef"), "sha256:0123456789ab");
        assert_eq!(short("odd"), ":odd");
    }
}
