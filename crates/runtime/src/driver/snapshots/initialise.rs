//! Initialising a function once.

use super::{Init, Ready};
use crate::driver::contained::ended_before_ready;
use crate::egress::Outbound;
use crate::gateway::Gate;
use crate::logs::Capture;
use crate::{Door, Error, Inbound, Result, report};
use launcher::{Launcher, Sandbox, Shape, Snapshot};
use model::{Ending, InstanceId};
use std::time::{Duration, Instant};
use storage::Storage;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// How long an initialisation may take at least; a function with a longer time limit may take that.
const LEAST: Duration = Duration::from_secs(10);
/// How long the end of a process takes at most to be known after its socket was closed.
const LAST_BREATH: Duration = Duration::from_secs(5);
/// Most characters of an error's type, and of its message.
const TYPE_MAX: usize = 256;
const TEXT_MAX: usize = 8 * 1024;
/// Threads do not survive a fork, so these libraries shall not start any unless the function says so.
const THREADS: [&str; 2] = ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"];

/// What is needed to initialise functions.
pub(in crate::driver) struct Workplace {
    pub(in crate::driver) launcher: Launcher,
    pub(in crate::driver) storage: Storage,
    pub(in crate::driver) inbound: mpsc::Sender<Inbound>,
    pub(in crate::driver) outbound: Outbound,
}

/// What the bootstrap says (`bootstrap/snapshot.py`), or user code in its stead.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Told {
    ready: bool,
    init_error: Option<InitError>,
}

#[derive(Debug, serde::Deserialize)]
struct InitError {
    #[serde(rename = "type")]
    error_type: String,
    message: String,
}

impl Workplace {
    /// Starts it and waits until it can be forked.
    ///
    /// # Errors
    /// `Init` with how it failed, which is in its log then; or the launcher's.
    pub(super) async fn initialise(&self, shape: &Shape, init: &Init) -> Result<Ready> {
        let id = InstanceId::generate();
        // All but the Runtime API: no call can reach an initialisation.
        let listen = shape.listen.iter().skip(1).copied().collect();
        let shape = Shape {
            listen,
            ..shape.clone()
        };
        let environment = environment(init, &id);
        let begun = Instant::now();
        let (argv, limits) = (init.argv.clone(), init.limits.clone());
        let snapshot = self.launcher.snapshot(shape, argv, environment, limits);
        let mut snapshot = snapshot.await?;
        let sandbox = snapshot.sandbox();
        let (storage, key) = (self.storage.clone(), init.owner.log_key());
        let capture = Capture::start(
            id.clone(),
            init.owner.number(),
            sandbox.stdout.take(),
            sandbox.stderr.take(),
            Box::new(move |lines| storage.append_logs(&key, lines)),
        )
        .map_err(Error::Register)?;
        let _gates = self.open(sandbox, init, &id)?;
        let outlet = sandbox.egress.take().map(|sockets| {
            let egress = init.egress.clone();
            self.outbound
                .open(sockets, egress, &init.owner, capture.notes())
        });
        let _outlet = outlet.transpose()?;
        let bound = LEAST.max(Duration::from_millis(init.limits.timeout));
        let ready = tokio::time::timeout(bound, settle(&snapshot, init.limits.memory)).await;
        let after = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
        let ready = ready.unwrap_or(Err(Ending::TimedOut { after }));
        if let Err(ending) = ready {
            snapshot.sandbox().kill();
            snapshot.exit().await;
            let line = report::init(&ending, begun.elapsed());
            return Err(Error::init(ending, capture.end(vec![line])));
        }
        Ok(Ready {
            snapshot,
            capture,
            since: Instant::now(),
            _gates,
            _outlet,
        })
    }

    /// Opens the platform's doors to it.
    fn open(
        &self,
        sandbox: &mut Sandbox,
        init: &Init,
        id: &InstanceId,
    ) -> Result<Vec<AbortOnDropHandle<()>>> {
        let listeners = std::mem::take(&mut sandbox.listeners);
        let open = |(listener, door): (std::net::TcpListener, &Door)| {
            listener.set_nonblocking(true).map_err(Error::Register)?;
            let listener = TcpListener::from_std(listener).map_err(Error::Register)?;
            let gate = Gate {
                owner: init.owner.clone(),
                instance: id.clone(),
                networks: init.networks.clone(),
                door: door.clone(),
                inbound: self.inbound.clone(),
            };
            Ok(AbortOnDropHandle::new(tokio::spawn(gate.accept(listener))))
        };
        listeners.into_iter().zip(&init.doors).map(open).collect()
    }
}

fn environment(init: &Init, id: &InstanceId) -> Vec<(String, String)> {
    let mut environment = init.environment.clone();
    environment.push(crate::environment::log_stream_of(id, &init.owner));
    for name in THREADS {
        if environment.iter().all(|(known, _)| known != name) {
            environment.push((name.to_owned(), "1".to_owned()));
        }
    }
    environment
}

/// Waits for its first word, or its end.
async fn settle(snapshot: &Snapshot, memory: u64) -> std::result::Result<(), Ending> {
    match snapshot.greeting().await {
        Ok(greeting) => judge(&greeting),
        Err(_) => match tokio::time::timeout(LAST_BREATH, snapshot.exit()).await {
            Ok(exit) => Err(ended_before_ready(&exit, memory)),
            Err(_) => Err(broken("it has closed its socket")),
        },
    }
}

fn judge(greeting: &[u8]) -> std::result::Result<(), Ending> {
    let cut = |text: String, most| text.chars().take(most).collect();
    match serde_json::from_slice(greeting) {
        Ok(Told {
            init_error: Some(error),
            ..
        }) => Err(Ending::InitFailed {
            error_type: cut(error.error_type, TYPE_MAX),
            message: cut(error.message, TEXT_MAX),
        }),
        Ok(Told { ready: true, .. }) => Ok(()),
        _ => Err(broken("it does not say that it is ready")),
    }
}

fn broken(message: &str) -> Ending {
    Ending::InitFailed {
        error_type: "Runtime.SnapshotError".to_owned(),
        message: format!("the initialisation did not end as it should: {message}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_error_is_told_within_bounds() {
        assert_eq!(judge(br#"{"ready": true}"#), Ok(()));
        let text = "x".repeat(TEXT_MAX + 1);
        let told =
            serde_json::json!({"ready": true, "init_error": {"type": text, "message": text}});
        match judge(told.to_string().as_bytes()) {
            Err(Ending::InitFailed {
                error_type,
                message,
            }) => assert_eq!((error_type.len(), message.len()), (TYPE_MAX, TEXT_MAX)),
            other => assert!(other.is_err(), "{other:?}"),
        }
        for other in ["", "{}", "[]", r#"{"ready": 1}"#, r#"{"ready": false}"#] {
            assert!(judge(other.as_bytes()).is_err(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_said_does_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(judge(&bytes).is_err());
        }
    }
}
