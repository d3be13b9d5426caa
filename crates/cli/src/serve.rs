//! `rouse serve`: the server, from an empty process to a drained one.

mod banner;
mod instances;
mod logging;
pub(crate) mod port;

use crate::data::{DataFolder, ServerRecord};
use crate::error::{Error, Result};
use crate::manifest::{parse_bytes, parse_duration};
use api::{RootCredential, Server, ServerOptions};
use engine::{Engine, SecretKeys};
use launcher::probe::{Finding, Standing, probe};
use launcher::{Connection, Launcher};
use logging::LogFormat;
use model::{Driver, Egress};
use state::State;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;
use storage::Storage;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Run the server
///
/// Examples:
///   rouse serve
///   rouse serve --data /var/lib/rouse --listen 127.0.0.1:4600 --log debug
///
/// Everything is kept in the data folder, which is made at the first start together with random
/// credentials. SIGINT or SIGTERM drains: calls under way may end, events are kept; a second one ends
/// at once. After any end, kill -9 included, the next start goes on where this one stopped.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Where clients reach it
    #[arg(long, env = "ROUSE_LISTEN", default_value = port::DEFAULT_LISTEN, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// What to log: error, warn, info, debug, trace, or by part: info,engine=debug
    #[arg(
        long,
        env = "RUST_LOG",
        default_value = "info,s3s=off",
        value_name = "FILTER"
    )]
    log: String,
    /// How to write the log, which goes to standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    log_format: LogFormat,
    /// The region that AWS clients and functions are told
    #[arg(long, default_value = "us-east-1", value_name = "REGION")]
    region: String,
    /// Sandboxes kept ready for each kind of function in use; 0: each is made when it is needed
    #[arg(long, default_value_t = 4, value_name = "NUMBER")]
    armed: usize,
    /// Interpreters kept ready for each kind of function in use; 0: each is started when it is needed
    #[arg(long, default_value_t = 2, value_name = "NUMBER")]
    stems: usize,
    /// Modules that Python interpreters import ahead; those that are not installed are left out
    #[arg(long, value_delimiter = ',', default_value = PRELOAD, value_name = "MODULES")]
    preload: Vec<String>,
    /// Most memory for files of Python and Node.js that are kept in memory; 0: none is
    #[arg(long, value_parser = size, default_value = "256MiB", value_name = "SIZE")]
    pin: u64,
    /// Where functions and services may connect to that do not say it themselves: public or none
    #[arg(
        long,
        env = "ROUSE_EGRESS",
        default_value = "public",
        value_name = "POLICY"
    )]
    egress: Egress,
    /// What makes the containers of functions that do not say it themselves, and of services: sandbox or
    /// docker
    #[arg(
        long,
        env = "ROUSE_DRIVER",
        default_value = "sandbox",
        value_name = "DRIVER"
    )]
    driver: Driver,
    /// Where the Docker Engine of this machine listens, for the driver docker
    #[arg(
        long,
        env = "DOCKER_HOST",
        default_value = DOCKER_HOST,
        value_name = "SOCKET"
    )]
    docker_host: String,
    /// Another name, host or host:port, by which images of this server's registry are called; may be given several
    /// times
    #[arg(
        long,
        env = "ROUSE_REGISTRY_NAMES",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    registry_name: Vec<String>,
    /// Name server for functions and services, in place of the host's; may be given several times
    #[arg(long, value_parser = name_server, value_name = "ADDRESS")]
    dns: Vec<SocketAddr>,
    /// Seconds that calls under way may take to end at shutdown
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    grace: u64,
    /// Threads that serve connections [default: half of the processors, the others are the functions']
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Most instances of functions at a time; past it the one idle for the longest time makes room [default: 1000, or
    /// half of the sandboxes that the user's ids are enough for]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=4000))]
    max_instances: Option<u32>,
    /// Most published versions that are kept of a function; past it the oldest go that no alias names
    #[arg(long, default_value_t = 100, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(model::MAX_VERSIONS)))]
    max_versions: u32,
    /// Most starts of instances in a second, once the burst is used up
    #[arg(long, default_value_t = 2000, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    start_rate: u32,
    /// Starts that may be made at once before the rate counts
    #[arg(long, default_value_t = 500, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    start_burst: u32,
    /// How many events may cause one another in a chain before it is cut, so that a loop ends
    #[arg(long, default_value_t = model::MAX_DEPTH, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    max_depth: u32,
    /// How long events are kept after they ended, with their attempts
    #[arg(long, default_value = "7d", value_name = "DURATION", value_parser = keep)]
    keep_events: u64,
    /// Most that is kept of them, about; the oldest that ended are dropped first, what waits never
    #[arg(long, default_value = "10GiB", value_name = "SIZE", value_parser = keep_size)]
    keep_events_size: u64,
    /// File with the key that secrets are sealed by, made if it is not there [default: secrets.key in the data folder]
    #[arg(long, env = "ROUSE_SECRETS_KEY", value_name = "FILE")]
    secrets_key: Option<PathBuf>,
    /// Let webhooks lead to private networks and to this host; without, only to the public internet
    #[arg(long)]
    private_webhooks: bool,
}

