//! `rouse ls`: functions, services, buckets and queues, and how much waits for whom.

use super::driver::Drivers;
use crate::client::Client;
use crate::commands::versions::ways;
use crate::error::Result;
use crate::output;
use model::{
    Code, Function, InstanceState, InstanceStatus, NotificationRule, Owner, QueueAttributes,
    Routing, ServiceStatus, Timestamp,
};
use serde::{Deserialize, Serialize};

/// List functions, services, buckets and queues, and how many events wait for whom
///
/// Examples:
///   rouse ls
///   rouse ls --json | jq '.functions[].spec.name'
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A function as the control API shows it.
#[derive(Debug, Serialize, Deserialize)]
struct FunctionView {
    #[serde(flatten)]
    function: Function,
    /// Where its calls without a qualifier go, if not to what was declared last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    serving: Option<Routing>,
}

/// A bucket as the control API shows it.
#[derive(Debug, Serialize, Deserialize)]
struct BucketView {
    name: String,
    created: Timestamp,
    notify: Vec<NotificationRule>,
}

/// A queue as the control API shows it.
#[derive(Debug, Serialize, Deserialize)]
struct QueueView {
    name: String,
    created: Timestamp,
    attributes: QueueAttributes,
    visible: u64,
    in_flight: u64,
    delayed: u64,
    /// When the oldest message was sent.
    oldest: Option<Timestamp>,
}

/// The events of a target as the control API shows them.
#[derive(Debug, Serialize, Deserialize)]
struct TargetView {
    /// Such as `function:thumbnail`.
    target: String,
    waiting: u64,
    /// Being attempted.
    leased: u64,
    /// When the oldest was accepted that waits.
    oldest: Option<Timestamp>,
}

/// Runs the command.
pub(crate) async fn run(options: &Options, client: &Client) -> Result<()> {
    let functions: Vec<FunctionView> = client.get("functions", &[]).await?;
    let services: Vec<ServiceStatus> = client.get("services", &[]).await?;
    let buckets: Vec<BucketView> = client.get("buckets", &[]).await?;
    let queues: Vec<QueueView> = client.get("queues", &[]).await?;
    let targets: Vec<TargetView> = client.get("targets", &[]).await?;
    let drivers = Drivers::get(client).await?;
    if options.json {
        return output::json(&serde_json::json!({
            "drivers": drivers,
            "functions": functions,
            "services": services,
            "buckets": buckets,
            "queues": queues,
            "targets": targets,
        }));
    }
    let things = functions.len() + services.len() + buckets.len() + queues.len() + targets.len();
    if things == 0 {
        output::note("nothing is deployed; `rouse deploy --help` shows how");
        return Ok(());
    }
    let instances: Vec<InstanceStatus> = client.get("instances", &[]).await?;
    if !functions.is_empty() {
        print_functions(&functions, &instances, &drivers)?;
    }
    if !services.is_empty() {
        print_services(&services, &drivers)?;
    }
    if !buckets.is_empty() {
        print_buckets(&buckets)?;
    }
    if !queues.is_empty() {
        print_queues(&queues)?;
    }
    if !targets.is_empty() {
        print_targets(&targets)?;
    }
    Ok(())
}

fn print_functions(
    functions: &[FunctionView],
    instances: &[InstanceStatus],
    drivers: &Drivers,
) -> Result<()> {
    let mut table = output::table([
        "FUNCTION",
        "VERSION",
        "RUNTIME",
        "DRIVER",
        "MEMORY",
        "TIMEOUT",
        "INSTANCES",
        "CHANGED",
    ]);
    for FunctionView { function, serving } in functions {
        let spec = &function.spec;
        let own = instances.iter().filter(
            |instance| matches!(&instance.owner, Owner::Function { name, .. } if *name == spec.name),
        );
        let states: Vec<InstanceState> = own.map(|instance| instance.state).collect();
        let counts = [
            (InstanceState::Starting, "starting"),
            (InstanceState::Busy, "busy"),
            (InstanceState::Idle, "idle"),
            (InstanceState::Stopping, "stopping"),
        ];
        let counts: Vec<String> = counts
            .into_iter()
            .map(|(state, word)| (states.iter().filter(|known| **known == state).count(), word))
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {}", output::state(word)))
            .collect();
        table.add_row([
            spec.name.to_string(),
            serving.as_ref().map_or_else(|| "$LATEST".to_owned(), ways),
            match &spec.code {
                Code::Image { reference, .. } if spec.follow => {
                    format!("image, follows {}", output::cell(reference, 100))
                }
                _ => spec.runtime.as_str().to_owned(),
            },
            drivers.of(spec.driver),
            output::bytes(spec.limits.memory),
            output::micros(spec.limits.timeout.saturating_mul(1000)),
            if counts.is_empty() {
                "none".to_owned()
            } else {
                counts.join(", ")
            },
            format!("{} ago", output::age(function.modified)),
        ]);
    }
    output::print_table(&table, "")
}

