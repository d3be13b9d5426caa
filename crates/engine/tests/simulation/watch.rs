//! What must hold at every moment while the server lives: nothing due waits where there is room, and
//! no more instances are alive than there may be.

use crate::audit::Seen;
use crate::ledger::{Book, Ledger};
use crate::plan::Function;
use engine::Options;
use model::Timestamp;
use runtime::Fake;
use std::collections::BTreeMap;

/// Milliseconds that a due event may wait though there is room. The dispatcher looks by itself only
/// after 60 s.
const PATIENCE: i64 = 5_000;

/// For how long a function's events have waited though there was room, and how many leases it had then.
#[derive(Default)]
pub struct Watch {
    stuck: BTreeMap<String, (i64, u64)>,
}

/// What a function has under way.
struct Load {
    due: bool,
    /// Attempts, those included whose lease is lost.
    own: usize,
    /// Leases so far.
    leases: u64,
}

impl Watch {
    pub fn look(
        &mut self,
        seen: &Seen,
        ledger: &Ledger,
        functions: &[Option<Function>],
        options: &Options,
    ) {
        let now = Timestamp::now().0;
        let mut book = ledger.book();
        let leased = seen
            .entries
            .values()
            .filter(|entry| entry.state == "leased");
        let total = leased.count() + stale(&book, seen, None);
        let free = options.max_attempts.saturating_sub(total);
        for function in functions.iter().flatten() {
            let target = function.target().key();
            let load = load(&book, seen, &target, now);
            let scaling = &function.scaling;
            let places = match scaling.calls() {
                0 => 0,
                calls => calls + (scaling.queue as usize).min(4),
            };
            let waiting = book
                .waiting
                .get(function.name.as_str())
                .copied()
                .unwrap_or(0);
            let room = places.saturating_sub(load.own + waiting);
            // The rule of `share::turn`: the first always, more as long as as many stay free.
            let fair = load.own == 0 || free.saturating_sub(load.own) >= 2;
            let stuck = load.due && room > 0 && fair;
            let since = self.stuck.entry(target).or_insert((now, load.leases));
            if !stuck || since.1 != load.leases {
                *since = (now, load.leases);
            }
            if now - since.0 <= PATIENCE {
                continue;
            }
            let invariant = match free {
                0 => "fairness",
                _ => "no-lost-wakeup",
            };
            book.broken(invariant, || {
                format!(
                    "an event of {} is due for {} ms; {} under way, room for {room}, {free} places free",
                    function.name, now - since.0, load.own
                )
            });
        }
    }
}

fn load(book: &Book, seen: &Seen, target: &str, now: i64) -> Load {
    let own = || seen.entries.values().filter(|entry| entry.target == target);
    let is_due = |due: Option<i64>| due.is_some_and(|due| due <= now);
    Load {
        due: own().any(|entry| entry.state == "waiting" && is_due(entry.due)),
        own: own().filter(|entry| entry.state == "leased").count()
            + stale(book, seen, Some(target)),
        leases: own().map(|entry| entry.epoch).sum(),
    }
}

/// Calls under way whose lease is lost.
fn stale(book: &Book, seen: &Seen, target: Option<&str>) -> usize {
    let calls = book.requests.values();
    let lost = calls.filter(|(event, epoch)| {
        let Some(entry) = seen.entries.get(event) else {
            return false;
        };
        target.is_none_or(|target| entry.target == target)
            && (entry.state != "leased" || entry.epoch != *epoch)
    });
    lost.count()
}

/// No more instances are alive than the machine and each function may have.
pub fn instances(fake: &Fake, ledger: &Ledger, options: &Options) {
    let alive = fake.alive();
    let mut book = ledger.book();
    if alive.len() > options.max_instances {
        book.broken("instances-in-limits", || {
            format!(
                "{} are alive, and there may be {}",
                alive.len(),
                options.max_instances
            )
        });
    }
    let mut each: BTreeMap<(String, u64), usize> = BTreeMap::new();
    for id in &alive {
        if let Some(owner) = book.owners.get(id) {
            *each.entry(owner.clone()).or_default() += 1;
        }
    }
    for (owner, count) in each {
        let most = book.most.get(&owner).copied().unwrap_or(usize::MAX);
        if count > most {
            book.broken("instances-in-limits", || {
                format!(
                    "{} has {count} in revision {}, and may have {most}",
                    owner.0, owner.1
                )
            });
        }
    }
}
