//! From what an instance shall be to what the launcher shall make. Touches nothing but the file
//! system's metadata.

use crate::environment::{self, TASK_ROOT};
use crate::host::{Host, Interpreter};
use crate::{Door, Error, InstanceSpec, Result, bootstrap};
use launcher::{Assignment, Bind, Root, Shape, User, Volume, Work};
use model::{Code, Contract, Ending, Owner, RuntimeName, ServiceName, Snapshot};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Most listeners of one sandbox (the launcher's bound).
const MAX_LISTENERS: usize = 64;
const API: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9001);
const PLATFORM: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4566);
const MIB: u64 = 1024 * 1024;

/// What of this machine an instance is made from.
pub(super) struct Sources {
    /// The unpacked code, or the image's root.
    pub(super) folder: PathBuf,
    /// The folder of the bootstraps.
    pub(super) bootstraps: PathBuf,
    /// The interpreter of a managed runtime.
    pub(super) interpreter: Option<Interpreter>,
    /// What Node.js shall take its bounds of memory from, in place of arguments.
    pub(super) bounds: Option<PathBuf>,
    /// The spec's volumes with their folders, and its secrets and configs.
    pub(super) volumes: Vec<Volume>,
    /// The region that instances are told.
    pub(super) region: String,
    /// Whether the instance may connect to anything but the platform.
    pub(super) egress: bool,
}

/// What the launcher shall make, and what its listeners are for.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) shape: Shape,
    /// Its code and its program.
    pub(super) assignment: Assignment,
    /// Whether the first listener is the Runtime API's.
    pub(super) api: bool,
    /// What the other listeners are for, in order.
    pub(super) doors: Vec<Door>,
}

/// Makes the plan.
///
/// # Errors
/// `Init` when the code does not have what shall be run; `Missing` when it cannot reach all peers.
pub(super) fn plan(spec: &InstanceSpec, sources: &Sources) -> Result<Plan> {
    let interpreter = sources.interpreter.as_ref();
    let api = is_function(spec) && spec.contract == Contract::Lambda;
    let (doors, addresses, hosts) = reach(spec)?;
    let mut listen = Vec::new();
    listen.extend(api.then_some(API));
    listen.extend(addresses);
    if listen.len() > MAX_LISTENERS {
        return Err(Error::Missing(format!(
            "an instance can reach at most {MAX_LISTENERS} ports, and the services that it can \
             reach have {}: declare fewer ports",
            listen.len()
        )));
    }
    if spec.contract == Contract::Http && spec.port == PLATFORM.port() {
        let reason = "port 4566 is the platform's own inside every instance: listen on another";
        return Err(Error::Missing(reason.to_owned()));
    }
    let argv = argv(spec, sources)?;
    let environment = environment::build(spec, interpreter, &sources.region);
    let root = root(spec, sources);
    let image = spec.image.as_ref();
    let runtimes = || {
        let bounds = sources.bounds.iter();
        let bounds = bounds.map(|folder| bind(folder, bootstrap::BOUNDS));
        std::iter::once(bind(&sources.bootstraps, bootstrap::FOLDER)).chain(bounds)
    };
    let own = || bind(&sources.folder, TASK_ROOT);
    // The code is not part of the shape, so that functions share what is made ahead; but for those that
    // have run before an instance is made, when nothing may be mounted any more.
    let (binds, places, code) = match (&root, spec.snapshot) {
        (Root::Image { .. }, _) => (Vec::new(), Vec::new(), Vec::new()),
        (Root::Host { .. }, Snapshot::Init) => {
            (runtimes().chain([own()]).collect(), Vec::new(), Vec::new())
        }
        (Root::Host { .. }, Snapshot::None) => {
            let place = PathBuf::from(TASK_ROOT);
            (runtimes().collect(), vec![place], vec![own()])
        }
    };
    let default_dir = match (&spec.code, image.map(|image| image.working_dir.as_str())) {
        (Code::Zip { .. }, _) => TASK_ROOT,
        (Code::Image { .. }, None | Some("")) => "/",
        (Code::Image { .. }, Some(folder)) => folder,
    };
    let working_dir = spec.working_dir.as_deref().unwrap_or(default_dir);
    Ok(Plan {
        shape: Shape {
            hostname: String::new(),
            root,
            binds,
            places,
            volumes: sources.volumes.clone(),
            user: user(spec),
            hosts,
            listen,
            serves: !api,
            egress: sources.egress,
            files: spec.limits.files,
        },
        assignment: Assignment {
            code,
            work: Work::Execute {
                argv,
                environment,
                working_dir: working_dir.to_owned(),
            },
            limits: spec.limits.clone(),
        },
        api,
        doors,
    })
}

