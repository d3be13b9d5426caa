//! One instance in a container: getting ready, answering calls, ending.

use super::body::Body;
use super::files::Laid;
use super::shelf::Announced;
use super::surroundings::blame;
use super::warmth::Warmth;
use crate::contract::failed;
use crate::contract::http::{self, HttpClient};
use crate::contract::lambda::RuntimeApi;
use crate::egress::Outlet;
use crate::logs::Capture;
use crate::{Error, Result, report};
use futures::FutureExt;
use launcher::Exit;
use model::{Code, Ending, InstanceId, Invocation, Outcome, StartKind, Timing};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// How long an initialisation may take (AWS Lambda's bound).
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the end of a process usually takes to be known after its connection broke …
const LAST_BREATH: Duration = Duration::from_millis(250);
/// … and how long it is waited for if it does not listen any more.
const MAX_ENDING: Duration = Duration::from_secs(5);
/// Longest grace of a function of the `lambda` contract (AWS Lambda's is 0 to 2 s). Many do not heed
/// SIGTERM: the kernel keeps it from the first process of a sandbox that has no handler for it.
const SHUTDOWN: Duration = Duration::from_millis(500);

/// The memory that was used is asked for at most once in this time.
const USAGE_AGE: Duration = Duration::from_millis(100);

/// How platform and instance talk.
pub(super) enum Talk {
    /// It polls us.
    Lambda(RuntimeApi),
    /// We post to the port.
    Http {
        /// `$PORT`.
        port: u16,
        /// From when it is ready.
        client: Option<HttpClient>,
    },
    /// It takes no calls: a service.
    Resident,
}

/// One container and what belongs to it. Dropped, it is killed.
pub(crate) struct Contained {
    pub(super) id: InstanceId,
    pub(super) body: Body,
    pub(super) talk: Talk,
    pub(super) capture: Capture,
    /// What is made ahead with its secrets and configs.
    pub(super) announced: Option<Announced>,
    /// Its secrets and configs as files.
    pub(super) files: Option<Arc<Laid>>,
    pub(super) _gates: Vec<AbortOnDropHandle<()>>,
    pub(super) _outlet: Option<Outlet>,
    /// As the Lambda API writes it.
    pub(super) version: String,
    pub(super) code: Code,
    pub(super) warmth: Option<Warmth>,
    /// Bytes.
    pub(super) memory: u64,
    /// How long making the container took.
    pub(super) start: Duration,
    /// From what it was made.
    pub(super) start_kind: StartKind,
    /// From there to being ready.
    pub(super) init: Duration,
    pub(super) calls: Calls,
    pub(super) peak: Peak,
}

/// The calls of an instance.
#[derive(Default)]
pub(super) struct Calls {
    /// That ended.
    ended: AtomicU64,
    /// That have not ended.
    under_way: AtomicUsize,
    /// One of several at once was late: it takes no further one, since nobody knows what it does.
    spent: AtomicBool,
}

/// A call under way, until it is dropped.
struct UnderWay<'a>(&'a Calls);

