//! Starts: one task each, which waits for its turn on the machine and may find itself not needed.

use super::lease::Worker;
use super::table::Table;
use super::{Grant, Pool, StartFailure};
use crate::places::Place;
use crate::scaler;
use bytes::Bytes;
use model::{Ending, InstanceId, Timestamp};
use runtime::Instance;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::time::Instant;

/// How often a start that waits for a place looks whether it is still needed.
const RECONSIDER: Duration = Duration::from_millis(100);

/// Begins a start.
pub(super) fn begin(pool: &Arc<Pool>, table: &mut Table) {
    let id = InstanceId::generate();
    let asked = Timestamp::now();
    table.starting.insert(id.clone(), asked);
    let own = pool.clone();
    // Made inside: a runtime that ends drops what is spawned at once, and the table is locked here.
    pool.node.tasks.spawn(async move {
        let start = Start {
            pool: own,
            id,
            asked,
            settled: false,
        };
        start.run().await;
    });
}

/// One start. However it ends, a panic included, the pool's books are set right.
struct Start {
    pool: Arc<Pool>,
    id: InstanceId,
    asked: Timestamp,
    settled: bool,
}

impl Start {
    async fn run(mut self) {
        let node = self.pool.node.clone();
        let attempt = async {
            // Both only fail when closed, which nobody does.
            let _turn = self.pool.turn.acquire().await.ok()?;
            let place = self.place().await?;
            let _permit = node.starts.acquire().await.ok()?;
            let token = node.pace().await;
            let generation = self.still_needed()?;
            token.spend();
            Some((generation, place, self.start().await))
        };
        let result = tokio::select! {
            biased;
            result = attempt => result,
            () = node.kill.cancelled() => None,
        };
        self.settled = true;
        match result {
            Some((generation, place, Ok(instance))) => self.succeed(instance, place, generation),
            Some((_, _, Err(failure))) => fail(&self.pool, &self.id, failure),
            None => self.give_up(),
        }
    }

    /// A place on the machine; `None` if it is not needed any more when there is one.
    async fn place(&self) -> Option<Place> {
        self.still_needed()?;
        let mut asked = pin!(self.pool.node.place(&self.pool));
        loop {
            tokio::select! {
                biased;
                place = &mut asked => return Some(place),
                // Who waits for nothing must not take a place from others.
                () = tokio::time::sleep(RECONSIDER) => self.still_needed()?,
            };
        }
    }

    /// `None` if by now enough is under way or ready without this one.
    fn still_needed(&self) -> Option<u64> {
        let table = self.pool.table();
        let view = table.view(&self.pool.function, self.pool.node.is_short());
        let needed = view.starts_needed(table.demand());
        (table.starting.len() <= needed).then_some(table.generation)
    }

    async fn start(&self) -> Result<Instance, StartFailure> {
        let node = &self.pool.node;
        let plain = |ending| StartFailure {
            ending,
            log_tail: Bytes::new(),
        };
        let spec = self.pool.prototype.spec(self.id.clone(), node).await;
        let started = node.runtime.start(spec.map_err(plain)?).await;
        started.map_err(|error| match error {
            runtime::Error::Init {
                ending, log_tail, ..
            } => StartFailure {
                ending: *ending,
                log_tail,
            },
            other => plain(Ending::Unavailable {
                reason: other.to_string(),
            }),
        })
    }

    fn succeed(&self, instance: Instance, place: Place, generation: u64) {
        let mut table = self.pool.table();
        table.starting.remove(&self.id);
        table.failures = 0;
        table.hold_until = None;
        let worker = Arc::new(Worker {
            instance,
            started: self.asked,
            calls: AtomicU64::new(0),
            generation,
            place,
        });
        if table.retired {
            self.pool.discard(&mut table, worker);
        } else {
            self.pool.place(&mut table, worker, true);
            self.pool.replan(&mut table);
        }
    }

    fn give_up(&self) {
        let mut table = self.pool.table();
        table.starting.remove(&self.id);
        if !self.pool.node.kill.is_cancelled() {
            self.pool.replan(&mut table);
        }
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        if !self.settled {
            let failure = StartFailure {
                ending: Ending::Unavailable {
                    reason: "the start was broken off".to_owned(),
                },
                log_tail: Bytes::new(),
            };
            fail(&self.pool, &self.id, failure);
        }
    }
}

/// A failed start is the outcome of the calls that it was made for: of those that have waited longest,
/// unless every waiting call still has another start.
fn fail(pool: &Arc<Pool>, id: &InstanceId, failure: StartFailure) {
    let name = &pool.function.spec.name;
    let error = failure.ending.error().unwrap_or_default();
    tracing::info!(function = %name, instance = %id, %error, "start failed");
    let mut table = pool.table();
    table.starting.remove(id);
    table.failures = table.failures.saturating_add(1);
    table.hold_until = Some(Instant::now() + scaler::hold_after(table.failures));
    let per_instance = pool.per_instance();
    let served = table.starting.len() * per_instance;
    let mut told = 0;
    while told < per_instance && table.waiters.len() > served {
        let Some(waiter) = table.waiters.pop_front() else {
            break;
        };
        // That of a call that went away is the next one's.
        if waiter.send(Grant::Failed(failure.clone())).is_ok() {
            told += 1;
        }
    }
    pool.replan(&mut table);
    drop(table);
    pool.changed.notify_one();
}
