//! Functions' own zygotes (`snapshot: init`): each revision is initialised once, and its instances are
//! forked from that. One is started when the function is deployed or first called, again when it has died,
//! and ended when nothing needs it any more. What it says may be user code's: it is bounded and not believed.

mod initialise;

pub(super) use initialise::Workplace;

use super::kind::{Kind, Stem};
use crate::egress::Outlet;
use crate::logs::Capture;
use crate::{Door, Error, Result};
use bytes::Bytes;
use launcher::Snapshot;
use model::{Egress, Ending, Limits, Networks, Owner};
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

/// How long an initialisation that failed is what every start is told, before it is tried again.
const HOLD: Duration = Duration::from_secs(5);

/// What a function's own zygote is made from, besides its shape. Two are the same if owner, program and
/// environment are: the rest follows from the owner's revision. `Debug` leaves out the environment, which
/// may hold secrets.
#[derive(Clone)]
pub(super) struct Init {
    pub(super) owner: Owner,
    /// The networks that it is on.
    pub(super) networks: Networks,
    /// Program and arguments.
    pub(super) argv: Vec<String>,
    /// What is the same for all of its instances.
    pub(super) environment: Vec<(String, String)>,
    pub(super) limits: Limits,
    /// What the shape's listeners but the first are for.
    pub(super) doors: Vec<Door>,
    /// Where it may connect to.
    pub(super) egress: Egress,
}

impl Init {
    fn key(&self) -> (&Owner, &[String], &[(String, String)]) {
        (&self.owner, &self.argv, &self.environment)
    }
}

impl PartialEq for Init {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Init {}

impl Hash for Init {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl fmt::Debug for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Init");
        shown.field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// One that can be forked. Dropped, it is killed; its forks live on.
struct Ready {
    snapshot: Snapshot,
    capture: Capture,
    since: Instant,
    _gates: Vec<AbortOnDropHandle<()>>,
    _outlet: Option<Outlet>,
}

/// Why there is none.
#[derive(Clone)]
struct Failed {
    ending: Ending,
    log_tail: Bytes,
    when: Instant,
}

enum State {
    /// Told when that is over.
    Starting(watch::Receiver<()>),
    Ready(Arc<Ready>),
    Failed(Failed),
}

/// See the module. A cheap handle.
#[derive(Clone)]
pub(super) struct Snapshots {
    place: Arc<Workplace>,
    states: Arc<Mutex<HashMap<Kind, State>>>,
    /// One has become ready.
    ready: Arc<Notify>,
}

impl Snapshots {
    /// `ready` is told of each that can be forked.
    pub(super) fn new(place: Workplace, ready: Arc<Notify>) -> Self {
        Self {
            place: Arc::new(place),
            states: Arc::default(),
            ready,
        }
    }

    fn states(&self) -> MutexGuard<'_, HashMap<Kind, State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the launcher knows the one for this kind by, if it can be forked.
    pub(super) fn current(&self, kind: &Kind) -> Option<u64> {
        match self.states().get(kind) {
            Some(State::Ready(ready)) if ready.snapshot.is_alive() => Some(ready.snapshot.number()),
            _ => None,
        }
    }

    /// Sees to it that there is one, and waits until it can be forked.
    ///
    /// # Errors
    /// `Init` if the initialisation fails, or failed a moment ago.
    pub(super) async fn get(&self, kind: &Kind) -> Result<()> {
        loop {
            let Some(mut over) = self.begin(kind)? else {
                return Ok(());
            };
            // An error says the same: it is over.
            let _ = over.changed().await;
        }
    }

    /// Sees to it that there is one; what is given tells when that is decided.
    ///
    /// # Errors
    /// As of [`Self::get`].
    pub(super) fn begin(&self, kind: &Kind) -> Result<Option<watch::Receiver<()>>> {
        let mut states = self.states();
        match states.get(kind) {
            Some(State::Ready(ready)) if ready.snapshot.is_alive() => return Ok(None),
            Some(State::Starting(over)) => return Ok(Some(over.clone())),
            Some(State::Failed(failed)) if failed.when.elapsed() < HOLD => {
                let Failed {
                    ending, log_tail, ..
                } = failed.clone();
                return Err(Error::init(ending, log_tail));
            }
            _ => {}
        }
        let (sender, over) = watch::channel(());
        states.insert(kind.clone(), State::Starting(over.clone()));
        drop(states);
        tokio::spawn(self.clone().start(kind.clone(), sender));
        Ok(Some(over))
    }

    /// Ends those that nothing needs.
    pub(super) fn retain(&self, needed: impl Fn(&Kind) -> bool) {
        self.states().retain(|kind, _| needed(kind));
    }

    async fn start(self, kind: Kind, over: watch::Sender<()>) {
        let Stem::Snapshot(init) = &kind.stem else {
            return;
        };
        let begun = Instant::now();
        let state = match self.place.initialise(&kind.shape, init).await {
            Ok(ready) => {
                let (pid, elapsed) = (ready.snapshot.pid(), begun.elapsed());
                tracing::info!(owner = ?init.owner, pid, ?elapsed, "a function is initialised");
                let ready = Arc::new(ready);
                tokio::spawn(self.clone().watch(kind.clone(), ready.clone()));
                State::Ready(ready)
            }
            Err(Error::Init {
                ending, log_tail, ..
            }) => State::Failed(Failed {
                ending: *ending,
                log_tail,
                when: Instant::now(),
            }),
            Err(error) => {
                tracing::warn!(owner = ?init.owner, %error, "a function could not be initialised");
                State::Failed(Failed {
                    ending: Ending::Unavailable {
                        reason: error.to_string(),
                    },
                    log_tail: Bytes::new(),
                    when: Instant::now(),
                })
            }
        };
        // Whoever needed it may have gone meanwhile.
        if let Some(place) = self.states().get_mut(&kind) {
            *place = state;
        }
        drop(over);
        self.ready.notify_one();
    }

    /// Notes the end of one that ended by itself.
    async fn watch(self, kind: Kind, ready: Arc<Ready>) {
        let weak = Arc::downgrade(&ready);
        let exit = ready.snapshot.exit();
        drop(ready);
        let exit = exit.await;
        let Some(ended) = weak.upgrade() else {
            return;
        };
        let how = exit.describe();
        let line = format!("the initialised function ended by itself: {how}");
        let log_tail = ended.capture.end(vec![line]);
        let mut states = self.states();
        if let Some(State::Ready(current)) = states.get(&kind)
            && Arc::ptr_eq(current, &ended)
        {
            // One that dies at once would be started over and over.
            if ended.since.elapsed() < HOLD {
                let ending = Ending::Crashed { how };
                let when = Instant::now();
                let failed = Failed {
                    ending,
                    log_tail,
                    when,
                };
                states.insert(kind, State::Failed(failed));
            } else {
                states.remove(&kind);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn secrets_are_not_shown_and_tell_revisions_apart() {
        let init = |secret: &str| Init {
            owner: Owner::Function {
                name: "thumbnail".parse().unwrap(),
                revision: 1,
                version: None,
            },
            networks: Networks::default(),
            argv: Vec::new(),
            environment: vec![("KEY".to_owned(), secret.to_owned())],
            limits: Limits::default(),
            doors: Vec::new(),
            egress: Egress::None,
        };
        assert!(!format!("{:?}", init("hidden")).contains("hidden"));
        assert_eq!(init("a"), init("a"));
        assert_ne!(init("a"), init("b"));
    }
}
