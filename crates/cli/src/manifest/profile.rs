//! `profiles` of a service: whether it is deployed at all.

use super::node::{Key, Node};
use super::place::Result;
use super::project::is_profile;
use std::collections::BTreeSet;

/// Services told apart by their profiles.
pub(super) struct Chosen<'a> {
    /// Those without profiles, and those with an active one.
    pub(super) services: Vec<&'a (Key, Node)>,
    /// Names of the others.
    pub(super) inactive: Vec<String>,
}

/// Tells them apart; `*` activates all.
pub(super) fn choose<'a>(
    services: &'a [(Key, Node)],
    active: &BTreeSet<String>,
) -> Result<Chosen<'a>> {
    let mut chosen = Chosen {
        services: Vec::new(),
        inactive: Vec::new(),
    };
    for service in services {
        let profiles = match service.1.get("profiles") {
            Some(node) => parse(node)?,
            None => Vec::new(),
        };
        let all = profiles.is_empty() || active.contains("*");
        if all || profiles.iter().any(|profile| active.contains(profile)) {
            chosen.services.push(service);
        } else {
            chosen.inactive.push(service.0.text.clone());
        }
    }
    Ok(chosen)
}

fn parse(node: &Node) -> Result<Vec<String>> {
    let names = node.texts("profiles")?;
    for (name, entry) in names.iter().zip(node.list("profiles")?) {
        if !is_profile(name) {
            let message = format!("{name:?} is not the name of a profile");
            let hint = "use letters, digits, -, _ and ., beginning with a letter or digit";
            return Err(entry.error(message).hint(hint));
        }
    }
    Ok(names)
}
