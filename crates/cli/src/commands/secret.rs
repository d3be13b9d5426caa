//! `rouse secret` and `rouse config`.

use crate::client::{self, Client, segment};
use crate::error::{Error, Result};
use crate::output;
use model::{ChangeKind, MAX_SECRET, SecretKind, SecretName, Timestamp};
use reqwest::Method;
use serde::Deserialize;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

/// Keep secrets for functions and services
///
/// Examples:
///   rouse secret set db-password < password.txt
///   rouse secret set tls-key --file key.pem
///   rouse secret ls
///   rouse secret rm db-password
///
/// A value is kept encrypted and never shown again: functions and services whose manifest names it get
/// it as the file /run/secrets/NAME, or as a variable. Setting it anew replaces what runs with it, without
/// a deployment. It is taken byte for byte, a line end at its end included; at most 500 KiB.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a secret, or set it anew
    Set(Set),
    /// List names, never values
    Ls(Ls),
    /// Remove secrets that nothing uses
    Rm(Rm),
}

/// Keep configs for functions and services
///
/// Examples:
///   rouse config set app.toml --file app.toml
///   rouse config ls
///   rouse config show app.toml
///   rouse config rm app.toml
///
/// As secrets, but they can be read back. They are mounted at /NAME if the manifest says nothing else.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct ConfigOptions {
    #[command(subcommand)]
    action: ConfigAction,
}

#[derive(Debug, clap::Subcommand)]
enum ConfigAction {
    /// Make a config, or set it anew
    Set(Set),
    /// List names
    Ls(Ls),
    /// Print what a config says
    Show {
        /// Its name
        #[arg(value_parser = parse_name)]
        name: SecretName,
    },
    /// Remove configs that nothing uses
    Rm(Rm),
}

#[derive(Debug, clap::Args)]
struct Set {
    /// 1 to 64 letters, digits, '.', '-' or '_'
    #[arg(value_parser = parse_name)]
    name: SecretName,
    /// Where the value is [default: standard input]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Ls {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Rm {
    /// Their names
    #[arg(required = true, value_name = "NAME", value_parser = parse_name)]
    names: Vec<SecretName>,
}

fn parse_name(text: &str) -> std::result::Result<SecretName, model::Invalid> {
    text.parse()
}

/// What the server tells of one.
#[derive(Debug, Clone, Deserialize, serde::Serialize)]
pub(crate) struct Shown {
    /// Its name.
    pub(crate) name: SecretName,
    revision: u64,
    size: u64,
    readable: bool,
    created: Timestamp,
    modified: Timestamp,
}

#[derive(Debug, Deserialize)]
struct Stored {
    revision: u64,
    change: ChangeKind,
}

/// Runs `rouse secret`.
pub(crate) async fn run(options: &Options, client: &Client) -> Result<()> {
    let kind = SecretKind::Secret;
    match &options.action {
        Action::Set(options) => set(kind, options, client).await,
        Action::Ls(options) => ls(kind, options, client).await,
        Action::Rm(options) => rm(kind, options, client).await,
    }
}

/// Runs `rouse config`.
pub(crate) async fn run_config(options: &ConfigOptions, client: &Client) -> Result<()> {
    let kind = SecretKind::Config;
    match &options.action {
        ConfigAction::Set(options) => set(kind, options, client).await,
        ConfigAction::Ls(options) => ls(kind, options, client).await,
        ConfigAction::Rm(options) => rm(kind, options, client).await,
        ConfigAction::Show { name } => {
            let request = client.request(Method::GET, &path(kind, name));
            let response = client.send(request).await?;
            let value = response.bytes().await;
            let value =
                value.map_err(|error| Error::Failed(format!("reading the config: {error}")))?;
            let mut out = std::io::stdout().lock();
            let written = out.write_all(&value).and_then(|()| out.flush());
            written.map_err(Error::io("writing to standard output"))
        }
    }
}

fn path(kind: SecretKind, name: &SecretName) -> String {
    format!("{kind}s/{}", segment(name.as_str()))
}

/// Sends a value.
pub(crate) async fn put(
    client: &Client,
    kind: SecretKind,
    name: &SecretName,
    value: Vec<u8>,
) -> Result<ChangeKind> {
    Ok(store(client, kind, name, value).await?.change)
}

async fn store(
    client: &Client,
    kind: SecretKind,
    name: &SecretName,
    value: Vec<u8>,
) -> Result<Stored> {
    let request = client.request(Method::PUT, &path(kind, name)).body(value);
    client::parse(client.send(request).await?, "PUT secrets").await
}

/// What the server has of a kind.
pub(crate) async fn list(client: &Client, kind: SecretKind) -> Result<Vec<Shown>> {
    client.get(&format!("{kind}s"), &[]).await
}

async fn set(kind: SecretKind, options: &Set, client: &Client) -> Result<()> {
    let value = match &options.file {
        Some(path) => read_file(path)?,
        None => {
            if std::io::stdin().is_terminal() {
                output::note(
                    "type the value, then Ctrl-D on a line of its own; it is shown as you type",
                );
            }
            read_bounded(std::io::stdin().lock(), "standard input")?
        }
    };
    if value.is_empty() {
        return Err(Error::Usage(format!(
            "the value of {kind} \"{}\" is empty",
            options.name
        )));
    }
    let Stored { revision, change } = store(client, kind, &options.name, value).await?;
    let name = &options.name;
    match change {
        ChangeKind::Created => output::note(format_args!("{kind} {name} is made")),
        ChangeKind::Updated => output::note(format_args!(
            "{kind} {name} is set, for the {revision}. time; what runs with it is replaced"
        )),
        ChangeKind::Unchanged => output::note(format_args!("{kind} {name} has this value already")),
    }
    Ok(())
}

/// A value in a file.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let shown = path.display().to_string();
    let file = std::fs::File::open(path).map_err(Error::io(format!("opening {shown}")))?;
    read_bounded(file, &shown)
}

fn read_bounded(source: impl Read, shown: &str) -> Result<Vec<u8>> {
    let mut value = Vec::new();
    let most = MAX_SECRET as u64;
    let read = source.take(most + 1).read_to_end(&mut value);
    read.map_err(Error::io(format!("reading {shown}")))?;
    if value.len() > MAX_SECRET {
        return Err(Error::Usage(format!(
            "{shown} has more than {MAX_SECRET} bytes, the most of a secret or config"
        )));
    }
    Ok(value)
}

async fn ls(kind: SecretKind, options: &Ls, client: &Client) -> Result<()> {
    let all = list(client, kind).await?;
    if options.json {
        return output::json(&all);
    }
    let mut table = output::table(["NAME", "SET", "SIZE", "AGE", "STATE"]);
    for one in all {
        let state = if one.readable {
            "ok"
        } else {
            "sealed by another key"
        };
        table.add_row([
            one.name.to_string(),
            format!("{}x", one.revision),
            output::bytes(one.size),
            output::age(one.modified),
            output::state(state),
        ]);
    }
    output::print_table(&table, &format!("there are no {kind}s"))
}

async fn rm(kind: SecretKind, options: &Rm, client: &Client) -> Result<()> {
    for name in &options.names {
        client
            .send(client.request(Method::DELETE, &path(kind, name)))
            .await?;
        output::note(format_args!("{kind} {name} is removed"));
    }
    Ok(())
}
