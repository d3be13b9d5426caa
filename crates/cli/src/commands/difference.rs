//! What a deployment would change of what there is.

use crate::error::Result;
use crate::output::{self, Tone};
use model::Deployment;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Differences {
    project: String,
    changes: Vec<Difference>,
}

/// One thing.
#[derive(Debug, PartialEq, Serialize)]
struct Difference {
    /// `bucket`, `function`, `mapping`, `queue`, `rule`, `schedule` or `service`.
    what: &'static str,
    name: String,
    change: Change,
    /// What of it changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<Field>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Added,
    Changed,
    Unchanged,
    Removed,
}

/// One value; `None` where there is none.
#[derive(Debug, PartialEq, Serialize)]
struct Field {
    /// Such as `limits.memory`.
    field: String,
    old: Option<Value>,
    new: Option<Value>,
}

/// What stands in the place of a value that is not shown.
const HIDDEN: &str = "(not shown)";

/// Compares what there is with what is declared, both of the same things.
pub(crate) fn between(present: &Deployment, declared: &Deployment) -> Differences {
    let mut changes = Vec::new();
    let mut add = |what, old: Things, new: Things| changes.extend(compare(what, old, new));
    add(
        "queue",
        things(&present.queues, |queue| queue.name.to_string()),
        things(&declared.queues, |queue| queue.name.to_string()),
    );
    add(
        "bucket",
        things(&present.buckets, |bucket| bucket.name.to_string()),
        things(&declared.buckets, |bucket| bucket.name.to_string()),
    );
    add(
        "service",
        things(&present.services, |service| service.name.to_string()),
        things(&declared.services, |service| service.name.to_string()),
    );
    add(
        "function",
        things(&present.functions, |function| function.name.to_string()),
        things(&declared.functions, |function| function.name.to_string()),
    );
    add(
        "schedule",
        things(&present.schedules, |schedule| schedule.key.to_string()),
        things(&declared.schedules, |schedule| schedule.key.to_string()),
    );
    add(
        "mapping",
        things(&present.mappings, |mapping| {
            format!("{} to {}", mapping.queue, mapping.function)
        }),
        things(&declared.mappings, |mapping| {
            format!("{} to {}", mapping.queue, mapping.function)
        }),
    );
    add(
        "rule",
        things(&present.rules, |rule| format!("{}/{}", rule.bus, rule.name)),
        things(&declared.rules, |rule| {
            format!("{}/{}", rule.bus, rule.name)
        }),
    );
    Differences {
        project: declared.project.clone(),
        changes,
    }
}

/// By name, as their values by path.
type Things = Vec<(String, BTreeMap<String, Value>)>;

fn things<T: Serialize>(all: &[T], name: impl Fn(&T) -> String) -> Things {
    let values = |thing| {
        let mut values = BTreeMap::new();
        // What the server and the client exchange as JSON is JSON.
        flatten(
            String::new(),
            serde_json::to_value(thing).unwrap_or_default(),
            &mut values,
        );
        values
    };
    all.iter()
        .map(|thing| (name(thing), values(thing)))
        .collect()
}

/// `{a: {b: 1}, c: [2]}` as `a.b` and `c`; what is null or empty is as if it were not there.
fn flatten(path: String, value: Value, values: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let path = if path.is_empty() {
                    key
                } else {
                    format!("{path}.{key}")
                };
                flatten(path, value, values);
            }
        }
        Value::Null => {}
        Value::Array(list) if list.is_empty() => {}
        value => drop(values.insert(path, value)),
    }
}

fn compare(what: &'static str, old: Things, new: Things) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (name, new) in &new {
        let before = old.iter().find(|(known, _)| known == name);
        let fields = before.map_or_else(Vec::new, |(_, old)| fields(old, new));
        let change = match before {
            None => Change::Added,
            Some(_) if fields.is_empty() => Change::Unchanged,
            Some(_) => Change::Changed,
        };
        differences.push(Difference {
            what,
            name: name.clone(),
            change,
            fields,
        });
    }
    let gone = old
        .iter()
        .filter(|(name, _)| !new.iter().any(|(known, _)| known == name));
    differences.extend(gone.map(|(name, _)| Difference {
        what,
        name: name.clone(),
        change: Change::Removed,
        fields: Vec::new(),
    }));
    differences
}

fn fields(old: &BTreeMap<String, Value>, new: &BTreeMap<String, Value>) -> Vec<Field> {
    let mut paths: Vec<&String> = old.keys().chain(new.keys()).collect();
    paths.sort();
    paths.dedup();
    let differ = paths
        .into_iter()
        .filter(|path| old.get(*path) != new.get(*path));
    let shown = |path: &str, values: &BTreeMap<String, Value>, hide: bool| {
        let value = values.get(path)?;
        Some(if hide { HIDDEN.into() } else { value.clone() })
    };
    differ
        .map(|path| {
            // If one of the two is a secret, the other may be nearly the same.
            let values = [old.get(path), new.get(path)];
            let hide = values
                .into_iter()
                .flatten()
                .any(|value| is_secret(path, value));
            Field {
                field: path.clone(),
                old: shown(path, old, hide),
                new: shown(path, new, hide),
            }
        })
        .collect()
}

