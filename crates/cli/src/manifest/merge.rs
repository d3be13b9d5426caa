//! Several files as one, by the rules of the Compose specification: mappings are merged key by key, lists are
//! appended, scalars replaced; what has a rule of its own is named here.

use super::node::{Amend, Key, Node, Value};
use super::place::Result;

/// How what stands at a path is merged.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// By what it is.
    Plain,
    /// A command line: the later one takes the place of the earlier.
    Replace,
    /// `NAME=value` or a mapping; by name.
    Pairs,
    /// A list of names or a mapping of them; by name.
    Names,
    /// A path, or a mapping with `context`.
    Build,
    /// One text or a list.
    Texts,
    /// A list in which what this gives is unique: the later entry takes the earlier one's place.
    Unique(fn(&Node) -> Option<String>),
}

fn rule(path: &[&str]) -> Rule {
    match path {
        ["services", _, "command" | "entrypoint"] | ["services", _, "healthcheck", "test"] => {
            Rule::Replace
        }
        [
            "services",
            _,
            "environment" | "labels" | "annotations" | "sysctls",
        ]
        | ["services", _, "build", "args" | "labels"]
        | ["services", _, "deploy", "labels"]
        | ["volumes" | "networks" | "secrets" | "configs", _, "labels"] => Rule::Pairs,
        ["services", _, "depends_on" | "networks"] => Rule::Names,
        ["services", _, "build"] => Rule::Build,
        [
            "services",
            _,
            "env_file" | "dns" | "dns_search" | "tmpfs" | "label_file",
        ] => Rule::Texts,
        ["services", _, "ports"] => Rule::Unique(port),
        ["services", _, "volumes" | "devices"] => Rule::Unique(mounted),
        ["services", _, "secrets" | "configs"] => Rule::Unique(injected),
        [
            "services",
            _,
            "expose" | "profiles" | "cap_add" | "cap_drop" | "security_opt" | "external_links",
        ] => Rule::Unique(itself),
        _ => Rule::Plain,
    }
}

/// `over` merged into `base`; both are whole files.
///
/// # Errors
/// A mapping, list or text stands where the other file has something else.
pub(super) fn merge(base: Node, over: Node) -> Result<Node> {
    merge_at(base, over, &[])
}

/// One service merged into another, which it extends.
pub(super) fn merge_service(base: Node, over: Node) -> Result<Node> {
    merge_at(base, over, &["services", ""])
}

/// A file by itself, or what no file before has: what is reset in it is gone.
pub(super) fn settle(node: Node) -> Node {
    let value = match node.value {
        Value::List(entries) => {
            let entries = entries.into_iter();
            let kept = entries.filter(|entry| entry.amend != Amend::Reset);
            Value::List(kept.map(settle).collect())
        }
        Value::Map(entries) => {
            let entries = entries.into_iter();
            let kept = entries.filter(|(_, node)| node.amend != Amend::Reset);
            Value::Map(kept.map(|(key, node)| (key, settle(node))).collect())
        }
        value => value,
    };
    Node {
        value,
        amend: Amend::Merge,
        ..node
    }
}

fn merge_at(base: Node, over: Node, path: &[&str]) -> Result<Node> {
    if over.amend == Amend::Override {
        return Ok(settle(over));
    }
    let rule = rule(path);
    let (base, over) = match rule {
        // An empty text or list is a command, too.
        Rule::Replace if matches!(over.value, Value::Null) => return Ok(base),
        Rule::Replace => return Ok(settle(over)),
        Rule::Pairs => (pairs(base)?, pairs(over)?),
        Rule::Names => (names(base, path)?, names(over, path)?),
        Rule::Build => (build(base), build(over)),
        Rule::Texts => (texts(base), texts(over)),
        Rule::Plain | Rule::Unique(_) => (base, over),
    };
    match (base.value, over.value) {
        // A key without a value says nothing, but for a variable, which is then the shell's.
        (value, Value::Null) if !matches!(path, [.., "environment", _]) => Ok(Node {
            value,
            ..bare(base.place, base.plain)
        }),
        (Value::Map(old), Value::Map(new)) => Ok(Node {
            value: Value::Map(merge_entries(old, new, path)?),
            place: over.place,
            plain: false,
            amend: Amend::Merge,
        }),
        (Value::List(old), Value::List(new)) => Ok(Node {
            value: Value::List(append(old, new, rule)),
            place: over.place,
            plain: false,
            amend: Amend::Merge,
        }),
        (old @ (Value::Map(_) | Value::List(_)), new) => {
            let old = Node {
                value: old,
                ..bare(base.place, false)
            };
            let new = Node {
                value: new,
                ..bare(over.place, over.plain)
            };
            let message = format!(
                "{} is {} here, and {} at {}",
                path.last().unwrap_or(&"the file"),
                new.sort(),
                old.sort(),
                old.place
            );
            let hint =
                "write both alike, or !override before the value to put it in the other's place";
            Err(new.error(message).hint(hint))
        }
        (_, value) => Ok(settle(Node {
            value,
            place: over.place,
            plain: over.plain,
            amend: Amend::Merge,
        })),
    }
}

fn bare(place: super::Place, plain: bool) -> Node {
    Node {
        value: Value::Null,
        place,
        plain,
        amend: Amend::Merge,
    }
}

