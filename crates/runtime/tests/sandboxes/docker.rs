//! What Docker Engine itself says of its containers.

use crate::rig::{Rig, answer, call};
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

crate::tests!(
    a_container_is_hardened_and_keeps_no_secret,
    nothing_is_left_of_what_ended,
    containers_of_an_earlier_server_are_removed,
    an_engine_that_is_not_there_is_named,
    a_removed_image_comes_again,
    the_network_of_the_host_is_not_furnished,
    the_mounts_of_the_host_get_nothing,
);

fn docker(rig: &Rig, arguments: &[&str]) -> String {
    let done = Command::new("docker")
        .env("DOCKER_HOST", rig.docker_host())
        .args(arguments)
        .output();
    let done = done.expect("docker cannot be run: install Debian's docker.io");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{arguments:?}: {said}");
    String::from_utf8(done.stdout).unwrap()
}

fn inspect(rig: &Rig, container: &str) -> Value {
    let text = docker(rig, &["inspect", container]);
    serde_json::from_str::<Value>(&text).unwrap()[0].take()
}

/// All containers, running or not.
fn containers(rig: &Rig) -> Vec<String> {
    let text = docker(
        rig,
        &["ps", "--all", "--no-trunc", "--format", "{{.Names}}"],
    );
    text.lines().map(str::to_owned).collect()
}

