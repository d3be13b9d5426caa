//! A driver without containers, for tests of what is above: the test says how each start and each
//! call goes, and can look at what was asked.

use crate::{Error, InstanceSpec, Result};
use bytes::Bytes;
use model::{Ending, InstanceId, Invocation, Outcome, RequestId, StartKind, Timing};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// How a start goes.
#[derive(Debug, Clone)]
pub struct FakeStart {
    /// How long it takes.
    pub takes: Duration,
    /// `Some`: it fails with this. `Unavailable` becomes [`Error::Missing`], all else [`Error::Init`].
    pub fails: Option<Ending>,
}

/// How a call goes: how long it takes, how it ends, and whether the instance lives on.
type OnCall = dyn Fn(&Invocation) -> (Duration, Ending, bool) + Send + Sync;
/// Told how a call ended: `None` if it was broken off.
type OnEnd = dyn Fn(&RequestId, Option<&Ending>) + Send + Sync;
type OnStart = dyn Fn(&InstanceSpec) -> FakeStart + Send + Sync;

/// The script of a fake runtime and the record of what it was asked. Uses tokio's clock, so that a
/// paused one works. Every clone is the same runtime.
#[derive(Clone)]
pub struct Fake {
    on_start: Arc<OnStart>,
    on_call: Arc<OnCall>,
    record: Arc<Mutex<Record>>,
}

/// What an instance was asked to do between its start and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FakeStep {
    /// It was handed a call.
    Called,
    /// It was frozen, and was not before.
    Frozen,
    /// It was thawed, and was frozen before.
    Thawed,
}

#[derive(Default)]
struct Record {
    started: Vec<FakeHandle>,
    calls: Vec<(InstanceId, RequestId)>,
    steps: Vec<(InstanceId, FakeStep)>,
    backend: Option<SocketAddr>,
    start_kind: Option<StartKind>,
    late: bool,
    on_end: Option<Arc<OnEnd>>,
}

struct FakeHandle {
    spec: InstanceSpec,
    end: watch::Sender<Option<String>>,
}

impl Fake {
    /// From two scripts.
    pub fn new(
        on_start: impl Fn(&InstanceSpec) -> FakeStart + Send + Sync + 'static,
        on_call: impl Fn(&Invocation) -> (Duration, Ending, bool) + Send + Sync + 'static,
    ) -> Self {
        Self {
            on_start: Arc::new(on_start),
            on_call: Arc::new(on_call),
            record: Arc::default(),
        }
    }

    /// From now on [`crate::Instance::connect`] leads here, whatever the port.
    pub fn set_backend(&self, address: SocketAddr) {
        self.record().backend = Some(address);
    }

    /// From now on instances say that they came to be this way; `Cold` before.
    pub fn set_start_kind(&self, kind: StartKind) {
        self.record().start_kind = Some(kind);
    }

    /// From now on no call is held to its time limit: it ends when the script says, as if whatever
    /// holds it to that had failed.
    pub fn allow_late(&self) {
        self.record().late = true;
    }

    /// From now on `told` is called at the end of each call, with `None` if it was broken off.
    pub fn on_end(&self, told: impl Fn(&RequestId, Option<&Ending>) + Send + Sync + 'static) {
        self.record().on_end = Some(Arc::new(told));
    }

    /// What an instance was asked to do, in order.
    pub fn steps(&self, id: &InstanceId) -> Vec<FakeStep> {
        let record = self.record();
        let own = record.steps.iter().filter(|(of, _)| of == id);
        own.map(|(_, step)| *step).collect()
    }

    /// What was started and got ready, in order, ended or not.
    pub fn started(&self) -> Vec<InstanceSpec> {
        self.record()
            .started
            .iter()
            .map(|handle| handle.spec.clone())
            .collect()
    }

    /// The instances that have not ended, in order of their start.
    pub fn alive(&self) -> Vec<InstanceId> {
        self.record()
            .started
            .iter()
            .filter(|handle| handle.end.borrow().is_none())
            .map(|handle| handle.spec.id.clone())
            .collect()
    }

    /// The calls that were handed over, in order, and to which instance.
    pub fn calls(&self) -> Vec<(InstanceId, RequestId)> {
        self.record().calls.clone()
    }

    /// Lets an instance end as if by itself; a call under way ends as `Crashed` with `how`.
    pub fn end(&self, id: &InstanceId, how: &str) {
        for handle in &self.record().started {
            if handle.spec.id == *id {
                finish(&handle.end, how);
            }
        }
    }

