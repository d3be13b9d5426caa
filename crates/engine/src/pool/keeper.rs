//! The task that looks after a pool when no call does.

use super::Pool;
use crate::scaler;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How soon an idle instance that died by itself is noticed (and replaced, within `min_instances`).
/// A call never gets a dead one: that is looked at when it is handed out.
const LOOK: Duration = Duration::from_secs(1);

/// Removes dead idle instances, stops those past their keep-alive, keeps `min_instances` up. Ends
/// when the pool is retired.
pub(super) async fn keep(pool: Arc<Pool>) {
    // Sandboxes for the first calls are made ahead. What cannot be made is told to whoever calls.
    let spec = pool
        .prototype
        .spec(model::InstanceId(String::new()), pool.node.peers());
    let _prepared = match spec {
        Ok(spec) => pool.node.runtime.prepare(&spec).await.ok(),
        Err(_) => None,
    };
    loop {
        let wake = {
            let mut table = pool.table();
            if table.retired {
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
            let next = scaler::next_change(&table.view(&pool.function.spec.scaling));
            let look = (!table.idle.is_empty()).then(|| Instant::now() + LOOK);
            match (next, look) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            }
        };
        match wake {
            Some(at) => {
                tokio::select! {
                    () = tokio::time::sleep_until(at) => {}
                    () = pool.changed.notified() => {}
                }
            }
            None => pool.changed.notified().await,
        }
    }
}
