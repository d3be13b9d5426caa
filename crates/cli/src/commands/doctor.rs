//! `rouse doctor`: what of this machine can be used.

use super::driver::Drivers;
use crate::client::Client;
use crate::data::DataFolder;
use crate::error::{Error, Result};
use crate::output;
use crate::serve::{DOCKER_HOST, port};
use launcher::probe::{Finding, Standing};
use model::Driver;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// Tell what of this machine can be used, and what cannot, and why
///
/// Examples:
///   rouse doctor
///   sudo rouse doctor --json
///
/// Looks at kernel, namespaces, cgroups, seccomp and mounts, the interpreters of the host base, the
/// data folder's disk, Docker Engine, the port, and whether a server answers. Changes nothing. The exit code is 1
/// when something is missing that functions cannot run without.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The address whose port is looked at
    #[arg(long, env = "ROUSE_LISTEN", default_value = port::DEFAULT_LISTEN, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where Docker Engine is looked for [default: where the running server looks, else
    /// unix:///var/run/docker.sock]
    #[arg(long, env = "DOCKER_HOST", value_name = "URL", hide_env_values = true)]
    docker_host: Option<String>,
}

/// Less free space than this is worth a word: 1 GiB.
const LITTLE_SPACE: u64 = 1 << 30;

/// Runs the command.
pub(crate) async fn run(options: &Options, data: &DataFolder) -> Result<()> {
    let mut findings = launcher::probe::probe();
    findings.push(interpreter(
        "Node.js for nodejs20.x",
        &["node", "/usr/bin/node"],
        "20",
        "nodejs",
    ));
    findings.push(interpreter(
        "Python for python3.11",
        &["/usr/bin/python3.11", "python3.11"],
        "3.11",
        "python3.11",
    ));
    findings.push(disk(data.path()));
    findings.push(docker(options, data).await);
    let server = server(data).await;
    findings.push(port_finding(
        options.listen,
        server.standing == Standing::Ok,
    ));
    findings.push(server);
    let missing = findings
        .iter()
        .filter(|finding| finding.standing == Standing::Missing)
        .count();
    if options.json {
        output::json(&findings)?;
    } else {
        print(&findings)?;
    }
    match missing {
        0 => Ok(()),
        1 => Err(Error::Failed("one thing is missing; see above".to_owned())),
        count => Err(Error::Failed(format!(
            "{count} things are missing; see above"
        ))),
    }
}

fn print(findings: &[Finding]) -> Result<()> {
    let mut table = output::table(["WHAT", "STANDING", "DETAIL"]);
    for finding in findings {
        let standing = match finding.standing {
            Standing::Ok => "ok",
            Standing::Degraded => "degraded",
            Standing::Missing => "missing",
        };
        table.add_row([
            finding.what.clone(),
            output::state(standing),
            output::clean(&finding.detail, true),
        ]);
    }
    output::print_table(&table, "")
}

fn finding(what: &str, standing: Standing, detail: impl Into<String>) -> Finding {
    Finding {
        what: what.to_owned(),
        standing,
        detail: detail.into(),
    }
}

/// An interpreter that is not there only concerns the functions that ask for it. `programs` are tried
/// in the order in which the runtime tries them.
fn interpreter(what: &str, programs: &[&str], version: &str, package: &str) -> Finding {
    let mut wrong = None;
    for program in programs {
        let Ok(output) = Command::new(program).arg("--version").output() else {
            continue;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let found = output::cell(text.trim(), 60);
        let digits = found.trim_start_matches(|c: char| !c.is_ascii_digit());
        if digits.starts_with(&format!("{version}.")) {
            return finding(what, Standing::Ok, format!("{program}: {found}"));
        }
        wrong.get_or_insert(format!("{program} is {found}, not version {version}"));
    }
    let detail = wrong.unwrap_or_else(|| format!("{} is not found", programs.join(" or ")));
    let remedy =
        format!("functions of this runtime cannot run; on Debian: apt-get install {package}");
    finding(what, Standing::Degraded, format!("{detail}: {remedy}"))
}

/// Only functions and services with the driver `docker` need it.
async fn docker(options: &Options, data: &DataFolder) -> Finding {
    const WHAT: &str = "Docker Engine for the driver docker";
    let asked = match Client::new(data) {
        Ok(client) => Drivers::get(&client).await.ok(),
        Err(_) => None,
    };
    let is_default = asked
        .as_ref()
        .is_some_and(|drivers| drivers.default == Driver::Docker);
    let host = options.docker_host.clone();
    let host = host.or(asked.map(|drivers| drivers.docker_host));
    let host = host.unwrap_or_else(|| DOCKER_HOST.to_owned());
    match runtime::reach_docker(&host).await {
        Ok(engine) => {
            let version = output::cell(&engine.version, 60);
            let detail = format!("{host}: version {version}, API {}", engine.api);
            finding(WHAT, Standing::Ok, detail)
        }
        Err(error) if is_default => finding(WHAT, Standing::Missing, error.to_string()),
        Err(error) => {
            let rest = "only functions and services that choose the driver docker need it";
            finding(WHAT, Standing::Degraded, format!("{error}; {rest}"))
        }
    }
}

fn disk(folder: &Path) -> Finding {
    let what = "disk";
    // The folder may not be there yet: its nearest ancestor is on the same disk.
    let Some(existing) = folder.ancestors().find(|path| path.exists()) else {
        return finding(
            what,
            Standing::Missing,
            format!("{} has no root", folder.display()),
        );
    };
    match rustix::fs::statvfs(existing) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let detail = format!("{} free for {}", output::bytes(free), folder.display());
            if free < LITTLE_SPACE {
                finding(
                    what,
                    Standing::Degraded,
                    format!("{detail}: little; make room"),
                )
            } else {
                finding(what, Standing::Ok, detail)
            }
        }
        Err(error) => {
            let detail = format!("{} cannot be looked at: {error}", existing.display());
            finding(what, Standing::Degraded, detail)
        }
    }
}

fn port_finding(address: SocketAddr, server_runs: bool) -> Finding {
    let what = "port";
    match port::bind(address) {
        Ok(_) => finding(what, Standing::Ok, format!("{address} is free")),
        Err(_) if server_runs => finding(what, Standing::Ok, format!("{address} is in use")),
        Err(error) => finding(what, Standing::Degraded, error.to_string()),
    }
}

async fn server(data: &DataFolder) -> Finding {
    let what = "server";
    let asked = match Client::new(data) {
        Ok(client) => {
            let instances: Result<Vec<model::InstanceStatus>> = client.get("instances", &[]).await;
            instances.map(|instances| (instances.len(), client.url().to_owned()))
        }
        Err(error) => Err(error),
    };
    match asked {
        Ok((count, url)) => finding(
            what,
            Standing::Ok,
            format!("answers at {url}, {count} instances"),
        ),
        Err(error) => finding(what, Standing::Degraded, error.to_string()),
    }
}
