//! What manifests mean, and what they are refused for.

#![allow(clippy::unwrap_used)]

use super::*;
use model::{BucketSpec, Code, Contract, Digest, FunctionSpec, RuntimeName, ServiceSpec, Target};
use proptest::prelude::*;

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
      concurrency: {min: 1, max: 8, keep_alive: 1m, queue: 50}
      retry: {attempts: 5, base_delay: 500ms, max_delay: 1m, max_age: 1h}
      triggers:
        - bucket: photos
        - {bucket: photos, events: ["s3:ObjectRemoved:*"], prefix: in/, suffix: .jpg}
  web:
    image: shop/web
    command: ["serve", "--quiet"]
    x-rouse: {contract: http, memory: 256}
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

fn load(text: &str) -> (tempfile::TempDir, Result<Manifest>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("code")).unwrap();
    let source = Arc::new(Source {
        name: "compose.yaml".to_owned(),
        text: text.to_owned(),
    });
    let environment = [("PLAIN".to_owned(), "from the shell".to_owned())];
    let variables = Variables::new("", environment).unwrap();
    let mut manifest = Manifest::default();
    let result = manifest
        .add(&source, folder.path().to_owned(), variables)
        .and_then(|()| manifest.finish());
    (folder, result.map(|()| manifest))
}

fn zip() -> Code {
    Code::Zip {
        digest: Digest::from_hex(&"a".repeat(64)).unwrap(),
        size: 1,
    }
}

