//! `rouse deploy`: from a manifest to running things.

use crate::client::{self, Client};
use crate::commands::{code, difference, progress, release, secret, wait};
use crate::data::DataFolder;
use crate::error::{Error, Result};
use crate::manifest::{Manifest, Origin, ProjectOptions};
use crate::output;
use model::{ChangeKind, Deployment, DeploymentReport, SecretKind};
use reqwest::Method;

/// Deploy what a Compose file declares
///
/// Examples:
///   rouse deploy                        # compose.yaml here
///   rouse deploy --dry-run              # what it would change
///   rouse deploy -f compose.yaml -f production.yaml --profile metrics
///   rouse deploy --image localhost:4566/shop/thumbnail:prod --follow
///
/// A compose.yaml:
///
///   name: shop
///   services:
///     thumbnail:                        # a function: it has an x-rouse block
///       build: ./thumbnail              # the folder with its code
///       x-rouse:
///         runtime: nodejs20.x           # or python3.11, provided; or `image:` in place of `build:`
///         handler: index.handler
///         memory: 512M
///         timeout: 30s
///         triggers: [{bucket: photos}, {queue: orders, batch: 10}]
///     catalog:                          # a resident service: it has none
///       build: ./catalog
///       command: node server.js
///       ports: ["8080"]                 # answers at /svc/catalog/ and to others as catalog:8080
///       volumes: ["records:/data"]
///       x-rouse-base: nodejs20.x
///       x-rouse-health: {path: /health}
///   volumes: {records: {}}
///   x-rouse:
///     queues: {orders: {visibility: 1m}}
///     buckets:
///       photos: {}
///       thumbs: {notify: [{service: catalog, path: /events}]}
///
/// Functions also take: contract (lambda, http), cpu, tmp, pids, files, description, concurrency {min,
/// max, keep_alive, queue, per_instance, reserved, freeze_after}, fresh (reuse, always),
/// snapshot (none, init), retry
/// {attempts, base_delay, max_delay, max_age}; triggers and notify also take events, prefix and suffix;
/// triggers by the clock {schedule, timezone, catch_up, input, name, start, end, window}, of services
/// in x-rouse-triggers with a path.
/// Services also take entrypoint, environment, working_dir, expose,
/// healthcheck {interval, timeout, retries, start_period}, deploy.replicas and
/// deploy.resources.limits {memory, cpus, pids}; without a limit a service has 512 MiB.
/// environment also comes from env_file; depends_on waits for services, restart says when they start again.
/// Variables such as ${NAME:-default} are replaced from the environment and the .env file beside the
/// manifest. Several files are merged as Compose does it: `rouse manifest` shows the result. Folders are
/// sent without what .rouseignore or .dockerignore names.
///
/// With --image an image of the registry is deployed without a manifest, as a new function or as the next
/// version of one; what a function has beside its image stays.
///
/// What the file does not mention stays as it is; `rouse rm` removes.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(flatten)]
    project: ProjectOptions,
    /// Say what a deployment would change and what not, and change nothing: values of variables that look like
    /// secrets are not shown
    #[arg(long)]
    dry_run: bool,
    /// Do not wait until services are healthy
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    image: release::Image,
    /// Print what changed as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(options: &Options, data: &DataFolder) -> Result<()> {
    if let Some(reference) = &options.image.image {
        return release::run(reference, &options.image, options.json, &Client::new(data)?).await;
    }
    let (manifest, project) = options.project.read()?.manifest()?;
    for note in &manifest.notes {
        output::note(format_args!("note: {}", output::clean(note, false)));
    }
    let client = Client::new(data)?;
    if !options.dry_run {
        check_external(&manifest, &client).await?;
    }
    let deployment = prepare(&manifest, project, &client, !options.dry_run).await?;
    if options.dry_run {
        let present = present(&client, &deployment).await?;
        return show_difference(&present, &deployment, options.json);
    }
    send_secrets(&manifest, &deployment, &client).await?;
    let request = client
        .request(Method::POST, "deployments")
        .json(&deployment);
    let spinner = progress::spinner(format!("deploying {}", deployment.project));
    let response = client.send(request).await;
    spinner.finish_and_clear();
    let report: DeploymentReport = client::parse(response?, "POST deployments").await?;
    if options.json {
        output::json(&report)?;
    } else {
        print_report(&report)?;
    }
    if !options.no_wait {
        let names = deployment.services.iter().map(|service| &service.name);
        wait::until_healthy(&client, &names.cloned().collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// What there is of the same things; a deployment that the server would refuse is refused here too.
async fn present(client: &Client, deployment: &Deployment) -> Result<Deployment> {
    let request = client.request(Method::POST, "deployments/preview");
    let response = client.send(request.json(deployment)).await?;
    client::parse(response, "POST deployments/preview").await
}

fn show_difference(present: &Deployment, deployment: &Deployment, json: bool) -> Result<()> {
    let differences = difference::between(present, deployment);
    if json {
        return output::json(&differences);
    }
    difference::print(&differences)
}

/// Archives and builds folders, looks images up, and sends what the server lacks if it shall.
async fn prepare(
    manifest: &Manifest,
    project: String,
    client: &Client,
    send: bool,
) -> Result<Deployment> {
    let placing = code::Placing {
        project: &project.clone(),
        client,
        send,
    };
    let mut deployment = Deployment {
        project,
        buckets: manifest
            .buckets
            .iter()
            .map(|bucket| bucket.spec.clone())
            .collect(),
        queues: manifest
            .queues
            .iter()
            .map(|queue| queue.spec.clone())
            .collect(),
        ..Deployment::default()
    };
    for function in &manifest.functions {
        deployment
            .mappings
            .extend(function.mappings.iter().cloned());
        let code = placing.code(function.name.as_str(), &function.code).await?;
        deployment.functions.push(function.with_code(code)?);
        deployment.rules.extend(function.rules.iter().cloned());
    }
    for service in &manifest.services {
        let code = placing.code(service.name.as_str(), &service.code).await?;
        deployment.services.push(service.with_code(code)?);
        deployment.rules.extend(service.rules.iter().cloned());
    }
    let by_functions = manifest.functions.iter().flat_map(|f| &f.schedules);
    let by_services = manifest.services.iter().flat_map(|s| &s.schedules);
    deployment.schedules = by_functions.chain(by_services).cloned().collect();
    Ok(deployment)
}

/// Secrets and configs that the server shall have must be there.
async fn check_external(manifest: &Manifest, client: &Client) -> Result<()> {
    let external = |kind| {
        let declared = manifest.secrets.iter();
        declared.filter(move |one| one.kind == kind && matches!(one.origin, Origin::External))
    };
    for kind in [SecretKind::Secret, SecretKind::Config] {
        if external(kind).next().is_none() {
            continue;
        }
        let there = secret::list(client, kind).await?;
        for one in external(kind) {
            if !there.iter().any(|known| known.name == one.name) {
                let message = format!("the server has no {kind} \"{}\"", one.name);
                let hint = format!("make it: rouse {kind} set {} < FILE", one.name);
                return Err(Error::Manifest(one.place.error(message).hint(hint)));
            }
        }
    }
    Ok(())
}

/// Sets the secrets and configs whose values the manifest names, unless the server would refuse the deployment: what
/// runs follows a value as soon as it is set.
async fn send_secrets(manifest: &Manifest, deployment: &Deployment, client: &Client) -> Result<()> {
    let is_given = |origin: &Origin| matches!(origin, Origin::Given(_));
    if manifest.secrets.iter().any(|one| is_given(&one.origin)) {
        present(client, deployment).await?;
    }
    for one in &manifest.secrets {
        if let Origin::Given(value) = &one.origin {
            let change = secret::put(client, one.kind, &one.name, value.clone()).await?;
            if change != ChangeKind::Unchanged {
                output::note(format_args!("{} {} is set", one.kind, one.name));
            }
        }
    }
    Ok(())
}

fn print_report(report: &DeploymentReport) -> Result<()> {
    let mut table = output::table(["WHAT", "NAME", "CHANGE"]);
    for change in &report.changes {
        let word = match change.change {
            model::ChangeKind::Created => "created",
            model::ChangeKind::Updated => "updated",
            model::ChangeKind::Unchanged => "unchanged",
        };
        table.add_row([
            change.what.clone(),
            change.name.clone(),
            output::state(word),
        ]);
    }
    output::print_table(&table, "the manifest declares nothing")
}
