#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    unreachable_pub,
    missing_docs
)]
//! A whole server on a free port, over a real store, storage and engine, with the fake driver below;
//! and the real clients that drive it.

use api::{RootCredential, Server, ServerOptions};
use bytes::Bytes;
use engine::{Door, Engine, Inbound, Options, Put};
use model::{Code, Credential, Ending, FunctionSpec, InstanceId, Owner, Principal, ServiceSpec};
use runtime::{Fake, FakeStart, Runtime};
use state::State;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use storage::Storage;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};

/// What a real client may take in all; far more than it needs on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Running {
    pub url: String,
    pub engine: Engine,
    pub state: State,
    pub root: RootCredential,
    /// Connections out of instances.
    pub inbound: mpsc::Sender<Inbound>,
    pub folder: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

pub fn ok() -> Ending {
    Ending::Succeeded {
        payload: Bytes::from_static(b"\"done\""),
        http: None,
    }
}

/// Every start and call succeeds at once.
pub fn steady() -> Fake {
    taking(Duration::ZERO)
}

/// Every start succeeds at once, and every call after so long.
pub fn taking(time: Duration) -> Fake {
    let start = |_: &_| FakeStart {
        takes: Duration::ZERO,
        fails: None,
    };
    Fake::new(start, move |_| (time, ok(), true))
}

impl Running {
    pub async fn start(fake: Fake) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).await.unwrap();
        let storage = Storage::open(folder.path(), state.clone()).await.unwrap();
        let runtime = Runtime::fake(fake);
        let engine = Engine::start(Options::default(), state.clone(), storage, runtime).await;
        let engine = engine.unwrap();
        let root = RootCredential::load_or_create(folder.path()).unwrap();
        let options = ServerOptions {
            region: "us-east-1".into(),
            max_upload: 64 << 20,
        };
        let server = Server::new(options, engine.clone(), root.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (inbound, receiver) = mpsc::channel(16);
        let (stop, stopped) = oneshot::channel();
        let until = async {
            let _ = stopped.await;
        };
        let grace = Duration::from_secs(10);
        let served = tokio::spawn(server.serve(listener, receiver, until, grace));
        Self {
            url,
            engine,
            state,
            root,
            inbound,
            folder,
            stop,
            served,
        }
    }

    /// Ends the server as a signal does.
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap().unwrap();
        self.engine.drain(Duration::from_secs(5)).await;
    }

    /// A zip whose only file has this content.
    pub async fn code(&self, content: &str) -> Code {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
        zip.start_file("bootstrap", options).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
        let bytes = zip.finish().unwrap().into_inner();
        let storage = self.engine.storage();
        let mut writer = storage.begin_blob(1 << 20).await.unwrap();
        writer.write(bytes.into()).await.unwrap();
        let (digest, size) = storage.commit_blob(writer, None).await.unwrap();
        Code::Zip { digest, size }
    }

    pub async fn function(&self, name: &str) {
        let code = self.code("one").await;
        let spec = serde_json::json!({"name": name, "runtime": "provided", "code": code});
        let spec: FunctionSpec = serde_json::from_value(spec).unwrap();
        self.engine.put_function(spec, Put::Upsert).await.unwrap();
    }

    pub async fn service(&self, name: &str) {
        let code = self.code("one").await;
        let spec: ServiceSpec = serde_json::from_value(serde_json::json!({
            "name": name, "runtime": "provided", "code": code, "command": ["serve"],
            "ports": [8080], "replicas": 0,
        }))
        .unwrap();
        self.engine.put_service(spec).await.unwrap();
    }

    /// The keys of a function's or service's instances.
    pub async fn keys_of(&self, principal: Principal) -> Credential {
        let candidate = Credential {
            principal,
            access_key_id: "NEVERUSEDNEVERUSED22".into(),
            secret_access_key: "x".repeat(40),
        };
        self.state.ensure_credential(candidate).await.unwrap()
    }

    /// An address that leads here as out of an instance.
    pub async fn platform_of(&self, owner: Owner, instance: InstanceId, door: Door) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inbound = self.inbound.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = Inbound {
                    owner: owner.clone(),
                    instance: instance.clone(),
                    networks: model::Networks::default(),
                    door: door.clone(),
                    stream,
                };
                if inbound.send(connection).await.is_err() {
                    return;
                }
            }
        });
        url
    }

    /// A command with the environment that `rouse env` prints, and nothing else of AWS.
    pub fn client(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_ACCESS_KEY_ID", &self.root.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", &self.root.secret_access_key)
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_PAGER", "")
            .env("ROUSE_URL", &self.url)
            .env("ROUSE_TOKEN", &self.root.token)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a file of `tests/clients` by pytest as the owner, with boto3 and the AWS CLI at hand.
    pub async fn pytest(&self, file: &str) {
        run(self.pytest_command(file)).await;
    }

    /// The same with other keys, at another address.
    pub async fn pytest_as(&self, keys: &Credential, url: &str, file: &str) {
        let mut command = self.pytest_command(file);
        command
            .env("AWS_ENDPOINT_URL", url)
            .env("AWS_ACCESS_KEY_ID", &keys.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", &keys.secret_access_key);
        run(command).await;
    }

    fn pytest_command(&self, file: &str) -> Command {
        let python = python();
        let bin = python.with_file_name("");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = self.client(&python);
        command
            .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp"])
            .arg(self.folder.path().join("pytest"))
            .arg(client_file(file))
            .env("PATH", format!("{}:{path}", bin.display()));
        command
    }

    /// Runs a file of `tests/clients` by Node.js, with the AWS SDK for JavaScript at hand.
    pub async fn node(&self, file: &str) {
        let mut command = self.client("node");
        // Modules are looked for beside the program and above it, so it goes beside them.
        let modules = node_modules();
        command
            .arg("--experimental-default-type=module")
            .arg("--input-type=module")
            .arg("--eval")
            .arg(std::fs::read_to_string(client_file(file)).unwrap())
            .current_dir(modules.parent().unwrap());
        run(command).await;
    }
}

fn client_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

/// What `./test` installs, or the environment names.
fn installed(variable: &str, place: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = std::env::var_os(variable).map_or_else(|| root.join(place), PathBuf::from);
    assert!(
        path.exists(),
        "{} is not there: run ./test, which installs what the tests need, or set {variable}",
        path.display()
    );
    std::path::absolute(path).unwrap()
}

pub fn python() -> PathBuf {
    installed("ROUSE_TEST_PYTHON", ".cache/test/venv/bin/python")
}

fn node_modules() -> PathBuf {
    installed("ROUSE_TEST_NODE_MODULES", ".cache/test/node/node_modules")
}

/// Runs a command that must succeed.
pub async fn run(mut command: Command) {
    let shown = format!("{:?}", command.as_std().get_program());
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{shown} did not end in time"));
    let output = output.unwrap_or_else(|error| panic!("{shown} cannot be run: {error}"));
    assert!(
        output.status.success(),
        "{shown}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
