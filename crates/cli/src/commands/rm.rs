//! `rouse rm`: removing functions and services.

use crate::client::Client;
use crate::commands::named::Named;
use crate::error::{Error, Result};
use crate::output;
use reqwest::Method;
use std::io::{BufRead, IsTerminal, Write};

/// Remove a function or service
///
/// Examples:
///   rouse rm thumbnail
///   rouse rm --yes service/catalog
///
/// Its instances are stopped and its waiting events become dead letters. Buckets, objects and volumes
/// stay. Asks first; without a terminal it needs --yes.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// NAME, function/NAME or service/NAME
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Runs the command.
pub(crate) async fn run(options: &Options, client: &Client) -> Result<()> {
    for name in &options.names {
        let named = Named::find(client, name).await?;
        if !options.yes && !confirm(&named)? {
            output::note(format_args!("{named} stays"));
            continue;
        }
        client
            .send(client.request(Method::DELETE, &named.path()))
            .await?;
        output::note(format_args!("{named} is removed"));
    }
    Ok(())
}

fn confirm(named: &Named) -> Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Error::Usage(format!(
            "{named} would be removed; nobody can be asked, so say --yes"
        )));
    }
    let mut out = std::io::stderr().lock();
    write!(out, "remove {named}? [y/N] ")
        .and_then(|()| out.flush())
        .map_err(Error::io("asking"))?;
    let mut answer = String::new();
    stdin
        .lock()
        .read_line(&mut answer)
        .map_err(Error::io("reading the answer"))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
