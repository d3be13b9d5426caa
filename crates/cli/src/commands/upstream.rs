//! `rouse upstream`: other registries that images are pulled through.

use crate::client::{self, Client, segment};
use crate::error::{Error, Result};
use crate::output;
use clap::{Args, Subcommand};
use model::{ChangeKind, MAX_UPSTREAM_PASSWORD, Timestamp, UpstreamName};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;

/// Pull images through from other registries
///
/// Examples:
///   rouse upstream add hub --url https://registry-1.docker.io
///   rouse upstream add hub --url https://registry-1.docker.io --username me --password-stdin < token.txt
///   aws ecr get-login-password | rouse upstream add ecr --username AWS --password-stdin \
///     --url https://111122223333.dkr.ecr.eu-central-1.amazonaws.com
///   docker pull localhost:4566/hub/library/alpine:3.20
///   rouse upstream ls
///   rouse upstream rm hub
///
/// Repositories of the server's registry that begin with the name are those of the upstream: what is asked for and
/// not here is fetched, checked by its digest and kept. In a manifest, `image: redis:7` and other names of the
/// upstream's host mean it too, if nothing here has that name. Passwords are kept encrypted and never shown.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add an upstream, or declare it anew
    Add(Add),
    /// List upstreams, never passwords
    Ls(Ls),
    /// Remove upstreams, with what was pulled of them; what is deployed stays
    Rm(Rm),
}

#[derive(Debug, Args)]
struct Add {
    /// The first part of its repositories here: 1 to 63 lower case letters, digits or '-'
    name: UpstreamName,
    /// Where it is, such as https://registry-1.docker.io
    #[arg(long)]
    url: String,
    /// Who you are there
    #[arg(long, requires = "password_stdin")]
    username: Option<String>,
    /// Read the password, or a token in its place, from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
    /// Trust these certificates (PEM) for it, and no others
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Allow http:// to another machine: everybody between can read and change what is sent
    #[arg(long)]
    insecure: bool,
    /// Allow that its name, and where it sends to, are in a private network or on the server's machine
    #[arg(long)]
    private: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Ls {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Rm {
    /// Their names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<UpstreamName>,
}

/// What the server tells of one.
#[derive(Debug, Serialize, Deserialize)]
struct Shown {
    name: UpstreamName,
    url: String,
    username: Option<String>,
    certificates: bool,
    insecure: bool,
    private: bool,
    readable: bool,
    created: Timestamp,
    modified: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    change: Option<ChangeKind>,
}

fn path(name: &UpstreamName) -> String {
    format!("upstreams/{}", segment(name.as_str()))
}

/// Runs the command.
pub(crate) async fn run(options: &Options, client: &Client) -> Result<()> {
    match &options.action {
        Action::Add(options) => add(options, client).await,
        Action::Ls(options) => list(options, client).await,
        Action::Rm(options) => {
            for name in &options.names {
                let request = client.request(Method::DELETE, &path(name));
                client.send(request).await?;
                output::note(format_args!("upstream {name} is removed"));
            }
            Ok(())
        }
    }
}

async fn add(options: &Add, client: &Client) -> Result<()> {
    let certificates = match &options.ca {
        Some(file) => {
            let doing = || Error::io(format!("reading {}", file.display()));
            Some(std::fs::read_to_string(file).map_err(doing())?)
        }
        None => None,
    };
    let password = match options.password_stdin {
        true => Some(read_password()?),
        false => None,
    };
    let body = json!({
        "url": options.url.trim_end_matches('/').to_ascii_lowercase(),
        "username": options.username, "password": password, "certificates": certificates,
        "insecure": options.insecure, "private": options.private,
    });
    let request = client.request(Method::PUT, &path(&options.name));
    let response = client.send(request.json(&body)).await?;
    let shown: Shown = client::parse(response, "PUT upstreams").await?;
    if options.json {
        return output::json(&shown);
    }
    let word = match shown.change {
        Some(ChangeKind::Created) => "added",
        _ => "changed",
    };
    let (name, url) = (&shown.name, output::clean(&shown.url, false));
    output::note(format_args!("upstream {name} is {word}: {url}"));
    Ok(())
}

/// One line, without its end.
fn read_password() -> Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        output::note("type the password and Enter; it is shown as you type");
        let mut line = String::new();
        let read = stdin.read_line(&mut line);
        read.map_err(Error::io("reading the password"))?;
        return checked(line);
    }
    let mut text = String::new();
    let most = MAX_UPSTREAM_PASSWORD as u64 + 3;
    let read = stdin.lock().take(most).read_to_string(&mut text);
    read.map_err(Error::io("reading the password from standard input"))?;
    checked(text)
}

fn checked(text: String) -> Result<String> {
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.len() > MAX_UPSTREAM_PASSWORD || line.contains(['\r', '\n']) {
        return Err(Error::Usage(format!(
            "the password on standard input must be one line of at most {MAX_UPSTREAM_PASSWORD} bytes"
        )));
    }
    Ok(line.to_owned())
}

async fn list(options: &Ls, client: &Client) -> Result<()> {
    let all: Vec<Shown> = client.get("upstreams", &[]).await?;
    if options.json {
        return output::json(&all);
    }
    let mut table = output::table(["NAME", "URL", "USER", "AGE", "STATE"]);
    for one in all {
        let state = if one.readable {
            "ok"
        } else {
            "sealed by another key"
        };
        table.add_row([
            one.name.to_string(),
            output::cell(&one.url, 100),
            output::cell(one.username.as_deref().unwrap_or("-"), 60),
            output::age(one.modified),
            output::state(state),
        ]);
    }
    output::print_table(
        &table,
        "there are no upstreams; `rouse upstream --help` shows how",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_password_is_one_line() {
        assert_eq!(checked("pass word\r\n".to_owned()).unwrap(), "pass word");
        for wrong in ["", "\n", "a\nb"] {
            assert!(checked(wrong.to_owned()).is_err(), "{wrong:?}");
        }
        assert!(checked("x".repeat(MAX_UPSTREAM_PASSWORD + 1)).is_err());
    }
}
