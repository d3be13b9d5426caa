//! The task that looks after a pool when no call does.

use super::Pool;
use super::table::Table;
use crate::scaler;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How soon an idle instance that died by itself is noticed (and replaced, within `min_instances`).
/// A call never gets a dead one: that is looked at when it is handed out.
const LOOK: Duration = Duration::from_secs(1);

/// Removes dead idle instances, freezes idle ones, stops those past their keep-alive, keeps
/// `min_instances` up. Ends when the pool is retired.
pub(super) async fn keep(pool: Arc<Pool>) {
    while is_wanted(&pool).await {
        let generation = pool.table().generation;
        // Sandboxes for the first calls are made ahead. What cannot be made is told to whoever calls.
        let spec = pool
            .prototype
            .spec(model::InstanceId(String::new()), &pool.node);
        let _prepared = match spec.await {
            Ok(spec) => pool.node.runtime.prepare(&spec).await.ok(),
            Err(_) => None,
        };
        tend(&pool, generation).await;
    }
}

/// Until the pool is retired, does not lead and has no instance and no call any more, or makes instances of
/// another generation, for which other sandboxes are made ahead.
async fn tend(pool: &Arc<Pool>, generation: u64) {
    loop {
        let wake = {
            let mut table = pool.table();
            if table.retired || table.generation != generation {
                return;
            }
            let (alive, dead): (Vec<_>, Vec<_>) = std::mem::take(&mut table.idle)
                .into_iter()
                .partition(|idle| idle.worker.is_alive());
            table.idle = alive;
            for idle in dead {
                pool.discard(&mut table, idle.worker);
            }
            pool.replan(&mut table);
            if !table.leads && table.is_empty() {
                table.used = false;
                return;
            }
            table.look = pool.next_look(&table);
            table.look
        };
        match wake {
            Some(at) => {
                tokio::select! {
                    biased;
                    () = tokio::time::sleep_until(at) => {}
                    () = pool.changed.notified() => {}
                }
            }
            None => pool.changed.notified().await,
        }
    }
}

/// Waits until calls may come: the pool leads, or had its first one. `false`: it is retired.
async fn is_wanted(pool: &Arc<Pool>) -> bool {
    loop {
        {
            let table = pool.table();
            if table.retired || table.leads || table.used {
                return !table.retired;
            }
        }
        pool.changed.notified().await;
    }
}

impl Pool {
    /// When the keeper should look, though nothing happens until then.
    fn next_look(&self, table: &Table) -> Option<Instant> {
        let view = table.view(&self.function, self.node.is_short());
        let look = (!table.idle.is_empty() || !table.leads).then(|| Instant::now() + LOOK);
        scaler::next_change(&view).into_iter().chain(look).min()
    }

    /// Wakes the keeper for the instance that has just begun to wait, unless it looks in time anyway:
    /// so a function that is called all the time does not wake it with each call.
    pub(super) fn wake_keeper(&self, table: &Table) {
        let now = Instant::now();
        let due = scaler::first_change(&self.function.spec.scaling, now).min(now + LOOK);
        if table.look.is_none_or(|look| look > due) {
            self.changed.notify_one();
        }
    }
}
