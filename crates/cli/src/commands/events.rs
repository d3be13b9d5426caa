//! `rouse events`: what was accepted and what became of it.

mod cancel;
mod choice;
mod export;
mod replay;
mod replays;
mod show;

use crate::client::Client;
use crate::client::event::EventPage;
use crate::error::Result;
use crate::manifest::parse_duration;
use crate::output;
use clap::{Args, Subcommand};
use model::{EventState, Timestamp};

/// List, show, replay, cancel and export events
///
/// Examples:
///   rouse events                                  # the newest
///   rouse events list --state dead --since 1h
///   rouse events list --target function:thumbnail
///   rouse events show 0197…                       # its whole life
///   rouse events replay 0197… --wait              # once more, as a new event
///   rouse events replay --function thumbnail --state dead --since 2h
///   rouse events replays                          # how far they came
///   rouse events cancel --function thumbnail      # what waits for it
///   rouse events export --since 7d > events.ndjson
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List events, newest first
    List(List),
    Show(show::Options),
    Replay(replay::Options),
    Replays(replays::Options),
    Cancel(cancel::Options),
    Export(export::Options),
}

#[derive(Debug, Args)]
struct List {
    /// Only for this target: function:NAME, service:NAME or service:NAME/path
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Only in this state: waiting, leased, succeeded, dead, expired or cancelled
    #[arg(long)]
    state: Option<EventState>,
    /// Only accepted in this last while, such as 30s, 10m or 2h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    since: Option<u64>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(options: &Options, client: &Client) -> Result<()> {
    match &options.action {
        None => list(&options.list, client).await,
        Some(Action::List(options)) => list(options, client).await,
        Some(Action::Show(options)) => show::run(options, client).await,
        Some(Action::Replay(options)) => replay::run(options, client).await,
        Some(Action::Replays(options)) => replays::run(options, client).await,
        Some(Action::Cancel(options)) => cancel::run(options, client).await,
        Some(Action::Export(options)) => export::run(options, client).await,
    }
}

async fn list(options: &List, client: &Client) -> Result<()> {
    let mut query = vec![("limit", options.limit.to_string())];
    if let Some(target) = &options.target {
        query.push(("target", target.clone()));
    }
    if let Some(state) = options.state {
        query.push(("state", state.as_str().to_owned()));
    }
    if let Some(since) = options.since {
        let since = i64::try_from(since).unwrap_or(i64::MAX);
        query.push((
            "since",
            Timestamp::now().0.saturating_sub(since).to_string(),
        ));
    }
    let page: EventPage = client.get("events", &query).await?;
    if options.json {
        return output::json(&page);
    }
    let mut table = output::table([
        "ID", "ACCEPTED", "SOURCE", "KIND", "SUBJECT", "TARGET", "STATE", "TRIES", "ERROR",
    ]);
    for event in &page.events {
        table.add_row([
            event.id.to_string(),
            event.accepted.rfc3339(),
            output::cell(&event.source, 30),
            output::cell(&event.kind, 40),
            output::cell(&event.subject, 40),
            output::cell(&event.woken(), 40),
            output::state(event.state.as_str()),
            event.attempts.to_string(),
            output::cell(event.last_error.as_deref().unwrap_or(""), 60),
        ]);
    }
    output::print_table(&table, "no event fits")
}
