//! A whole engine over a real store and storage, with the fake driver.

use bytes::Bytes;
use engine::{Call, Engine, Options, Put};
use model::{
    Code, Ending, Event, EventId, Function, FunctionName, FunctionSpec, NewEvent, Scaling,
    ServiceSpec, Target, Timestamp,
};
use runtime::{Fake, FakeStart, Runtime};
use state::State;
use std::future::Future;
use std::io::Write;
use std::time::Duration;
use storage::Storage;

/// What waits, waits at most so long; far less than the time after which dispatch looks by itself.
pub const SOON: Duration = Duration::from_secs(30);

pub struct House {
    pub engine: Engine,
    pub state: State,
    pub storage: Storage,
    pub fake: Fake,
    pub folder: tempfile::TempDir,
}

pub fn ok() -> Ending {
    Ending::Succeeded {
        payload: Bytes::from_static(b"\"done\""),
        http: None,
    }
}

pub fn failed() -> Ending {
    Ending::Failed {
        error_type: "TypeError".into(),
        message: "x is not a function".into(),
        payload: Bytes::new(),
    }
}

/// Starts and calls take so many milliseconds and succeed.
pub fn steady(start: u64, call: u64) -> Fake {
    Fake::new(
        move |_| FakeStart {
            takes: Duration::from_millis(start),
            fails: None,
        },
        move |_| (Duration::from_millis(call), ok(), true),
    )
}

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, future).await {
        Ok(value) => value,
        Err(_) => panic!("still waiting: {what}"),
    }
}

/// Looks again and again until there is something.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

impl House {
    pub async fn open(fake: Fake) -> Self {
        Self::open_with(fake, Options::default()).await
    }

    pub async fn open_with(fake: Fake, options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::open_at(folder, fake, options).await
    }

    async fn open_at(folder: tempfile::TempDir, fake: Fake, options: Options) -> Self {
        let state = State::open(folder.path()).await.unwrap();
        let storage = Storage::open(folder.path(), state.clone()).await.unwrap();
        let runtime = Runtime::fake(fake.clone());
        let started = Engine::start(options, state.clone(), storage.clone(), runtime).await;
        Self {
            engine: started.unwrap(),
            state,
            storage,
            fake,
            folder,
        }
    }

    /// The same folder with a new server, after this one drained.
    pub async fn reopen(self, fake: Fake, grace: Duration) -> Self {
        self.engine.drain(grace).await;
        self.state.close().await;
        Self::open_at(self.folder, fake, Options::default()).await
    }

    /// A zip whose only file has this content.
    pub async fn code(&self, content: &str) -> Code {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
        zip.start_file("bootstrap", options).unwrap();
        zip.write_all(content.as_bytes()).unwrap();
        let bytes = zip.finish().unwrap().into_inner();
        let mut writer = self.storage.begin_blob(1 << 20).await.unwrap();
        writer.write(bytes.into()).await.unwrap();
        let (digest, size) = self.storage.commit_blob(writer, None).await.unwrap();
        Code::Zip { digest, size }
    }

    pub async fn spec(&self, name: &str) -> FunctionSpec {
        let code = self.code("one").await;
        let spec = serde_json::json!({"name": name, "runtime": "provided", "code": code});
        let mut spec: FunctionSpec = serde_json::from_value(spec).unwrap();
        spec.scaling = Scaling {
            max_instances: 4,
            ..Scaling::default()
        };
        spec.retry.base_delay = 20;
        spec.retry.max_delay = 40;
        spec
    }

    pub async fn function(&self, name: &str) -> Function {
        let spec = self.spec(name).await;
        self.put(spec).await
    }

    pub async fn put(&self, spec: FunctionSpec) -> Function {
        self.engine.put_function(spec, Put::Upsert).await.unwrap().0
    }

    pub async fn service_spec(&self, name: &str) -> ServiceSpec {
        let code = self.code("one").await;
        serde_json::from_value(serde_json::json!({
            "name": name, "runtime": "provided", "code": code, "command": ["serve"], "ports": [8080],
        }))
        .unwrap()
    }

    pub async fn invoke(&self, name: &str) -> engine::Result<model::Outcome> {
        let name: FunctionName = name.parse().unwrap();
        within("a call", self.engine.invoke(&name, Call::default())).await
    }

    pub async fn submit(&self, target: &Target) -> EventId {
        self.engine.submit(event(target)).await.unwrap()
    }

    pub async fn event(&self, id: EventId) -> Event {
        self.engine.get_event(id).await.unwrap()
    }

    /// Waits until an event has ended.
    pub async fn ended(&self, id: EventId) -> Event {
        until("an event's end", async || {
            let event = self.event(id).await;
            let ended = event.state.is_end();
            ended.then_some(event)
        })
        .await
    }
}

pub fn event(target: &Target) -> NewEvent {
    NewEvent {
        id: EventId::generate(),
        target: target.clone(),
        source: "s3:photos".into(),
        kind: "s3:ObjectCreated:Put".into(),
        subject: "a photo.jpg".into(),
        payload: Bytes::from_static(b"{\"Records\":[]}"),
        accepted: Timestamp::now(),
        cause: None,
        replay_of: None,
        delivery: Default::default(),
    }
}

pub fn function(name: &str) -> Target {
    Target::Function {
        name: name.parse().unwrap(),
    }
}

pub fn service(name: &str, path: &str) -> Target {
    Target::Service {
        name: name.parse().unwrap(),
        path: path.into(),
    }
}
