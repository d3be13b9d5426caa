//! One life of the server: the real engine over the real store, the fake runtime below.

use crate::ledger::Ledger;
use crate::plan::Function;
use engine::{Engine, Options, Put, PutRule};
use model::{Code, Fresh, FunctionSpec, RuleTarget, ScheduleKey, ScheduleSpec, Target};
use runtime::{Fake, Runtime};
use state::State;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use storage::Storage;

/// The bus that every server has.
pub const BUS: &str = "default";
/// Targets of its rule.
pub const ROUTED: usize = 2;
/// The only schedule.
pub const SCHEDULE: &str = "tick";

/// A server. A cheap handle.
#[derive(Clone)]
pub struct House {
    pub engine: Engine,
    pub state: State,
    storage: Storage,
    pub fake: Fake,
}

impl House {
    pub async fn open(folder: &Path, options: Options, fake: Fake) -> Self {
        let state = State::open(folder).await.unwrap();
        let storage = Storage::open(folder, state.clone()).await.unwrap();
        let runtime = Runtime::fake(fake.clone());
        let engine = Engine::start(options, state.clone(), storage.clone(), runtime);
        Self {
            engine: engine.await.unwrap(),
            state,
            storage,
            fake,
        }
    }

    /// Keeps a zip with one file.
    pub async fn code(&self) -> Code {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
        zip.start_file("bootstrap", options).unwrap();
        zip.write_all(b"one").unwrap();
        let bytes = zip.finish().unwrap().into_inner();
        let mut writer = self.storage.begin_blob(1 << 20).await.unwrap();
        writer.write(bytes.into()).await.unwrap();
        let (digest, size) = self.storage.commit_blob(writer, None).await.unwrap();
        Code::Zip { digest, size }
    }

    /// Makes or changes a function.
    pub async fn declare(&self, function: &Function, code: &Code, ledger: &Ledger) {
        let spec = serde_json::json!({
            "name": function.name, "runtime": "provided", "code": code,
        });
        let mut spec: FunctionSpec = serde_json::from_value(spec).unwrap();
        spec.scaling = function.scaling.clone();
        spec.limits.timeout = function.timeout;
        spec.retry.max_attempts = function.max_attempts;
        spec.retry.base_delay = function.base_delay;
        spec.retry.max_delay = 30_000;
        spec.retry.max_age = function.max_age;
        if function.fresh {
            spec.fresh = Fresh::Always;
        }
        let most = spec.scaling.most();
        let (made, _) = self.engine.put_function(spec, Put::Upsert).await.unwrap();
        let key = (function.name.to_string(), made.revision);
        ledger.book().most.insert(key, most);
    }

    /// A rule by which every event of the bus wakes these targets.
    pub async fn rule(&self, targets: &[Target; ROUTED]) {
        let put = PutRule {
            bus: BUS.parse().unwrap(),
            name: "all".parse().unwrap(),
            description: String::new(),
            pattern: r#"{"source": ["shop"]}"#.into(),
            enabled: true,
            role: String::new(),
            tags: BTreeMap::new(),
        };
        let rule = self.engine.put_rule(put).await.unwrap();
        let targets = targets.iter().enumerate().map(|(at, target)| RuleTarget {
            id: at.to_string(),
            arn: format!("arn:of:{target}"),
            target: target.clone(),
            role: None,
            input: None,
            input_path: None,
            transformer: None,
            delivery: model::Delivery::default(),
        });
        let put = self
            .engine
            .put_targets(&rule.bus, &rule.name, targets.collect());
        put.await.unwrap();
    }

    /// A schedule that is due each minute.
    pub async fn schedule(&self, target: &Target) {
        let key: ScheduleKey = SCHEDULE.parse().unwrap();
        let spec: ScheduleSpec = serde_json::from_value(serde_json::json!({
            "key": key, "timetable": {"expression": "rate(1 minute)"}, "target": target,
            "catch_up": "once",
        }))
        .unwrap();
        self.engine.create_schedule(spec, None).await.unwrap();
    }
}
