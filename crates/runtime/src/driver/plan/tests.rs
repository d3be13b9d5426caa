#![allow(clippy::unwrap_used)]
use super::*;
use crate::Peer;
use crate::spec::tests::spec;
use model::{Digest, ImageConfig};

fn sources(folder: &Path) -> Sources {
    Sources {
        folder: folder.to_owned(),
        bootstraps: PathBuf::from("/data/var-runtime"),
        interpreter: Some(Interpreter {
            program: PathBuf::from("/usr/bin/node"),
            prefix: None,
            version: "v20.0.0".into(),
            mapped: std::sync::Arc::default(),
        }),
        bounds: None,
        volumes: Vec::new(),
        region: "us-east-1".into(),
        egress: true,
    }
}

fn image(spec: &mut InstanceSpec) -> &mut ImageConfig {
    spec.runtime = RuntimeName::Image;
    spec.code = Code::Image {
        reference: "shop/app".into(),
        digest: Digest::from_hex(&"a".repeat(64)).unwrap(),
    };
    spec.image.insert(ImageConfig {
        entrypoint: vec!["/entry".into()],
        command: vec!["serve".into()],
        ..ImageConfig::default()
    })
}

fn refused(spec: &InstanceSpec, folder: &Path) -> String {
    match plan(spec, &sources(folder)) {
        Ok(_) => panic!("it was planned"),
        Err(error) => error.to_string(),
    }
}

fn argv_of(spec: &InstanceSpec) -> Vec<String> {
    argv(&plan(spec, &sources(Path::new("/code"))).unwrap()).to_vec()
}

fn argv(plan: &Plan) -> &[String] {
    match &plan.assignment.work {
        Work::Execute { argv, .. } => argv,
        Work::Tell(_) => panic!("a plan executes"),
    }
}

fn working_dir(plan: &Plan) -> &str {
    match &plan.assignment.work {
        Work::Execute { working_dir, .. } => working_dir,
        Work::Tell(_) => panic!("a plan executes"),
    }
}

#[test]
fn a_node_gets_its_bounds_by_an_argument_unless_they_lie_where_it_looks() {
    let of = |memory: u64, bounds: Option<&str>| {
        let mut spec = spec();
        spec.limits.memory = memory * MIB;
        let mut sources = sources(Path::new("/code"));
        sources.bounds = bounds.map(PathBuf::from);
        let plan = plan(&spec, &sources).unwrap();
        let places: Vec<String> = plan.shape.binds.iter().map(shown).collect();
        (
            bounds_of_node(&spec, 4096 * MIB),
            argv(&plan).to_vec(),
            places,
        )
    };
    let runtime = "/data/var-runtime at /var/runtime".to_owned();
    let (small, argv, places) = of(255, None);
    assert_eq!((small, places), (None, vec![runtime.clone()]));
    assert_eq!(argv[1], "--max-old-space-size=229");
    assert_eq!(of(256, None).0, Some(256 * MIB / 5 * 9));
    assert_eq!(of(2276, None).0, None);
    // V8 asks how much the machine has, too.
    let mut large = spec();
    large.limits.memory = 2000 * MIB + 5;
    let told = 3600 * MIB;
    assert_eq!(bounds_of_node(&large, told), Some(told));
    assert_eq!(bounds_of_node(&large, told - 1), None);
    let (_, argv, places) = of(256, Some("/data/460"));
    assert_eq!(argv, ["/usr/bin/node", "/var/runtime/index.js"]);
    assert_eq!(places, [runtime, "/data/460 at /sys/fs/cgroup".to_owned()]);
    let python = InstanceSpec {
        runtime: RuntimeName::Python311,
        ..spec()
    };
    assert_eq!(bounds_of_node(&python, 4096 * MIB), None);
}

fn shown(bind: &Bind) -> String {
    format!("{} at {}", bind.source.display(), bind.target.display())
}

#[test]
fn a_node_function_gets_its_bootstrap_and_the_two_listeners() {
    let plan = plan(&spec(), &sources(Path::new("/code"))).unwrap();
    let expected = [
        "/usr/bin/node",
        "--max-old-space-size=115",
        "/var/runtime/index.js",
    ];
    assert_eq!(argv(&plan), expected);
    assert_eq!(plan.shape.listen, [API, PLATFORM]);
    assert!(plan.api && plan.doors == [Door::Platform]);
    assert_eq!(working_dir(&plan), "/var/task");
    assert_eq!(
        plan.assignment.code[0],
        bind(Path::new("/code"), "/var/task")
    );
}

