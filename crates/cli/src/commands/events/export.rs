//! `rouse events export`: events as NDJSON of CloudEvents.

use super::choice::Choice;
use crate::client::{Client, root_cause, with_query};
use crate::error::{Error, Result};
use model::Timestamp;
use reqwest::Method;
use std::io::Write;

/// Write events as NDJSON, one CloudEvent 1.0 a line, oldest first
///
/// Examples:
///   rouse events export > events.ndjson
///   rouse events export --function thumbnail --state dead --since 7d > dead.ndjson
///   rouse events export --since 1h | jq -r 'select(.attempts > 1) | [.id, .lasterror] | @tsv'
///   rouse events export --since 1h | jq .data     # only what the targets are given
///
/// A line has the attributes of CloudEvents (specversion, id, source, type, subject, time, data) and as
/// extensions what became of the event:
///   target     what it wakes, such as function:thumbnail
///   state      waiting, leased, succeeded, dead, expired or cancelled
///   attempts   attempts that ended
///   ended      when its end state was recorded
///   lasterror  why the last attempt failed, or why it did not succeed
///   cause      the event that caused it; depth: how many stand before it in that chain
///   replayof   the event that it repeats
///
/// It is streamed: neither server nor command holds more than a page of it. Events that are accepted
/// after it began are not in it. If it breaks off, the exit code is 1 and the last line may be cut.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Options {
    #[command(flatten)]
    choice: Choice,
}

/// Runs the command.
pub(super) async fn run(options: &Options, client: &Client) -> Result<()> {
    let query = options.choice.query(Timestamp::now(), &[])?;
    let state = query.states.first().map(|state| state.as_str().to_owned());
    let parts = [
        ("target", query.target),
        ("source", query.source),
        ("state", state),
        ("since", query.since.map(|time| time.0.to_string())),
        ("until", query.until.map(|time| time.0.to_string())),
        ("limit", options.choice.limit.map(|limit| limit.to_string())),
    ];
    let parts: Vec<(&str, String)> = parts
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let request = client.request(Method::GET, &with_query("events/export", &parts));
    let mut answer = client.send(request).await?;
    let mut out = std::io::stdout().lock();
    let broken = |error: reqwest::Error| {
        let reason = root_cause(&error);
        Error::Failed(format!(
            "the export broke off, what was written is not all of it: {reason}; see the server's log"
        ))
    };
    while let Some(chunk) = answer.chunk().await.map_err(broken)? {
        out.write_all(&chunk)
            .map_err(Error::io("writing to standard output"))?;
    }
    out.flush().map_err(Error::io("writing to standard output"))
}
