//! `networks`. Every service reaches every other by its name, so networks are accepted as far as they say no more than
//! that: any two services of the file must share one. What would keep services apart is refused.

use super::fields::Fields;
use super::node::{Key, Node, Value};
use super::place::Result;

const ALL_REACH_ALL: &str = "every service reaches every other by its name, as on one network; let them share one, or \
                             leave `networks` out, and bound what leaves the machine with x-rouse-egress";
/// Compose's name of the network of services that name none.
const DEFAULT: &str = "default";

/// Checks the top-level `networks`, and those of all services that are deployed.
pub(super) fn check(declared: Option<&Node>, services: &[&(Key, Node)]) -> Result<()> {
    let known = parse_declared(declared)?;
    let mut joined: Vec<(&Key, Option<&Node>, Vec<String>)> = Vec::new();
    for (key, service) in services.iter().copied() {
        let node = service
            .get("networks")
            .filter(|node| !matches!(node.value, Value::Null));
        let names = match node {
            Some(node) => parse_joined(&key.text, node, &known)?,
            None => vec![DEFAULT.to_owned()],
        };
        let apart = |(_, _, others): &&(&Key, Option<&Node>, Vec<String>)| {
            !others.iter().any(|name| names.contains(name))
        };
        if let Some((other, other_node, _)) = joined.iter().find(apart) {
            let message = format!(
                "\"{}\" and \"{}\" share no network, and rouse does not keep them apart",
                key.text.escape_debug(),
                other.text.escape_debug()
            );
            let place = node.or(*other_node).map_or(&key.place, |node| &node.place);
            return Err(place.error(message).hint(ALL_REACH_ALL));
        }
        joined.push((key, node, names));
    }
    Ok(())
}

fn parse_declared(node: Option<&Node>) -> Result<Vec<String>> {
    let mut names = vec![DEFAULT.to_owned()];
    let Some(node) = node else {
        return Ok(names);
    };
    for (key, node) in node.map("networks")? {
        let mut fields = Fields::of(node, format!("network \"{}\"", key.text.escape_debug()))?;
        super::labels::parse_labels(fields.take("labels"))?;
        if let Some(driver) = fields.take("driver") {
            driver.parsed("driver", |text| match text {
                "bridge" | "default" => Ok(()),
                other => Err(format!("must be bridge, or left out, and is {other:?}")),
            })?;
        }
        for (name, expected) in [
            ("internal", "false"),
            ("external", "false"),
            ("enable_ipv6", "false"),
        ] {
            let Some(node) = fields.take(name) else {
                continue;
            };
            if node.text("").ok() != Some(expected) {
                let hint = match name {
                    "internal" => {
                        "write `x-rouse-egress: none` in each service that shall reach nothing outside"
                    }
                    _ => ALL_REACH_ALL,
                };
                return Err(node
                    .error(format!("networks: \"{name}\" is not supported"))
                    .hint(hint));
            }
        }
        let own = "services find each other by name, whatever their addresses; leave it out";
        fields.finish(&[
            ("ipam", own),
            ("driver_opts", own),
            ("name", own),
            ("attachable", own),
            ("enable_ipv4", own),
        ])?;
        names.push(key.text.clone());
    }
    Ok(names)
}

fn parse_joined(service: &str, node: &Node, known: &[String]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut join = |name: &str, place: &super::Place| {
        if !known.iter().any(|one| one == name) {
            let shown = name.escape_debug();
            let error = place.error(format!("no network \"{shown}\" is declared"));
            return Err(error.hint(format!("add `{shown}:` below `networks:` at the top level")));
        }
        names.push(name.to_owned());
        Ok(())
    };
    if let Value::List(entries) = &node.value {
        for entry in entries {
            join(entry.text("networks")?, &entry.place)?;
        }
        return Ok(names);
    }
    for (key, node) in node.map("networks")? {
        join(&key.text, &key.place)?;
        let mut fields = Fields::of(node, "networks")?;
        if let Some(aliases) = fields.take("aliases") {
            for alias in aliases.list("aliases")? {
                if alias.text("aliases")? != service {
                    return Err(alias
                        .error("aliases are not supported")
                        .hint("a service is reached by its own name; name it so"));
                }
            }
        }
        let own = "services find each other by name, whatever their addresses; leave it out";
        fields.finish(&[
            ("ipv4_address", own),
            ("ipv6_address", own),
            ("link_local_ips", own),
            ("mac_address", own),
            ("priority", own),
            ("gw_priority", own),
            ("interface_name", own),
            ("driver_opts", own),
        ])?;
    }
    Ok(names)
}