impl Options {
    /// A thread more than there is work for costs: each one that is woken wakes the next to help.
    fn threads(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(2, usize::from);
        let chosen = self.threads.map(usize::from);
        chosen.unwrap_or_else(|| (processors() / 2).max(1))
    }

    fn engine(&self, data: &DataFolder) -> Result<engine::Options> {
        let default = || data.path().join("secrets.key");
        let path = self.secrets_key.clone().unwrap_or_else(default);
        let keys = SecretKeys::load_or_create(&path);
        let keys = keys.map_err(|error| Error::Failed(error.to_string()))?;
        Ok(engine::Options {
            secret_keys: Some(keys),
            max_instances: instances::most(self.max_instances, launcher::most_sandboxes()) as usize,
            max_versions: self.max_versions,
            start_rate: self.start_rate,
            start_burst: self.start_burst,
            max_depth: self.max_depth,
            region: self.region.clone(),
            private_webhooks: self.private_webhooks,
            retention: engine::Retention {
                age: Duration::from_millis(self.keep_events),
                bytes: self.keep_events_size,
            },
            ..engine::Options::default()
        })
    }
}

/// The AWS SDK, and what functions often use.
const PRELOAD: &str = "boto3,numpy,PIL.Image,asyncio,base64,concurrent.futures,csv,datetime,decimal,\
                       email.message,hashlib,hmac,http.client,random,ssl,tempfile,urllib.request,uuid,zlib";

/// Where Docker Engine listens unless somebody says otherwise.
pub(crate) const DOCKER_HOST: &str = "unix:///var/run/docker.sock";
/// Least that can be kept of events: 1 MiB.
const LEAST_KEPT: u64 = 1 << 20;
/// Largest archive or image that is taken in: 10 GiB.
const MAX_UPLOAD: u64 = 10 << 30;
/// Most bytes of secrets and configs that instances have at a time: 256 MiB, in memory.
const SECRETS_IN_USE: u64 = 256 << 20;
/// Connections out of instances that may wait to be taken up.
const MAX_INBOUND: usize = 1024;
/// After the drain: for answers that are still being sent.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// What a shell reports of a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// An address, at port 53 unless it names another.
fn name_server(text: &str) -> std::result::Result<SocketAddr, std::net::AddrParseError> {
    let address = text.parse().map(|ip| SocketAddr::new(ip, 53));
    address.or_else(|_| text.parse())
}

fn size(text: &str) -> std::result::Result<u64, String> {
    parse_bytes(text, 1)
}

/// How long events are kept: a second to 100 years, in milliseconds.
fn keep(text: &str) -> std::result::Result<u64, String> {
    let millis = parse_duration(text)?;
    match millis {
        1_000..=3_153_600_000_000 => Ok(millis),
        _ => Err("must be 1s to 36500d".to_owned()),
    }
}

fn keep_size(text: &str) -> std::result::Result<u64, String> {
    match parse_bytes(text, 1)? {
        bytes if bytes >= LEAST_KEPT => Ok(bytes),
        _ => Err("must be 1MiB at least".to_owned()),
    }
}

/// Runs the server until it is told to stop.
pub(crate) fn run(options: &Options, data: &DataFolder) -> Result<()> {
    // What comes now may happen twice: without root, the program starts again.
    launcher::enter_without_root().map_err(|error| refusal(&error))?;
    logging::start(&options.log, options.log_format)?;
    let lock = data.lock()?;
    let (listener, connection) = match prepare(options, data) {
        Ok(prepared) => prepared,
        Err(error) => {
            lock.abandon();
            return Err(error);
        }
    };
    let address = listener
        .local_addr()
        .map_err(Error::io(format!("listening at {}", options.listen)))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads())
        .enable_all()
        .thread_name("rouse")
        .build()
        .map_err(Error::io("starting threads"))?;
    let result = runtime.block_on(serve(options, data, listener, address, connection));
    // Blocking work that hangs, such as a read of a dead disk, must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(5));
    drop(lock);
    result
}

/// Everything that must be done before a thread exists: the port, the launcher, the end of privilege.
fn prepare(options: &Options, data: &DataFolder) -> Result<(TcpListener, Connection)> {
    let listener = port::bind(options.listen)?;
    listener
        .set_nonblocking(true)
        .map_err(Error::io(format!("listening at {}", options.listen)))?;
    warn_if_reachable(options.listen);
    launcher::hold_in_memory(&data.memory(), SECRETS_IN_USE).map_err(|error| refusal(&error))?;
    let connection = launcher::spawn(data.path()).map_err(|error| refusal(&error))?;
    launcher::drop_privilege()
        .map_err(|error| Error::Failed(format!("giving up privilege: {error}")))?;
    Ok((listener, connection))
}

