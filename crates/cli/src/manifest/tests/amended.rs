//! Several files as one, profiles, files of variables, and what services wait for.

use super::super::merge::merge;
use super::super::node::{Amend, Key, Value};
use super::super::place::Place;
use super::*;
use model::{Condition, Restart};
use proptest::prelude::*;

/// A tree as its lines, without places.
fn shape(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Text(text) => text.as_str().into(),
        Value::List(list) => list.iter().map(shape).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, node)| (key.text.clone(), shape(node)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

fn parse(text: &str) -> Node {
    let source = Arc::new(Source {
        name: "f".to_owned(),
        text: text.to_owned(),
    });
    Node::parse(&source, &mut Variables::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn merged(base: &str, over: &str) -> serde_json::Value {
    let base = settle(parse(base));
    shape(&merge(base, parse(over)).unwrap_or_else(|error| panic!("{error}")))
}

/// What the key of a service is after a merge.
fn key(name: &str, base: &str, over: &str) -> serde_json::Value {
    let file = |value: &str| format!("services: {{a: {{{name}: {value}}}}}");
    merged(&file(base), &file(over))["services"]["a"][name].clone()
}

#[test]
fn each_key_is_merged_by_its_rule() {
    let cases = [
        ("image", "x", "y", r#""y""#),
        ("image", "x", "", r#""x""#),
        ("command", "[a, b]", "[c]", r#"["c"]"#),
        ("command", "a b", "[c]", r#"["c"]"#),
        ("entrypoint", "[a]", "b c", r#""b c""#),
        ("command", "[a]", "", r#"["a"]"#),
        (
            "environment",
            "[A=1, B=2]",
            "{B: 3, C: 4}",
            r#"{"A":"1","B":"3","C":"4"}"#,
        ),
        ("environment", "{A: 1}", "[A]", r#"{"A":null}"#),
        ("labels", "{a: b}", "[a=c, d]", r#"{"a":"c","d":null}"#),
        (
            "depends_on",
            "[b]",
            "{c: {condition: service_healthy}}",
            r#"{"b":{"condition":"service_started"},"c":{"condition":"service_healthy"}}"#,
        ),
        ("networks", "[b]", "{c: }", r#"{"b":null,"c":null}"#),
        (
            "build",
            "./x",
            "{args: {A: 1}}",
            r#"{"context":"./x","args":{"A":"1"}}"#,
        ),
        ("env_file", "a.env", "[b.env]", r#"["a.env","b.env"]"#),
        ("expose", "[80, 81]", "[81, 82]", r#"["80","81","82"]"#),
        ("profiles", "[a]", "[a, b]", r#"["a","b"]"#),
        (
            "ports",
            "['80:80']",
            "['80:80', '81:80']",
            r#"["80:80","81:80"]"#,
        ),
        (
            "ports",
            "['80:80']",
            "[{target: 80, published: 80, name: web}]",
            r#"[{"target":"80","published":"80","name":"web"}]"#,
        ),
        (
            "volumes",
            "['a:/x', 'b:/y']",
            "['c:/x:ro']",
            r#"["c:/x:ro","b:/y"]"#,
        ),
        (
            "volumes",
            "['a:/x']",
            "[{type: volume, source: c, target: /x}]",
            r#"[{"type":"volume","source":"c","target":"/x"}]"#,
        ),
        (
            "secrets",
            "[s]",
            "[{source: s, target: t}, s]",
            r#"["s",{"source":"s","target":"t"}]"#,
        ),
        (
            "configs",
            "[{source: s, target: /t}]",
            "[{source: u, target: /t}]",
            r#"[{"source":"u","target":"/t"}]"#,
        ),
        (
            "healthcheck",
            "{test: [CMD, a], retries: 2}",
            "{test: [CMD, b]}",
            r#"{"test":["CMD","b"],"retries":"2"}"#,
        ),
        (
            "x-rouse",
            "{concurrency: {min: 1, max: 2}, triggers: [{bucket: a}]}",
            "{concurrency: {max: 3}, triggers: [{bucket: b}]}",
            r#"{"concurrency":{"min":"1","max":"3"},"triggers":[{"bucket":"a"},{"bucket":"b"}]}"#,
        ),
        ("ports", "['80:80']", "!override ['81:81']", r#"["81:81"]"#),
        ("ports", "['80:80']", "!reset []", "null"),
        (
            "environment",
            "{A: 1, B: 2}",
            "{A: !reset null}",
            r#"{"B":"2"}"#,
        ),
        (
            "x-rouse",
            "{egress: [a.com]}",
            "{egress: !override none}",
            r#"{"egress":"none"}"#,
        ),
    ];
    for (name, base, over, expected) in cases {
        let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
        assert_eq!(key(name, base, over), expected, "{name}: {base} and {over}");
    }
    // A name that only one file has, the order of the first file, and what only one file resets.
    let both = merged(
        "services: {a: {image: x}}",
        "services: {b: {image: y, ports: !reset [80]}}\nx-a: 1",
    );
    assert_eq!(
        both.to_string(),
        r#"{"services":{"a":{"image":"x"},"b":{"image":"y"}},"x-a":"1"}"#
    );
}

#[test]
fn unlike_values_are_refused_at_the_later_one() {
    let base = settle(parse("services: {a: {ports: [80]}}"));
    let error = merge(base, parse("services:\n  a: {ports: 80}")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "f:2:14: ports is a text here, and a list at f:1:23"
    );
}

#[test]
fn files_are_read_as_one_and_later_ones_win() {
    let folder = tempfile::tempdir().unwrap();
    let base =
        "services:\n  a: {image: x, environment: {A: 1, B: 2}, ports: [80]}\n  b: {image: x}";
    let over = "services:\n  a: {environment: [B=3], deploy: {replicas: 2}}\nx-rouse: {buckets: {photos: {}}}";
    let manifest = load_in(folder.path(), &[base, over], &[]).unwrap();
    let a = manifest.services[0].with_code(image()).unwrap();
    assert_eq!(
        (a.environment["A"].as_str(), a.environment["B"].as_str()),
        ("1", "3")
    );
    assert_eq!((a.replicas, a.ports), (2, vec![80]));
    assert_eq!((manifest.services.len(), manifest.buckets.len()), (2, 1));
    // An error stands in the file that has it.
    let error = load_in(
        folder.path(),
        &[base, "services: {b: {privileged: true}}"],
        &[],
    );
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("compose.1.yaml:1:28: ")
    );
}

#[test]
fn profiles_choose_services() {
    let text = "services:\n  a: {image: x}\n  b: {image: x, profiles: [debug, metrics]}\n  \
                c: {image: x, profiles: [metrics], x-rouse: {}, depends_on: {b: {condition: service_started}}}";
    let folder = tempfile::tempdir().unwrap();
    let names = |profiles: &[&str]| {
        let manifest = load_in(folder.path(), &[text], profiles).unwrap();
        let services = manifest.services.iter().map(|one| one.name.to_string());
        let functions = manifest.functions.iter().map(|one| one.name.to_string());
        services.chain(functions).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["a"]);
    assert_eq!(names(&["debug"]), ["a", "b"]);
    assert_eq!(names(&["metrics"]), ["a", "b", "c"]);
    assert_eq!(names(&["*"]), ["a", "b", "c"]);
}

#[test]
fn files_of_variables_come_before_environment() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("one.env"),
        "A=1\nB=1\nPLAIN\nGONE\nE=${A}-$PLAIN\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("two.env"), "B=2\nC='$A'\n").unwrap();
    std::fs::write(folder.path().join("raw.env"), "D='$A' # kept\n").unwrap();
    let read = |env_file: &str| {
        let text = format!(
            "services:\n  a: {{image: x, env_file: {env_file}, environment: {{A: of the manifest}}}}"
        );
        let manifest = load_in(folder.path(), &[&text], &[]).unwrap();
        manifest.services[0].with_code(image()).unwrap().environment
    };
    let all = read(
        "[one.env, {path: two.env}, {path: gone.env, required: false}, {path: raw.env, format: raw}]",
    );
    let all: Vec<_> = all
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        all,
        [
            "A=of the manifest",
            "B=2",
            "C=$A",
            "D='$A' # kept",
            "E=1-from the shell",
            "PLAIN=from the shell"
        ]
    );
    assert_eq!(read("two.env")["B"], "2");
    std::fs::write(folder.path().join("bad.env"), "A=1\n?\n").unwrap();
    let error = load_in(
        folder.path(),
        &["services:\n  a: {image: x, env_file: bad.env}"],
        &[],
    );
    let error = error.unwrap_err().to_string();
    assert!(
        error.starts_with("compose.yaml:2:27: ") && error.contains("bad.env:2: "),
        "{error}"
    );
}

#[test]
fn what_services_wait_for_and_when_they_start_again() {
    let text = "services:
  a:
    image: x
    restart: on-failure:3
    labels: [team=shop, alone]
    depends_on:
      b: {condition: service_completed_successfully}
      c: {condition: service_healthy}
      d: {condition: service_started, required: false}
      f: {condition: service_healthy}
  b: {image: x, restart: 'no', healthcheck: {disable: true}}
  c: {image: x, scale: 2, mem_limit: 64M, cpus: 0.5, pids_limit: 9, expose: [80], healthcheck: {test: 'wget -q --spider http://localhost/up || exit 1'}}
  e: {image: x, deploy: {restart_policy: {condition: on-failure, max_attempts: 2}}, healthcheck: {test: [NONE]}}
  f: {image: x, x-rouse: {}, depends_on: [c], labels: {a: b}}";
    let (_folder, manifest) = load(text);
    let manifest = manifest.unwrap();
    let [a, b, c, e] = &manifest.services[..] else {
        panic!("{:?}", manifest.services)
    };
    let [a, b, c, e] = [a, b, c, e].map(|one| one.with_code(image()).unwrap());
    let waits: Vec<_> = a
        .depends_on
        .iter()
        .map(|one| (one.service.as_str(), one.condition))
        .collect();
    assert_eq!(
        waits,
        [("b", Condition::Completed), ("c", Condition::Healthy)]
    );
    assert_eq!(a.restart, Restart::OnFailure { max: Some(3) });
    assert_eq!(
        (a.labels["team"].as_str(), a.labels["alone"].as_str()),
        ("shop", "")
    );
    assert_eq!((b.restart, b.health.disabled), (Restart::No, true));
    assert_eq!(
        (c.replicas, c.limits.memory, c.limits.cpu, c.limits.pids),
        (2, 64 << 20, 500, 9)
    );
    assert_eq!(
        (c.restart, c.health.path.as_deref()),
        (Restart::Always, Some("/up"))
    );
    assert_eq!(e.restart, Restart::OnFailure { max: Some(2) });
    assert!(e.health.disabled);
    let notes = manifest.notes.join("\n");
    assert!(
        notes.contains("no service \"d\" is declared; it is not waited for"),
        "{notes}"
    );
    assert!(
        notes.contains("compose.yaml:14:") && notes.contains("labels of functions are not kept"),
        "{notes}"
    );
}

#[test]
fn what_says_no_more_than_holds_is_accepted() {
    let text = "networks: {front: {driver: bridge}, back: }
services:
  a: {image: x, networks: [front, back], cap_drop: [ALL], read_only: true, privileged: false, tty: false}
  b: {image: x, networks: {back: {aliases: [b]}}, security_opt: ['no-new-privileges:true'], init: false}
  c: {image: x, networks: [back], pull_policy: missing, volumes: ['v:/data']}
volumes: {v: {name: records, driver: local}}";
    let manifest = load(text).1.unwrap_or_else(|error| panic!("{error}"));
    let c = manifest.services[2].with_code(image()).unwrap();
    assert_eq!(c.volumes[0].volume, "records");
}

/// Trees whose mappings have few names, so that they meet.
fn tree() -> impl Strategy<Value = Node> {
    let place = || {
        let text = String::new();
        let name = "t".to_owned();
        Place::start(&Arc::new(Source { name, text }))
    };
    let node = move |value| Node {
        value,
        place: place(),
        plain: true,
        amend: Amend::Merge,
    };
    let leaf = prop_oneof![Just(Value::Null), "[a-c]{1,2}".prop_map(Value::Text),].prop_map(node);
    let name = proptest::sample::select(
        &[
            "services",
            "a",
            "b",
            "environment",
            "command",
            "ports",
            "x-rouse",
        ][..],
    );
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::List);
        let map =
            proptest::collection::btree_map(name.clone(), inner, 0..4).prop_map(move |entries| {
                let entries = entries.into_iter().map(|(text, node)| {
                    let key = Key {
                        text: text.to_owned(),
                        place: node.place.clone(),
                    };
                    (key, node)
                });
                Value::Map(entries.collect())
            });
        prop_oneof![list, map].prop_map(node)
    })
}

/// The rules for what has no rule of its own, straightforwardly.
fn model(base: &serde_json::Value, over: &serde_json::Value) -> Option<serde_json::Value> {
    use serde_json::Value as Json;
    Some(match (base, over) {
        (base, Json::Null) => base.clone(),
        (Json::Object(base), Json::Object(over)) => {
            let mut all = base.clone();
            for (name, value) in over {
                let merged = match base.get(name) {
                    Some(before) => model(before, value)?,
                    None => value.clone(),
                };
                all.insert(name.clone(), merged);
            }
            Json::Object(all)
        }
        (Json::Array(base), Json::Array(over)) => [base.as_slice(), over].concat().into(),
        (Json::Array(_) | Json::Object(_), _) => return None,
        (_, over) => over.clone(),
    })
}

proptest! {
    #[test]
    fn plain_keys_are_merged_as_the_model_says(base in tree(), over in tree()) {
        // Below a name without rules nothing has one.
        let below = |node: Node| Node {
            value: Value::Map(vec![(Key { text: "x-own".to_owned(), place: node.place.clone() }, node.clone())]),
            ..node
        };
        let expected = model(&shape(&base), &shape(&over));
        let merged = merge(below(base), below(over)).ok();
        prop_assert_eq!(merged.map(|node| shape(&node)["x-own"].clone()), expected);
    }

    #[test]
    fn a_file_and_nothing_is_the_file(base in tree()) {
        let nothing = parse("{}");
        let file = Node { value: Value::Map(vec![]), ..base.clone() };
        if matches!(base.value, Value::Map(_)) {
            prop_assert_eq!(shape(&merge(base.clone(), nothing).unwrap()), shape(&base));
            prop_assert_eq!(shape(&merge(file, base.clone()).unwrap()), shape(&base));
        }
    }

    #[test]
    fn variables_are_merged_by_name_however_they_are_written(
        base in proptest::collection::btree_map("[A-C]{1,2}", "[a-z=]{0,3}", 0..5),
        over in proptest::collection::btree_map("[A-C]{1,2}", "[a-z=]{0,3}", 0..5),
        lists in any::<(bool, bool)>(),
    ) {
        let file = |values: &std::collections::BTreeMap<String, String>, list: bool| {
            let entries: Vec<_> = values
                .iter()
                .map(|(name, value)| if list { format!("'{name}={value}'") } else { format!("{name}: '{value}'") })
                .collect();
            let entries = entries.join(", ");
            let entries = if list { format!("[{entries}]") } else { format!("{{{entries}}}") };
            parse(&format!("services: {{a: {{environment: {entries}}}}}"))
        };
        let merged = merge(settle(file(&base, lists.0)), file(&over, lists.1)).unwrap();
        let mut expected = base;
        expected.extend(over);
        let merged = shape(&merged)["services"]["a"]["environment"].clone();
        prop_assert_eq!(merged, serde_json::to_value(expected).unwrap());
    }

    #[test]
    fn no_two_trees_make_a_merge_of_services_panic(a in tree(), b in tree()) {
        let file = |node: Node| {
            let named = |text: &str, node: Node| Node {
                value: Value::Map(vec![(Key { text: text.to_owned(), place: node.place.clone() }, node.clone())]),
                ..node
            };
            named("services", named("a", node))
        };
        let before = shape(&a);
        if let Ok(merged) = merge(file(a), file(b)) {
            // What the first file names stays, but for what it names nothing.
            let merged = &shape(&merged)["services"]["a"];
            for name in before.as_object().into_iter().flatten().map(|(name, _)| name) {
                prop_assert!(merged.get(name).is_some(), "{} is gone", name);
            }
        }
    }
}
