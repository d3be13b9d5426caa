//! `rouse versions`, `rouse rollback` and `rouse alias`: what served, what serves, and what shall.

use super::driver::Drivers;
use crate::client::{self, Client, segment};
use crate::error::{Error, Result};
use crate::output;
use clap::Args;
use model::{Alias, AliasMove, AliasName, FunctionName, FunctionVersion, Push, Routing};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// List a function's versions: when, by whom, which code, and which aliases name them
///
/// Examples:
///   rouse versions thumbnail
///   rouse versions thumbnail --json   # with labels and the whole declaration of each
///   rouse versions thumbnail --history              # who moved an alias when from which version to which
///   rouse versions thumbnail --history --alias live --json
///
/// `rouse deploy` makes a version when something changed and moves the alias `live` to it. Nothing of
/// a version changes. The newest come first. Below stands which tag the function follows, and which pushes
/// since the newest version did not become one, and why (all of them with --json).
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// The function
    #[arg(value_name = "FUNCTION")]
    function: FunctionName,
    /// Show what was done to its aliases, the newest first
    #[arg(long)]
    history: bool,
    /// With --history: only of this alias
    #[arg(long, requires = "history", value_name = "ALIAS")]
    alias: Option<AliasName>,
    /// With --history: at most so many moves
    #[arg(
        long,
        requires = "history",
        default_value_t = 100,
        value_name = "COUNT"
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Let an earlier version serve again, at once
///
/// Examples:
///   rouse rollback thumbnail          # one step back
///   rouse rollback thumbnail --to 3
///
/// Moves the alias `live`, to which calls and events without a qualifier go, one step back in its history
/// (`rouse versions --history`), its weights too; once more, one step further. Nothing is built, and
/// calls under way end where they are. The next `rouse deploy` moves it to what the manifest declares.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Rollback {
    /// The function
    #[arg(value_name = "FUNCTION")]
    function: FunctionName,
    /// Which version, newer ones too
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    to: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Make, move or remove an alias of a function's versions
///
/// Examples:
///   rouse alias thumbnail beta 4
///   rouse alias thumbnail live 3 --share 4=10%    # a tenth of the calls goes to version 4
///   rouse alias thumbnail beta --rm
///
/// A function is called by an alias as NAME:ALIAS, by `rouse invoke` and in the Lambda API.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Naming {
    /// The function
    #[arg(value_name = "FUNCTION")]
    function: FunctionName,
    /// The alias
    #[arg(value_name = "ALIAS")]
    alias: AliasName,
    /// The version that it names
    #[arg(value_name = "VERSION", required_unless_present = "rm")]
    version: Option<u64>,
    /// Another version, and which part of the calls it gets
    #[arg(long, value_name = "VERSION=PERCENT%", value_parser = share, requires = "version")]
    share: Option<Share>,
    /// Remove it
    #[arg(long, conflicts_with = "version")]
    rm: bool,
}

#[derive(Debug, Clone, Copy)]
struct Share {
    version: u64,
    weight: f64,
}

fn share(text: &str) -> std::result::Result<Share, String> {
    let parts = text.strip_suffix('%').and_then(|text| text.split_once('='));
    let parts = parts.and_then(|(version, percent)| {
        let percent: f64 = percent.parse().ok()?;
        let version = version.parse().ok()?;
        (0.0..=100.0).contains(&percent).then_some(Share {
            version,
            weight: percent / 100.0,
        })
    });
    parts.ok_or_else(|| "must be like 4=10%".to_owned())
}

#[derive(Serialize, Deserialize)]
struct Versions {
    versions: Vec<FunctionVersion>,
    aliases: Vec<Alias>,
    /// The image whose tag the function follows.
    follows: Option<String>,
    /// Of tags that it followed, the newest first.
    pushes: Vec<Push>,
}

/// With `--json`: what was asked for, and what the server makes containers with.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    all: Versions,
    drivers: Drivers,
}