    pub(crate) async fn start(&self, spec: InstanceSpec) -> Result<FakeInstance> {
        let plan = (self.on_start)(&spec);
        tokio::time::sleep(plan.takes).await;
        match plan.fails {
            Some(Ending::Unavailable { reason }) => return Err(Error::Missing(reason)),
            Some(ending) => return Err(Error::init(ending, Bytes::new())),
            None => {}
        }
        let (end, ended) = watch::channel(None);
        let mut record = self.record();
        let pid = u32::try_from(record.started.len()).unwrap_or(u32::MAX - 1) + 1;
        let id = spec.id.clone();
        let start_kind = record.start_kind.unwrap_or(StartKind::Cold);
        record.started.push(FakeHandle {
            spec,
            end: end.clone(),
        });
        drop(record);
        Ok(FakeInstance {
            fake: self.clone(),
            id,
            pid,
            start: u64::try_from(plan.takes.as_micros()).unwrap_or(u64::MAX),
            start_kind,
            frozen: watch::Sender::new(false),
            end,
            ended,
        })
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first end stays.
fn finish(end: &watch::Sender<Option<String>>, how: &str) {
    end.send_if_modified(|state| {
        let first = state.is_none();
        if first {
            *state = Some(how.to_owned());
        }
        first
    });
}

/// One instance that is not there.
pub(crate) struct FakeInstance {
    fake: Fake,
    id: InstanceId,
    pub(crate) pid: u32,
    /// Microseconds that the start took.
    pub(crate) start: u64,
    pub(crate) start_kind: StartKind,
    frozen: watch::Sender<bool>,
    end: watch::Sender<Option<String>>,
    ended: watch::Receiver<Option<String>>,
}

impl FakeInstance {
    pub(crate) async fn call(&self, invocation: Invocation) -> Outcome {
        let begun = tokio::time::Instant::now();
        let call = (self.id.clone(), invocation.request_id.clone());
        self.fake.record().calls.push(call);
        self.step(FakeStep::Called);
        let (takes, planned, lives) = (self.fake.on_call)(&invocation);
        let mut call = Call {
            request: invocation.request_id.clone(),
            told: self.fake.record().on_end.clone(),
            ending: None,
        };
        let bound = Duration::from_millis(invocation.timeout);
        // What is frozen does not answer.
        let (takes, bound) = match (*self.frozen.borrow(), self.fake.record().late) {
            (true, _) => (Duration::MAX, bound),
            (false, true) => (takes, Duration::MAX),
            (false, false) => (takes, bound),
        };
        let ending = tokio::select! {
            biased;
            how = self.exited() => Ending::Crashed { how },
            () = tokio::time::sleep(takes.min(bound)) => {
                if takes > bound {
                    finish(&self.end, "signal 9 (SIGKILL)");
                    Ending::TimedOut { after: invocation.timeout }
                } else {
                    if !lives {
                        finish(&self.end, "exit status 1");
                    }
                    planned
                }
            }
        };
        call.ending = Some(ending.clone());
        Outcome {
            ending,
            timing: Timing {
                run: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
                ..Timing::default()
            },
            cold: false,
            start_kind: None,
            version: None,
            instance: Some(self.id.clone()),
            memory_peak: 0,
            log_tail: Bytes::new(),
        }
    }

    fn step(&self, step: FakeStep) {
        self.fake.record().steps.push((self.id.clone(), step));
    }

    pub(crate) fn freeze(&self) {
        if !self.frozen.send_replace(true) {
            self.step(FakeStep::Frozen);
        }
    }

    pub(crate) fn thaw(&self) {
        if self.frozen.send_replace(false) {
            self.step(FakeStep::Thawed);
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.ended.borrow().is_none()
    }

    pub(crate) async fn exited(&self) -> String {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or_default(),
            Err(_) => "ended".to_owned(),
        }
    }

    pub(crate) async fn connect(&self) -> std::io::Result<TcpStream> {
        let backend = self.fake.record().backend;
        match backend {
            Some(address) if self.is_alive() => TcpStream::connect(address).await,
            _ => Err(std::io::ErrorKind::ConnectionRefused.into()),
        }
    }

    pub(crate) fn stop(&self) {
        self.thaw();
        finish(&self.end, "signal 15 (SIGTERM)");
    }
}

/// A call under way; dropped, it has ended.
struct Call {
    request: RequestId,
    told: Option<Arc<OnEnd>>,
    ending: Option<Ending>,
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(told) = &self.told {
            told(&self.request, self.ending.as_ref());
        }
    }
}

impl Drop for FakeInstance {
    fn drop(&mut self) {
        self.thaw();
        finish(&self.end, "signal 9 (SIGKILL)");
    }
}

#[cfg(test)]
mod tests;
