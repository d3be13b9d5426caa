//! `concurrency` of a function: how many instances and calls, and how long instances are kept.

use super::fields::Fields;
use super::node::Node;
use super::place::Result;
use super::quantity::parse_duration;
use model::{Contract, Scaling};

/// Reads the block; what it does not say has its default.
pub(crate) fn parse_scaling(node: Option<&Node>, contract: Contract) -> Result<Scaling> {
    let mut scaling = Scaling::default();
    let Some(node) = node else {
        return Ok(scaling);
    };
    let mut fields = Fields::of(node, "concurrency")?;
    if let Some(node) = fields.take("min") {
        scaling.min_instances = node.number("concurrency.min")?;
    }
    if let Some(node) = fields.take("max") {
        scaling.max_instances = within(node, "concurrency.max", 1)?;
    }
    if let Some(node) = fields.take("keep_alive") {
        scaling.keep_alive = node.parsed("concurrency.keep_alive", parse_duration)?;
    }
    if let Some(node) = fields.take("queue") {
        scaling.queue = node.number("concurrency.queue")?;
        if scaling.queue as usize > model::MAX_QUEUE {
            return Err(node.error(format!("concurrency.queue is above {}", model::MAX_QUEUE)));
        }
    }
    if let Some(node) = fields.take("per_instance") {
        scaling.per_instance = within(node, "concurrency.per_instance", 1)?;
        if scaling.per_instance > 1 && contract != Contract::Http {
            return Err(node
                .error("concurrency.per_instance above 1 needs `contract: http`")
                .hint("the Lambda Runtime API hands out one call at a time; leave it out"));
        }
    }
    if let Some(node) = fields.take("reserved") {
        scaling.reserved = Some(within(node, "concurrency.reserved", 0)?);
    }
    if let Some(node) = fields.take("freeze_after") {
        scaling.freeze_after = node.parsed("concurrency.freeze_after", |text| match text {
            "never" => Ok(None),
            text => parse_duration(text).map(Some),
        })?;
    }
    fields.finish(&[])?;
    if scaling.min_instances > scaling.max_instances {
        return Err(node.error("concurrency.min is above concurrency.max"));
    }
    Ok(scaling)
}

/// A number of instances or calls: 1000 at most.
fn within(node: &Node, name: &'static str, least: u32) -> Result<u32> {
    let number = node.number(name)?;
    if (least..=1_000).contains(&number) {
        Ok(number)
    } else {
        Err(node.error(format!("{name} must be {least} to 1000")))
    }
}