fn image() -> Code {
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

/// A manifest, where its error stands, and words that the error must contain.
type Bad = (&'static str, &'static str, &'static str);

const BAD: &[Bad] = &[
    ("a: [", "1:5", "not YAML"),
    (
        "services: {a: {image: x}, a: {image: y}}",
        "1:27",
        "duplicated key",
    ),
    ("servces: {}", "1:1", "\"servces\" is not known"),
    ("servces: {}", "1:1", "did you mean \"services\"?"),
    ("networks: {}", "1:1", "every service reaches every other"),
    (
        "services: []",
        "1:11",
        "services must be a mapping, and is a list",
    ),
    (
        "services:\n  UPPER: {image: x}",
        "2:3",
        "must be 1 to 63 lower case letters",
    ),
    ("services:\n  a: {x-rouse: {}}", "2:3", "has no code"),
    (
        "services:\n  a: {image: x, build: ./code}",
        "2:14",
        "both a folder and an image",
    ),
    (
        "services:\n  a: {build: ./nowhere}",
        "2:14",
        "does not exist",
    ),
    (
        "services:\n  a: {build: ./code, command: x}",
        "2:3",
        "does not say what runs its folder",
    ),
    (
        "services:\n  a: {build: ./code, x-rouse-base: nodejs20.x}",
        "2:3",
        "has no command",
    ),
    (
        "services:\n  a: {build: {context: ./code, dockerfile: F}}",
        "2:32",
        "docker save",
    ),
    (
        "services:\n  a: {image: x, privileged: true}",
        "2:17",
        "nothing runs with privilege",
    ),
    (
        "services:\n  a: {image: x, enviroment: {}}",
        "2:17",
        "did you mean \"environment\"?",
    ),
    (
        "services:\n  a: {image: x, x-rouse-helth: {}}",
        "2:17",
        "did you mean \"x-rouse-health\"?",
    ),
    (
        "services:\n  a: {image: x, ports: ['1-2']}",
        "2:25",
        "ranges are not served",
    ),
    (
        "services:\n  a: {image: x, ports: ['53/udp']}",
        "2:25",
        "only TCP",
    ),
    (
        "services:\n  a: {image: x, ports: [99999]}",
        "2:25",
        "1 to 65535",
    ),
    (
        "services:\n  a: {image: x, volumes: ['./x:/y']}",
        "2:27",
        "binds a folder of this machine",
    ),
    (
        "services:\n  a: {image: x, volumes: ['d:/y']}",
        "2:27",
        "no volume \"d\" is declared",
    ),
    (
        "services:\n  a: {image: x, volumes: [{type: bind, source: /, target: /x}]}",
        "2:34",
        "bind",
    ),
    (
        "services:\n  a: {image: x, healthcheck: {test: [CMD, x]}}",
        "2:31",
        "x-rouse-health",
    ),
    (
        "services:\n  a: {image: x, restart: 'no'}",
        "2:26",
        "always or unless-stopped",
    ),
    (
        "services:\n  a: {image: x, depends_on: [b]}",
        "2:30",
        "no service \"b\" is declared",
    ),
    (
        "services:\n  a: {image: x, deploy: {replicas: 101}}",
        "2:36",
        "0 to 100",
    ),
    (
        "services:\n  a: {image: x, environment: [A=1, A=2]}",
        "2:36",
        "A is set twice",
    ),
    (
        "services:\n  a: {image: x, environment: {A: [1]}}",
        "2:34",
        "must be a text, and is a list",
    ),
    (
        "services:\n  a: {image: x, command: 'say \"'}",
        "2:26",
        "has no closing",
    ),
    (
        "services:\n  a: {image: '${X:?is missing}'}",
        "2:14",
        "X has no value: is missing",
    ),
    ("services:\n  a: {image: !tag x}", "2:14", "tags"),
    (
        "services:\n  f: {build: ./code, x-rouse: {runtime: ruby}}",
        "2:41",
        "\"ruby\" is not known",
    ),
    (
        "services:\n  f: {build: ./code, x-rouse: {runtime: nodejs20.x}}",
        "2:31",
        "has no handler",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {runtime: provided}}",
        "2:36",
        "an image and a runtime",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {memory: 1M}}",
        "2:35",
        "memory: 1048576 is outside",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {memory: lots}}",
        "2:35",
        "such as 512M",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {timeout: 1h}}",
        "2:36",
        "timeout: 3600000 is outside",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {contract: tcp}}",
        "2:37",
        "lambda or http",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {concurrency: {max: 0}}}",
        "2:46",
        "1 to 1000",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {concurrency: {min: 2, max: 1}}}",
        "2:40",
        "above",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {retry: {attempts: 0}}}",
        "2:45",
        "1 to 100",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {}, ports: ['80']}",
        "2:30",
        "called by event",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {triggers: [{bucket: b-b}]}}",
        "2:47",
        "no bucket \"b-b\"",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {triggers: [{}]}}",
        "2:38",
        "has no \"bucket\"",
    ),
    ("x-rouse: {buckets: {B: {}}}", "1:21", "bucket name"),
    (
        "x-rouse: {buckets: {photos: {notify: [{}]}}}",
        "1:39",
        "one function or one service",
    ),
    (
        "services: {f: {image: x, x-rouse: {}}}\nx-rouse: {buckets: {bbb: {notify: [{service: f}]}}}",
        "2:46",
        "\"f\" is a function",
    ),
    (
        "x-rouse: {buckets: {bbb: {notify: [{service: s, events: ['s3:What']}]}}}",
        "1:58",
        "is not one of",
    ),
];

#[test]
fn bad_manifests_are_refused_with_thing_place_and_remedy() {
    let mut wrong = Vec::new();
    for (text, place, words) in BAD {
        let (_folder, result) = load(text);
        let Err(error) = result else {
            wrong.push(format!("accepted: {text}"));
            continue;
        };
        let shown = error.to_string();
        if !shown.starts_with(&format!("compose.yaml:{place}: ")) {
            wrong.push(format!("not at {place}: {shown}"));
        }
        // The renderer breaks long lines: put them together again.
        let rendered = error.render(false).replace('│', " ");
        let rendered = rendered.split_whitespace().collect::<Vec<_>>().join(" ");
        if !rendered.contains(words) {
            wrong.push(format!("no {words:?} in {rendered}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_name_is_declared_once_over_all_files() {
    let text = "services: {a: {image: x}}\nx-rouse: {buckets: {bbb: {}}}";
    let (folder, manifest) = load(text);
    let mut manifest = manifest.unwrap();
    let source = Arc::new(Source {
        name: "more.yaml".to_owned(),
        text: text.to_owned(),
    });
    let variables = Variables::default();
    let error = manifest
        .add(&source, folder.path().to_owned(), variables)
        .unwrap_err();
    let error = error.to_string();
    assert_eq!(
        error,
        "more.yaml:1:12: \"a\" is declared already, at compose.yaml:1:12"
    );
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
