//! What manifests mean, and what they are refused for.

#![allow(clippy::unwrap_used)]

mod amended;
mod refused;

use super::merge::{merge, settle};
use super::place::Source;
use super::*;
use model::{
    BucketSpec, CatchUp, Code, Contract, Digest, Egress, Fresh, FunctionSpec, RuntimeName,
    ServiceSpec, Snapshot, Target,
};
use proptest::prelude::*;
use std::sync::Arc;

const SHOP: &str = r#"
name: shop
x-defaults: &defaults
  environment: {LEVEL: info, SIZE: "${SIZE:-256}"}
services:
  thumbnail:
    <<: *defaults
    build: ./code
    x-rouse:
      runtime: nodejs20.x
      handler: index.handler
      description: makes thumbnails
      memory: 512M
      timeout: 30s
      cpu: 0.5
      tmp: 64
      pids: 64
      files: 256
      concurrency: {min: 1, max: 8, keep_alive: 1m, queue: 50, freeze_after: 500ms}
      fresh: always
      egress: [example.com, "*.example.com:443", 10.1.2.0/24, "10.1.2.3:5432"]
      retry: {attempts: 5, base_delay: 500ms, max_delay: 1m, max_age: 1h}
      triggers:
        - bucket: photos
        - {schedule: rate(1 minute)}
        - {bucket: photos, events: ["s3:ObjectRemoved:*"], prefix: in/, suffix: .jpg}
        - schedule: cron(30 2 ? * MON-FRI *)
          name: nightly
          timezone: europe/berlin
          catch_up: all
          retry: {attempts: 1, max_age: 90m}
          dead_letter: letters
          window: 15m
          start: 2026-11-22T00:00:00Z
          end: 2027-11-22T00:00:00+01:00
          description: by night
          input: '{"full": true, "at": "<aws.scheduler.scheduled-time>"}'
  web:
    image: shop/web
    command: ["serve", "--quiet"]
    x-rouse:
      contract: http
      memory: 256
      concurrency: {per_instance: 80, reserved: 20, freeze_after: never}
  catalog:
    build: {context: ./code}
    command: node server.js 'a b'
    environment: [PLAIN, LEVEL=debug, "GONE"]
    ports: ["8080:8080", {target: 9090, protocol: tcp}]
    expose: [7070]
    volumes:
      - records:/data
      - {type: volume, source: records, target: /ro, read_only: true}
    restart: unless-stopped
    depends_on: [thumbnail]
    labels: {a: b}
    healthcheck: {interval: 2s, timeout: 1s, retries: 2, start_period: 10s}
    x-rouse-base: nodejs20.x
    x-rouse-health: {path: /health}
    x-rouse-egress: none
    x-rouse-triggers: [{schedule: rate(1 hour), path: /tick}, {schedule: rate(2 hours)}]
    deploy:
      replicas: 2
      resources: {limits: {memory: 128M, cpus: "1.5", pids: 100}}
volumes: {records: }
x-rouse:
  buckets:
    photos: {}
    thumbs:
      notify:
        - {service: catalog, path: /events, suffix: .jpg}
        - function: web
"#;

pub(super) fn load(text: &str) -> (tempfile::TempDir, Result<Manifest>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("code")).unwrap();
    let result = load_in(folder.path(), &[text], &[]);
    (folder, result)
}

/// Several files as one, with these profiles.
pub(super) fn load_in(
    folder: &std::path::Path,
    texts: &[&str],
    profiles: &[&str],
) -> Result<Manifest> {
    let environment = [("PLAIN".to_owned(), "from the shell".to_owned())];
    let mut variables = Variables::new("", environment).unwrap();
    let mut root: Option<Node> = None;
    for (number, text) in texts.iter().enumerate() {
        let name = match number {
            0 => "compose.yaml".to_owned(),
            number => format!("compose.{number}.yaml"),
        };
        let text = (*text).to_owned();
        let source = Arc::new(Source { name, text });
        let node = Node::parse(&source, &mut variables)?;
        root = Some(match root {
            None => settle(node),
            Some(base) => merge(base, node)?,
        });
    }
    let profiles = profiles.iter().map(|name| (*name).to_owned());
    let folder = folder.to_owned();
    let profiles = profiles.collect();
    Manifest::of(Project::in_test(root.unwrap(), folder, variables, profiles))
}

