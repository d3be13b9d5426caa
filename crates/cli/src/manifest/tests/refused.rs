//! Manifests that are refused, and where and why.

use super::load;

/// A manifest, where its error stands, and words that the error must contain.
type Bad = (&'static str, &'static str, &'static str);

const BAD: &[Bad] = &[
    (
        "services:\n  a: {image: x, x-rouse: {egress: all}}",
        "2:35",
        "write none, public, or a list",
    ),
    (
        "services:\n  a: {image: x, x-rouse: {egress: []}}",
        "2:35",
        "empty list: write none",
    ),
    (
        "services:\n  a: {image: x, x-rouse: {egress: [a.com, 127.0.0.1]}}",
        "2:43",
        "own loopback",
    ),
    (
        "services:\n  a: {image: x, x-rouse-egress: {a: b}}",
        "2:33",
        "must be a text",
    ),
    (
        "services:\n  a: {image: x, x-rouse-driver: podman}",
        "2:33",
        "must be sandbox or docker",
    ),
    (
        "services:\n  a: {image: x, x-rouse: {}, x-rouse-driver: docker}",
        "2:30",
        "x-rouse.driver",
    ),
    (
        "services:\n  a: {image: x, x-rouse: {}, x-rouse-egress: none}",
        "2:30",
        "x-rouse.egress",
    ),
    ("a: [", "1:5", "not YAML"),
    (
        "services: {a: {image: x}, a: {image: y}}",
        "1:27",
        "duplicated key",
    ),
    ("servces: {}", "1:1", "\"servces\" is not known"),
    ("servces: {}", "1:1", "did you mean \"services\"?"),
    ("models: {}", "1:1", "rouse serves no models"),
    (
        "networks: {back: {external: true}}",
        "1:29",
        "there when something is on it",
    ),
    (
        "networks: {back: {driver: overlay}}",
        "1:27",
        "must be bridge",
    ),
    ("networks: {a b: }", "1:12", "1 to 63 letters"),
    ("networks: {a: , b: {name: a}}", "1:17", "declared already"),
    (
        "networks: {in: {internal: true}}\nservices:\n  a: {image: x, networks: [in], x-rouse-egress: public}",
        "3:49",
        "all of its networks are internal",
    ),
    (
        "networks: {back: {ipam: {}}}",
        "1:19",
        "whatever their addresses",
    ),
    (
        "services:\n  a: {image: x, networks: [back]}",
        "2:28",
        "no network \"back\" is declared",
    ),
    (
        "networks: {b: }\nservices:\n  a: {image: x, networks: {b: {aliases: [c]}}}\n  c: {image: x}",
        "3:42",
        "name of another service",
    ),
    (
        "networks: {b: }\nservices:\n  a: {image: x, networks: {b: {aliases: [A_Z]}}}",
        "3:42",
        "1 to 63 lower case",
    ),
    (
        "networks: {b: }\nservices:\n  a: {image: x, networks: {b: {ipv4_address: 10.0.0.2}}}",
        "3:32",
        "whatever their addresses",
    ),
    (
        "networks: {b: }\nservices:\n  a: {image: x, networks: {b: {aliases: [z]}}, x-rouse: {}}",
        "3:42",
        "a function has no aliases",
    ),
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
        "2:44",
        "code/F does not exist",
    ),
    (
        "services:\n  a: {build: {context: ./code, target: t}}",
        "2:24",
        "code/Dockerfile does not exist",
    ),
    (
        "services:\n  a: {build: {context: ./code, args: {A: b}}, x-rouse-base: python3.11}",
        "2:38",
        "has a Dockerfile, and a runtime",
    ),
    (
        "services:\n  a: {build: {context: ./code, no_cache: true}}",
        "2:32",
        "push it to this server's registry",
    ),
    (
        "services:\n  a: {build: {context: ./code, tags: [b]}}",
        "2:32",
        "write `image: NAME:TAG` beside",
    ),
    (
        "services:\n  a: {image: x, privileged: true}",
        "2:29",
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
        "2:37",
        "x-rouse-health",
    ),
    (
        "services:\n  a: {image: x, healthcheck: {test: 'curl -f http://localhost/ | grep ok'}}",
        "2:37",
        "runs nothing inside a service",
    ),
    (
        "services:\n  a: {image: x, healthcheck: {test: [curl]}}",
        "2:37",
        "NONE, CMD or CMD-SHELL",
    ),
    (
        "services:\n  a: {image: x, ports: [80], healthcheck: {test: 'curl -f http://localhost:81/'}}",
        "2:50",
        "first port, 80",
    ),
    (
        "services:\n  a: {image: x, healthcheck: {start_interval: 1s}}",
        "2:31",
        "use interval",
    ),
    (
        "services:\n  a: {image: x, restart: sometimes}",
        "2:26",
        "on-failure:N",
    ),
    (
        "services:\n  a: {image: x, restart: 'on-failure:few'}",
        "2:26",
        "a number after",
    ),
    (
        "services:\n  a: {image: x, restart: always, deploy: {restart_policy: {condition: any}}}",
        "2:59",
        "both `restart` and",
    ),
    (
        "services:\n  a: {image: x, deploy: {restart_policy: {delay: 5s}}}",
        "2:43",
        "double to 30 s",
    ),
    (
        "services:\n  a: {image: x, deploy: {restart_policy: {max_attempts: 5}}}",
        "2:57",
        "on-failure` only",
    ),
    (
        "services:\n  a: {image: x, deploy: {mode: global}}",
        "2:32",
        "must be replicated",
    ),
    (
        "services:\n  a: {image: x, deploy: {labels: {a: b}}}",
        "2:34",
        "`labels` of the service",
    ),
    (
        "services:\n  a: {image: x, deploy: {resources: {reservations: {memory: 1G}}}}",
        "2:38",
        "nothing is reserved",
    ),
    (
        "services:\n  a: {image: x, mem_limit: 1G, deploy: {resources: {limits: {memory: 2G}}}}",
        "2:70",
        "say different things",
    ),
    (
        "services:\n  a: {image: x, scale: 2, deploy: {replicas: 3}}",
        "2:46",
        "say different things",
    ),
    (
        "services:\n  a: {image: x, depends_on: {b: {condition: service_ready}}}\n  b: {image: x}",
        "2:45",
        "service_completed_successfully",
    ),
    (
        "services:\n  a: {image: x, depends_on: {b: {restart: true}}}\n  b: {image: x}",
        "2:43",
        "after they were replaced",
    ),
    (
        "services:\n  a: {image: x, depends_on: {f: {condition: service_completed_successfully}}}\n  f: {image: x, x-rouse: {}}",
        "2:45",
        "never ends",
    ),
    (
        "services:\n  a: {image: x, x-rouse: {}, depends_on: {b: {condition: service_healthy}}}\n  b: {image: x}",
        "2:58",
        "started by its calls",
    ),
    (
        "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, profiles: [debug]}",
        "2:30",
        "has profiles, and none",
    ),
    (
        "services:\n  a: {image: x, profiles: ['-']}",
        "2:28",
        "not the name of a profile",
    ),
    (
        "services:\n  a: {image: x, env_file: gone.env}",
        "2:27",
        "does not exist",
    ),
    (
        "services:\n  a: {image: x, env_file: {path: gone.env, format: toml}}",
        "2:52",
        "must be raw",
    ),
    (
        "services:\n  a: {image: x, env_file: code}",
        "2:27",
        "reading",
    ),
    (
        "services:\n  a: {image: x, labels: [a=1, a=2]}",
        "2:31",
        "is set twice",
    ),
    (
        "services:\n  a: {image: x, read_only: false}",
        "2:28",
        "the root is read-only always",
    ),
    (
        "services:\n  a: {image: x, security_opt: ['seccomp:unconfined']}",
        "2:31",
        "seccomp filter",
    ),
    (
        "services:\n  a: {image: x, platform: windows/amd64}",
        "2:27",
        "this machine's platform",
    ),
    (
        "services:\n  a: {image: x, pid: host}",
        "2:17",
        "a namespace of its own",
    ),
    (
        "services:\n  a: {image: x, volumes: [{type: tmpfs, target: /x}]}",
        "2:34",
        "in memory",
    ),
    (
        "services:\n  a: {image: x, volumes: [/data]}",
        "2:27",
        "is not a named volume",
    ),
    ("volumes: {v: {driver: nfs}}", "1:23", "must be local"),
    (
        "volumes: {v: {external: true}}",
        "1:15",
        "made by themselves",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {}, mem_limit: 1G}",
        "2:30",
        "x-rouse.memory",
    ),
    (
        "services: {a: {image: x}, \"a\": {image: y}}",
        "1:27",
        "duplicated key",
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
    (
        "services:\n  a: {image: !tag x}",
        "2:14",
        "!reset and !override",
    ),
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
        "services:\n  f: {image: x, x-rouse: {contract: http, concurrency: {per_instance: 1001}}}",
        "2:71",
        "must be 1 to 1000",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {concurrency: {per_instance: 2}}}",
        "2:55",
        "hands out one call at a time",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {concurrency: {reserved: 1001}}}",
        "2:51",
        "must be 0 to 1000",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {fresh: sometimes}}",
        "2:34",
        "must be always or reuse",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {snapshot: sometimes}}",
        "2:37",
        "must be init or none",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {snapshot: init}}",
        "2:37",
        "an image's program is not forked",
    ),
    (
        "services:\n  f: {build: ./code, x-rouse: {runtime: nodejs20.x, handler: a.b, snapshot: init}}",
        "2:77",
        "Node.js has threads",
    ),
    (
        "services:\n  f: {build: ./code, x-rouse: {runtime: provided, snapshot: init}}",
        "2:61",
        "a program of your own",
    ),
    (
        "services:\n  f: {build: ./code, command: [x], x-rouse: {runtime: python3.11, contract: http, snapshot: init}}",
        "2:93",
        "cannot be forked: use contract lambda",
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
    (
        "services:\n  f: {image: x, x-rouse: {triggers: [{schedule: every minute}]}}",
        "2:49",
        "must be rate(5 minutes)",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {triggers: [{schedule: rate(1 day), timezone: Mars}]}}",
        "2:72",
        "not a time zone",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {triggers: [{schedule: rate(1 day), retry: {attempts: 187}}]}}",
        "2:80",
        "1 to 186",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {triggers: [{schedule: rate(1 day), retry: {max_age: 59s}}]}}",
        "2:79",
        "1m to 24h",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {triggers: [{schedule: rate(1 day), retry: {base_delay: 1s}}]}}",
        "2:70",
        "its own `retry`",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {triggers: [{schedule: rate(1 day), dead_letter: q.fifo}]}}",
        "2:75",
        "standard queue",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {triggers: [{bus: b, pattern: {a: [1]}, retry: {attempts: 0}}]}}",
        "2:84",
        "1 to 186",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {triggers: [{bus: b, pattern: {a: [1]}, retry: {max_age: 25h}}]}}",
        "2:83",
        "1m to 24h",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {triggers: [{bus: b, pattern: {a: [1]}, dead_letter: 'a b'}]}}",
        "2:79",
        "dead_letter",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {triggers: [{schedule: rate(1 day), catch_up: never}]}}",
        "2:72",
        "skip, once or all",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {triggers: [{schedule: rate(1 day), window: 90s}]}}",
        "2:70",
        "whole minutes",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {triggers: [{schedule: rate(1 day), start: tomorrow}]}}",
        "2:69",
        "2026-11-22T10:00:00Z",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {triggers: [{schedule: rate(1 day), input: {a: 1}}]}}",
        "2:69",
        "quote it",
    ),
    (
        "services:\n  f: {image: x, x-rouse: {triggers: [{schedule: rate(1 day), bucket: b-b}]}}",
        "2:62",
        "write two",
    ),
    (
        "services:\n  s: {image: x, x-rouse-triggers: [{bucket: b-b}]}",
        "2:36",
        "must have a schedule",
    ),
    ("x-rouse: {buckets: {B: {}}}", "1:21", "bucket name"),
    (
        "x-rouse: {buckets: {photos: {notify: [{}]}}}",
        "1:39",
        "exactly one of: function, service, queue, bus",
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
