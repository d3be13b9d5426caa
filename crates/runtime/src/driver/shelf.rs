//! Sandboxes that are made ahead and wait on shelves, one for each kind.
//!
//! A start takes one that is ready; the shelf is filled again off the critical path. A shelf whose
//! sandboxes do not suffice grows, and shrinks again when nothing has missed for a while. The fall is
//! gentle: a stem, then a fork of the zygote, then a sandbox that only executes, then one from nothing.

mod demand;
mod refill;

use self::demand::{Demand, Size};
use super::kind::{Kind, Stem};
use super::pins::Pins;
use super::snapshots::Snapshots;
use super::zygotes::Zygotes;
use crate::{Error, Result};
use launcher::{Armed, Launcher};
use model::{Limits, StartKind};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;
use tokio::sync::{Notify, oneshot};

/// How much is made ahead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Sandboxes without a stem that wait for each shape in use; 0: none is ever made ahead.
    pub(super) armed: usize,
    /// Stems that wait for each kind in use; 0: none is ever made ahead.
    pub(super) stems: usize,
}

/// What a start gets.
pub(super) struct Taken {
    pub(super) armed: Armed,
    /// Whether a stem waits in it.
    pub(super) has_stem: bool,
    pub(super) start: StartKind,
}

/// Who waits for a sandbox that is being made.
type Waiter = oneshot::Sender<Result<Armed>>;

struct Shelf {
    ready: VecDeque<Armed>,
    /// How many are being made.
    arming: usize,
    waiters: VecDeque<Waiter>,
    demand: Demand,
    /// Those of the last function that took one, or announced itself: likely the next one's.
    limits: Limits,
}

/// Who makes what waits in the sandboxes, and who is told of it.
pub(super) struct Makers {
    pub(super) zygotes: Zygotes,
    pub(super) snapshots: Snapshots,
    pub(super) pins: Pins,
}

/// See the module. A cheap handle.
#[derive(Clone)]
pub(super) struct Shelves {
    inner: Arc<Inner>,
}

struct Inner {
    launcher: Launcher,
    zygotes: Zygotes,
    pins: Pins,
    snapshots: Snapshots,
    bounds: Bounds,
    shelves: Mutex<HashMap<Arc<Kind>, Shelf>>,
    /// There may be something to fill.
    lacking: Notify,
    /// The machine is short of memory: nothing more is made ahead.
    scarce: AtomicBool,
}

/// Announces the use of a kind for as long as it exists.
pub(crate) struct Announced {
    inner: Weak<Inner>,
    kinds: Vec<Arc<Kind>>,
}

impl Drop for Announced {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            let mut shelves = inner.shelves();
            for kind in &self.kinds {
                if let Some(shelf) = shelves.get_mut(kind) {
                    // No other function can use what was made from one, or shows its secrets.
                    let own =
                        matches!(kind.stem, Stem::Snapshot(_)) || !kind.shape.volumes.is_empty();
                    shelf.demand.withdraw(own);
                }
            }
        }
    }
}

impl Inner {
    fn shelves(&self) -> MutexGuard<'_, HashMap<Arc<Kind>, Shelf>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the kind is one of forks whose zygote is ready.
    fn can_fork(&self, kind: &Kind) -> bool {
        match kind.stem {
            Stem::Python(preload) => self.zygotes.current(&kind.shape, preload).is_some(),
            Stem::Snapshot(_) => self.snapshots.current(kind).is_some(),
            Stem::None | Stem::Node { .. } => false,
        }
    }

    fn size(&self, kind: &Kind) -> Size {
        Size::of(&kind.stem, self.bounds)
    }
}

impl Shelf {
    fn new(size: Size) -> Self {
        Self {
            ready: VecDeque::new(),
            arming: 0,
            waiters: VecDeque::new(),
            demand: Demand::new(size, Instant::now()),
            limits: Limits::default(),
        }
    }

    fn pop(&mut self) -> Option<Armed> {
        self.demand.used(Instant::now());
        loop {
            let armed = self.ready.pop_front()?;
            if armed.is_alive() {
                return Some(armed);
            }
        }
    }

    /// Hands over what was made to whoever waits longest, or keeps it.
    fn put(&mut self, mut armed: Armed) {
        while let Some(waiter) = self.waiters.pop_front() {
            match waiter.send(Ok(armed)) {
                Ok(()) => return,
                Err(Ok(back)) => armed = back,
                Err(Err(_)) => return,
            }
        }
        self.ready.push_back(armed);
    }
}

impl Shelves {
    pub(super) fn new(launcher: Launcher, makers: Makers, bounds: Bounds) -> Self {
        let Makers {
            zygotes,
            snapshots,
            pins,
        } = makers;
        let inner = Arc::new(Inner {
            launcher,
            zygotes,
            snapshots,
            pins,
            bounds,
            shelves: Mutex::default(),
            lacking: Notify::new(),
            scarce: AtomicBool::new(false),
        });
        tokio::spawn(refill::fill(Arc::downgrade(&inner)));
        Self { inner }
    }

    /// Says whether the machine is short of memory; then nothing is made ahead, and what is ready goes.
    pub(super) fn set_scarce(&self, scarce: bool) {
        if self.inner.scarce.swap(scarce, Ordering::Relaxed) != scarce && scarce {
            for shelf in self.inner.shelves().values_mut() {
                shelf.ready.clear();
            }
        }
        self.inner.lacking.notify_one();
    }

