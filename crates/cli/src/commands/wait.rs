//! Waiting until services are healthy, and showing why they are not.

use crate::client::Client;
use crate::client::lines::Lines;
use crate::client::with_query;
use crate::commands::progress;
use crate::error::{Error, Result};
use crate::output;
use model::{LogLine, ServiceName, ServiceStatus};
use reqwest::Method;
use std::time::{Duration, Instant};

/// Longest wait for services to become healthy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// Log lines shown of each service that is not healthy in the end.
const LAST_LINES: u32 = 10;

/// Waits until every replica of every named service is healthy.
pub(crate) async fn until_healthy(client: &Client, names: &[ServiceName]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let deadline = Instant::now() + PATIENCE;
    let spinner = progress::spinner("waiting for services");
    loop {
        let statuses: Vec<ServiceStatus> = client.get("services", &[]).await?;
        let waiting: Vec<&ServiceStatus> = statuses
            .iter()
            .filter(|status| names.contains(&status.service.spec.name) && !is_healthy(status))
            .collect();
        if waiting.is_empty() {
            spinner.finish_and_clear();
            return Ok(());
        }
        let shown: Vec<String> = waiting.iter().map(|status| describe(status)).collect();
        spinner.set_message(format!("waiting for {}", shown.join("; ")));
        if Instant::now() >= deadline {
            spinner.finish_and_clear();
            for status in &waiting {
                show_logs(client, &status.service.spec.name).await;
            }
            return Err(Error::Failed(format!(
                "not healthy after {} s: {}; it was deployed and is tried again: see `rouse ls` and \
                 `rouse logs -f NAME`",
                PATIENCE.as_secs(),
                shown.join("; ")
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn is_healthy(status: &ServiceStatus) -> bool {
    let wanted = status.service.spec.replicas as usize;
    let healthy = status
        .replicas
        .iter()
        .filter(|replica| is_well(&replica.state));
    healthy.count() >= wanted
}

/// Whether nothing more is to come: it is healthy, or a job that is done.
fn is_well(state: &str) -> bool {
    matches!(state, "healthy" | "completed")
}

fn describe(status: &ServiceStatus) -> String {
    let name = &status.service.spec.name;
    let replicas: Vec<String> = status
        .replicas
        .iter()
        .filter(|replica| !is_well(&replica.state))
        .map(|replica| {
            let mut text = output::cell(&replica.state, 40);
            if replica.restarts > 0 {
                text.push_str(&format!(", {} restarts", replica.restarts));
            }
            if let Some(exit) = &replica.last_exit {
                let before = match replica.state.as_str() {
                    "waiting" => "",
                    _ => "ended before: ",
                };
                text.push_str(&format!(", {before}{}", output::cell(exit, 100)));
            }
            text
        })
        .collect();
    format!("{name} ({})", replicas.join(" | "))
}

/// The last lines of a service on standard error. What cannot be had is not shown: the error that
/// follows says enough.
async fn show_logs(client: &Client, name: &ServiceName) {
    let query = [
        ("key", format!("service:{name}")),
        ("tail", LAST_LINES.to_string()),
        ("follow", "false".to_owned()),
    ];
    let request = client.request(Method::GET, &with_query("logs", &query));
    let Ok(response) = client.send(request).await else {
        return;
    };
    let mut lines = Lines::of(response, "GET logs");
    while let Ok(Some(line)) = lines.next::<LogLine>().await {
        output::note(format_args!(
            "{name} | {}",
            output::clean(&line.text, false)
        ));
    }
}