/// Why there is no launcher: each thing that is missing on a line of its own.
fn refusal(error: &launcher::Error) -> Error {
    let mut text = "instances cannot be contained here".to_owned();
    let missing: Vec<Finding> = match error {
        launcher::Error::Missing(_) => probe(),
        _ => Vec::new(),
    };
    let missing = missing
        .iter()
        .filter(|finding| finding.standing == Standing::Missing);
    let lines: Vec<String> = missing
        .map(|finding| format!("\n  {}: {}", finding.what, finding.detail))
        .collect();
    match lines.is_empty() {
        true => text.push_str(&format!(": {error}")),
        false => text.push_str(&format!("; missing:{}", lines.concat())),
    }
    Error::Failed(text + "\n`rouse doctor` shows all that was looked at")
}

fn failed(doing: &'static str) -> impl FnOnce(&dyn std::fmt::Display) -> Error {
    move |error| Error::Failed(format!("{doing}: {error}"))
}

async fn serve(
    options: &Options,
    data: &DataFolder,
    listener: TcpListener,
    address: SocketAddr,
    connection: Connection,
) -> Result<()> {
    let mut interrupts = Interrupts::new()?;
    let listener = tokio::net::TcpListener::from_std(listener)
        .map_err(Error::io(format!("listening at {address}")))?;
    let state = State::open(data.path())
        .await
        .map_err(|error| failed("opening the store")(&error))?;
    let storage = Storage::open_in(data.path(), state.clone(), &options.region)
        .await
        .map_err(|error| failed("opening the storage")(&error))?;
    storage.name_registry(address, &options.registry_name);
    let root = RootCredential::load_or_create(data.path())
        .map_err(|error| failed("making the credentials")(&error))?;
    let launcher =
        Launcher::new(connection).map_err(|error| failed("reaching the launcher")(&error))?;
    let (inbound, connections) = mpsc::channel(MAX_INBOUND);
    let runtime_options = runtime::Options {
        folder: data.path().join("runtime"),
        region: options.region.clone(),
        armed: options.armed,
        stems: options.stems,
        preload: options.preload.clone(),
        pin: options.pin,
        secrets: data.memory(),
        egress: options.egress.clone(),
        dns: options.dns.clone(),
        driver: options.driver,
        docker_host: options.docker_host.clone(),
    };
    let runtime =
        runtime::Runtime::open(runtime_options, launcher.clone(), storage.clone(), inbound)
            .await
            .map_err(|error| failed("preparing the runtime")(&error))?;
    let engine = Engine::start(options.engine(data)?, state.clone(), storage, runtime)
        .await
        .map_err(|error| failed("starting the engine")(&error))?;
    let server_options = ServerOptions {
        region: options.region.clone(),
        max_upload: MAX_UPLOAD,
    };
    let server = Server::new(server_options, engine.clone(), root);
    let url = port::url(address);
    data.write_server(&ServerRecord {
        url: url.clone(),
        pid: std::process::id(),
    })?;
    tracing::info!(%url, data = %data.path().display(), "serving");
    banner::print(&url, data);

    let (ended, end) = tokio::sync::oneshot::channel();
    let grace = Duration::from_secs(options.grace);
    // Calls under way need the doors while they end, so the engine drains before the doors close.
    let stop = {
        let engine = engine.clone();
        async move {
            let reason = tokio::select! {
                () = interrupts.next() => None,
                reason = launcher.gone() => Some(reason),
            };
            announce_end(reason.as_deref(), grace);
            tokio::spawn(end_at_second(interrupts));
            // Nothing can be contained or stopped without the launcher: its end took all instances along.
            let grace = if reason.is_some() {
                Duration::ZERO
            } else {
                grace
            };
            engine.drain(grace).await;
            // The receiver is gone only if serving failed, and then that error counts.
            let _ = ended.send(reason);
        }
    };
    let served = server
        .serve(listener, connections, stop, LAST_ANSWERS)
        .await;
    data.remove_server();
    state.close().await;
    served.map_err(Error::io(format!("serving at {address}")))?;
    match end.await {
        Ok(None) => {
            tracing::info!("stopped");
            Ok(())
        }
        Ok(Some(reason)) => Err(Error::Failed(format!(
            "the launcher has ended, and no instance without it: {reason}; start rouse again"
        ))),
        Err(_) => Err(Error::Failed(
            "the server ended by itself; see the log".to_owned(),
        )),
    }
}

fn announce_end(reason: Option<&str>, grace: Duration) {
    match reason {
        Some(reason) => tracing::error!(reason, "the launcher has ended"),
        None => {
            let seconds = grace.as_secs();
            tracing::info!(grace = seconds, "draining; interrupt again to end at once");
        }
    }
}

/// SIGINT and SIGTERM.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(Error::io("listening for signals"));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ends the process at the next signal. The launcher sees the socket close and ends every instance;
/// events that are leased now wait again at the next start.
async fn end_at_second(mut interrupts: Interrupts) {
    interrupts.next().await;
    tracing::warn!("ended at once by a second signal");
    std::process::exit(INTERRUPTED);
}

fn warn_if_reachable(address: SocketAddr) {
    if !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "others on the network can reach this address, and nothing between them and here is \
             encrypted: put a TLS proxy before it, or listen at 127.0.0.1"
        );
    }
}
