//! `rouse schedule`: what the clock wakes.

use crate::client::event::NewEventAnswer;
use crate::client::{self, Client, segment};
use crate::error::Result;
use crate::output;
use clap::{Args, Subcommand};
use model::{Schedule, ScheduleKey, Timestamp};
use reqwest::Method;

/// List, show, pause, resume and run schedules
///
/// Examples:
///   rouse schedule                    # all of them, and when each is due next
///   rouse schedule show nightly       # one, with its next ticks
///   rouse schedule pause nightly
///   rouse schedule resume nightly
///   rouse schedule run nightly        # an event now, as if it were due; prints its id
///
/// A schedule is named NAME, or GROUP/NAME if it is not in the group `default`. Manifests declare them
/// as triggers, AWS clients make them by the EventBridge Scheduler API. Ticks that come while one is
/// paused do not happen; `rouse deploy` leaves it paused.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List schedules by name
    List(List),
    /// Show one schedule and its next ticks
    Show(Show),
    /// Let its ticks make no events
    Pause(One),
    /// Let its ticks make events again
    Resume(One),
    /// Accept an event now, as if it were due; prints its id
    Run(Run),
}

#[derive(Debug, Args)]
struct List {
    /// Only of this group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Show {
    /// The schedule: NAME or GROUP/NAME
    name: ScheduleKey,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct One {
    /// The schedule: NAME or GROUP/NAME
    name: ScheduleKey,
}

#[derive(Debug, Args)]
struct Run {
    /// The schedule: NAME or GROUP/NAME
    name: ScheduleKey,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Schedules of one request.
const PAGE: usize = 1000;
/// Ticks to come that are shown of one schedule.
const TICKS: usize = 5;

/// Runs the command.
pub(crate) async fn run(options: &Options, client: &Client) -> Result<()> {
    match &options.action {
        None => list(&options.list, client).await,
        Some(Action::List(options)) => list(options, client).await,
        Some(Action::Show(options)) => show(options, client).await,
        Some(Action::Pause(one)) => act(&one.name, "pause", client).await.map(drop),
        Some(Action::Resume(one)) => act(&one.name, "resume", client).await.map(drop),
        Some(Action::Run(options)) => run_now(options, client).await,
    }
}

async fn list(options: &List, client: &Client) -> Result<()> {
    let mut schedules: Vec<Schedule> = Vec::new();
    loop {
        let mut query = vec![("limit", PAGE.to_string())];
        query.extend(options.group.clone().map(|group| ("group", group)));
        if let Some(last) = schedules.last() {
            let ScheduleKey { group, name } = &last.spec.key;
            query.push(("after", format!("{group}/{name}")));
        }
        let page: Vec<Schedule> = client.get("schedules", &query).await?;
        let more = page.len() == PAGE;
        schedules.extend(page);
        if !more {
            break;
        }
    }
    if options.json {
        return output::json(&schedules);
    }
    let mut table = output::table(["SCHEDULE", "EXPRESSION", "ZONE", "TARGET", "STATE", "NEXT"]);
    for schedule in &schedules {
        let spec = &schedule.spec;
        table.add_row([
            output::cell(&spec.key.to_string(), 60),
            output::cell(spec.timetable.expression.as_str(), 40),
            output::cell(spec.timetable.zone.as_str(), 30),
            output::cell(&spec.target.key(), 40),
            state(schedule),
            schedule.next.map_or("-".to_owned(), |due| due.at.rfc3339()),
        ]);
    }
    output::print_table(&table, "nothing is scheduled")
}

/// `enabled`, `paused`, or `over` when no tick is left.
fn state(schedule: &Schedule) -> String {
    match (schedule.spec.enabled, schedule.next) {
        (false, _) => output::paint("paused", output::Tone::Busy),
        (true, Some(_)) => output::paint("enabled", output::Tone::Good),
        (true, None) => output::paint("over", output::Tone::Dim),
    }
}

async fn show(options: &Show, client: &Client) -> Result<()> {
    let schedule: Schedule = client.get(&path(&options.name), &[]).await?;
    if options.json {
        return output::json(&schedule);
    }
    let spec = &schedule.spec;
    let mut lines = vec![
        ("schedule", output::clean(&spec.key.to_string(), false)),
        ("state", state(&schedule)),
        ("expression", spec.timetable.expression.to_string()),
        ("zone", spec.timetable.zone.to_string()),
        ("target", output::clean(&spec.target.key(), false)),
        ("catch up", spec.catch_up.as_str().to_owned()),
        ("made", schedule.created.rfc3339()),
        ("changed", schedule.modified.rfc3339()),
    ];
    let point = |point: Option<Timestamp>| point.map(Timestamp::rfc3339);
    lines.extend(point(spec.timetable.start).map(|start| ("start", start)));
    lines.extend(point(spec.timetable.end).map(|end| ("end", end)));
    lines.extend(
        spec.window
            .map(|window| ("window", format!("{window} min"))),
    );
    let owner = spec
        .owner
        .as_deref()
        .map(|owner| output::clean(owner, false));
    lines.extend(owner.map(|owner| ("declared by", owner)));
    if !spec.description.is_empty() {
        lines.push(("description", output::clean(&spec.description, false)));
    }
    for (name, value) in lines {
        output::line(format_args!("{name:<12}{value}"))?;
    }
    for (index, tick) in upcoming(&schedule).into_iter().enumerate() {
        let name = if index == 0 { "next" } else { "" };
        output::line(format_args!("{name:<12}{}", tick.rfc3339()))?;
    }
    if let Some(input) = &spec.input {
        output::line(format_args!("input\n{}", output::clean(input, true)))?;
    }
    Ok(())
}

/// The next ticks, the times that the timetable says.
fn upcoming(schedule: &Schedule) -> Vec<Timestamp> {
    let first = schedule.next.map(|due| due.tick);
    let next = |tick: &Timestamp| schedule.spec.timetable.next(schedule.origin, *tick);
    std::iter::successors(first, next).take(TICKS).collect()
}

async fn run_now(options: &Run, client: &Client) -> Result<()> {
    let response = act(&options.name, "run", client).await?;
    let answer: NewEventAnswer = client::parse(response, "POST run").await?;
    if options.json {
        return output::json(&answer);
    }
    output::line(answer.event_id)
}

async fn act(key: &ScheduleKey, action: &str, client: &Client) -> Result<reqwest::Response> {
    let path = format!("{}/{action}", path(key));
    client.send(client.request(Method::POST, &path)).await
}

fn path(ScheduleKey { group, name }: &ScheduleKey) -> String {
    let (group, name) = (segment(group.as_str()), segment(name.as_str()));
    format!("schedules/{group}/{name}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_next_ticks_are_those_of_the_timetable() {
        let spec = serde_json::json!({
            "key": {"group": "g", "name": "n.1"},
            "timetable": {"expression": "cron(30 2 * * ? *)", "zone": "Europe/Berlin"},
            "target": {"kind": "function", "name": "f"},
        });
        let spec = serde_json::from_value(spec).unwrap();
        // 2026-03-28T00:00:00Z; on the 29th 02:30 does not exist.
        let mut schedule = Schedule::new(spec, Timestamp(1_774_656_000_000));
        let ticks: Vec<_> = upcoming(&schedule).iter().map(|t| t.rfc3339()).collect();
        assert_eq!(ticks.len(), 5);
        assert_eq!(ticks[0], "2026-03-28T01:30:00.000Z");
        assert_eq!(ticks[1], "2026-03-30T00:30:00.000Z");
        assert_eq!(path(&schedule.spec.key), "schedules/g/n.1");
        schedule.next = None;
        assert!(upcoming(&schedule).is_empty());
    }
}
