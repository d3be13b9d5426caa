//! `rouse events cancel`: one event or all that are chosen end as cancelled.

use super::choice::{self, Choice, confirm, plural};
use crate::client::{self, Client};
use crate::commands::progress;
use crate::error::{Error, Result};
use crate::output;
use clap::Args;
use model::{EventId, EventState, Timestamp};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

/// End an event that waits, or all that are chosen, as cancelled
///
/// Examples:
///   rouse events cancel 0197…
///   rouse events cancel --function thumbnail --dry-run
///   rouse events cancel --function thumbnail --state waiting
///   rouse events cancel --source s3:photos --since 7d --until 1d --yes --json
///
/// Only what waits can be cancelled, for its first attempt or its next one: an event that is being worked
/// on is left alone, and by its id that is an error. A cancelled event says who cancelled it, goes to no
/// destination and no dead-letter queue, and can be replayed.
///
/// Chosen events are cancelled oldest first, in steps; what was accepted meanwhile is not meant. Ended
/// early, this command leaves the others waiting.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Options {
    /// The event, if it is one
    #[arg(conflicts_with_all = ["function", "target", "state", "source", "since", "until", "limit"])]
    event: Option<EventId>,
    #[command(flatten)]
    choice: Choice,
    /// Only say how many events are meant
    #[arg(long, conflicts_with = "event")]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long, conflicts_with = "event")]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(options: &Options, client: &Client) -> Result<()> {
    match options.event {
        Some(event) => {
            let request = client.request(Method::POST, &format!("events/{event}/cancel"));
            client.send(request).await?;
            report(options, 1)
        }
        None if options.choice.is_empty() => Err(Error::Usage(
            "say which events: an id, or --function, --target, --state, --source, --since, --until \
             or --limit"
                .to_owned(),
        )),
        None => chosen(options, client).await,
    }
}

#[derive(Deserialize)]
struct Step {
    cancelled: u64,
    next: Option<EventId>,
    before: EventId,
}

async fn chosen(options: &Options, client: &Client) -> Result<()> {
    let choice = &options.choice;
    let query = choice.query(Timestamp::now(), &[EventState::Waiting])?;
    if query.states != [EventState::Waiting] {
        let wrong = "only events that wait can be cancelled: say --state waiting, or leave it out";
        return Err(Error::Usage(wrong.to_owned()));
    }
    let count = choice::count(&query, choice.limit, client).await?;
    if options.dry_run {
        return match options.json {
            true => output::json(&json!({"events": count, "query": query})),
            false => output::line(format_args!("{} would be cancelled", plural(count))),
        };
    }
    if !options.yes {
        confirm("cancel", "cancelled", count)?;
    }
    let bar = progress::event_bar("cancelling", count);
    let mut done = 0;
    let mut asked = json!({"query": query});
    loop {
        let left = choice.limit.map(|limit| limit.saturating_sub(done));
        if left == Some(0) {
            break;
        }
        asked["limit"] = json!(left);
        let request = client.request(Method::POST, "events/cancel").json(&asked);
        let step: Step = client::parse(client.send(request).await?, "POST cancel").await?;
        done += step.cancelled;
        bar.set_position(done);
        if step.next.is_none() {
            break;
        }
        asked["after"] = json!(step.next);
        asked["before"] = json!(step.before);
    }
    bar.finish_and_clear();
    report(options, done)
}

fn report(options: &Options, cancelled: u64) -> Result<()> {
    match options.json {
        true => output::json(&json!({"cancelled": cancelled})),
        false => output::line(format_args!("{} cancelled", plural(cancelled))),
    }
}
