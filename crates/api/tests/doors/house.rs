//! A server on a free port, over a new data folder and a runtime that the test scripts.

use api::{RootCredential, Server, ServerOptions};
use bytes::Bytes;
use engine::{Door, Engine, Inbound};
use model::{Ending, HttpResponse, InstanceId, Invocation, Owner};
use runtime::{Fake, FakeStart, Runtime};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use state::State;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;
use storage::Storage;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

/// A running server. Dropped, it stops.
pub(crate) struct House {
    pub(crate) url: String,
    pub(crate) root: RootCredential,
    pub(crate) fake: Fake,
    pub(crate) client: reqwest::Client,
    pub(crate) storage: Storage,
    /// Connections out of instances.
    pub(crate) inbound: mpsc::Sender<Inbound>,
    _stop: oneshot::Sender<()>,
    _folder: TempDir,
}

/// Uploads of at most this are taken.
pub(crate) const MAX_UPLOAD: u64 = 8 * 1024 * 1024;

impl House {
    pub(crate) async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).await.unwrap();
        let storage = Storage::open(folder.path(), state.clone()).await.unwrap();
        let start = |_: &runtime::InstanceSpec| FakeStart {
            takes: Duration::ZERO,
            fails: None,
        };
        let fake = Fake::new(start, script);
        let engine = Engine::start(
            engine::Options::default(),
            state,
            storage.clone(),
            Runtime::fake(fake.clone()),
        )
        .await
        .unwrap();
        let root = RootCredential::load_or_create(folder.path()).unwrap();
        let options = ServerOptions {
            region: "us-east-1".into(),
            max_upload: MAX_UPLOAD,
        };
        let server = Server::new(options, engine, root.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (inbound, outbound) = mpsc::channel(1);
        tokio::spawn(async move {
            let stop = async { drop(stopped.await) };
            let served = server.serve(listener, outbound, stop, Duration::from_secs(1));
            served.await.unwrap();
        });
        Self {
            url: format!("http://{address}"),
            root,
            fake,
            client: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
            storage,
            inbound,
            _stop: stop,
            _folder: folder,
        }
    }

    /// A request with the owner's token.
    pub(crate) fn ask(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().unwrap();
        self.client
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.root.token)
    }

    /// A request to the control API.
    pub(crate) fn control(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.ask(method, &format!("/_rouse/v1/{path}"))
    }

    /// Uploads a zip of one file and gives what a deployment says of it.
    pub(crate) async fn upload(&self) -> Value {
        let archive = zip("index.py", b"def handler(event, context): return event\n");
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&archive)));
        let size = archive.len();
        let response = self.control("PUT", &format!("blobs/{digest}"));
        let response = response.body(archive).send().await.unwrap();
        assert_eq!(response.status(), 201);
        json!({"zip": {"digest": digest, "size": size}})
    }

    /// Where an instance finds the platform: what connects here comes out of it.
    pub(crate) async fn platform_of(&self, owner: Owner, instance: InstanceId) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inbound = self.inbound.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = Inbound {
                    owner: owner.clone(),
                    instance: instance.clone(),
                    networks: model::Networks::default(),
                    door: Door::Platform,
                    stream,
                };
                if inbound.send(connection).await.is_err() {
                    return;
                }
            }
        });
        url
    }

    /// Deploys functions and services.
    pub(crate) async fn deploy(&self, deployment: &Value) -> Value {
        let response = self.control("POST", "deployments").json(deployment);
        let response = response.send().await.unwrap();
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Deploys one function, further fields as given.
    pub(crate) async fn function(&self, name: &str, further: Value) {
        let mut spec = json!({
            "name": name,
            "runtime": "python3.11",
            "handler": "index.handler",
            "code": self.upload().await,
        });
        for (key, value) in further.as_object().unwrap() {
            spec[key] = value.clone();
        }
        self.deploy(&json!({"project": "test", "functions": [spec]}))
            .await;
    }
}

/// A zip archive of one file.
pub(crate) fn zip(name: &str, content: &[u8]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    writer.start_file(name, options).unwrap();
    writer.write_all(content).unwrap();
    writer.finish().unwrap().into_inner()
}

/// What every function here does: what its event says in `do`; else it answers with the event.
fn script(invocation: &Invocation) -> (Duration, Ending, bool) {
    let event: Value = serde_json::from_slice(&invocation.payload).unwrap_or(Value::Null);
    if let Some(http) = &invocation.http {
        let shown = json!({
            "method": http.method.as_str(),
            "path": http.path_and_query,
            "headers": http.headers.iter()
                .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
                .collect::<Vec<_>>(),
            "body": String::from_utf8_lossy(&invocation.payload),
        });
        let answer = HttpResponse {
            status: 207,
            headers: [
                ("content-type", "application/json"),
                ("clear-site-data", "\"*\""),
            ]
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .into_iter()
            .collect(),
        };
        return (
            Duration::ZERO,
            succeeded(&shown, Some(Box::new(answer))),
            true,
        );
    }
    let wanted = event["do"].as_str().or(event["rawPath"].as_str());
    let (ending, lives) = match wanted.map(|word| word.trim_start_matches('/')) {
        Some("fail") => {
            let error = json!({
                "errorType": "ValueError", "errorMessage": "no good", "stackTrace": ["line 1"],
            });
            let failed = Ending::Failed {
                error_type: "ValueError".into(),
                message: "no good".into(),
                payload: error.to_string().into(),
            };
            (failed, true)
        }
        Some("crash") => {
            let how = "exit status 1".to_owned();
            (Ending::Crashed { how }, false)
        }
        Some("hang") => return (Duration::from_secs(3600), succeeded(&event, None), true),
        Some("structured") => {
            let answer = json!({
                "statusCode": 418,
                "headers": {"x-kind": "teapot"},
                "cookies": ["a=b; Path=/"],
                "body": "short and stout",
            });
            (succeeded(&answer, None), true)
        }
        Some("malformed") => (succeeded(&json!({"statusCode": 1}), None), true),
        Some("context") => {
            let context = json!({
                "client": invocation.client_context,
                "arn": invocation.function_arn,
                "id": invocation.request_id,
            });
            (succeeded(&context, None), true)
        }
        _ => (succeeded(&event, None), true),
    };
    (Duration::ZERO, ending, lives)
}

fn succeeded(answer: &Value, http: Option<Box<HttpResponse>>) -> Ending {
    Ending::Succeeded {
        payload: Bytes::from(answer.to_string()),
        http,
    }
}
