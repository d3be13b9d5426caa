//! `rouse events show`: the whole life of one event.

use crate::client::Client;
use crate::client::event::{EventLife, EventView};
use crate::commands::logs::print_line;
use crate::error::Result;
use crate::output;
use model::{EventId, EventState, Run};

/// Show one event's whole life: what caused it, its payload, each attempt with what it logged, and what
/// it caused
///
/// Examples:
///   rouse events show 0197…
///   rouse events show 0197… --json | jq '.runs[].error'
///
/// Causes are told up to the first one that is not kept any more. Of the last ten attempts the last 100
/// lines are told, as long as they are kept; of what it caused, and of its replays, the first 100.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Options {
    /// The event
    id: EventId,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(options: &Options, client: &Client) -> Result<()> {
    let path = format!("events/{}", options.id);
    let life: EventLife = client.get(&path, &[("life", "true".to_owned())]).await?;
    if options.json {
        return output::json(&life);
    }
    print_event(&life.event)?;
    relatives("CAUSED BY", &life.causes)?;
    let payload = serde_json::to_string_pretty(&life.event.payload).unwrap_or_default();
    output::line(format_args!("payload\n{}", output::clean(&payload, true)))?;
    print_runs(&life.event.runs)?;
    for run in &life.event.runs {
        let Some(lines) = life.logs.get(run.request_id.as_str()) else {
            continue;
        };
        if !lines.is_empty() {
            let id = output::cell(run.request_id.as_str(), 36);
            output::line(format_args!("\nlog of attempt {}, {id}", run.attempt))?;
        }
        for line in lines {
            print_line(line)?;
        }
    }
    relatives("CAUSED", &life.effects)?;
    relatives("REPLAYED AS", &life.replays)
}

fn print_event(event: &EventView) -> Result<()> {
    let mut lines = vec![
        ("event", event.id.to_string()),
        ("state", output::state(event.state.as_str())),
        ("target", output::clean(&event.woken(), false)),
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
    Ok(())
}

/// Other events that this one has to do with, if there are any.
fn relatives(title: &str, events: &[EventView]) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let mut table = output::table([title, "ACCEPTED", "SOURCE", "KIND", "TARGET", "STATE"]);
    for event in events {
        table.add_row([
            event.id.to_string(),
            event.accepted.rfc3339(),
            output::cell(&event.source, 30),
            output::cell(&event.kind, 40),
            output::cell(&event.woken(), 40),
            output::state(event.state.as_str()),
        ]);
    }
    output::line("")?;
    output::print_table(&table, "")
}

fn print_runs(runs: &[Run]) -> Result<()> {
    // Tries that found no instance do not count as attempts, so a number may stand more than once.
    let mut table = output::table([
        "TRY", "STARTED", "INSTANCE", "VERSION", "HOW", "QUEUED", "START", "INIT", "RUN", "MEMORY",
        "ENDING", "REQUEST", "ERROR",
    ]);
    for run in runs {
        let instance = run.instance.as_ref().map_or("-", |id| id.as_str());
        table.add_row([
            run.attempt.to_string(),
            run.started.rfc3339(),
            output::cell(instance, 12),
            run.version
                .map_or_else(|| "-".to_owned(), |version| version.to_string()),
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