/// Whether the value of a variable or label is not to be shown: by its path, or by what it looks like.
fn is_secret(path: &str, value: &Value) -> bool {
    let variable = ["environment.", "labels."]
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix));
    let text = value.as_str().unwrap_or_default();
    variable.is_some_and(|name| crate::manifest::looks_secret(name, text))
}

/// Prints them for people.
pub(crate) fn print(differences: &Differences) -> Result<()> {
    let mut counts = BTreeMap::new();
    for difference in &differences.changes {
        let (sign, word, tone) = match difference.change {
            Change::Added => ("+", "added", Tone::Good),
            Change::Changed => ("~", "changed", Tone::Busy),
            Change::Unchanged => ("=", "unchanged", Tone::Dim),
            Change::Removed => ("-", "removed", Tone::Bad),
        };
        *counts.entry(word).or_insert(0_usize) += 1;
        let (what, name) = (difference.what, output::cell(&difference.name, 120));
        output::line(output::paint(format!("{sign} {what} {name}: {word}"), tone))?;
        for field in &difference.fields {
            let name = output::cell(&field.field, 80);
            let (old, new) = (shown(field.old.as_ref()), shown(field.new.as_ref()));
            let old = output::paint(old, Tone::Bad);
            let new = output::paint(new, Tone::Good);
            output::line(format_args!("    {name}: {old} → {new}"))?;
        }
    }
    let count = |word| counts.get(word).copied().unwrap_or(0);
    output::line(format_args!(
        "{} to add, {} to change, {} to remove, {} unchanged; nothing was done",
        count("added"),
        count("changed"),
        count("removed"),
        count("unchanged")
    ))
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "(nothing)".to_owned(),
        Some(Value::String(text)) if text == HIDDEN => text.clone(),
        Some(Value::String(text)) => format!("{:?}", output::cell(text, 100)),
        Some(value) => output::cell(&value.to_string(), 100),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn deployment(services: Value) -> Deployment {
        let mut services = services;
        for service in services.as_array_mut().unwrap() {
            service["runtime"] = "provided".into();
            service["command"] = json!(["x"]);
            let digest = format!("sha256:{}", "a".repeat(64));
            service["code"] = json!({"zip": {"digest": digest, "size": 1}});
        }
        serde_json::from_value(json!({"project": "p", "services": services})).unwrap()
    }

    #[test]
    fn what_is_added_changed_removed_and_unchanged_is_told_apart() {
        let old = deployment(json!([
            {"name": "same"}, {"name": "gone"},
            {"name": "other", "replicas": 1, "environment": {"LEVEL": "info", "OLD": "1"}},
        ]));
        let new = deployment(json!([
            {"name": "same"}, {"name": "new"},
            {"name": "other", "replicas": 2, "environment": {"LEVEL": "debug", "NEW": "2"}, "ports": [80]},
        ]));
        let found = between(&old, &new).changes;
        let seen: Vec<_> = found
            .iter()
            .map(|one| (one.name.as_str(), one.change))
            .collect();
        assert_eq!(
            seen,
            [
                ("same", Change::Unchanged),
                ("new", Change::Added),
                ("other", Change::Changed),
                ("gone", Change::Removed)
            ]
        );
        let field = |field: &str, old, new| Field {
            field: field.to_owned(),
            old,
            new,
        };
        assert_eq!(
            found[2].fields,
            [
                field(
                    "environment.LEVEL",
                    Some("info".into()),
                    Some("debug".into())
                ),
                field("environment.NEW", None, Some("2".into())),
                field("environment.OLD", Some("1".into()), None),
                field("ports", None, Some(json!([80]))),
                field("replicas", Some(1.into()), Some(2.into())),
            ]
        );
        assert!(
            between(&new, &new)
                .changes
                .iter()
                .all(|one| one.change == Change::Unchanged)
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let of = |text: &str| {
            let value = format!("postgres://me:{text}@db/shop");
            deployment(json!([{"name": "a", "environment": {
                "API_TOKEN": text, "DB_PASSWORD": text, "DATABASE": value, "PLAIN": "x",
            }}]))
        };
        let found = between(&of("old-hunter2"), &of("new-hunter2"));
        let text = serde_json::to_string(&found).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(text.matches(HIDDEN).count(), 6, "{text}");
        let names: Vec<_> = found.changes[0]
            .fields
            .iter()
            .map(|field| field.field.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "environment.API_TOKEN",
                "environment.DATABASE",
                "environment.DB_PASSWORD"
            ]
        );
    }
}
