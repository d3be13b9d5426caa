//! `depends_on` and `restart`: when a service starts, and when it starts again.

use super::Context;
use super::fields::Fields;
use super::node::{Node, Value};
use super::place::{Place, Result};
use model::{Condition, Dependency, Restart};

/// One entry of `depends_on`.
struct Entry<'a> {
    name: &'a str,
    place: &'a Place,
    condition: Condition,
    /// Where the condition stands, if it is written.
    written: Option<&'a Node>,
}

/// What a service waits for. Functions are there as soon as they are declared, so only services are waited for.
pub(super) fn parse_depends_on(
    context: &Context,
    fields: &mut Fields<'_>,
) -> Result<Vec<Dependency>> {
    let mut dependencies = Vec::new();
    for entry in entries(context, fields.take("depends_on"))? {
        if context.functions.iter().any(|name| name == entry.name) {
            if entry.condition == Condition::Completed {
                let node = entry.written.map_or(entry.place, |node| &node.place);
                return Err(node
                    .error(format!(
                        "\"{}\" is a function, which never ends",
                        entry.name
                    ))
                    .hint(
                        "leave the condition out: a function answers as soon as it is deployed",
                    ));
            }
            continue;
        }
        let service = entry.name.parse().map_err(|invalid: model::Invalid| {
            entry
                .place
                .error(format!("{}: {}", invalid.field, invalid.reason))
        })?;
        dependencies.push(Dependency {
            service,
            condition: entry.condition,
        });
    }
    Ok(dependencies)
}

/// `depends_on` of a function, which starts when it is called. The services of its deployment are begun before it is
/// deployed, which is what `service_started` asks for; more cannot be kept.
pub(super) fn check_depends_on(context: &Context, fields: &mut Fields<'_>) -> Result<()> {
    for entry in entries(context, fields.take("depends_on"))? {
        let Some(node) = entry
            .written
            .filter(|_| entry.condition != Condition::Started)
        else {
            continue;
        };
        let message = "a function is started by its calls, and waits for nothing before them";
        return Err(node.error(message).hint(
            "leave the condition out: who connects to a service that is starting waits up to 10 s for it",
        ));
    }
    Ok(())
}

fn entries<'a>(context: &Context, node: Option<&'a Node>) -> Result<Vec<Entry<'a>>> {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    let Some(node) = node else {
        return Ok(entries);
    };
    if let Value::List(list) = &node.value {
        for one in list {
            let entry = Entry {
                name: one.text("depends_on")?,
                place: &one.place,
                condition: Condition::Started,
                written: None,
            };
            if is_there(context, &entry, true)? && !entries.iter().any(|e| e.name == entry.name) {
                entries.push(entry);
            }
        }
        return Ok(entries);
    }
    for (key, node) in node.map("depends_on")? {
        let mut fields = Fields::of(node, "depends_on")?;
        let written = fields.take("condition");
        let condition = written.map(parse_condition).transpose()?;
        let required = fields.take("required").map(|node| node.flag("required"));
        let required = required.transpose()?.unwrap_or(true);
        if let Some(node) = fields
            .take("restart")
            .filter(|node| node.text("").ok() != Some("false"))
        {
            return Err(node.error("depends_on.restart is not supported").hint(
                "a service finds the others by name after they were replaced; leave it out",
            ));
        }
        fields.finish(&[])?;
        let entry = Entry {
            name: &key.text,
            place: &key.place,
            condition: condition.unwrap_or(Condition::Started),
            written,
        };
        if is_there(context, &entry, required)? {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// Whether what is named is deployed; if not, it must not be required.
fn is_there(context: &Context, entry: &Entry<'_>, required: bool) -> Result<bool> {
    if context.names.iter().any(|known| known == entry.name) {
        return Ok(true);
    }
    let shown = entry.name.escape_debug();
    let inactive = context.inactive.iter().any(|known| known == entry.name);
    let message = if inactive {
        format!("depends_on: \"{shown}\" has profiles, and none of them is active")
    } else {
        format!("depends_on: no service \"{shown}\" is declared")
    };
    if !required {
        context.note(format!("{}: {message}; it is not waited for", entry.place));
        return Ok(false);
    }
    let error = entry.place.error(message);
    Err(if inactive {
        error.hint("activate one with --profile, or write `required: false`")
    } else {
        error
    })
}

fn parse_condition(node: &Node) -> Result<Condition> {
    node.parsed("condition", |text| match text {
        "service_started" => Ok(Condition::Started),
        "service_healthy" => Ok(Condition::Healthy),
        "service_completed_successfully" => Ok(Condition::Completed),
        other => Err(format!(
            "must be service_started, service_healthy or service_completed_successfully, and is {other:?}"
        )),
    })
}

/// `restart`; without, a resident service is always started again.
pub(super) fn parse_restart(node: &Node) -> Result<Restart> {
    node.parsed("restart", |text| match text.split_once(':') {
        None if matches!(text, "always" | "unless-stopped") => Ok(Restart::Always),
        None if text == "no" => Ok(Restart::No),
        None if text == "on-failure" => Ok(Restart::OnFailure { max: None }),
        Some(("on-failure", max)) => match max.parse() {
            Ok(max) => Ok(Restart::OnFailure { max: Some(max) }),
            Err(_) => Err(format!(
                "must have a number after on-failure:, and has {max:?}"
            )),
        },
        _ => Err(format!(
            "must be \"no\", always, unless-stopped, on-failure or on-failure:N, and is {text:?}"
        )),
    })
}

/// `deploy.restart_policy`: the same in other words.
pub(super) fn parse_restart_policy(node: &Node) -> Result<Restart> {
    let mut fields = Fields::of(node, "deploy.restart_policy")?;
    let condition = fields.take("condition");
    let max = fields.take("max_attempts");
    let limit = max.map(|node| node.number("max_attempts")).transpose()?;
    let restart = match condition.map(|node| node.text("condition")).transpose()? {
        None | Some("any") => Restart::Always,
        Some("on-failure") => Restart::OnFailure { max: limit },
        Some("none") => Restart::No,
        Some(other) => {
            let node = condition.unwrap_or(node);
            return Err(node.error(format!("must be none, on-failure or any, and is {other:?}")));
        }
    };
    if let Some(max) = max.filter(|_| !matches!(restart, Restart::OnFailure { .. })) {
        return Err(max
            .error("max_attempts is counted with `condition: on-failure` only")
            .hint("write that condition, or leave it out"));
    }
    let waits = "waits between starts begin at half a second and double to 30 s; leave it out";
    fields.finish(&[("delay", waits), ("window", waits)])?;
    Ok(restart)
}