fn is_function(spec: &InstanceSpec) -> bool {
    matches!(spec.owner, Owner::Function { .. })
}

fn bind(source: &Path, target: &str) -> Bind {
    Bind {
        source: source.to_owned(),
        target: PathBuf::from(target),
    }
}

fn root(spec: &InstanceSpec, sources: &Sources) -> Root {
    match spec.code {
        Code::Image { .. } => Root::Image {
            folder: sources.folder.clone(),
        },
        Code::Zip { .. } => {
            let mut binds = Host::base();
            binds.extend(sources.interpreter.as_ref().and_then(Interpreter::bind));
            Root::Host { binds }
        }
    }
}

/// An image says as whom it runs; everything else is user 1000.
fn user(spec: &InstanceSpec) -> User {
    match (&spec.code, &spec.image) {
        (Code::Image { .. }, Some(image)) if !image.user.is_empty() => {
            User::Named(image.user.clone())
        }
        (Code::Image { .. }, _) => User::Ids { uid: 0, gid: 0 },
        (Code::Zip { .. }, _) => User::Ids {
            uid: 1000,
            gid: 1000,
        },
    }
}

/// A service that asks for itself by name finds itself.
fn is_replica_of(spec: &InstanceSpec, service: &ServiceName) -> bool {
    matches!(&spec.owner, Owner::Service { name, .. } if name == service)
}

type Reach = (Vec<Door>, Vec<SocketAddr>, Vec<(String, IpAddr)>);

/// The platform's door, and one address for each peer: `127.0.1.1`, `127.0.1.2` …
fn reach(spec: &InstanceSpec) -> Result<Reach> {
    let (mut doors, mut addresses) = (vec![Door::Platform], vec![PLATFORM]);
    let mut hosts = Vec::new();
    for (index, peer) in spec.peers.iter().enumerate() {
        let Ok(last) = u8::try_from(index + 1) else {
            let reason = "an instance can reach at most 255 services by name: declare fewer";
            return Err(Error::Missing(reason.to_owned()));
        };
        let names = std::iter::once(&peer.name).chain(&peer.aliases);
        let mut name =
            |address| hosts.extend(names.clone().map(|name| (name.to_string(), address)));
        if is_replica_of(spec, &peer.name) {
            name(IpAddr::V4(Ipv4Addr::LOCALHOST));
            continue;
        }
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 1, last));
        name(address);
        for port in &peer.ports {
            addresses.push(SocketAddr::new(address, *port));
            doors.push(Door::Service {
                name: peer.name.clone(),
                port: *port,
            });
        }
    }
    Ok((doors, addresses, hosts))
}