impl Calls {
    fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        UnderWay(self)
    }

    /// Whether there is one but for the one that asks.
    fn has_others(&self) -> bool {
        self.under_way.load(Ordering::Acquire) > 1
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The most memory that was used, and when that was asked for.
#[derive(Default)]
pub(super) struct Peak(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    bytes: u64,
    asked: Option<Instant>,
}

impl Contained {
    pub(crate) fn id(&self) -> &InstanceId {
        &self.id
    }

    pub(crate) fn pid(&self) -> u32 {
        self.body.pid()
    }

    pub(crate) fn start_timing(&self) -> (u64, u64) {
        (microseconds(self.start), microseconds(self.init))
    }

    /// Waits until it can take a call. If it fails to get there, nothing of it is left.
    pub(super) async fn get_ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        let executed = self.body.begun();
        let mut executed = std::pin::pin!(executed);
        let mut begins = true;
        if matches!(self.talk, Talk::Resident) {
            match tokio::time::timeout(INIT_TIMEOUT, executed.as_mut()).await {
                Ok(begun) => begun.map_err(blame)?,
                Err(_) => begins = false,
            }
        }
        let ready = tokio::select! {
            biased;
            () = std::future::ready(()), if !begins => Err(timed_out()),
            ready = settle(&mut self.talk, &self.body) => ready,
            Err(error) = &mut executed => return Err(blame(error)),
            exit = self.body.exited() => Err(self.init_exit(&exit).await),
            () = tokio::time::sleep(INIT_TIMEOUT) => Err(timed_out()),
        };
        self.init = begun.elapsed();
        let Err(ending) = ready else { return Ok(()) };
        self.body.kill();
        self.body.exited().await;
        let line = report::init(&ending, self.init);
        Err(Error::init(ending, self.capture.end(vec![line])))
    }

    /// It ended before it was ready, perhaps after saying why.
    async fn init_exit(&self, exit: &Exit) -> Ending {
        if let Talk::Lambda(api) = &self.talk {
            api.drained().await;
            if let Some(Err(told)) = api.ready().now_or_never() {
                return told;
            }
        }
        ended_before_ready(exit, self.memory)
    }

    pub(crate) fn start_kind(&self) -> StartKind {
        self.start_kind
    }

    pub(crate) async fn call(&self, invocation: Invocation) -> Outcome {
        let id = invocation.request_id.clone();
        let _under_way = self.calls.begin();
        let log = self.capture.begin(&id, report::start(&id, &self.version));
        let begun = Instant::now();
        let ending = self.run(invocation).await;
        let duration = begun.elapsed();
        let memory_peak = self.memory_peak();
        let first = self.calls.ended.fetch_add(1, Ordering::Relaxed) == 0;
        if first
            && matches!(ending, Ending::Succeeded { .. } | Ending::Failed { .. })
            && let Some(warmth) = &self.warmth
        {
            warmth.answered(&self.code);
        }
        let usage = report::Usage {
            duration,
            memory: self.memory,
            memory_peak,
            init: first.then_some(self.init),
        };
        Outcome {
            log_tail: log.end(report::end(&id, &ending, &usage)),
            ending,
            timing: Timing {
                run: microseconds(duration),
                ..Timing::default()
            },
            cold: false,
            start_kind: None,
            version: None,
            instance: Some(self.id.clone()),
            memory_peak,
        }
    }

    /// Until it answers, ends, or is late and killed.
    async fn run(&self, invocation: Invocation) -> Ending {
        let after = invocation.timeout;
        let bound = Duration::from_millis(after);
        let ended = tokio::select! {
            biased;
            ending = ask(&self.talk, &self.body, self.memory, invocation) => Some(ending),
            () = tokio::time::sleep(bound) => None,
        };
        if let Some(ending) = ended {
            return ending;
        }
        self.calls.spent.store(true, Ordering::Release);
        // Its connection is closed by now; the calls beside it may end.
        if !self.calls.has_others() {
            self.body.kill();
            self.body.exited().await;
        }
        Ending::TimedOut { after }
    }

    /// The most memory that it has used, in bytes; up to a tenth of a second old.
    fn memory_peak(&self) -> u64 {
        let bytes = if !self.body.is_alive() {
            let exit = self.body.exited().now_or_never();
            exit.map(|exit| exit.usage.memory_peak)
        } else if self.peak.is_old() {
            self.body.memory_peak()
        } else {
            None
        };
        self.peak.raise(bytes.unwrap_or(0))
    }

    pub(crate) fn freeze(&self) {
        self.body.freeze();
    }

    pub(crate) fn thaw(&self) {
        self.body.thaw();
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.calls.spent.load(Ordering::Acquire) && self.body.is_alive()
    }

    pub(crate) async fn exited(&self) -> String {
        let exit = self.body.exited().await;
        // Its last words.
        self.capture.end(Vec::new());
        match crash(&exit, self.memory) {
            Ending::Crashed { how } => how,
            other => format!("{}, {}", exit.describe(), other.error().unwrap_or_default()),
        }
    }

    pub(crate) async fn connect(&self, port: u16) -> std::io::Result<TcpStream> {
        http::connect(&self.body, port).await
    }

    pub(crate) async fn stop(self, grace: Duration) {
        // A function that polls and is not working on a call has nothing to bring to an end.
        let grace = match self.talk {
            Talk::Lambda(_) => grace.min(SHUTDOWN),
            Talk::Http { .. } | Talk::Resident => grace,
        };
        if grace.is_zero() {
            self.body.kill();
            self.body.exited().await;
            return;
        }
        self.body.terminate();
        if tokio::time::timeout(grace, self.body.exited())
            .await
            .is_err()
        {
            self.body.kill();
            self.body.exited().await;
        }
    }
}

