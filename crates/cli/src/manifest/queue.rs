//! Queues, and functions that read them: `queues` of the top-level `x-rouse` block, and triggers with a
//! `queue`.

use super::fields::Fields;
use super::node::{Key, Node};
use super::place::Result;
use super::quantity::{parse_bytes, parse_duration};
use super::settings::parse_name;
use super::trigger::parse_pattern;
use model::{FunctionName, Invalid, MappingSpec, QueueName, QueueSpec, Redrive};

/// A queue that is declared.
#[derive(Debug, Clone)]
pub(crate) struct DeclaredQueue {
    /// What is declared.
    pub(crate) spec: QueueSpec,
}

/// `queues`, each with its settings.
pub(crate) fn parse_queues(node: Option<&Node>) -> Result<Vec<DeclaredQueue>> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    let entries = node.map("queues")?.iter();
    entries.map(|(key, node)| parse_queue(key, node)).collect()
}

/// Whole seconds of a duration.
fn seconds(node: &Node, what: &str) -> Result<u32> {
    node.parsed(what, |text| {
        let millis = parse_duration(text)?;
        if millis % 1_000 != 0 {
            return Err("must be whole seconds".to_owned());
        }
        u32::try_from(millis / 1_000).map_err(|_| "is too long".to_owned())
    })
}

fn queue_name(node: &Node) -> Result<QueueName> {
    let name = node.text("queue")?.parse();
    name.map_err(|invalid: Invalid| node.error(invalid.to_string()))
}

fn parse_queue(key: &Key, node: &Node) -> Result<DeclaredQueue> {
    let name: QueueName = parse_name(key)?;
    let mut spec = QueueSpec {
        name,
        attributes: model::QueueAttributes::default(),
    };
    let mut fields = Fields::of(node, format!("queue \"{}\"", spec.name))?;
    let attributes = &mut spec.attributes;
    for (field, place) in [
        ("delay", &mut attributes.delay),
        ("retention", &mut attributes.retention),
        ("wait", &mut attributes.wait),
        ("visibility", &mut attributes.visibility),
    ] {
        if let Some(node) = fields.take(field) {
            *place = seconds(node, field)?;
        }
    }
    if let Some(node) = fields.take("max_message") {
        attributes.max_message = node.parsed("max_message", |text| {
            let bytes = parse_bytes(text, 1)?;
            u32::try_from(bytes).map_err(|_| "is above 1M".to_owned())
        })?;
    }
    for (field, place) in [
        (
            "content_deduplication",
            &mut attributes.content_deduplication,
        ),
        ("deduplicate_by_group", &mut attributes.deduplicate_by_group),
    ] {
        if let Some(node) = fields.take(field) {
            *place = node.flag(field)?;
        }
    }
    attributes.redrive = fields.take("dead_letter").map(parse_redrive).transpose()?;
    fields.finish(&[])?;
    spec.attributes.check(&spec.name).map_err(|invalid| {
        key.place
            .error(format!("queue \"{}\": {invalid}", spec.name))
    })?;
    Ok(DeclaredQueue { spec })
}

fn parse_redrive(node: &Node) -> Result<Redrive> {
    let mut fields = Fields::of(node, "dead_letter")?;
    let queue = fields.require("queue", "failed")?;
    let redrive = Redrive {
        dead_letter: queue_name(queue)?,
        max_receives: fields
            .require("max_receives", "5")?
            .number("max_receives")?,
    };
    fields.finish(&[])?;
    Ok(redrive)
}

/// The entries of `triggers` that are of queues.
pub(crate) fn parse_mappings(
    node: Option<&Node>,
    function: &FunctionName,
) -> Result<Vec<MappingSpec>> {
    let mut mappings: Vec<MappingSpec> = Vec::new();
    let Some(node) = node else {
        return Ok(mappings);
    };
    let entries = node.list("triggers")?.iter();
    for entry in entries.filter(|entry| entry.has("queue")) {
        let mapping = parse_trigger(entry, function)?;
        if mappings.iter().any(|known| known.queue == mapping.queue) {
            let message = format!(
                "queue \"{}\" is named by another trigger already",
                mapping.queue
            );
            return Err(entry.error(message));
        }
        mappings.push(mapping);
    }
    Ok(mappings)
}

/// A trigger that reads a queue.
fn parse_trigger(node: &Node, function: &FunctionName) -> Result<MappingSpec> {
    let mut fields = Fields::of(node, "trigger")?;
    let queue = queue_name(fields.require("queue", "orders")?)?;
    let mut spec = MappingSpec::new(queue, function.clone());
    spec.declared = true;
    if let Some(node) = fields.take("batch") {
        spec.batch = node.number("batch")?;
    }
    if let Some(node) = fields.take("window") {
        spec.window = seconds(node, "window")?;
    }
    if let Some(node) = fields.take("report_failures") {
        spec.report_failures = node.flag("report_failures")?;
    }
    if let Some(node) = fields.take("max_concurrency") {
        spec.max_concurrency = Some(node.number("max_concurrency")?);
    }
    if let Some(node) = fields.take("filters") {
        spec.filters = node.list("filters")?.iter().map(parse_pattern).collect();
    }
    fields.finish(&[])?;
    match spec.check() {
        Ok(()) => Ok(spec),
        Err(invalid) => Err(node.error(invalid.to_string())),
    }
}
