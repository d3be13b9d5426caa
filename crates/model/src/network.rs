//! Networks: which functions and services reach each other.

use crate::name::name;
use crate::{Invalid, ServiceName};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

name!(
    /// A network's name, unique in the server: 1 to 63 of `A-Z a-z 0-9 . - _` (Compose's letters).
    NetworkName,
    "network",
    check_network
);

/// The network of those that name none.
const DEFAULT: &str = "default";
/// Most networks of one function or service.
const MAX_NETWORKS: usize = 32;
/// Most other names of one service, in all of its networks.
const MAX_ALIASES: usize = 32;

fn check_network(text: &str) -> Result<(), &'static str> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    match (1..=63).contains(&text.len()) && text.bytes().all(legal) {
        true => Ok(()),
        false => Err("must be 1 to 63 letters, digits, -, _ and ."),
    }
}

impl Default for NetworkName {
    fn default() -> Self {
        Self(DEFAULT.to_owned())
    }
}

/// The networks of a function or service, each with other names by which its members reach it there. None at all
/// means `default`. Two that share none cannot reach each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Networks(BTreeMap<NetworkName, BTreeSet<ServiceName>>);

impl Networks {
    /// Whether none is named, which means `default`.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a network, or other names in it.
    pub fn join(&mut self, network: NetworkName, aliases: impl IntoIterator<Item = ServiceName>) {
        self.0.entry(network).or_default().extend(aliases);
    }

    /// Whether it is on this network.
    fn has(&self, network: &NetworkName) -> bool {
        self.0.contains_key(network) || (self.0.is_empty() && network.as_str() == DEFAULT)
    }

    /// Whether both are on a same network.
    pub fn meet(&self, other: &Self) -> bool {
        match self.0.is_empty() {
            true => other.has(&NetworkName::default()),
            false => self.0.keys().any(|network| other.has(network)),
        }
    }

    /// The other names by which a member of `others` reaches it, once each.
    pub fn aliases_for(&self, others: &Self) -> BTreeSet<ServiceName> {
        let shared = self.0.iter().filter(|(network, _)| others.has(network));
        shared
            .flat_map(|(_, aliases)| aliases.iter().cloned())
            .collect()
    }

    /// Whether it has another name anywhere.
    pub fn has_aliases(&self) -> bool {
        self.0.values().any(|aliases| !aliases.is_empty())
    }

    /// How many other names it has, those of each network counted.
    pub fn alias_count(&self) -> usize {
        self.0.values().map(BTreeSet::len).sum()
    }

    /// The same validation on create, update and import.
    ///
    /// # Errors
    /// There are too many networks, or names.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.0.len() > MAX_NETWORKS || self.alias_count() > MAX_ALIASES {
            let reason =
                format!("must be at most {MAX_NETWORKS}, with {MAX_ALIASES} aliases in all");
            return Err(Invalid::new("networks", reason));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn networks(json: serde_json::Value) -> Networks {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn who_shares_a_network_meets() {
        let none = Networks::default();
        let default = networks(serde_json::json!({"default": []}));
        let front = networks(serde_json::json!({"front": []}));
        let both = networks(serde_json::json!({"front": [], "back": []}));
        let back = networks(serde_json::json!({"back": []}));
        for (one, other, meet) in [
            (&none, &none, true),
            (&none, &default, true),
            (&default, &none, true),
            (&none, &front, false),
            (&front, &none, false),
            (&front, &both, true),
            (&both, &back, true),
            (&front, &back, false),
            (&both, &default, false),
        ] {
            assert_eq!(one.meet(other), meet, "{one:?} {other:?}");
        }
    }

    #[test]
    fn another_name_holds_in_its_network() {
        let of = |json| networks(json);
        let store = of(serde_json::json!({"front": ["db", "data"], "back": ["db", "secret"]}));
        let names = |others| -> Vec<String> {
            let names = store.aliases_for(&others).into_iter();
            names.map(String::from).collect()
        };
        assert_eq!(names(of(serde_json::json!({"front": []}))), ["data", "db"]);
        let all = of(serde_json::json!({"front": [], "back": []}));
        assert_eq!(names(all), ["data", "db", "secret"]);
        assert!(names(Networks::default()).is_empty());
        let own = of(serde_json::json!({"default": ["db"]}));
        assert_eq!(own.aliases_for(&Networks::default()).len(), 1);
    }

    #[test]
    fn what_is_too_much_or_no_name_is_refused() {
        let mut many = Networks::default();
        for number in 0..=MAX_NETWORKS {
            assert!(many.check().is_ok());
            many.join(format!("n{number}").parse().unwrap(), []);
        }
        assert!(many.check().is_err());
        let mut named = Networks::default();
        let alias = |number: usize| format!("a{number}").parse().unwrap();
        named.join(NetworkName::default(), (0..=MAX_ALIASES).map(alias));
        assert!(named.check().is_err());
        for wrong in ["", "a b", "a/b", "ä", &"a".repeat(64)] {
            assert!(wrong.parse::<NetworkName>().is_err(), "{wrong}");
        }
    }
}
