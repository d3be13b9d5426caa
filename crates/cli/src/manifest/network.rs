//! `networks`: which services and functions reach each other. Those that share none do not.

use super::Context;
use super::fields::Fields;
use super::node::{Node, Value};
use super::place::{Place, Result};
use super::settings::parse_egress;
use model::{Egress, FunctionName, NetworkName, Networks, ServiceName};

/// Compose's key of the network of services that name none.
const DEFAULT: &str = "default";
const ADDRESSES: &str = "services find each other by name, whatever their addresses; leave it out";

/// A network of the top-level `networks`.
#[derive(Debug)]
pub(super) struct DeclaredNetwork {
    /// How services of the file call it.
    key: String,
    /// How the server calls it.
    name: NetworkName,
    /// Whether it leads nowhere outside.
    internal: bool,
}

/// The networks that a service or function is on.
pub(super) struct Joined {
    pub(super) networks: Networks,
    /// Whether all of them are internal.
    internal: bool,
}

impl Joined {
    /// Where its instances may connect to: what `egress` says, and nowhere if all networks are internal.
    ///
    /// # Errors
    /// Both say something, and not the same.
    pub(super) fn bound(&self, egress: Option<&Node>) -> Result<Option<Egress>> {
        let said = parse_egress(egress)?;
        match (said, egress) {
            (said, _) if !self.internal => Ok(said),
            (None | Some(Egress::None), _) | (_, None) => Ok(Some(Egress::None)),
            (Some(_), Some(node)) => Err(node
                .error("all of its networks are internal, from which nothing outside is reached")
                .hint("leave the egress out, or put it on a network that is not `internal` too")),
        }
    }
}

/// The top-level `networks`; `default` is there without being declared.
pub(super) fn parse_declared(node: Option<&Node>) -> Result<Vec<DeclaredNetwork>> {
    let mut networks: Vec<DeclaredNetwork> = Vec::new();
    for (key, node) in node
        .map(|node| node.map("networks"))
        .transpose()?
        .unwrap_or_default()
    {
        let declared = parse_one(&key.text, &key.place, node)?;
        if networks.iter().any(|other| other.name == declared.name) {
            let message = format!("the network \"{}\" is declared already", declared.name);
            return Err(key
                .place
                .error(message)
                .hint("give it another `name`, or use the first one"));
        }
        networks.push(declared);
    }
    if !networks.iter().any(|network| network.key == DEFAULT) {
        networks.push(DeclaredNetwork {
            key: DEFAULT.to_owned(),
            name: NetworkName::default(),
            internal: false,
        });
    }
    Ok(networks)
}

fn parse_one(key: &str, place: &Place, node: &Node) -> Result<DeclaredNetwork> {
    if matches!(node.value, Value::Null) {
        return Ok(DeclaredNetwork {
            key: key.to_owned(),
            name: parse_name(key, place)?,
            internal: false,
        });
    }
    let mut fields = Fields::of(node, format!("network \"{}\"", key.escape_debug()))?;
    super::labels::parse_labels(fields.take("labels"))?;
    if let Some(driver) = fields.take("driver") {
        driver.parsed("driver", |text| match text {
            "bridge" | "default" => Ok(()),
            other => Err(format!("must be bridge, or left out, and is {other:?}")),
        })?;
    }
    for (name, hint) in [
        (
            "external",
            "a network is there when something is on it; leave it out, and give its `name`",
        ),
        ("enable_ipv6", ADDRESSES),
    ] {
        if let Some(node) = fields
            .take(name)
            .filter(|node| node.text("").ok() != Some("false"))
        {
            let error = node.error(format!("networks: \"{name}\" is not supported"));
            return Err(error.hint(hint));
        }
    }
    let internal = fields.take("internal").map(|node| node.flag("internal"));
    let named = fields.take("name");
    let declared = DeclaredNetwork {
        name: match named {
            Some(node) => parse_name(node.text("name")?, &node.place)?,
            None => parse_name(key, place)?,
        },
        key: key.to_owned(),
        internal: internal.transpose()?.unwrap_or(false),
    };
    fields.finish(&[
        ("ipam", ADDRESSES),
        ("driver_opts", ADDRESSES),
        ("attachable", ADDRESSES),
        ("enable_ipv4", ADDRESSES),
    ])?;
    Ok(declared)
}

