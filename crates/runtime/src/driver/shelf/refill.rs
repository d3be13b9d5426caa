//! Filling the shelves, when nobody waits for it.

use super::demand::emptiest;
use super::{Inner, Shelf};
use crate::driver::kind::{Kind, Stem};
use crate::driver::pins::Source;
use crate::{Error, Result};
use launcher::Armed;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

/// How long a start has the machine to itself before its successor is made.
const SETTLE: Duration = Duration::from_millis(3);
/// Between looks at shelves that may have become too large.
const LOOK: Duration = Duration::from_secs(2);
/// How long a sandbox may take to get ready; a Node.js needs some tens of milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a sandbox could not be made.
const HOLD: Duration = Duration::from_secs(1);

/// Fills what lacks, one after the other, until there are no shelves any more.
pub(super) async fn fill(shelves: Weak<Inner>) {
    // One clock for all rounds: what starts all the time shall not keep the rest from being looked at.
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let Some(inner) = shelves.upgrade() else {
            return;
        };
        tokio::select! {
            () = inner.lacking.notified() => {}
            () = inner.zygotes.changed() => {}
            _ = look.tick() => shrink(&inner),
        }
        tokio::time::sleep(SETTLE).await;
        while let Some(kind) = next(&inner) {
            if !make(inner.clone(), kind).await {
                tokio::time::sleep(HOLD).await;
                break;
            }
        }
    }
}

/// A kind of which one more shall be made, which is counted as under way.
fn next(inner: &Inner) -> Option<Arc<Kind>> {
    if inner.scarce.load(Ordering::Relaxed) {
        return None;
    }
    let mut shelves = inner.shelves();
    let lacks = |kind: &Kind, shelf: &Shelf| {
        let wanted = shelf.demand.wanted(shelf.waiters.len());
        let missing = shelf.ready.len() + shelf.arming < wanted;
        let forked = matches!(kind.stem, Stem::Python(_) | Stem::Snapshot(_));
        missing && (!forked || inner.can_fork(kind))
    };
    let (kind, shelf) = emptiest(shelves.iter_mut().map(|(kind, shelf)| {
        let (ready, lacks) = (shelf.ready.len(), lacks(kind, shelf));
        ((kind, shelf), ready, lacks)
    }))?;
    shelf.arming += 1;
    Some(kind.clone())
}

/// Makes one that is counted as under way. Whether it could be made.
pub(super) async fn make(inner: Arc<Inner>, kind: Arc<Kind>) -> bool {
    let made = arm(&inner, &kind).await;
    let mut shelves = inner.shelves();
    let Some(shelf) = shelves.get_mut(&kind) else {
        return true;
    };
    shelf.arming = shelf.arming.saturating_sub(1);
    match made {
        Ok(armed) => {
            shelf.put(armed);
            if inner.scarce.load(Ordering::Relaxed) {
                // It was begun before; whoever said so has cleared the shelves already.
                shelf.ready.clear();
            }
            true
        }
        Err(error) => {
            match shelf.waiters.pop_front() {
                // Who asked may have gone away.
                Some(waiter) => drop(waiter.send(Err(error))),
                None => tracing::warn!(%error, "a sandbox could not be made ahead"),
            }
            false
        }
    }
}

async fn arm(inner: &Inner, kind: &Kind) -> Result<Armed> {
    // A zygote that is replaced meanwhile ends when it has made the fork.
    let mut forked = None;
    let stem = match &kind.stem {
        Stem::None => launcher::Stem::None,
        Stem::Node { argv, environment } => {
            let mut environment = environment.clone();
            environment.push(("ROUSE_STEM".to_owned(), "3".to_owned()));
            launcher::Stem::Program {
                argv: argv.clone(),
                environment,
            }
        }
        Stem::Python(preload) => {
            let zygote = inner.zygotes.current(&kind.shape, *preload);
            let zygote =
                zygote.ok_or_else(|| Error::Missing("the zygote is not ready".to_owned()))?;
            launcher::Stem::Fork {
                zygote: forked.insert(zygote).fork(),
            }
        }
        Stem::Snapshot(_) => {
            let snapshot = inner.snapshots.current(kind);
            let snapshot = snapshot
                .ok_or_else(|| Error::Missing("the function is not initialised".to_owned()))?;
            launcher::Stem::Restored { snapshot }
        }
    };
    let limits = {
        let shelves = inner.shelves();
        let shelf = shelves.get(kind);
        shelf.map(|shelf| shelf.limits.clone()).unwrap_or_default()
    };
    let armed = inner.launcher.arm(kind.shape.clone(), stem, limits);
    match tokio::time::timeout(PATIENCE, armed).await {
        Ok(Ok(armed)) => {
            learn(inner, kind, &armed).await;
            Ok(armed)
        }
        Ok(Err(error)) => Err(Error::Launcher(error)),
        Err(_) => Err(Error::Missing(format!(
            "a sandbox was not ready within {} s",
            PATIENCE.as_secs()
        ))),
    }
}

/// What a Node.js has read is kept in memory: each one that is started reads it again.
async fn learn(inner: &Inner, kind: &Kind, armed: &Armed) {
    let Stem::Node { argv, .. } = &kind.stem else {
        return;
    };
    if inner.pins.lacks_node()
        && let Ok(mut files) = armed.mapped().await
    {
        // The script that it runs is the last argument.
        files.extend(argv.last().map(PathBuf::from));
        inner.pins.learn(Source::Node, files);
    }
}

/// Lets go of what is not needed any more.
fn shrink(inner: &Inner) {
    let now = Instant::now();
    let mut shelves = inner.shelves();
    shelves.retain(|kind, shelf| {
        shelf.ready.retain(Armed::is_alive);
        let (target, unused) = shelf.demand.shrink(inner.size(kind), now);
        shelf.ready.truncate(target);
        !unused || shelf.arming > 0 || !shelf.waiters.is_empty()
    });
    inner.snapshots.retain(|kind| shelves.contains_key(kind));
}
