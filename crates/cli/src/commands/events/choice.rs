//! Which events of the past are meant, as options of a command.

use crate::client::{self, Client};
use crate::error::{Error, Result};
use crate::manifest::parse_duration;
use crate::output;
use clap::Args;
use model::{EventQuery, EventState, FunctionName, Timestamp};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use std::io::{BufRead, IsTerminal};

/// Options that choose events.
#[derive(Debug, Args)]
pub(super) struct Choice {
    /// Only events of this function
    #[arg(long, value_name = "NAME", conflicts_with = "target")]
    function: Option<FunctionName>,
    /// Only of this target: function:NAME, service:NAME[/path], queue:NAME, bus:NAME or webhook:NAME
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Only in this state: waiting, leased, succeeded, dead, expired or cancelled
    #[arg(long)]
    state: Option<EventState>,
    /// Only from this source, as `rouse events` shows it, such as s3:photos or invoke
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Only accepted then or later: a while ago (30m, 2h, 7d) or a time (2026-11-22T10:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    since: Option<When>,
    /// Only accepted before then: a while ago or a time
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    until: Option<When>,
    /// At most so many, the oldest first
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) limit: Option<u64>,
}

impl Choice {
    /// Whether nothing is said, so that all events are meant.
    pub(super) fn is_empty(&self) -> bool {
        self.query(Timestamp(0), &[])
            .is_ok_and(|query| query == EventQuery::default())
            && self.limit.is_none()
    }

    /// What is meant at `now`; in one of `states` unless one is named.
    pub(super) fn query(&self, now: Timestamp, states: &[EventState]) -> Result<EventQuery> {
        let function = self
            .function
            .as_ref()
            .map(|name| format!("function:{name}"));
        let query = EventQuery {
            target: function.or_else(|| self.target.clone()),
            source: self.source.clone(),
            states: self
                .state
                .map_or_else(|| states.to_vec(), |state| vec![state]),
            since: self.since.map(|when| when.at(now)),
            until: self.until.map(|when| when.at(now)),
        };
        query
            .check()
            .map_err(|error| Error::Usage(error.to_string()))?;
        Ok(query)
    }
}

#[derive(Deserialize)]
struct Counted {
    events: u64,
}

/// How many events are meant now, `limit` at most.
pub(super) async fn count(query: &EventQuery, limit: Option<u64>, client: &Client) -> Result<u64> {
    let asked = json!({"query": query, "limit": limit, "dry_run": true});
    let request = client.request(Method::POST, "replays").json(&asked);
    let counted: Counted = client::parse(client.send(request).await?, "POST replays").await?;
    Ok(counted.events)
}

/// So many events, in words.
pub(super) fn plural(count: u64) -> String {
    match count {
        1 => "1 event".to_owned(),
        count => format!("{count} events"),
    }
}

/// Asks whether to go on: `verb` such as "replay", `done` such as "replayed".
pub(super) fn confirm(verb: &str, done: &str, count: u64) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::Usage(format!(
            "{} would be {done}, and nobody is there to ask: say --yes, or --dry-run",
            plural(count)
        )));
    }
    output::note(format_args!("{verb} {}? [y/N]", plural(count)));
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(Error::io("reading the answer"))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Error::Failed(format!("nothing was {done}"))),
    }
}

/// A point in time as people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// So many milliseconds ago.
    Ago(u64),
    /// Then.
    At(Timestamp),
}

impl When {
    fn parse(text: &str) -> std::result::Result<Self, String> {
        if let Ok(ago) = parse_duration(text) {
            return Ok(Self::Ago(ago));
        }
        Timestamp::parse_rfc3339(text).map(Self::At).map_err(|_| {
            format!("must be a while such as 30m, 2h or 7d, or a time such as 2026-11-22T10:00:00Z, and is {text:?}")
        })
    }

    fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(ago) => {
                Timestamp(now.0.saturating_sub(i64::try_from(ago).unwrap_or(i64::MAX)))
            }
            Self::At(time) => time,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        choice: Choice,
    }

    fn choice(arguments: &str) -> std::result::Result<Choice, clap::Error> {
        let arguments = ["test"].into_iter().chain(arguments.split_whitespace());
        Command::try_parse_from(arguments).map(|command| command.choice)
    }

    #[test]
    fn times_are_whiles_or_points() {
        let choice = choice("--since 2h --until 1970-01-01T03:00:00Z --function f").unwrap();
        let query = choice.query(Timestamp(8_000_000), &[EventState::Dead]);
        let query = query.unwrap();
        assert_eq!(query.since, Some(Timestamp(800_000)));
        assert_eq!(query.until, Some(Timestamp(10_800_000)));
        assert_eq!(query.target.as_deref(), Some("function:f"));
        assert_eq!(query.states, [EventState::Dead]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for wrong in [
            "--since yesterday",
            "--function f --target function:g",
            "--state tired",
            "--limit 0",
        ] {
            assert!(choice(wrong).is_err(), "{wrong}");
        }
        let backwards = choice("--since 1h --until 2h").unwrap();
        assert!(backwards.query(Timestamp(0), &[]).is_err());
        assert!(choice("").unwrap().is_empty());
        assert!(!choice("--limit 3").unwrap().is_empty());
    }
}