fn print_services(services: &[ServiceStatus], drivers: &Drivers) -> Result<()> {
    let mut table = output::table([
        "SERVICE", "RUNTIME", "DRIVER", "PORTS", "HEALTHY", "RESTARTS", "STATE",
    ]);
    for status in services {
        let spec = &status.service.spec;
        let healthy = status
            .replicas
            .iter()
            .filter(|replica| replica.state == "healthy")
            .count();
        let restarts: u32 = status.replicas.iter().map(|replica| replica.restarts).sum();
        let worst = status
            .replicas
            .iter()
            .find(|replica| replica.state != "healthy");
        let mut state = output::state(worst.map_or("healthy", |replica| &replica.state));
        if let Some(exit) = worst.and_then(|replica| replica.last_exit.as_ref()) {
            state = format!("{state} ({})", output::cell(exit, 60));
        }
        if spec.replicas == 0 {
            state = output::state("stopped");
        }
        let ports: Vec<String> = spec.ports.iter().map(u16::to_string).collect();
        table.add_row([
            spec.name.to_string(),
            spec.runtime.as_str().to_owned(),
            drivers.of(spec.driver),
            ports.join(","),
            format!("{healthy}/{}", spec.replicas),
            restarts.to_string(),
            state,
        ]);
    }
    output::print_table(&table, "")
}

fn print_buckets(buckets: &[BucketView]) -> Result<()> {
    let mut table = output::table(["BUCKET", "WAKES", "MADE"]);
    for bucket in buckets {
        let targets: Vec<String> = bucket
            .notify
            .iter()
            .map(|rule| match &rule.qualifier {
                Some(qualifier) => format!("{}:{qualifier}", rule.target),
                None => rule.target.to_string(),
            })
            .collect();
        table.add_row([
            output::cell(&bucket.name, 63),
            output::cell(&targets.join(", "), 100),
            format!("{} ago", output::age(bucket.created)),
        ]);
    }
    output::print_table(&table, "")
}

fn print_queues(queues: &[QueueView]) -> Result<()> {
    let mut table = output::table([
        "QUEUE",
        "VISIBLE",
        "IN FLIGHT",
        "DELAYED",
        "OLDEST",
        "DEAD LETTERS",
        "MADE",
    ]);
    for queue in queues {
        let redrive = queue.attributes.redrive.as_ref();
        table.add_row([
            output::cell(&queue.name, 80),
            queue.visible.to_string(),
            queue.in_flight.to_string(),
            queue.delayed.to_string(),
            queue.oldest.map_or_else(String::new, output::age),
            redrive.map_or_else(String::new, |redrive| redrive.dead_letter.to_string()),
            format!("{} ago", output::age(queue.created)),
        ]);
    }
    output::print_table(&table, "")
}

fn print_targets(targets: &[TargetView]) -> Result<()> {
    let mut table = output::table(["EVENTS FOR", "WAITING", "IN FLIGHT", "OLDEST"]);
    for one in targets {
        table.add_row([
            output::cell(&one.target, 100),
            one.waiting.to_string(),
            one.leased.to_string(),
            one.oldest.map_or_else(String::new, output::age),
        ]);
    }
    output::print_table(&table, "")
}
