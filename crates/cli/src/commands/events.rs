//! `rouse events`: what was accepted and what became of it.

use crate::client::event::{EventPage, EventView, NewEventAnswer};
use crate::client::{self, Client};
use crate::error::{Error, Result};
use crate::manifest::parse_duration;
use crate::output;
use clap::{Args, Subcommand};
use model::{EventId, EventState, Run, Timestamp};
use reqwest::Method;
use std::time::Duration;

/// List, show and replay events
///
/// Examples:
///   rouse events                                  # the newest
///   rouse events list --state dead --since 1h
///   rouse events list --target function:thumbnail
///   rouse events show 0197…                       # its whole life
///   rouse events replay 0197… --wait              # once more, as a new event
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
    /// Show one event, its payload and each attempt
    Show(Show),
    /// Accept the same event once more, as a new one; prints its id
    Replay(Replay),
}

#[derive(Debug, Args)]
struct List {
    /// Only for this target: function:NAME, service:NAME or service:NAME/path
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Only in this state: waiting, leased, succeeded or dead
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

#[derive(Debug, Args)]
struct Show {
    /// The event
    id: EventId,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Replay {
    /// The event
    id: EventId,
    /// Wait until the new event has succeeded or is dead; the exit code is 1 if it is dead
    #[arg(long)]
    wait: bool,
}

/// Runs the command.
pub(crate) async fn run(options: &Options, client: &Client) -> Result<()> {
    match &options.action {
        None => list(&options.list, client).await,
        Some(Action::List(options)) => list(options, client).await,
        Some(Action::Show(options)) => show(options, client).await,
        Some(Action::Replay(options)) => replay(options, client).await,
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
            output::cell(&event.target, 40),
            output::state(event.state.as_str()),
            event.attempts.to_string(),
            output::cell(event.last_error.as_deref().unwrap_or(""), 60),
        ]);
    }
    output::print_table(&table, "no event fits")
}

async fn get(client: &Client, id: EventId) -> Result<EventView> {
    client.get(&format!("events/{id}"), &[]).await
}

async fn show(options: &Show, client: &Client) -> Result<()> {
    let event = get(client, options.id).await?;
    if options.json {
        return output::json(&event);
    }
    let mut lines = vec![
        ("event", event.id.to_string()),
        ("state", output::state(event.state.as_str())),
        ("target", output::clean(&event.target, false)),
        ("source", output::clean(&event.source, false)),
        ("kind", output::clean(&event.kind, false)),
        ("subject", output::clean(&event.subject, false)),
        ("accepted", event.accepted.rfc3339()),
        ("attempts", event.attempts.to_string()),
    ];
    if let Some(ended) = event.ended {
        let took = output::micros(ended.since(event.accepted).saturating_mul(1000));
        lines.push((
            "ended",
            format!("{} ({took} after it was accepted)", ended.rfc3339()),
        ));
    } else if event.state == EventState::Waiting {
        lines.push(("not before", event.not_before.rfc3339()));
    }
    let error = event
        .last_error
        .as_deref()
        .map(|error| output::clean(error, false));
    lines.extend(error.map(|error| ("error", error)));
    lines.extend(event.cause.map(|id| ("caused by", id.to_string())));
    if event.depth > 0 {
        lines.push(("depth", event.depth.to_string()));
    }
    lines.extend(event.replay_of.map(|id| ("replay of", id.to_string())));
    for (name, value) in lines {
        output::line(format_args!("{name:<11}{value}"))?;
    }
    let payload = serde_json::to_string_pretty(&event.payload).unwrap_or_default();
    output::line(format_args!("payload\n{}", output::clean(&payload, true)))?;
    print_runs(&event.runs)
}

fn print_runs(runs: &[Run]) -> Result<()> {
    // Tries that found no instance do not count as attempts, so a number may stand more than once.
    let mut table = output::table([
        "TRY", "STARTED", "INSTANCE", "HOW", "QUEUED", "START", "INIT", "RUN", "MEMORY", "ENDING",
        "REQUEST", "ERROR",
    ]);
    for run in runs {
        let instance = run.instance.as_ref().map_or("-", |id| id.as_str());
        table.add_row([
            run.attempt.to_string(),
            run.started.rfc3339(),
            output::cell(instance, 12),
            how(run).to_owned(),
            output::micros(run.timing.queued),
            output::micros(run.timing.start),
            output::micros(run.timing.init),
            output::micros(run.timing.run),
            output::bytes(run.memory_peak),
            output::state(&run.ending),
            output::cell(run.request_id.as_str(), 36),
            output::cell(run.error.as_deref().unwrap_or(""), 100),
        ]);
    }
    output::print_table(&table, "no attempt was made yet")
}

/// How its instance came to be, or that it was there already.
fn how(run: &Run) -> &'static str {
    match (&run.instance, run.cold, run.start_kind) {
        (None, ..) => "-",
        (Some(_), true, Some(kind)) => kind.as_str(),
        (Some(_), true, None) => "cold",
        (Some(_), false, _) => "warm",
    }
}

async fn replay(options: &Replay, client: &Client) -> Result<()> {
    let path = format!("events/{}/replay", options.id);
    let response = client.send(client.request(Method::POST, &path)).await?;
    let answer: NewEventAnswer = client::parse(response, "POST replay").await?;
    output::line(answer.event_id)?;
    if !options.wait {
        return Ok(());
    }
    loop {
        let event = get(client, answer.event_id).await?;
        match event.state {
            EventState::Succeeded => {
                output::note(output::state("succeeded"));
                return Ok(());
            }
            EventState::Dead => {
                let error = event.last_error.unwrap_or_default();
                let error = output::clean(&error, false);
                return Err(Error::Failed(format!("the event is dead: {error}")));
            }
            EventState::Waiting | EventState::Leased => {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
    }
}
