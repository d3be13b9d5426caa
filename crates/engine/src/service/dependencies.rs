//! The order in which services start: who waits for whom.

use super::Resident;
use super::table::Residents;
use crate::{Error, Result};
use model::{Condition, Dependency, Invalid, Restart, ServiceName, ServiceSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, Weak};

/// The other services, as a replica sees them.
#[derive(Clone)]
pub(super) struct Neighbours(pub(super) Weak<Residents>);

impl Neighbours {
    /// Waits until a dependency has come as far as is asked of it. One that was removed holds nobody up. `waiting` is
    /// called first if it is not as far yet.
    pub(super) async fn reached(&self, dependency: &Dependency, waiting: impl FnOnce()) {
        let mut waiting = Some(waiting);
        while let Some(resident) = self.get(&dependency.service) {
            let mut changed = resident.changes();
            if resident.has_reached(dependency.condition) {
                return;
            }
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            // Not held while it waits, so that a service that is removed is seen to be.
            drop(resident);
            // An error says the same as a change: it is gone, and is looked for again.
            let _ = changed.changed().await;
        }
    }

    fn get(&self, name: &ServiceName) -> Option<Arc<Resident>> {
        let residents = self.0.upgrade()?;
        let residents = residents.read().unwrap_or_else(PoisonError::into_inner);
        residents.get(name).cloned()
    }
}

/// Checks that what declared services wait for is declared or there and can come so far, and that nobody waits for
/// itself by way of others.
pub(crate) fn check(declared: &[ServiceSpec], present: &[Arc<model::Service>]) -> Result<()> {
    let known = present.iter().map(|service| &service.spec);
    let all: BTreeMap<&ServiceName, &ServiceSpec> = known
        .chain(declared)
        .map(|spec| (&spec.name, spec))
        .collect();
    for spec in declared {
        let at = || format!("services.{}.depends_on", spec.name);
        for Dependency { service, condition } in &spec.depends_on {
            let Some(other) = all.get(service) else {
                let reason = format!("names \"{service}\", which is neither declared nor there");
                return Err(Error::Invalid(Invalid::new(at(), reason)));
            };
            if *condition == Condition::Completed && other.restart == Restart::Always {
                let reason = format!(
                    "waits until \"{service}\" has completed, and that is started again however it \
                     ends: give it restart: \"no\" or on-failure"
                );
                return Err(Error::Invalid(Invalid::new(at(), reason)));
            }
        }
        let mut seen = BTreeSet::new();
        let mut next: Vec<&ServiceName> = names(spec).collect();
        while let Some(name) = next.pop() {
            if *name == spec.name {
                let reason = "waits for itself, by way of what it depends on: take one of them out";
                return Err(Error::Invalid(Invalid::new(at(), reason)));
            }
            if seen.insert(name) {
                next.extend(all.get(name).into_iter().flat_map(|spec| names(spec)));
            }
        }
    }
    Ok(())
}

fn names(spec: &ServiceSpec) -> impl Iterator<Item = &ServiceName> {
    spec.depends_on.iter().map(|dependency| &dependency.service)
}