/// Runs `rouse versions`.
pub(crate) async fn run(options: &Options, client: &Client) -> Result<()> {
    if options.history {
        return history(options, client).await;
    }
    let path = format!("functions/{}/versions", segment(options.function.as_str()));
    let mut all: Versions = client.get(&path, &[]).await?;
    all.versions.reverse();
    let drivers = Drivers::get(client).await?;
    if options.json {
        return output::json(&Shown { all, drivers });
    }
    let mut table = output::table([
        "VERSION", "AGE", "BY", "DRIVER", "DIGEST", "ALIASES", "LABELS",
    ]);
    for version in &all.versions {
        let names = all.aliases.iter();
        let names = names.filter_map(|alias| named(alias, version.number));
        table.add_row([
            version.number.to_string(),
            output::age(version.created),
            output::cell(&version.by, 30),
            drivers.of(version.spec.driver),
            version.digest().hex().chars().take(12).collect(),
            names.collect::<Vec<_>>().join(", "),
            labels(&version.labels),
        ]);
    }
    output::print_table(
        &table,
        "no version was published; `rouse deploy` makes one when something changed",
    )?;
    if let Some(reference) = &all.follows {
        let reference = output::clean(reference, false);
        output::note(format_args!("a push to {reference} becomes a version"));
    }
    let newest = all.versions.first().map(|version| version.created);
    for push in &all.pushes {
        if let Some(reason) = &push.failure
            && newest.is_none_or(|newest| newest < push.settled)
        {
            output::note(format_args!(
                "the push of {} to {}, {} ago by {}, does not serve: {}",
                push.digest.as_str().chars().take(19).collect::<String>(),
                output::clean(&push.reference, false),
                output::age(push.pushed),
                output::clean(&push.by, false),
                output::clean(reason, false)
            ));
        }
    }
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct History {
    /// The newest first.
    moves: Vec<AliasMove>,
}

async fn history(options: &Options, client: &Client) -> Result<()> {
    let path = format!("functions/{}/history", segment(options.function.as_str()));
    let mut query = vec![("limit", options.limit.to_string())];
    if let Some(alias) = &options.alias {
        query.push(("alias", alias.to_string()));
    }
    let history: History = client.get(&path, &query).await?;
    if options.json {
        return output::json(&history);
    }
    let mut table = output::table(["MOVED", "BY", "ALIAS", "FROM", "TO", "DIGEST", "LABELS"]);
    let shown = |to: &Option<Routing>| to.as_ref().map_or_else(|| "-".to_owned(), ways);
    for one in &history.moves {
        let back = if one.back { " (rollback)" } else { "" };
        let digest = one.digest.as_ref().map_or("", |digest| digest.hex());
        table.add_row([
            format!("{} ago", output::age(one.at)),
            output::cell(&one.by, 30),
            one.alias.to_string(),
            shown(&one.from),
            format!("{}{back}", shown(&one.to)),
            digest.chars().take(12).collect(),
            labels(&one.labels),
        ]);
    }
    output::print_table(&table, "no alias was moved yet")
}

/// Where calls go: `3`, or `3 90%, 4 10%`.
pub(crate) fn ways(routing: &Routing) -> String {
    match &routing.share {
        Some(share) => format!(
            "{} {}%, {} {}%",
            routing.version,
            percent(1.0 - share.weight),
            share.version,
            percent(share.weight)
        ),
        None => routing.version.to_string(),
    }
}

/// How an alias names a version, if it does.
fn named(alias: &Alias, version: u64) -> Option<String> {
    match &alias.share {
        Some(share) if share.version == version => {
            Some(format!("{} {}%", alias.name, percent(share.weight)))
        }
        Some(share) if alias.version == version => {
            Some(format!("{} {}%", alias.name, percent(1.0 - share.weight)))
        }
        None if alias.version == version => Some(alias.name.to_string()),
        _ => None,
    }
}

/// With two digits behind the point at most.
fn percent(weight: f64) -> f64 {
    (weight * 10_000.0).round() / 100.0
}

/// The two that tell a release from another.
fn labels(labels: &BTreeMap<String, String>) -> String {
    let told = ["version", "revision"].iter().filter_map(|key| {
        let value = labels.get(&format!("org.opencontainers.image.{key}"))?;
        Some(format!("{key}={}", output::cell(value, 20)))
    });
    told.collect::<Vec<_>>().join(" ")
}

/// Runs `rouse rollback`.
pub(crate) async fn rollback(options: &Rollback, client: &Client) -> Result<()> {
    let path = format!("functions/{}/rollback", segment(options.function.as_str()));
    let request = client.request(Method::POST, &path);
    let request = request.json(&json!({"to": options.to}));
    let alias: Alias = client::parse(client.send(request).await?, "POST rollback").await?;
    if options.json {
        return output::json(&alias);
    }
    let share = alias.share.as_ref();
    let also = share.map(|share| {
        format!(
            ", version {} a part of {}%",
            share.version,
            percent(share.weight)
        )
    });
    output::line(format_args!(
        "version {} of {} serves{}",
        alias.version,
        options.function,
        also.unwrap_or_default()
    ))
}

/// Runs `rouse alias`.
pub(crate) async fn alias(options: &Naming, client: &Client) -> Result<()> {
    let (function, alias) = (options.function.as_str(), options.alias.as_str());
    let path = format!("functions/{}/aliases/{}", segment(function), segment(alias));
    if options.rm {
        client.send(client.request(Method::DELETE, &path)).await?;
        output::note(format_args!("alias {alias} of {function} is removed"));
        return Ok(());
    }
    let version = options
        .version
        .ok_or_else(|| Error::Usage("say which version".to_owned()))?;
    let share = options.share;
    let share = share.map(|share| json!({"version": share.version, "weight": share.weight}));
    let request = client.request(Method::PUT, &path);
    let request = request.json(&json!({"version": version, "share": share}));
    client.send(request).await?;
    output::note(format_args!("{function}:{alias} is version {version}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_share_is_a_version_and_a_percentage() {
        let tenth = share("4=10%").unwrap();
        assert_eq!((tenth.version, tenth.weight), (4, 0.1));
        for wrong in ["4", "4=10", "x=10%", "4=101%", "4=-1%", "4=NaN%"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ways_are_versions_and_their_parts() {
        let mut routing = Routing {
            version: 3,
            share: None,
        };
        assert_eq!(ways(&routing), "3");
        routing.share = Some(model::Share {
            version: 4,
            weight: 0.125,
        });
        assert_eq!(ways(&routing), "3 87.5%, 4 12.5%");
    }

    #[test]
    fn a_percentage_is_shown_short() {
        assert_eq!(percent(0.1).to_string(), "10");
        assert_eq!(percent(1.0 - 0.1).to_string(), "90");
        assert_eq!(percent(0.125).to_string(), "12.5");
    }
}
