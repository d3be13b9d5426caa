//! `retry` and `dead_letter` of a trigger by the clock or of a bus: what is wanted of the delivery of its events, in
//! place of what their target says.

use super::fields::Fields;
use super::node::Node;
use super::place::Result;
use super::quantity::parse_duration;
use super::target::parse_dead_letter;
use model::{DeadLetter, Delivery};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Attempts in all: AWS's bound of 185 retries, and the first.
const ATTEMPTS: RangeInclusive<u32> = 1..=186;
/// Bounds of an event's age in milliseconds, as AWS's: a minute to a day.
const AGES: RangeInclusive<u64> = 60_000..=86_400_000;

/// Reads both keys.
pub(crate) fn parse_delivery(fields: &mut Fields<'_>) -> Result<Delivery> {
    let mut delivery = match fields.take("retry") {
        Some(node) => parse_retry(node)?,
        None => Delivery::default(),
    };
    if let Some(node) = fields.take("dead_letter") {
        delivery.dead_letter = Some(DeadLetter {
            queue: parse_dead_letter(node)?,
            attributes: BTreeMap::new(),
        });
    }
    Ok(delivery)
}

fn parse_retry(node: &Node) -> Result<Delivery> {
    let mut fields = Fields::of(node, "retry of a trigger")?;
    let mut delivery = Delivery::default();
    if let Some(node) = fields.take("attempts") {
        let attempts = node.number("retry.attempts")?;
        if !ATTEMPTS.contains(&attempts) {
            return Err(node.error("retry.attempts of a trigger must be 1 to 186"));
        }
        delivery.max_attempts = Some(attempts);
    }
    if let Some(node) = fields.take("max_age") {
        let age = node.parsed("retry.max_age", parse_duration)?;
        if !AGES.contains(&age) || age % 1_000 != 0 {
            return Err(node.error("retry.max_age of a trigger must be whole seconds, 1m to 24h"));
        }
        delivery.max_age = Some(age);
    }
    let delays = "how long to wait between attempts is the function's to say, in its own `retry`";
    fields.finish(&[("base_delay", delays), ("max_delay", delays)])?;
    Ok(delivery)
}