    /// From now on sandboxes of these kinds are kept ready.
    pub(super) fn announce(&self, kinds: Vec<Kind>, limits: &Limits) -> Announced {
        let mut shelves = self.inner.shelves();
        let kinds = kinds
            .into_iter()
            .map(|kind| {
                let size = self.inner.size(&kind);
                let kind = Arc::new(kind);
                let shelf = shelves
                    .entry(kind.clone())
                    .or_insert_with(|| Shelf::new(size));
                shelf.demand.announce();
                shelf.limits.clone_from(limits);
                kind
            })
            .collect();
        drop(shelves);
        self.inner.lacking.notify_one();
        Announced {
            inner: Arc::downgrade(&self.inner),
            kinds,
        }
    }

    /// A sandbox of this kind, ready or made now.
    ///
    /// # Errors
    /// The launcher's.
    pub(super) async fn take(&self, kind: Kind, limits: &Limits) -> Result<Taken> {
        match kind.stem {
            Stem::None => return self.take_plain(kind, limits).await,
            Stem::Snapshot(_) => return self.take_restored(kind, limits).await,
            Stem::Python(_) | Stem::Node { .. } => {}
        }
        let can_fork = self.inner.can_fork(&kind);
        let shape = kind.shape.clone();
        // A zygote forks in milliseconds; a program of its own starts as fast in a sandbox that is
        // ready as in one that is being made.
        let waiting = match self.look(kind, limits, can_fork) {
            Look::Ready(armed) => {
                return Ok(Taken {
                    armed,
                    has_stem: true,
                    start: StartKind::Stem,
                });
            }
            Look::Waiting(waiting) => waiting.await,
            Look::Nothing => {
                let stem = Stem::None;
                return self.take_plain(Kind { shape, stem }, limits).await;
            }
        };
        match waiting {
            Ok(Ok(armed)) => Ok(Taken {
                armed,
                has_stem: true,
                start: StartKind::Fork,
            }),
            failed => {
                if let Ok(Err(error)) = failed {
                    tracing::warn!(%error, "a zygote could not be forked");
                }
                let stem = Stem::None;
                self.take_plain(Kind { shape, stem }, limits).await
            }
        }
    }

    /// A fork of the function's own zygote, which is started if there is none. There is no other way: what
    /// the function has done once must not be done again.
    async fn take_restored(&self, kind: Kind, limits: &Limits) -> Result<Taken> {
        let taken = |armed, start| Taken {
            armed,
            has_stem: true,
            start,
        };
        let mut failed = Error::Missing("the function has not been initialised".to_owned());
        // It may end while it is asked; then there is another.
        for _ in 0..3 {
            match self.look(kind.clone(), limits, self.inner.can_fork(&kind)) {
                Look::Ready(armed) => return Ok(taken(armed, StartKind::Stem)),
                Look::Waiting(waiting) => match waiting.await {
                    Ok(Ok(armed)) => return Ok(taken(armed, StartKind::Fork)),
                    Ok(Err(error)) => failed = error,
                    Err(_) => failed = Error::Missing("the server is shutting down".to_owned()),
                },
                Look::Nothing => {}
            }
            self.inner.snapshots.get(&kind).await?;
        }
        Err(failed)
    }

    async fn take_plain(&self, kind: Kind, limits: &Limits) -> Result<Taken> {
        let (armed, start) = match self.look(kind, limits, true) {
            Look::Ready(armed) => (Ok(armed), StartKind::Armed),
            Look::Waiting(waiting) => {
                let ended = |_| Err(Error::Missing("the server is shutting down".to_owned()));
                (waiting.await.unwrap_or_else(ended), StartKind::Cold)
            }
            Look::Nothing => (
                Err(Error::Missing("nothing was asked for".to_owned())),
                StartKind::Cold,
            ),
        };
        Ok(Taken {
            armed: armed?,
            has_stem: false,
            start,
        })
    }

    /// Takes what is ready; else asks for one more, if that is wanted.
    fn look(&self, kind: Kind, limits: &Limits, wait: bool) -> Look {
        let mut shelves = self.inner.shelves();
        let size = self.inner.size(&kind);
        let kind = Arc::new(kind);
        let shelf = shelves
            .entry(kind.clone())
            .or_insert_with(|| Shelf::new(size));
        shelf.limits.clone_from(limits);
        let look = match shelf.pop() {
            Some(armed) => Look::Ready(armed),
            None => {
                shelf.demand.missed(size, Instant::now());
                match wait {
                    true => Look::Waiting(self.inner.wait(&kind, shelf)),
                    false => Look::Nothing,
                }
            }
        };
        drop(shelves);
        self.inner.lacking.notify_one();
        look
    }
}

/// What was found on a shelf.
enum Look {
    Ready(Armed),
    /// One is being made.
    Waiting(oneshot::Receiver<Result<Armed>>),
    Nothing,
}

impl Inner {
    /// Makes one more, and takes whichever is made first.
    fn wait(
        self: &Arc<Self>,
        kind: &Arc<Kind>,
        shelf: &mut Shelf,
    ) -> oneshot::Receiver<Result<Armed>> {
        let (sender, receiver) = oneshot::channel();
        shelf.waiters.push_back(sender);
        // Those that are made already will do for whoever came before.
        if shelf.arming < shelf.waiters.len() {
            shelf.arming += 1;
            tokio::spawn(refill::make(self.clone(), kind.clone()));
        }
        receiver
    }
}
