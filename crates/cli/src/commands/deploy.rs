//! `rouse deploy`: from a manifest to running things.

use crate::archive;
use crate::client::{self, Client};
use crate::commands::{image, progress, release, secret, upload, wait};
use crate::data::DataFolder;
use crate::error::{Error, Result};
use crate::manifest::{CodeSource, MAX_MANIFEST, Manifest, Origin, Place, Source, Variables};
use crate::output;
use model::{ChangeKind, Code, Deployment, DeploymentReport, Digest, Kind, SecretKind};
use reqwest::Method;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Deploy what a Compose file declares
///
/// Examples:
///   rouse deploy                        # compose.yaml here
///   rouse deploy -f shop/compose.yaml --dry-run
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
/// Variables such as ${NAME:-default} are replaced from the environment and the .env file beside the
/// manifest. Folders are sent without what .rouseignore or .dockerignore names.
///
/// With --image an image of the registry is deployed without a manifest, as a new function or as the next
/// version of one; what a function has beside its image stays.
///
/// What the file does not mention stays as it is; `rouse rm` removes.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// The manifest; give it again for more [default: compose.yaml, compose.yml,
    /// docker-compose.yaml or docker-compose.yml here]
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Check and archive everything, print the deployment as JSON, and send nothing
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

const DEFAULT_FILES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];

/// Runs the command.
pub(crate) async fn run(options: &Options, data: &DataFolder) -> Result<()> {
    if let Some(reference) = &options.image.image {
        return release::run(reference, &options.image, options.json, &Client::new(data)?).await;
    }
    let files = find_files(&options.files)?;
    let (manifest, project) = read(&files)?;
    for note in &manifest.notes {
        output::note(format_args!("note: {}", output::clean(note, false)));
    }
    if options.dry_run {
        let deployment = prepare(&manifest, project, data, None).await?;
        return output::json(&deployment);
    }
    let client = Client::new(data)?;
    send_secrets(&manifest, &client).await?;
    let deployment = prepare(&manifest, project, data, Some(&client)).await?;
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

fn find_files(named: &[PathBuf]) -> Result<Vec<PathBuf>> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let default = DEFAULT_FILES
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists());
    default.map(|path| vec![path]).ok_or_else(|| {
        Error::Usage(format!(
            "no manifest is here: none of {} exists; name one with -f, or see `rouse deploy --help` \
             for an example",
            DEFAULT_FILES.join(", ")
        ))
    })
}

/// Reads the manifests; the project is named by the first that says a name, else by its folder.
fn read(files: &[PathBuf]) -> Result<(Manifest, String)> {
    let mut manifest = Manifest::default();
    for path in files {
        let source = Arc::new(Source {
            name: path.display().to_string(),
            text: read_bounded(path)?,
        });
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let dotenv_path = folder.join(".env");
        let dotenv = match std::fs::read_to_string(&dotenv_path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(Error::io(format!("reading {}", dotenv_path.display()))(
                    error,
                ));
            }
        };
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let variables = Variables::new(&dotenv, environment)
            .map_err(|error| Error::Usage(format!("{}:{error}", dotenv_path.display())))?;
        manifest.add(&source, folder, variables)?;
    }
    manifest.finish()?;
    let project = match &manifest.project {
        Some(name) => name.clone(),
        None => folder_name(files)?,
    };
    Ok((manifest, project))
}

fn folder_name(files: &[PathBuf]) -> Result<String> {
    let first = files.first().map_or(Path::new("."), PathBuf::as_path);
    let path = std::path::absolute(first).map_err(Error::io("finding the manifest's folder"))?;
    let name = path.parent().and_then(Path::file_name);
    let name = name.map_or("default".into(), |name| name.to_string_lossy());
    Ok(name.into_owned())
}

fn read_bounded(path: &Path) -> Result<String> {
    let doing = || Error::io(format!("reading {}", path.display()));
    let metadata = std::fs::metadata(path).map_err(doing())?;
    if metadata.is_file() && metadata.len() > MAX_MANIFEST {
        return Err(Error::Usage(format!(
            "{} is larger than {MAX_MANIFEST} bytes, more than a manifest may be",
            path.display()
        )));
    }
    std::fs::read_to_string(path).map_err(doing())
}

/// Archives folders, looks images up, and uploads what the server lacks (with `Some` client).
async fn prepare(
    manifest: &Manifest,
    project: String,
    data: &DataFolder,
    client: Option<&Client>,
) -> Result<Deployment> {
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
        let code = place_code(function.name.as_str(), &function.code, data, client).await?;
        deployment.functions.push(function.with_code(code)?);
        deployment.rules.extend(function.rules.iter().cloned());
    }
    for service in &manifest.services {
        let code = place_code(service.name.as_str(), &service.code, data, client).await?;
        deployment.services.push(service.with_code(code)?);
        deployment.rules.extend(service.rules.iter().cloned());
    }
    let by_functions = manifest.functions.iter().flat_map(|f| &f.schedules);
    let by_services = manifest.services.iter().flat_map(|s| &s.schedules);
    deployment.schedules = by_functions.chain(by_services).cloned().collect();
    Ok(deployment)
}

/// Sets the secrets and configs whose values the manifest names. Those that the server shall have must be there.
async fn send_secrets(manifest: &Manifest, client: &Client) -> Result<()> {
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

async fn place_code(
    name: &str,
    source: &CodeSource,
    data: &DataFolder,
    client: Option<&Client>,
) -> Result<Code> {
    match source {
        CodeSource::Image { reference, place } => match client {
            Some(client) => find_image(client, reference, place).await,
            // A dry run sends nothing, and still must know which image a name means.
            None => find_image(&Client::new(data)?, reference, place).await,
        },
        CodeSource::Folder { path, place } => {
            let spinner = progress::spinner(format!("archiving {name}"));
            let packed = archive::pack(path, |file| spinner.set_message(output::cell(file, 60)));
            spinner.finish_and_clear();
            let archive = packed.map_err(|error| match error {
                Error::Usage(message) => Error::Manifest(place.error(message)),
                other => other,
            })?;
            let code = Code::Zip {
                digest: archive.digest.clone(),
                size: archive.size,
            };
            if let Some(client) = client {
                let (entries, size) = (archive.entries, output::bytes(archive.size));
                if upload::upload(client, name, archive).await? {
                    output::note(format_args!("uploaded {name}: {entries} files, {size}"));
                }
            }
            Ok(code)
        }
    }
}

/// What an image's name means on the server.
#[derive(Debug, Deserialize)]
struct Resolved {
    reference: String,
    digest: Digest,
}

async fn find_image(client: &Client, reference: &str, place: &Place) -> Result<Code> {
    let path = format!("images/{}", image::path_of(reference));
    let request = client.request(Method::GET, &path);
    let found = match client.send(request).await {
        Ok(response) => client::parse::<Resolved>(response, "GET images").await?,
        Err(Error::Refused {
            kind: Kind::NotFound,
            ..
        }) => {
            let missing = place.error(format!("the server has no image \"{reference}\""));
            let how = format!(
                "docker push it to the server's registry, or: docker save {reference} -o image.tar;\n\
                 rouse image import image.tar --name {reference}"
            );
            return Err(Error::Manifest(missing.hint(how)));
        }
        Err(error) => return Err(error),
    };
    Ok(Code::Image {
        reference: found.reference,
        digest: found.digest,
    })
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