#[test]
fn each_port_of_each_peer_has_an_address_of_its_name() {
    let mut spec = spec();
    for (name, alias, ports) in [
        ("catalog", Some("db"), vec![3000, 3001]),
        ("search", None, vec![3000]),
    ] {
        let alias = alias.map(|alias: &str| alias.parse().unwrap());
        spec.peers.push(Peer {
            name: name.parse().unwrap(),
            aliases: alias.into_iter().collect(),
            ports,
        });
    }
    let plan = plan(&spec, &sources(Path::new("/code"))).unwrap();
    let listen: Vec<String> = plan.shape.listen.iter().map(ToString::to_string).collect();
    let expected = [
        "127.0.0.1:9001",
        "127.0.0.1:4566",
        "127.0.1.1:3000",
        "127.0.1.1:3001",
        "127.0.1.2:3000",
    ];
    assert_eq!(listen, expected);
    assert_eq!(plan.doors.len(), 4);
    let hosts = plan.shape.hosts.iter();
    let hosts: Vec<String> = hosts
        .map(|(name, address)| format!("{name} {address}"))
        .collect();
    let expected = ["catalog 127.0.1.1", "db 127.0.1.1", "search 127.0.1.2"];
    assert_eq!(hosts, expected);
    spec.peers[0].ports = (1..=70).collect();
    let error = refused(&spec, Path::new("/code"));
    assert!(error.contains("at most 64 ports"), "{error}");
}

#[test]
fn an_image_runs_what_it_says_and_what_replaces_it() {
    let mut spec = spec();
    image(&mut spec);
    assert_eq!(argv_of(&spec), ["/entry", "serve"]);
    spec.command = Some(vec!["other".into()]);
    assert_eq!(argv_of(&spec), ["/entry", "other"]);
    spec.command = None;
    spec.entrypoint = Some(vec!["/mine".into()]);
    assert_eq!(argv_of(&spec), ["/mine"]);
}

#[test]
fn an_image_runs_as_whom_it_says_where_it_says() {
    let mut spec = spec();
    let config = image(&mut spec);
    config.user = "app:app".into();
    config.working_dir = "/srv".into();
    let made = plan(&spec, &sources(Path::new("/root-of-image"))).unwrap();
    assert_eq!(made.shape.user, User::Named("app:app".into()));
    assert_eq!(working_dir(&made), "/srv");
    assert!(made.assignment.code.is_empty());
    spec.working_dir = Some("/other".into());
    let made = plan(&spec, &sources(Path::new("/root-of-image"))).unwrap();
    assert_eq!(working_dir(&made), "/other");
}

#[test]
fn an_image_without_anything_to_run_is_the_deployers_fault() {
    let mut spec = spec();
    *image(&mut spec) = ImageConfig::default();
    let error = refused(&spec, Path::new("/image"));
    assert!(error.contains("Runtime.InvalidEntrypoint"), "{error}");
}

#[test]
fn provided_needs_an_executable_bootstrap() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec();
    spec.runtime = RuntimeName::Provided;
    let error = refused(&spec, folder.path());
    assert!(
        error.contains("no executable file named bootstrap"),
        "{error}"
    );
    let file = folder.path().join("bootstrap");
    std::fs::write(&file, "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = refused(&spec, folder.path());
    assert!(error.contains("chmod +x"), "{error}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let made = plan(&spec, &sources(folder.path())).unwrap();
    assert_eq!(argv(&made), ["/var/task/bootstrap"]);
}

#[test]
fn a_service_has_no_runtime_api() {
    let mut spec = spec();
    spec.owner = Owner::Service {
        name: "catalog".parse().unwrap(),
        replica: 0,
    };
    spec.contract = Contract::Http;
    spec.command = Some(vec!["node".into(), "server.js".into()]);
    let plan = plan(&spec, &sources(Path::new("/code"))).unwrap();
    assert!(!plan.api);
    assert_eq!(plan.shape.listen, [PLATFORM]);
    assert_eq!(argv(&plan), ["node", "server.js"]);
}

#[test]
fn the_platforms_port_is_not_for_services() {
    let mut spec = spec();
    spec.contract = Contract::Http;
    spec.command = Some(vec!["serve".into()]);
    spec.port = 4566;
    let error = refused(&spec, Path::new("/code"));
    assert!(error.contains("port 4566 is the platform's own"), "{error}");
}