fn zip() -> Code {
    Code::Zip {
        digest: Digest::from_hex(&"a".repeat(64)).unwrap(),
        size: 1,
    }
}

pub(in crate::manifest) fn image() -> Code {
    Code::Image {
        reference: "shop/web".to_owned(),
        digest: Digest::from_hex(&"b".repeat(64)).unwrap(),
    }
}

fn shop() -> (Manifest, FunctionSpec, FunctionSpec, ServiceSpec) {
    let (_folder, manifest) = load(SHOP);
    let manifest = manifest.unwrap_or_else(|error| panic!("{error}"));
    let thumbnail = manifest.functions[0].with_code(zip()).unwrap();
    let web = manifest.functions[1].with_code(image()).unwrap();
    let catalog = manifest.services[0].with_code(zip()).unwrap();
    (manifest, thumbnail, web, catalog)
}

#[test]
fn egress_is_a_word_or_a_list_and_may_be_left_to_the_server() {
    let (_, thumbnail, web, catalog) = shop();
    let list = [
        "example.com",
        "*.example.com:443",
        "10.1.2.0/24",
        "10.1.2.3:5432",
    ];
    assert_eq!(thumbnail.egress, Some(Egress::list(list).unwrap()));
    assert_eq!(web.egress, None);
    assert_eq!(catalog.egress, Some(Egress::None));
}

#[test]
fn a_python_function_may_be_initialised_once() {
    for (word, expected) in [("init", Snapshot::Init), ("none", Snapshot::None)] {
        let text = format!(
            "services:\n  f: {{build: ./code, x-rouse: {{runtime: python3.11, handler: a.b, snapshot: {word}}}}}"
        );
        let (_folder, manifest) = load(&text);
        let manifest = manifest.unwrap_or_else(|error| panic!("{error}"));
        let spec = manifest.functions[0].with_code(zip()).unwrap();
        assert_eq!(spec.snapshot, expected);
    }
    assert_eq!(shop().1.snapshot, Snapshot::None);
}

#[test]
fn functions_are_read() {
    let (_, thumbnail, web, _) = shop();
    assert_eq!(thumbnail.name.as_str(), "thumbnail");
    assert_eq!(thumbnail.runtime, RuntimeName::Nodejs20);
    assert_eq!(thumbnail.handler.as_deref(), Some("index.handler"));
    assert_eq!(thumbnail.description, "makes thumbnails");
    let limits = &thumbnail.limits;
    assert_eq!((limits.memory, limits.timeout), (512 << 20, 30_000));
    assert_eq!(
        (limits.cpu, limits.tmp, limits.pids, limits.files),
        (500, 64 << 20, 64, 256)
    );
    let scaling = &thumbnail.scaling;
    assert_eq!((scaling.min_instances, scaling.max_instances), (1, 8));
    assert_eq!((scaling.keep_alive, scaling.queue), (60_000, 50));
    assert_eq!((scaling.per_instance, scaling.reserved), (1, None));
    assert_eq!(scaling.freeze_after, Some(500));
    assert_eq!(thumbnail.fresh, Fresh::Always);
    let scaling = &web.scaling;
    assert_eq!((scaling.per_instance, scaling.reserved), (80, Some(20)));
    assert_eq!((scaling.freeze_after, web.fresh), (None, Fresh::Reuse));
    let retry = &thumbnail.retry;
    assert_eq!((retry.max_attempts, retry.base_delay), (5, 500));
    assert_eq!((retry.max_delay, retry.max_age), (60_000, 3_600_000));
    assert_eq!(thumbnail.environment["SIZE"], "256");
    assert_eq!(web.runtime, RuntimeName::Image);
    assert_eq!(web.contract, Contract::Http);
    assert_eq!(web.limits.memory, 256 << 20);
    assert_eq!(web.command.unwrap(), ["serve", "--quiet"]);
}

