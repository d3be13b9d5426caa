//! Triggers by events of a bus: `- {bus: default, pattern: {source: [shop]}}`.

use super::bucket::parse_path;
use super::delivery::parse_delivery;
use super::fields::Fields;
use super::node::{Node, Value};
use super::place::Result;
use model::{BusName, DeclaredRule, RuleName, Target};
use serde_json::{Map, Number};
use sha2::{Digest as _, Sha256};

/// The rules of a list of triggers; entries that are not of a bus are left to others.
pub(crate) fn parse_bus_triggers(
    node: Option<&Node>,
    target: &Target,
) -> Result<Vec<DeclaredRule>> {
    let Some(node) = node else {
        return Ok(Vec::new());
    };
    let mut rules = Vec::new();
    let entries = node.list("triggers")?.iter();
    for entry in entries.filter(|entry| entry.has("bus")) {
        let number = rules.len() + 1;
        rules.push(parse_trigger(entry, target, number)?);
    }
    Ok(rules)
}

fn parse_trigger(entry: &Node, target: &Target, number: usize) -> Result<DeclaredRule> {
    let mut fields = Fields::of(entry, "trigger")?;
    let bus: BusName = fields.require("bus", "default")?.parsed("bus", |text| {
        text.parse().map_err(|error: model::Invalid| error.reason)
    })?;
    let pattern = parse_pattern(fields.require("pattern", "{source: [shop]}")?);
    let target = match (target, fields.take("path")) {
        (Target::Service { name, .. }, Some(node)) => Target::Service {
            name: name.clone(),
            path: parse_path(node)?,
        },
        (_, Some(node)) => return Err(node.error("a function takes no path; only a service does")),
        (target, None) => target.clone(),
    };
    let delivery = parse_delivery(&mut fields)?;
    fields.finish(&[])?;
    let name = rule_name(&target, number);
    let name: RuleName = name
        .parse()
        .map_err(|error: model::Invalid| entry.error(error.to_string()))?;
    let rule = DeclaredRule {
        bus,
        name,
        pattern,
        target,
        delivery,
    };
    Ok(rule)
}

/// An event pattern in JSON; it is checked by the server.
pub(crate) fn parse_pattern(node: &Node) -> String {
    match &node.value {
        // JSON, as AWS's tools have it.
        Value::Text(text) => text.clone(),
        _ => json(node).to_string(),
    }
}

/// The same for the same manifest. A name that is too long for a rule is cut and told apart by its
/// digest.
fn rule_name(target: &Target, number: usize) -> String {
    let owner = DeclaredRule::owner_of(target).replace(':', "-");
    let name = format!("{owner}-{number}");
    if name.len() <= 64 {
        return name;
    }
    let digest = hex::encode(Sha256::digest(&owner));
    format!("{}-{}-{number}", &owner[..44], &digest[..12])
}

/// A node as JSON, by YAML's core schema: a scalar without quotes that is a number, `true`, `false` or
/// nothing is that, everything else a text.
fn json(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Text(text) if node.plain => match text.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            text => match serde_json::from_str::<Number>(text) {
                Ok(number) => number.into(),
                Err(_) => text.into(),
            },
        },
        Value::Text(text) => text.as_str().into(),
        Value::List(list) => list.iter().map(json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.text.clone(), json(value)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::interpolate::Variables;
    use super::super::place::Source;
    use super::*;
    use std::sync::Arc;

    fn function(name: &str) -> Target {
        Target::Function {
            name: name.parse().unwrap(),
        }
    }

    fn parse(text: &str, target: &Target) -> Result<Vec<DeclaredRule>> {
        let source = Arc::new(Source {
            name: "compose.yaml".into(),
            text: text.into(),
        });
        let node = Node::parse(&source, &mut Variables::default()).unwrap();
        parse_bus_triggers(Some(&node), target)
    }

    #[test]
    fn a_pattern_is_json_by_what_yaml_means() {
        let text = "- {bucket: photos}
- {bus: default, pattern: {source: [shop], $or: [{n: [{numeric: ['>', 5]}]}, {s: ['5', true, ~]}]}}
- {bus: orders, pattern: '{\"a\": [1]}'}";
        let rules = parse(text, &function("f")).unwrap();
        assert_eq!(rules.len(), 2);
        let pattern: serde_json::Value = serde_json::from_str(&rules[0].pattern).unwrap();
        let expected = serde_json::json!({"source": ["shop"], "$or": [
            {"n": [{"numeric": [">", 5]}]}, {"s": ["5", true, null]}]});
        assert_eq!(pattern, expected);
        assert_eq!(rules[1].pattern, r#"{"a": [1]}"#);
        assert_eq!(rules[1].name.as_str(), "function-f-2");
    }

    #[test]
    fn a_service_may_say_its_path_and_nobody_else() {
        let service = Target::Service {
            name: "catalog".parse().unwrap(),
            path: "/".into(),
        };
        let text = "- {bus: default, pattern: {a: [1]}, path: /events}";
        let rules = parse(text, &service).unwrap();
        assert_eq!(rules[0].target.key(), "service:catalog/events");
        assert_eq!(rules[0].name.as_str(), "service-catalog-1");
        assert!(parse(text, &function("f")).is_err());
        assert!(parse("- {bus: default}", &service).is_err());
        assert!(parse("- {bus: a b, pattern: {a: [1]}}", &service).is_err());
    }

    #[test]
    fn its_events_are_tried_as_it_says() {
        let text = "- {bus: default, pattern: {a: [1]}, retry: {attempts: 186, max_age: 24h}, dead_letter: letters}
- {bus: default, pattern: {a: [1]}}";
        let rules = parse(text, &function("f")).unwrap();
        let delivery = &rules[0].delivery;
        assert_eq!(delivery.max_attempts, Some(186));
        assert_eq!(delivery.max_age, Some(86_400_000));
        let letters = delivery.dead_letter.as_ref().unwrap();
        assert_eq!(letters.queue.as_str(), "letters");
        assert!(rules[1].delivery.is_plain());
    }

    #[test]
    fn long_names_stay_apart() {
        let name = |last: &str| rule_name(&function(&("x".repeat(63) + last)), 1);
        assert!(name("a").len() <= 64 && name("a") != name("b"));
    }
}
