//! `rouse events replay`: one event or all that are chosen, accepted once more.

use super::choice::{self, Choice, confirm, plural};
use crate::client::event::{EventView, NewEventAnswer};
use crate::client::{self, Client};
use crate::commands::progress;
use crate::error::{Error, Result};
use crate::output;
use clap::Args;
use model::{EventId, EventQuery, EventState, Qualifier, Replay, ReplayId, ReplayState, Timestamp};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

/// Pause between two looks at how far it came.
const PAUSE: Duration = Duration::from_millis(200);

/// Accept an event once more, or all events that are chosen, as new ones that name the old
///
/// Examples:
///   rouse events replay 0197…                     # prints the new event's id
///   rouse events replay 0197… --wait
///   rouse events replay --function thumbnail --state dead --since 2h --dry-run
///   rouse events replay --function thumbnail --state dead --since 2h
///   rouse events replay --function thumbnail --state dead --since 2h --version 7
///   rouse events replay --source s3:photos --since 7d --until 1d --yes --json
///
/// Each is a new event with the old one's payload, source and kind; `rouse events show` tells of each
/// what it repeats and what repeats it. It goes to the version of its function that the old one
/// was meant for, which for most is the current one, or to that of --version: a number, an alias or $LATEST. Without
/// --state, events that have ended are meant. Events that wake what is not there any more
/// are left out, and counted.
///
/// Chosen events are replayed by the server, oldest first and in steps that survive its end: after a
/// crash the next start goes on, and no event is replayed twice or left out. This command only watches:
/// ended early, it changes nothing, and run again with the same --id and the same choice it watches the
/// same replay. `--cancel` stops one; what it has accepted stays.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Options {
    /// The event, if it is one
    #[arg(conflicts_with_all = ["function", "target", "state", "source", "since", "until", "limit"])]
    event: Option<EventId>,
    #[command(flatten)]
    choice: Choice,
    /// For this version of the function: a number, an alias or $LATEST
    #[arg(long, value_name = "VERSION")]
    version: Option<Qualifier>,
    /// Wait until the new event has ended; the exit code is 1 if it did not succeed
    #[arg(long, requires = "event")]
    wait: bool,
    /// Only say how many events are meant
    #[arg(long, conflicts_with = "event")]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long, conflicts_with = "event")]
    yes: bool,
    /// Name the replay, a UUID, so that it is not begun twice
    #[arg(long, value_name = "UUID", conflicts_with = "event")]
    id: Option<ReplayId>,
    /// Stop the replay of this id
    #[arg(long, value_name = "UUID", exclusive = true)]
    cancel: Option<ReplayId>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) async fn run(options: &Options, client: &Client) -> Result<()> {
    match (options.event, options.cancel) {
        (Some(event), _) => one(options, event, client).await,
        (None, Some(id)) => {
            let request = client.request(Method::DELETE, &format!("replays/{id}"));
            let replay: Replay = client::parse(client.send(request).await?, "DELETE replay").await?;
            report(options, &replay)
        }
        (None, None) if options.choice.is_empty() => Err(Error::Usage(
            "say which events: an id, or --function, --target, --state, --source, --since, --until \
             or --limit"
                .to_owned(),
        )),
        (None, None) => chosen(options, client).await,
    }
}

async fn one(options: &Options, event: EventId, client: &Client) -> Result<()> {
    let mut path = format!("events/{event}/replay");
    if let Some(version) = &options.version {
        // A version has no character that a query would have to escape.
        path.push_str(&format!("?version={version}"));
    }
    let response = client.send(client.request(Method::POST, &path)).await?;
    let answer: NewEventAnswer = client::parse(response, "POST replay").await?;
    if options.json {
        output::json(&answer)?;
    } else {
        output::line(answer.event_id)?;
    }
    if options.wait {
        return wait(answer.event_id, client).await;
    }
    Ok(())
}

async fn wait(id: EventId, client: &Client) -> Result<()> {
    loop {
        let event: EventView = client.get(&format!("events/{id}"), &[]).await?;
        match event.state {
            EventState::Succeeded => {
                output::note(output::state("succeeded"));
                return Ok(());
            }
            EventState::Dead | EventState::Expired | EventState::Cancelled => {
                let error = event.last_error.unwrap_or_default();
                let (state, error) = (event.state.as_str(), output::clean(&error, false));
                return Err(Error::Failed(format!("the event is {state}: {error}")));
            }
            EventState::Waiting | EventState::Leased => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn chosen(options: &Options, client: &Client) -> Result<()> {
    let query = match known(options, client).await? {
        // Its times were fixed when it was begun: the same words mean another time by now.
        Some(known) => known,
        None => options.choice.query(Timestamp::now(), &EventState::ENDED)?,
    };
    let order = json!({"query": query, "limit": options.choice.limit, "version": options.version});
    let count = choice::count(&query, options.choice.limit, client).await?;
    if options.dry_run {
        return match options.json {
            true => output::json(&json!({"events": count, "query": query})),
            false => output::line(format_args!("{} would be replayed", plural(count))),
        };
    }
    if !options.yes {
        confirm("replay", "replayed", count)?;
    }
    let id = options.id.unwrap_or_else(ReplayId::generate);
    let mut asked = order;
    asked["id"] = json!(id);
    let request = client.request(Method::POST, "replays").json(&asked);
    let begun: Replay = client::parse(client.send(request).await?, "POST replays").await?;
    report(options, &watch(begun, count, client).await?)
}

/// What the replay of the named id was asked for, if it was begun before.
async fn known(options: &Options, client: &Client) -> Result<Option<EventQuery>> {
    let Some(id) = options.id else {
        return Ok(None);
    };
    match client.get::<Replay>(&format!("replays/{id}"), &[]).await {
        Ok(replay) => {
            let asked = options.choice.query(replay.started, &EventState::ENDED)?;
            let known = replay.order.query;
            let same = asked.target == known.target
                && asked.source == known.source
                && asked.states == known.states
                && replay.order.limit == options.choice.limit
                && replay.order.version == options.version;
            if same {
                return Ok(Some(known));
            }
            Err(Error::Usage(format!(
                "{id} is the replay of other events: name another id"
            )))
        }
        Err(error) if error.kind() == model::Kind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn watch(mut replay: Replay, count: u64, client: &Client) -> Result<Replay> {
    let path = format!("replays/{}", replay.id);
    let bar = progress::event_bar("replaying", count);
    if replay.state == ReplayState::Running {
        bar.println(format!("replay {}", replay.id));
    }
    while replay.state == ReplayState::Running {
        tokio::time::sleep(PAUSE).await;
        replay = client.get(&path, &[]).await.inspect_err(|_| {
            bar.abandon();
            let id = replay.id;
            output::note(format_args!(
                "the server goes on by itself; look again with --id {id}"
            ));
        })?;
        bar.set_position(replay.replayed + replay.skipped);
    }
    bar.finish_and_clear();
    Ok(replay)
}

fn report(options: &Options, replay: &Replay) -> Result<()> {
    if options.json {
        return output::json(replay);
    }
    let skipped = match replay.skipped {
        0 => String::new(),
        skipped => format!(
            "; {} left out, since what is to be woken is not there any more",
            plural(skipped)
        ),
    };
    output::line(format_args!(
        "{} {}: {} replayed{skipped}",
        replay.id,
        output::state(replay.state.as_str()),
        plural(replay.replayed)
    ))
}
