//! `rouse events replays`: replays of many events, and how far they came.

use crate::client::Client;
use crate::error::Result;
use crate::output;
use clap::Args;
use model::Replay;
use serde::{Deserialize, Serialize};

/// List replays of chosen events, newest first: those that run and the last 1 000
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize, Deserialize)]
struct Page {
    replays: Vec<Replay>,
}

/// Runs the command.
pub(super) async fn run(options: &Options, client: &Client) -> Result<()> {
    let page: Page = client.get("replays", &[]).await?;
    if options.json {
        return output::json(&page);
    }
    let mut table = output::table(["ID", "STARTED", "STATE", "TARGET", "REPLAYED", "LEFT OUT"]);
    for replay in &page.replays {
        table.add_row([
            replay.id.to_string(),
            replay.started.rfc3339(),
            output::state(replay.state.as_str()),
            output::cell(replay.order.query.target.as_deref().unwrap_or("any"), 40),
            replay.replayed.to_string(),
            replay.skipped.to_string(),
        ]);
    }
    output::print_table(&table, "no events were replayed by a query yet")
}
