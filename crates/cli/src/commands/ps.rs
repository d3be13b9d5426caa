//! `rouse ps`: what runs now.

use crate::client::Client;
use crate::error::Result;
use crate::output;
use model::{InstanceState, InstanceStatus, Owner};

/// List running instances
///
/// Example:
///   rouse ps
///
/// One line for each contained process tree: an instance of a function or a replica of a service.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(options: &Options, client: &Client) -> Result<()> {
    let instances: Vec<InstanceStatus> = client.get("instances", &[]).await?;
    if options.json {
        return output::json(&instances);
    }
    let mut table = output::table([
        "INSTANCE", "WHOSE", "DRIVER", "STATE", "PID", "AGE", "CALLS",
    ]);
    for instance in &instances {
        let owner = match &instance.owner {
            Owner::Function {
                name,
                version: Some(version),
                ..
            } => format!("function {name} (version {version})"),
            Owner::Function { name, revision, .. } => {
                format!("function {name} (revision {revision})")
            }
            Owner::Service { name, replica } => format!("service {name} (replica {replica})"),
        };
        let state = match instance.state {
            InstanceState::Starting => "starting",
            InstanceState::Idle => "idle",
            InstanceState::Busy => "busy",
            InstanceState::Stopping => "stopping",
        };
        let pid = match instance.pid {
            0 => "-".to_owned(),
            pid => pid.to_string(),
        };
        table.add_row([
            instance.id.as_str().chars().take(12).collect(),
            owner,
            instance.driver.to_string(),
            output::state(state),
            pid,
            output::age(instance.started),
            instance.calls.to_string(),
        ]);
    }
    output::print_table(&table, "nothing runs now")
}
