//! A runtime over a fresh data folder, and words to describe functions with.

use crate::world::World;
use bytes::Bytes;
use launcher::{Connection, Launcher};
use model::{
    Code, Contract, Credential, Driver, Ending, FunctionName, InstanceId, Invocation, Limits,
    LogLine, Outcome, Owner, Principal, RequestId, RuntimeName, Snapshot,
};
use runtime::{Inbound, Instance, InstanceSpec, Options, Runtime};
use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use storage::{LogQuery, Storage};
use tokio::sync::{Mutex, mpsc};

pub(crate) const MIB: u64 = 1024 * 1024;

pub(crate) struct Rig {
    pub(crate) runtime: Runtime,
    pub(crate) storage: Storage,
    pub(crate) data: PathBuf,
    pub(crate) inbound: Mutex<mpsc::Receiver<Inbound>>,
    pub(crate) driver: Driver,
    docker_host: String,
    pub(crate) launcher: Launcher,
}

impl Rig {
    /// Of the driver, whose Docker Engine, if it is that, is at `docker_host`.
    pub(crate) async fn new(
        data: &Path,
        connection: Connection,
        driver: Driver,
        docker_host: &str,
    ) -> Self {
        let state = state::State::open(&data.join("state")).await.unwrap();
        let storage = Storage::open(data, state).await.unwrap();
        let launcher = Launcher::new(connection).unwrap();
        let (sender, inbound) = mpsc::channel(8);
        let options = options(data, driver, docker_host);
        let runtime = Runtime::open(options, launcher.clone(), storage.clone(), sender)
            .await
            .unwrap();
        Self {
            runtime,
            storage,
            data: data.to_owned(),
            inbound: Mutex::new(inbound),
            driver,
            docker_host: docker_host.to_owned(),
            launcher,
        }
    }

    /// A runtime that knows nothing of what the first one did, with the same files.
    pub(crate) async fn restarted(&self) -> Runtime {
        self.with(|options| options).await
    }

    /// The same with other options.
    pub(crate) async fn with(&self, change: impl FnOnce(Options) -> Options) -> Runtime {
        let (sender, _) = mpsc::channel(8);
        let (launcher, storage) = (self.launcher.clone(), self.storage.clone());
        let options = change(options(&self.data, self.driver, &self.docker_host));
        let made = Runtime::open(options, launcher, storage, sender);
        made.await.unwrap()
    }

    /// Where the Docker Engine is.
    pub(crate) fn docker_host(&self) -> &str {
        &self.docker_host
    }

    /// A runtime whose Docker Engine is somewhere else.
    pub(crate) async fn at_host(&self, host: &str) -> runtime::Result<Runtime> {
        let (sender, _) = mpsc::channel(8);
        let (launcher, storage) = (self.launcher.clone(), self.storage.clone());
        let options = options(&self.data, Driver::Docker, host);
        Runtime::open(options, launcher, storage, sender).await
    }

    pub(crate) async fn close(self) {
        let launcher = self.launcher.clone();
        drop(self);
        launcher.stop().await;
    }

    /// A function from files (name, text, executable).
    pub(crate) async fn function(
        &self,
        runtime: RuntimeName,
        handler: &str,
        files: &[(&str, &str, bool)],
    ) -> InstanceSpec {
        let archive = zip(files);
        let size = archive.len() as u64;
        let mut writer = self.storage.begin_blob(64 * MIB).await.unwrap();
        writer.write(archive.into()).await.unwrap();
        let (digest, _) = self.storage.commit_blob(writer, None).await.unwrap();
        let name: FunctionName = "thumbnail".parse().unwrap();
        InstanceSpec {
            id: InstanceId::generate(),
            owner: Owner::Function {
                name: name.clone(),
                revision: 1,
                version: None,
            },
            runtime,
            handler: Some(handler.to_owned()),
            code: Code::Zip { digest, size },
            image: None,
            entrypoint: None,
            command: None,
            working_dir: None,
            contract: Contract::Lambda,
            port: 8080,
            environment: BTreeMap::new(),
            credential: Credential {
                principal: Principal::Function { name },
                access_key_id: "AKIDEXAMPLEAKIDEXAMP".into(),
                secret_access_key: "x".repeat(40),
            },
            volumes: Vec::new(),
            files: Vec::new(),
            peers: Vec::new(),
            networks: model::Networks::default(),
            limits: Limits {
                memory: 256 * MIB,
                timeout: 30_000,
                ..Limits::default()
            },
            snapshot: Snapshot::None,
            egress: None,
            driver: None,
        }
    }

    pub(crate) async fn node(&self, text: &str) -> InstanceSpec {
        let files = [("index.js", text, false)];
        self.function(RuntimeName::Nodejs20, "index.handler", &files)
            .await
    }

    pub(crate) async fn python(&self, text: &str) -> InstanceSpec {
        let files = [("app.py", text, false)];
        self.function(RuntimeName::Python311, "app.handler", &files)
            .await
    }

    pub(crate) async fn start(&self, spec: InstanceSpec) -> Instance {
        self.runtime.start(spec).await.unwrap()
    }

    /// Every line of one call, as kept.
    pub(crate) async fn log(&self, request: &RequestId) -> Vec<LogLine> {
        let query = LogQuery {
            key: "function:thumbnail".into(),
            since: None,
            request: Some(request.clone()),
            tail: 10_000,
        };
        // Lines are kept without waiting for the disk.
        loop {
            let lines = self.storage.read_logs(query.clone()).await.unwrap();
            if lines.iter().any(|line| line.text.starts_with("REPORT")) {
                return lines;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn options(data: &Path, driver: Driver, docker_host: &str) -> Options {
    Options {
        folder: data.join("runtime"),
        region: "us-east-1".into(),
        armed: 2,
        stems: 1,
        preload: vec!["json".into(), "decimal".into()],
        pin: 256 * MIB,
        secrets: data.join("memory"),
        egress: model::Egress::Public,
        dns: vec![World::dns()],
        driver,
        docker_host: docker_host.to_owned(),
    }
}

pub(crate) fn invocation(payload: &str) -> Invocation {
    Invocation {
        request_id: RequestId::generate(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        http: None,
        event: None,
        client_context: None,
        trace_id: "Root=1-2-3;Parent=4;Sampled=1".into(),
        function_arn: "arn:aws:lambda:us-east-1:000000000000:function:thumbnail".into(),
        timeout: 30_000,
    }
}

pub(crate) async fn call(instance: &Instance, payload: &str) -> Outcome {
    instance.call(invocation(payload)).await
}

/// The answer of a call that succeeded, as JSON.
pub(crate) fn answer(outcome: &Outcome) -> serde_json::Value {
    match &outcome.ending {
        Ending::Succeeded { payload, .. } => serde_json::from_slice(payload).unwrap(),
        other => panic!("{other:?}\n{}", String::from_utf8_lossy(&outcome.log_tail)),
    }
}

pub(crate) fn tail(outcome: &Outcome) -> String {
    String::from_utf8(outcome.log_tail.to_vec()).unwrap()
}

fn zip(files: &[(&str, &str, bool)]) -> Vec<u8> {
    use zip::write::SimpleFileOptions;
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text, executable) in files {
        let mode = if *executable { 0o755 } else { 0o644 };
        let options = SimpleFileOptions::default().unix_permissions(mode);
        archive.start_file(*name, options).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}