impl Peak {
    /// Whether it is time to ask again; who is told so asks.
    fn is_old(&self) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |asked: Instant| asked.elapsed() < USAGE_AGE;
        let old = !seen.asked.is_some_and(fresh);
        if old {
            seen.asked = Some(Instant::now());
        }
        old
    }

    /// The most of what is known and `bytes`.
    fn raise(&self, bytes: u64) -> u64 {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.bytes = seen.bytes.max(bytes);
        seen.bytes
    }
}

/// Waits until the instance can take a call.
async fn settle(talk: &mut Talk, body: &Body) -> std::result::Result<(), Ending> {
    match talk {
        Talk::Lambda(api) => api.ready().await,
        Talk::Http { port, client } => {
            let first = http::ready(body, *port).await;
            *client = Some(HttpClient::new(*port, first).await);
            Ok(())
        }
        Talk::Resident => Ok(()),
    }
}

/// Hands over a call and waits for its answer, or for the end of the instance.
async fn ask(talk: &Talk, body: &Body, memory: u64, invocation: Invocation) -> Ending {
    match talk {
        Talk::Lambda(api) => {
            let mut answer = api.offer(invocation);
            let exit = tokio::select! {
                biased;
                Ok(ending) = &mut answer => return ending,
                exit = body.exited() => exit,
            };
            // It may have answered and ended at once.
            api.drained().await;
            answer.try_recv().unwrap_or_else(|_| crash(&exit, memory))
        }
        Talk::Http {
            client: Some(client),
            ..
        } => match client.call(body, invocation).await {
            Ok(ending) => ending,
            // In a box of its own: rare, and large beside what every call needs.
            Err(reason) => match Box::pin(has_ended(body, client.port())).await {
                Some(exit) => crash(&exit, memory),
                None => failed("Http.NoResponse", &reason),
            },
        },
        Talk::Http { client: None, .. } | Talk::Resident => Ending::Unavailable {
            reason: "this instance takes no calls".to_owned(),
        },
    }
}

/// Whether the connection broke because the instance ended: its end is known a little later. One that
/// still listens after a while has only hung up.
async fn has_ended(body: &Body, port: u16) -> Option<Exit> {
    let ending = async {
        loop {
            tokio::time::sleep(LAST_BREATH).await;
            if http::connect(body, port).await.is_ok() {
                return;
            }
        }
    };
    let listening = tokio::time::timeout(MAX_ENDING, ending);
    tokio::select! {
        biased;
        exit = body.exited() => Some(exit),
        _ = listening => None,
    }
}

/// It ended before it was ready, and did not say why.
pub(super) fn ended_before_ready(exit: &Exit, memory: u64) -> Ending {
    match crash(exit, memory) {
        Ending::Crashed { how } => Ending::InitFailed {
            error_type: "Runtime.ExitError".to_owned(),
            message: format!("it ended before it was ready: {how}"),
        },
        other => other,
    }
}

/// It ended without an answer.
fn crash(exit: &Exit, memory: u64) -> Ending {
    // The kernel's count is of the sandbox's whole life and of all its processes, so one that ends by
    // itself later did not end by it. 137 is how a shell passes on that its child was killed.
    let killed = exit.signal == Some(9) || exit.code == Some(137);
    if exit.out_of_memory && killed {
        return Ending::OutOfMemory { limit: memory };
    }
    Ending::Crashed {
        how: exit.describe(),
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Its start took all the time that it had.
fn timed_out() -> Ending {
    let after = u64::try_from(INIT_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    Ending::TimedOut { after }
}
