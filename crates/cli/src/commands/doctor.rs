//! `rouse doctor`: what of this machine can be used.

use crate::client::Client;
use crate::data::DataFolder;
use crate::error::{Error, Result};
use crate::output;
use crate::serve::port;
use launcher::probe::{Finding, Standing};
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
/// data folder's disk, the port, and whether a server answers. Changes nothing. The exit code is 1
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