fn parse_name(text: &str, place: &Place) -> Result<NetworkName> {
    text.parse().map_err(|invalid: model::Invalid| {
        place.error(format!("{}: {}", invalid.field, invalid.reason))
    })
}

/// The `networks` of a service.
pub(super) fn parse_joined(
    context: &Context,
    service: &ServiceName,
    node: Option<&Node>,
) -> Result<Joined> {
    join(context, node, |alias| {
        let text = alias.text("aliases")?;
        if text == service.as_str() {
            return Ok(None);
        }
        if context.names.iter().any(|name| name == text) {
            let shown = text.escape_debug();
            return Err(alias
                .error(format!(
                    "\"{shown}\" is the name of another service or function"
                ))
                .hint("an alias must be a name that nothing else has"));
        }
        let named = alias.parsed("aliases", |text| {
            text.parse()
                .map_err(|invalid: model::Invalid| invalid.reason)
        });
        named.map(Some)
    })
}

/// The `networks` of a function, which has no address there and so no other name.
pub(super) fn parse_joined_by_function(
    context: &Context,
    function: &FunctionName,
    node: Option<&Node>,
) -> Result<Joined> {
    join(context, node, |alias| match alias.text("aliases")? {
        text if text == function.as_str() => Ok(None),
        _ => Err(alias
            .error("a function has no aliases: it has no address on a network")
            .hint("leave them out; it is called by its name at /fn/NAME or by Invoke")),
    })
}

fn join(
    context: &Context,
    node: Option<&Node>,
    alias: impl Fn(&Node) -> Result<Option<ServiceName>>,
) -> Result<Joined> {
    let mut joined = Joined {
        networks: Networks::default(),
        internal: true,
    };
    let find = |key: &str, place: &Place| {
        let found = context.networks.iter().find(|network| network.key == key);
        found.ok_or_else(|| {
            let shown = key.escape_debug();
            let error = place.error(format!("no network \"{shown}\" is declared"));
            error.hint(format!("add `{shown}:` below `networks:` at the top level"))
        })
    };
    match node.map(|node| (node, &node.value)) {
        Some((_, Value::List(entries))) => {
            for entry in entries {
                joined.add(find(entry.text("networks")?, &entry.place)?, []);
            }
        }
        Some((node, _)) => {
            for (key, node) in node.map("networks")? {
                let network = find(&key.text, &key.place)?;
                joined.add(network, parse_aliases(node, &alias)?);
            }
        }
        None => {}
    }
    if joined.networks.is_empty() {
        let default = context.networks.iter();
        let default = default.filter(|network| network.key == DEFAULT);
        default.for_each(|network| joined.add(network, []));
    }
    let mut only_default = Networks::default();
    only_default.join(NetworkName::default(), []);
    if joined.networks == only_default {
        // Nothing said means the same.
        joined.networks = Networks::default();
    }
    let checked = joined.networks.check();
    match (checked, node) {
        (Err(invalid), Some(node)) => Err(node.error(invalid.to_string())),
        _ => Ok(joined),
    }
}

impl Joined {
    fn add(&mut self, network: &DeclaredNetwork, aliases: impl IntoIterator<Item = ServiceName>) {
        self.networks.join(network.name.clone(), aliases);
        self.internal &= network.internal;
    }
}