/// Program and arguments.
fn argv(spec: &InstanceSpec, sources: &Sources) -> Result<Vec<String>> {
    let given = match &spec.code {
        Code::Image { .. } => image_argv(spec),
        Code::Zip { .. } => {
            let entrypoint = spec.entrypoint.iter().flatten();
            let command = spec.command.iter().flatten();
            entrypoint.chain(command).cloned().collect()
        }
    };
    // Managed functions have a handler instead.
    let managed = matches!(spec.runtime, RuntimeName::Nodejs20 | RuntimeName::Python311);
    if !given.is_empty() && (!managed || spec.contract == Contract::Http) {
        return Ok(given);
    }
    match (&spec.runtime, spec.contract) {
        (RuntimeName::Nodejs20, Contract::Lambda) => node_argv(spec, sources),
        (RuntimeName::Python311, Contract::Lambda) => {
            let script = match spec.snapshot {
                Snapshot::None => "bootstrap.py",
                Snapshot::Init => "snapshot.py",
            };
            let script = format!("{}/{script}", bootstrap::FOLDER);
            Ok(vec![program(sources)?, script])
        }
        (RuntimeName::Provided, _) => provided_argv(sources),
        (RuntimeName::Image, _) => Err(invalid_entrypoint(
            "the image has neither entry point nor command: give one",
        )),
        (_, Contract::Http) => Err(invalid_entrypoint(
            "nothing says what to run: with the http contract, give a command",
        )),
    }
}

/// As Docker does: who replaces the entry point replaces the command too.
fn image_argv(spec: &InstanceSpec) -> Vec<String> {
    let image = spec.image.clone().unwrap_or_default();
    let command = match (&spec.command, &spec.entrypoint) {
        (Some(command), _) => command.clone(),
        (None, Some(_)) => Vec::new(),
        (None, None) => image.command,
    };
    let mut argv = spec.entrypoint.clone().unwrap_or(image.entrypoint);
    argv.extend(command);
    argv
}

/// V8 is told to collect before the kernel would kill it, unless the user says something else.
fn node_argv(spec: &InstanceSpec, sources: &Sources) -> Result<Vec<String>> {
    let mut argv = vec![program(sources)?];
    let options = spec.environment.get("NODE_OPTIONS");
    let told = options.is_some_and(|options| options.contains("max-old-space-size"));
    if !told && sources.bounds.is_none() {
        let heap = spec.limits.memory / MIB * 9 / 10;
        argv.push(format!("--max-old-space-size={heap}"));
    }
    argv.push(format!("{}/index.js", bootstrap::FOLDER));
    Ok(argv)
}

/// Of how many bytes V8, which takes half of them for its heap, must hear to take nine tenths of the instance's, on a
/// machine with so many; `None` if only an argument makes it: it takes at least 256 MiB, of less than 15 GiB at
/// most 2 GiB, and never more than half of the machine's. An argument has Node.js refuse the compiled form of its own
/// modules, which it was built with, since other flags of V8 might have made another; that is a fifth of its start.
pub(super) fn bounds_of_node(spec: &InstanceSpec, machine: u64) -> Option<u64> {
    let managed = spec.runtime == RuntimeName::Nodejs20 && spec.contract == Contract::Lambda;
    // Whole ones, so that there are few.
    let memory = spec.limits.memory / MIB;
    let told = memory * MIB / 5 * 9;
    (managed && (256..=2275).contains(&memory) && told <= machine).then_some(told)
}

fn program(sources: &Sources) -> Result<String> {
    let Some(interpreter) = &sources.interpreter else {
        return Err(Error::Missing("the interpreter was not found".to_owned()));
    };
    Ok(interpreter.program.display().to_string())
}

fn provided_argv(sources: &Sources) -> Result<Vec<String>> {
    let file = sources.folder.join("bootstrap");
    match std::fs::metadata(&file) {
        Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => {
            Ok(vec![format!("{TASK_ROOT}/bootstrap")])
        }
        Ok(_) => Err(invalid_entrypoint(
            "the code's bootstrap is not an executable file: run `chmod +x bootstrap` and deploy \
             again",
        )),
        Err(_) => Err(invalid_entrypoint(
            "the code has no executable file named bootstrap at its top: the runtime `provided` \
             runs that",
        )),
    }
}

/// The deployer's fault, found before anything was made.
pub(super) fn invalid_entrypoint(message: &str) -> Error {
    let ending = Ending::InitFailed {
        error_type: "Runtime.InvalidEntrypoint".to_owned(),
        message: message.to_owned(),
    };
    Error::init(ending, bytes::Bytes::new())
}

#[cfg(test)]
mod tests;