#[test]
fn services_are_read() {
    let (manifest, _, _, catalog) = shop();
    assert_eq!(manifest.project.as_deref(), Some("shop"));
    assert_eq!(catalog.command.unwrap(), ["node", "server.js", "a b"]);
    assert_eq!(catalog.ports, [8080, 9090, 7070]);
    assert_eq!(catalog.environment["PLAIN"], "from the shell");
    assert_eq!(catalog.environment["LEVEL"], "debug");
    assert!(!catalog.environment.contains_key("GONE"));
    assert_eq!(catalog.replicas, 2);
    assert_eq!(
        (catalog.limits.memory, catalog.limits.cpu),
        (128 << 20, 1_500)
    );
    assert_eq!(catalog.health.path.as_deref(), Some("/health"));
    assert_eq!(
        (catalog.health.interval, catalog.health.retries),
        (2_000, 2)
    );
    let mounts: Vec<_> = catalog
        .volumes
        .iter()
        .map(|mount| {
            (
                mount.volume.as_str(),
                mount.target.as_str(),
                mount.read_only,
            )
        })
        .collect();
    assert_eq!(
        mounts,
        [("records", "/data", false), ("records", "/ro", true)]
    );
    let notes = &manifest.notes;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("8080 is not opened") && notes[0].contains("/svc/catalog/"));
}

#[test]
fn buckets_get_the_rules_of_both_sides() {
    let (manifest, ..) = shop();
    let specs: Vec<&BucketSpec> = manifest.buckets.iter().map(|bucket| &bucket.spec).collect();
    let [photos, thumbs] = specs[..] else {
        panic!("{specs:?}")
    };
    let ids: Vec<_> = photos.notify.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(ids, ["function-thumbnail-1", "function-thumbnail-2"]);
    assert!(photos.notify[0].matches("s3:ObjectCreated:Put", "any"));
    assert!(photos.notify[1].matches("s3:ObjectRemoved:Delete", "in/a.jpg"));
    assert!(!photos.notify[1].matches("s3:ObjectCreated:Put", "in/a.jpg"));
    let path = match &thumbs.notify[0].target {
        Target::Service { path, .. } => path,
        other => panic!("{other}"),
    };
    assert_eq!(path, "/events");
    assert_eq!(thumbs.notify[1].target.key(), "function:web");
}

#[test]
fn schedules_are_read_and_named() {
    let (manifest, ..) = shop();
    let [plain, nightly] = &manifest.functions[0].schedules[..] else {
        panic!("{:?}", manifest.functions[0].schedules)
    };
    assert_eq!(plain.key.to_string(), "thumbnail-1");
    assert_eq!(plain.owner.as_deref(), Some("function:thumbnail"));
    assert_eq!(plain.catch_up, CatchUp::Once);
    assert_eq!(nightly.key.to_string(), "nightly");
    assert_eq!(nightly.target.key(), "function:thumbnail");
    let table = &nightly.timetable;
    assert_eq!(table.expression.as_str(), "cron(30 2 ? * MON-FRI *)");
    assert_eq!(table.zone.as_str(), "Europe/Berlin");
    assert_eq!(table.start.unwrap().rfc3339(), "2026-11-22T00:00:00.000Z");
    assert_eq!(table.end.unwrap().rfc3339(), "2027-11-21T23:00:00.000Z");
    assert_eq!((nightly.window, nightly.catch_up), (Some(15), CatchUp::All));
    assert_eq!(nightly.delivery.max_attempts, Some(1));
    assert_eq!(nightly.delivery.max_age, Some(5_400_000));
    let letters = nightly.delivery.dead_letter.as_ref().unwrap();
    assert_eq!(letters.queue.as_str(), "letters");
    assert!(plain.delivery.is_plain());
    assert!(nightly.input.as_deref().unwrap().starts_with("{\"full\""));
    let services: Vec<_> = manifest.services[0].schedules.iter().collect();
    assert_eq!(services[0].target.key(), "service:catalog/tick");
    assert_eq!(services[1].target.key(), "service:catalog/");
    assert_eq!(services[1].key.to_string(), "catalog-2");
    assert_eq!(services[1].owner.as_deref(), Some("service:catalog"));
}