/// Containers of earlier tests may be about to go.
async fn until_there_is_none(rig: &Rig) {
    while !containers(rig).is_empty() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn a_container_is_hardened_and_keeps_no_secret(rig: &Rig) {
    let text = "def handler(event, context):
    return [line.split()[1] for line in open('/proc/self/status') if line.startswith('Seccomp')]\n";
    let mut spec = rig.python(text).await;
    spec.environment
        .insert("PASSWORD".into(), "hunter2-hunter2".into());
    spec.files = vec![runtime::SecretFile {
        target: "/run/secrets/password".into(),
        mode: 0o400,
        revision_id: "r1".into(),
        content: b"hunter2-in-a-file".as_slice().into(),
    }];
    let name = format!("rouse-{}", spec.id);
    let instance = rig.start(spec).await;
    let seen = inspect(rig, &name);
    let host = &seen["HostConfig"];
    for (field, expected) in [
        ("Privileged", json!(false)),
        ("ReadonlyRootfs", json!(true)),
        ("CapDrop", json!(["ALL"])),
        ("CapAdd", Value::Null),
        ("SecurityOpt", json!(["no-new-privileges:true"])),
        ("NetworkMode", json!("none")),
        ("Memory", json!(256 << 20)),
        ("MemorySwap", json!(256 << 20)),
        ("PidsLimit", json!(512)),
        ("CpuPeriod", json!(100_000)),
        ("CpuQuota", json!(100_000)),
    ] {
        assert_eq!(host[field], expected, "{field}");
    }
    assert_eq!(seen["Config"]["User"], "1000:1000");
    let text = seen.to_string();
    assert!(
        !text.contains("hunter2") && !text.contains("docker.sock"),
        "{text}"
    );
    // Filtered, by Docker's filter and by that of sandboxes.
    assert_eq!(answer(&call(&instance, "{}").await), json!(["2", "2"]));
    // Neither what Docker keeps on its disk nor what it copies out of a container has the files.
    let copied = docker(rig, &["cp", &format!("{name}:/run/secrets/password"), "-"]);
    assert!(!copied.contains("hunter2"), "{copied}");
    instance.stop(Duration::ZERO).await;
}

async fn nothing_is_left_of_what_ended(rig: &Rig) {
    until_there_is_none(rig).await;
    let text = "import os\ndef handler(event, context):\n\x20   if event: os._exit(3)\n";
    let folder = rig.data.join("runtime/docker");
    let folders = || {
        let entries = std::fs::read_dir(&folder).unwrap();
        entries
            .filter(|entry| entry.as_ref().unwrap().path().is_dir())
            .count()
    };
    for how in ["stopped", "crashed", "dropped", "not ready", "not begun"] {
        let mut spec = rig.python(text).await;
        match how {
            "not ready" => spec = rig.python("import os\nos._exit(1)\n").await,
            "not begun" => spec.working_dir = Some("/no/such".into()),
            _ => {}
        }
        let started = rig.runtime.start(spec).await;
        match (how, started) {
            ("not ready" | "not begun", started) => assert!(started.is_err()),
            (_, Err(error)) => panic!("{error}"),
            ("stopped", Ok(instance)) => {
                instance.stop(Duration::from_secs(10)).await;
                assert_eq!(containers(rig), Vec::<String>::new());
            }
            ("crashed", Ok(instance)) => {
                assert_eq!(call(&instance, "1").await.ending.word(), "crashed");
                instance.exited().await;
                assert_eq!(containers(rig), Vec::<String>::new());
            }
            (_, Ok(instance)) => {
                assert_eq!(containers(rig).len(), 1);
                drop(instance);
            }
        }
        until_there_is_none(rig).await;
        while folders() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The containers of another data folder stay.
async fn containers_of_an_earlier_server_are_removed(rig: &Rig) {
    let data = format!("rouse.data={}", rig.data.join("runtime/docker").display());
    let spec = rig.python("def handler(event, context): return 1\n").await;
    let instance = rig.start(spec).await;
    let image = docker(rig, &["images", "--quiet", "rouse/base"]);
    let folder = rig.data.join("runtime/docker");
    let gate = format!("{}:/gate:ro", folder.join("gate").display());
    // The gate ends at once where nobody is at its socket: a container that has ended is an orphan too.
    for (name, label) in [
        ("orphan", data.as_str()),
        ("other", "rouse.data=/elsewhere"),
    ] {
        let arguments = [
            "create",
            "--name",
            name,
            "--label",
            label,
            "--network",
            "none",
            "-v",
            &gate,
        ];
        let rest = [image.trim(), "/gate"];
        docker(rig, &[arguments.as_slice(), &rest].concat());
    }
    docker(rig, &["start", "orphan"]);
    std::fs::create_dir(folder.join("left")).unwrap();
    let runtime = rig.restarted().await;
    assert_eq!(containers(rig), ["other"]);
    assert!(!folder.join("left").exists());
    docker(rig, &["rm", "other"]);
    // What was taken away from the one before has ended for it.
    instance.exited().await;
    assert!(!instance.is_alive());
    let spec = rig.python("def handler(event, context): return 2\n").await;
    let instance = runtime.start(spec).await.unwrap();
    assert_eq!(answer(&call(&instance, "{}").await), 2);
}

async fn an_engine_that_is_not_there_is_named(rig: &Rig) {
    for (host, said) in [
        ("unix:///no/such.sock", "apt-get install docker.io"),
        ("tcp://127.0.0.1:2375", "Unix socket"),
    ] {
        let error = rig.at_host(host).await.err().unwrap();
        let text = error.to_string();
        assert!(text.contains(host) && text.contains(said), "{text}");
    }
}

async fn a_removed_image_comes_again(rig: &Rig) {
    until_there_is_none(rig).await;
    let start = async || {
        let spec = rig.python("def handler(event, context): return 1\n").await;
        rig.runtime.start(spec).await
    };
    start().await.unwrap().stop(Duration::ZERO).await;
    docker(rig, &["rmi", "--force", "rouse/base:1"]);
    let instance = start().await.unwrap();
    assert_eq!(answer(&call(&instance, "{}").await), 1);
}

/// Whoever runs a container with the host's network gets nothing put into that.
async fn the_network_of_the_host_is_not_furnished(rig: &Rig) {
    let own = std::fs::File::open("/proc/self/ns/net").unwrap();
    let furniture = launcher::Furniture {
        listen: vec![([127, 0, 0, 1], 9001).into()],
        serves: false,
        egress: false,
    };
    let refused = rig.launcher.furnish(own.into(), furniture.clone()).await;
    let error = refused.err().unwrap().to_string();
    assert!(error.contains("the host's"), "{error}");
    let other = std::fs::File::open("/proc/self/ns/mnt").unwrap();
    assert!(rig.launcher.furnish(other.into(), furniture).await.is_err());
    assert!(std::net::TcpStream::connect(("127.0.0.1", 9001)).is_err());
}

/// Whoever runs a container with the host's mounts gets nothing shown there.
async fn the_mounts_of_the_host_get_nothing(rig: &Rig) {
    let file = |name: &str| rig.data.join(name);
    for name in ["source", "target", "place"] {
        std::fs::write(file(name), name).unwrap();
    }
    let belongings = launcher::Belongings {
        user: (0, 0),
        place: file("place"),
        files: vec![launcher::Bind {
            source: file("source"),
            target: file("target"),
        }],
        folders: Vec::new(),
    };
    // A process with mounts of its own, which nobody prepared: as the host's first process has.
    let mut other = Command::new("unshare")
        .args(["--mount", "--", "sh", "-c", "echo ready; read end"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let output = other.stdout.as_mut().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
    let id = other.id().to_string();
    for (of, said) in [
        ("self", "the host's"),
        (id.as_str(), "another file is there"),
    ] {
        let mounts = std::fs::File::open(format!("/proc/{of}/ns/mnt")).unwrap();
        let refused = rig.launcher.endow(mounts.into(), belongings.clone()).await;
        let error = refused.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        let seen = format!("/proc/{of}/root{}", file("target").display());
        assert_eq!(std::fs::read_to_string(seen).unwrap(), "target");
    }
    other.kill().unwrap();
    other.wait().unwrap();
    let other = std::fs::File::open("/proc/self/ns/net").unwrap();
    assert!(rig.launcher.endow(other.into(), belongings).await.is_err());
}