fn merge_entries(
    mut old: Vec<(Key, Node)>,
    new: Vec<(Key, Node)>,
    path: &[&str],
) -> Result<Vec<(Key, Node)>> {
    for (key, node) in new {
        let at = old.iter().position(|(known, _)| known.text == key.text);
        match (at, node.amend) {
            (Some(at), Amend::Reset) => drop(old.remove(at)),
            (None, Amend::Reset) => {}
            (None, _) => old.push((key, settle(node))),
            (Some(at), _) => {
                let below = [path, &[key.text.as_str()]].concat();
                let (known, before) = old.remove(at);
                let merged = merge_at(before, node, &below)?;
                // The name stands where it was first written.
                old.insert(at, (known, merged));
            }
        }
    }
    Ok(old)
}

fn append(mut old: Vec<Node>, new: Vec<Node>, rule: Rule) -> Vec<Node> {
    for node in new {
        if node.amend == Amend::Reset {
            continue;
        }
        let same = match rule {
            Rule::Unique(of) => of(&node).and_then(|wanted| {
                let mut known = old.iter();
                known.position(|entry| of(entry).as_ref() == Some(&wanted))
            }),
            _ => None,
        };
        match same {
            Some(at) => old[at] = settle(node),
            None => old.push(settle(node)),
        }
    }
    old
}

/// `[A=1, B]` as `{A: 1, B: }`. Of a name that stands twice in one list, which is refused later, both stay.
fn pairs(node: Node) -> Result<Node> {
    let Value::List(entries) = node.value else {
        return Ok(node);
    };
    let mut map: Vec<(Key, Node)> = Vec::with_capacity(entries.len());
    for entry in entries {
        let text = entry.text("NAME=value")?.to_owned();
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), Value::Text(value.to_owned())),
            None => (text, Value::Null),
        };
        if map.iter().any(|(known, _)| known.text == name) {
            return Err(entry.error(format!("{} is set twice", name.escape_debug())));
        }
        let key = Key {
            text: name,
            place: entry.place.clone(),
        };
        map.push((
            key,
            Node {
                value,
                plain: false,
                ..entry
            },
        ));
    }
    Ok(Node {
        value: Value::Map(map),
        amend: node.amend,
        ..bare(node.place, false)
    })
}

/// `[a, b]` as `{a: , b: }`; what a service depends on has its default condition.
fn names(node: Node, path: &[&str]) -> Result<Node> {
    let Value::List(entries) = node.value else {
        return Ok(node);
    };
    let mut map: Vec<(Key, Node)> = Vec::with_capacity(entries.len());
    for entry in entries {
        let key = Key {
            text: entry.text("a name")?.to_owned(),
            place: entry.place.clone(),
        };
        if map.iter().any(|(known, _)| known.text == key.text) {
            continue;
        }
        let value = match path.last() {
            Some(&"depends_on") => {
                let condition = Key {
                    text: "condition".to_owned(),
                    place: entry.place.clone(),
                };
                let started = Value::Text("service_started".to_owned());
                let started = Node {
                    value: started,
                    ..bare(entry.place.clone(), false)
                };
                Value::Map(vec![(condition, started)])
            }
            _ => Value::Null,
        };
        map.push((key, Node { value, ..entry }));
    }
    Ok(Node {
        value: Value::Map(map),
        amend: node.amend,
        ..bare(node.place, false)
    })
}

/// `build: ./folder` as `build: {context: ./folder}`.
fn build(node: Node) -> Node {
    if !matches!(node.value, Value::Text(_)) {
        return node;
    }
    let key = Key {
        text: "context".to_owned(),
        place: node.place.clone(),
    };
    let (place, amend) = (node.place.clone(), node.amend);
    Node {
        value: Value::Map(vec![(
            key,
            Node {
                amend: Amend::Merge,
                ..node
            },
        )]),
        amend,
        ..bare(place, false)
    }
}

/// One text, or one mapping, as a list of it.
fn texts(node: Node) -> Node {
    if matches!(node.value, Value::List(_) | Value::Null) {
        return node;
    }
    let (place, amend) = (node.place.clone(), node.amend);
    Node {
        value: Value::List(vec![Node {
            amend: Amend::Merge,
            ..node
        }]),
        amend,
        ..bare(place, false)
    }
}

fn scalar(node: &Node, key: &str) -> String {
    let found = node.get(key).and_then(|node| node.text(key).ok());
    found.unwrap_or("").to_owned()
}

/// `HOST:PUBLISHED:TARGET/PROTOCOL`, whichever way it is written.
fn port(node: &Node) -> Option<String> {
    let (host, published, target, protocol) = match &node.value {
        Value::Text(text) => {
            let (addresses, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let (rest, target) = addresses.rsplit_once(':').unwrap_or(("", addresses));
            let (host, published) = rest.rsplit_once(':').unwrap_or(("", rest));
            let own = str::to_owned;
            (own(host), own(published), own(target), own(protocol))
        }
        Value::Map(_) => {
            let protocol = Some(scalar(node, "protocol")).filter(|text| !text.is_empty());
            (
                scalar(node, "host_ip"),
                scalar(node, "published"),
                scalar(node, "target"),
                protocol.unwrap_or_else(|| "tcp".to_owned()),
            )
        }
        _ => return None,
    };
    Some(format!("{host}:{published}:{target}/{protocol}"))
}

/// The path inside at which a volume or device is.
fn mounted(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => {
            let mut parts = text.split(':');
            let first = parts.next()?;
            Some(parts.next().unwrap_or(first).to_owned())
        }
        Value::Map(_) => Some(scalar(node, "target")),
        _ => None,
    }
}

/// The path inside, or name, at which a secret or config is.
fn injected(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        Value::Map(_) if node.has("target") => Some(scalar(node, "target")),
        Value::Map(_) => Some(scalar(node, "source")),
        _ => None,
    }
}

fn itself(node: &Node) -> Option<String> {
    node.text("").ok().map(str::to_owned)
}