#[test]
fn unset_variables_are_noted() {
    let (_folder, manifest) = load("services: {a: {image: 'x$NONE'}}");
    let notes = manifest.unwrap().notes;
    assert_eq!(
        notes,
        ["compose.yaml: $NONE is not set; it is taken as empty"]
    );
}

#[test]
fn an_empty_manifest_is_refused() {
    let (_folder, manifest) = load("# nothing\n");
    assert!(manifest.unwrap_err().to_string().contains("is empty"));
}

#[test]
fn queues_are_declared_and_read() {
    let source = r#"
x-rouse:
  queues:
    orders: {visibility: 1m, retention: 1d, max_message: 256K, wait: 20s, dead_letter: {queue: failed, max_receives: 5}}
    failed: {}
    line.fifo: {content_deduplication: true}
  buckets:
    photos: {notify: [{queue: failed, prefix: in/}]}
services:
  f:
    image: x
    x-rouse:
      triggers:
        - {queue: orders, batch: 100, window: 5s, report_failures: true, max_concurrency: 3, filters: [{body: [a]}]}
        - {bus: default, pattern: {source: [shop]}}
        - {schedule: rate(1 day)}
        - {bucket: photos}
"#;
    let manifest = load(source).1.unwrap();
    let names: Vec<_> = manifest
        .queues
        .iter()
        .map(|queue| queue.spec.name.as_str())
        .collect();
    assert_eq!(names, ["orders", "failed", "line.fifo"]);
    let orders = &manifest.queues[0].spec.attributes;
    assert_eq!(
        (orders.visibility, orders.retention, orders.wait),
        (60, 86_400, 20)
    );
    assert_eq!(orders.max_message, 262_144);
    assert_eq!(orders.redrive.as_ref().unwrap().max_receives, 5);
    assert!(manifest.queues[2].spec.attributes.content_deduplication);
    let mapping = &manifest.functions[0].mappings[0];
    assert_eq!(
        (mapping.batch, mapping.window, mapping.max_concurrency),
        (100, 5, Some(3))
    );
    assert!(mapping.report_failures && mapping.declared);
    assert_eq!(mapping.filters, [r#"{"body":["a"]}"#]);
    let function = &manifest.functions[0];
    assert_eq!(
        [
            function.mappings.len(),
            function.rules.len(),
            function.schedules.len(),
            function.triggers.len()
        ],
        [1; 4]
    );
    let name = "failed".parse().unwrap();
    assert_eq!(
        manifest.buckets[0].spec.notify[0].target,
        Target::Queue { name }
    );
    for refused in [
        "x-rouse: {queues: {a.b: {}}}",
        "x-rouse: {queues: {a: {visibility: 13h}}}",
        "x-rouse: {queues: {a: {visibility: 500ms}}}",
        "x-rouse: {queues: {a: {colour: red}}}",
        "x-rouse: {queues: {a: {dead_letter: {queue: b}}}}",
        "services:\n  f: {image: x, x-rouse: {triggers: [{queue: q, batch: 11}]}}",
        "services:\n  f: {image: x, x-rouse: {triggers: [{queue: q}, {queue: q}]}}",
    ] {
        assert!(load(refused).1.is_err(), "{refused}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,60}(\n[ ]{0,4}[a-z-]{0,9}: ?[\\[{'\"]?\\PC{0,20}){0,4}") {
        let (_folder, result) = load(&text);
        if let Err(error) = result {
            prop_assert!(!error.render(false).is_empty());
        }
    }

    #[test]
    fn a_changed_manifest_never_panics(at in 0..SHOP.len(), with in "[\\PC\n]{0,3}") {
        if SHOP.is_char_boundary(at) {
            let text = format!("{}{with}{}", &SHOP[..at], &SHOP[at..]);
            let _ = load(&text);
        }
    }
}