fn parse_aliases(
    node: &Node,
    alias: impl Fn(&Node) -> Result<Option<ServiceName>>,
) -> Result<Vec<ServiceName>> {
    if matches!(node.value, Value::Null) {
        return Ok(Vec::new());
    }
    let mut fields = Fields::of(node, "networks")?;
    let entries = fields.take("aliases").map(|node| node.list("aliases"));
    let entries = entries.transpose()?.unwrap_or_default();
    let aliases = entries.iter().filter_map(|entry| alias(entry).transpose());
    let aliases = aliases.collect::<Result<_>>()?;
    fields.finish(&[
        ("ipv4_address", ADDRESSES),
        ("ipv6_address", ADDRESSES),
        ("link_local_ips", ADDRESSES),
        ("mac_address", ADDRESSES),
        ("priority", ADDRESSES),
        ("gw_priority", ADDRESSES),
        ("interface_name", ADDRESSES),
        ("driver_opts", ADDRESSES),
    ])?;
    Ok(aliases)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::manifest::tests::{image, load};
    use model::{Egress, FunctionSpec, Networks, ServiceSpec};

    /// The services `a`, `b` … and the functions of a manifest.
    fn read(text: &str) -> (Vec<ServiceSpec>, Vec<FunctionSpec>) {
        let manifest = load(text).1.unwrap_or_else(|error| panic!("{error}"));
        let services = manifest.services.iter();
        let functions = manifest.functions.iter();
        (
            services
                .map(|one| one.with_code(image()).unwrap())
                .collect(),
            functions
                .map(|one| one.with_code(image()).unwrap())
                .collect(),
        )
    }

    fn networks(json: serde_json::Value) -> Networks {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn each_is_on_the_networks_that_it_names() {
        let text = "networks: {front: {driver: bridge}, back: {name: shop-back}}
services:
  a: {image: x, networks: [front, back]}
  b: {image: x, networks: {back: {aliases: [b, db]}, front: }}
  c: {image: x}
  d: {image: x, networks: [default]}
  f: {image: x, networks: [back], x-rouse: {}}";
        let (services, functions) = read(text);
        let of = |index: usize| services[index].networks.clone();
        assert_eq!(
            of(0),
            networks(serde_json::json!({"front": [], "shop-back": []}))
        );
        assert_eq!(
            of(1),
            networks(serde_json::json!({"front": [], "shop-back": ["db"]}))
        );
        assert!(of(2).is_empty() && of(3).is_empty());
        assert!(functions[0].networks.meet(&of(1)) && !functions[0].networks.meet(&of(2)));
    }

    #[test]
    fn what_is_on_internal_networks_only_reaches_nothing_outside() {
        let text = "networks: {in: {internal: true}, out: {internal: false}}
services:
  a: {image: x, networks: [in]}
  b: {image: x, networks: [in, out]}
  c: {image: x, networks: [in], x-rouse-egress: none}
  f: {image: x, networks: [in], x-rouse: {}}";
        let (services, functions) = read(text);
        let egress: Vec<_> = services.iter().map(|one| one.egress.clone()).collect();
        assert_eq!(egress, [Some(Egress::None), None, Some(Egress::None)]);
        assert_eq!(functions[0].egress, Some(Egress::None));
        let default = "networks: {default: {internal: true, name: own}}\nservices: {a: {image: x}}";
        let (services, _) = read(default);
        assert_eq!(services[0].egress, Some(Egress::None));
        assert_eq!(
            services[0].networks,
            networks(serde_json::json!({"own": []}))
        );
    }

    proptest::proptest! {
        #[test]
        fn hostile_names_are_refused_or_kept_as_they_are(name in "[ -~]{1,70}") {
            let quoted = name.replace('\'', "''").replace('$', "$$");
            let text = format!(
                "networks: {{'{quoted}': }}\nservices: {{a: {{image: x, networks: ['{quoted}']}}}}"
            );
            if let Ok(manifest) = load(&text).1 {
                let spec = manifest.services[0].with_code(image()).unwrap();
                let mut expected = Networks::default();
                if name != "default" {
                    expected.join(name.parse().unwrap(), []);
                }
                proptest::prop_assert_eq!(spec.networks, expected);
            }
        }
    }
}
