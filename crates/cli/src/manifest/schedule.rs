//! Triggers by the clock: `triggers` of a function and `x-rouse-triggers` of a service.

use super::delivery::parse_delivery;
use super::fields::Fields;
use super::node::{Node, Value};
use super::place::Result;
use super::quantity::parse_duration;
use model::{
    AfterCompletion, CatchUp, ScheduleGroupName, ScheduleKey, ScheduleName, ScheduleSpec, Target,
    Timestamp, Timetable, Zone,
};
use std::collections::BTreeMap;

const MINUTE: u64 = 60_000;

/// The entries of `triggers` that are by the clock. `target` is whose they are; of a service with the
/// path that one without a `path` takes.
pub(crate) fn parse_schedules(node: Option<&Node>, target: &Target) -> Result<Vec<ScheduleSpec>> {
    let mut schedules: Vec<ScheduleSpec> = Vec::new();
    let Some(node) = node else {
        return Ok(schedules);
    };
    let entries = node.list("triggers")?.iter();
    for entry in entries.filter(|entry| entry.has("schedule")) {
        let spec = parse_schedule(entry, target, schedules.len() + 1)?;
        if schedules.iter().any(|known| known.key == spec.key) {
            let message = format!("two triggers are named \"{}\"", spec.key.name);
            return Err(entry.error(message));
        }
        schedules.push(spec);
    }
    Ok(schedules)
}

fn parse_schedule(entry: &Node, target: &Target, number: usize) -> Result<ScheduleSpec> {
    let mut fields = Fields::of(entry, "trigger")?;
    let expression = fields.require("schedule", "rate(5 minutes)")?;
    let timetable = Timetable {
        expression: read(expression, "schedule")?,
        zone: match fields.take("timezone") {
            Some(node) => read(node, "timezone")?,
            None => Zone::default(),
        },
        start: point(&mut fields, "start")?,
        end: point(&mut fields, "end")?,
    };
    let checked = timetable.check();
    checked.map_err(|invalid| expression.error(invalid.to_string()))?;
    let (owner, target) = with_path(&mut fields, target)?;
    let name = match fields.take("name") {
        Some(node) => read::<ScheduleName>(node, "name")?,
        None => {
            let (_, whose) = owner.split_once(':').unwrap_or_default();
            let name = format!("{whose}-{number}").parse();
            name.map_err(|invalid: model::Invalid| {
                let error = entry.error(invalid.to_string());
                error.hint("give the trigger a name of its own: `name: nightly`")
            })?
        }
    };
    let spec = ScheduleSpec {
        key: ScheduleKey {
            group: ScheduleGroupName::default(),
            name,
        },
        description: text(&mut fields, "description")?.unwrap_or_default(),
        timetable,
        window: fields.take("window").map(parse_window).transpose()?,
        enabled: true,
        catch_up: match fields.take("catch_up") {
            Some(node) => read(node, "catch_up")?,
            None => CatchUp::default(),
        },
        after_completion: AfterCompletion::Keep,
        target,
        input: text(&mut fields, "input")?,
        owner: Some(owner),
        entry: None,
        delivery: parse_delivery(&mut fields)?,
        annotations: BTreeMap::new(),
    };
    fields.finish(&[(
        "bucket",
        "one trigger is a bucket's or the clock's; write two",
    )])?;
    match spec.check() {
        Ok(()) => Ok(spec),
        Err(invalid) => Err(entry.error(format!("trigger: {invalid}"))),
    }
}

/// Whose it is, and what it wakes.
fn with_path(fields: &mut Fields<'_>, target: &Target) -> Result<(String, Target)> {
    let Target::Service { name, path } = target else {
        return Ok((target.key(), target.clone()));
    };
    let path = match fields.take("path") {
        Some(node) => super::bucket::parse_path(node)?,
        None => path.clone(),
    };
    let name = name.clone();
    Ok((format!("service:{name}"), Target::Service { name, path }))
}

fn read<T>(node: &Node, what: &str) -> Result<T>
where
    T: std::str::FromStr<Err = model::Invalid>,
{
    let text = node.text(what)?;
    text.parse()
        .map_err(|invalid: model::Invalid| node.error(invalid.to_string()))
}

fn text(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<String>> {
    let node = fields.take(name);
    let text = node.map(|node| match (&node.value, name) {
        (Value::Map(_) | Value::List(_), "input") => Err(node
            .error("input must be a text, and JSON")
            .hint("quote it: `input: '{\"full\": true}'`")),
        _ => node.text(name).map(str::to_owned),
    });
    text.transpose()
}

fn point(fields: &mut Fields<'_>, name: &'static str) -> Result<Option<Timestamp>> {
    let node = fields.take(name);
    let point = node.map(|node| node.parsed(name, Timestamp::parse_rfc3339));
    point.transpose()
}

fn parse_window(node: &Node) -> Result<u32> {
    node.parsed("window", |text| {
        let window = parse_duration(text)?;
        let minutes = u32::try_from(window / MINUTE).ok();
        let whole = minutes.filter(|minutes| window % MINUTE == 0 && (1..=1440).contains(minutes));
        whole.ok_or_else(|| format!("must be whole minutes, 1m to 24h, and is {text:?}"))
    })
}
