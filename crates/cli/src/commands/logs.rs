//! `rouse logs`: what a function or service wrote.

use crate::client::lines::Lines;
use crate::client::{Client, with_query};
use crate::commands::named::Named;
use crate::error::{Error, Result};
use crate::manifest::parse_duration;
use crate::output::{self, Tone, paint};
use model::{LogLine, Stream, Timestamp};
use reqwest::Method;

/// Show what a function or service logged
///
/// Examples:
///   rouse logs thumbnail
///   rouse logs -f catalog
///   rouse logs thumbnail --since 10m --request 3f1c…
///
/// Each line: time, instance (and its version, when it is of a published one), text. Lines of the platform itself (START, END, REPORT) are dim, standard
/// error is yellow.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// NAME, function/NAME or service/NAME
    name: String,
    /// Keep showing lines as they are written
    #[arg(short, long)]
    follow: bool,
    /// Only lines of this last while, such as 30s, 10m or 2h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    since: Option<u64>,
    /// Only the last so many lines
    #[arg(long, default_value_t = 100, value_name = "LINES")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tail: u32,
    /// Only lines of this call
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Print one JSON object for each line
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(options: &Options, client: &Client) -> Result<()> {
    let named = Named::find(client, &options.name).await?;
    let mut query = vec![
        ("key", named.log_key()),
        ("tail", options.tail.to_string()),
        ("follow", options.follow.to_string()),
    ];
    if let Some(since) = options.since {
        let since = i64::try_from(since).unwrap_or(i64::MAX);
        query.push((
            "since",
            Timestamp::now().0.saturating_sub(since).to_string(),
        ));
    }
    if let Some(request) = &options.request {
        query.push(("request", request.clone()));
    }
    let request = client.request(Method::GET, &with_query("logs", &query));
    let mut lines = Lines::of(client.send(request).await?, "GET logs");
    while let Some(line) = lines.next::<LogLine>().await? {
        if options.json {
            let text = serde_json::to_string(&line)
                .map_err(|error| Error::Failed(format!("writing JSON: {error}")))?;
            output::line(text)?;
        } else {
            print_line(&line)?;
        }
    }
    Ok(())
}

/// Prints a line as this command does.
pub(super) fn print_line(line: &LogLine) -> Result<()> {
    let time = line.time.rfc3339();
    let instance: String = output::clean(line.instance.as_str(), false)
        .chars()
        .take(8)
        .collect();
    let instance = match line.version {
        Some(version) => format!("{instance}:{version}"),
        None => instance,
    };
    let text = output::clean(&line.text, false);
    let text = match line.stream {
        Stream::Stdout => text,
        Stream::Stderr => paint(text, Tone::Busy),
        Stream::Platform => paint(text, Tone::Dim),
    };
    output::line(format_args!(
        "{} {} {text}",
        paint(time, Tone::Dim),
        paint(instance, Tone::Good)
    ))
}
