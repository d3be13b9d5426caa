//! Event source mappings: each reads a queue and calls its function with batches of messages.
//!
//! A batch is hidden for six times the function's timeout or the queue's own time, whichever is
//! longer. It is deleted after the function took it, and comes back by itself otherwise, also after a
//! crash of the server at any point. What could not be tried at all is given back uncounted.

mod batch;
mod event;
mod reader;

use crate::engine::Corridor;
use crate::{Engine, Error, Result, share};
use model::{FunctionName, Invalid, Mapping, MappingSpec, QueueName, Timestamp};
use pattern::Filter;
use reader::Reader;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Most batches of all mappings under way at once, and one more for each mapping that has just
/// received one. Each holds up to 6 MiB.
const MAX_BATCHES: usize = 64;
/// How long messages stay hidden when the function took no call.
const BACKOFF: Duration = Duration::from_secs(1);

/// A mapping that is at work, or is disabled.
struct Entry {
    mapping: Mapping,
    stop: CancellationToken,
    progress: Arc<Progress>,
}

/// What of a mapping is under way, and what came of the last batch.
struct Progress {
    last: Mutex<String>,
}

impl Progress {
    fn say(&self, what: impl Into<String>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = what.into();
    }

    fn said(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone()
    }
}

/// The mappings as they are now.
#[derive(Default)]
pub(crate) struct Mappings {
    entries: Mutex<HashMap<uuid::Uuid, Entry>>,
    under_way: Mutex<HashMap<uuid::Uuid, usize>>,
    freed: Notify,
}

impl Mappings {
    fn entries(&self) -> MutexGuard<'_, HashMap<uuid::Uuid, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn under_way(&self) -> MutexGuard<'_, HashMap<uuid::Uuid, usize>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is this mapping's turn and it has fewer than `most` batches under way.
    fn may(&self, id: uuid::Uuid, most: usize) -> bool {
        let under_way = self.under_way();
        let free = MAX_BATCHES.saturating_sub(under_way.values().sum());
        let own = under_way.get(&id).copied().unwrap_or(0);
        share::turn(own, most, free) > 0
    }

    /// Counts one more batch. Not before there are messages: one that waits for some holds nothing.
    fn take(&self, id: uuid::Uuid) {
        *self.under_way().entry(id).or_default() += 1;
    }
}

/// A batch's place; free again when dropped.
struct Place {
    corridor: Arc<Corridor>,
    id: uuid::Uuid,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mappings = &self.corridor.mappings;
        let mut under_way = mappings.under_way();
        if let Some(own) = under_way.get_mut(&self.id) {
            *own -= 1;
            if *own == 0 {
                under_way.remove(&self.id);
            }
        }
        drop(under_way);
        mappings.freed.notify_waiters();
    }
}

impl Engine {
    /// Makes a mapping and begins to read.
    ///
    /// # Errors
    /// `Invalid`; `NotFound` (function, version or queue); `Conflict` when there is one of both already.
    pub async fn create_mapping(&self, spec: MappingSpec) -> Result<Mapping> {
        let corridor = &self.corridor;
        check(&spec)?;
        let _changing = corridor.changing.lock().await;
        self.get_qualified(&spec.function, spec.qualifier.as_ref())
            .await?;
        corridor.state.get_queue(spec.queue.clone()).await?;
        let mapping = Mapping {
            id: uuid::Uuid::new_v4(),
            spec,
            modified: Timestamp::now(),
        };
        corridor.keep_mapping(mapping.clone()).await?;
        Ok(mapping)
    }

    /// Changes a mapping by `change`, which sees it as it is.
    ///
    /// # Errors
    /// `NotFound` (mapping, function or version), `Invalid`, `Conflict`.
    pub async fn update_mapping(
        &self,
        id: uuid::Uuid,
        change: impl FnOnce(&mut MappingSpec),
    ) -> Result<Mapping> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        let (mut mapping, _) = self.get_mapping(id)?;
        change(&mut mapping.spec);
        check(&mapping.spec)?;
        let spec = &mapping.spec;
        self.get_qualified(&spec.function, spec.qualifier.as_ref())
            .await?;
        mapping.modified = Timestamp::now();
        corridor.keep_mapping(mapping.clone()).await?;
        Ok(mapping)
    }

    /// Removes a mapping. A batch that is under way is carried out.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_mapping(&self, id: uuid::Uuid) -> Result<Mapping> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        let (mapping, _) = self.get_mapping(id)?;
        corridor.remove_mapping(id).await?;
        Ok(mapping)
    }

    /// A mapping, and what came of its last batch.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn get_mapping(&self, id: uuid::Uuid) -> Result<(Mapping, String)> {
        let entries = self.corridor.mappings.entries();
        let entry = entries.get(&id).ok_or_else(|| no_mapping(id))?;
        Ok((entry.mapping.clone(), entry.progress.said()))
    }

    /// All mappings by their ids, each with what came of its last batch.
    pub fn list_mappings(&self) -> Vec<(Mapping, String)> {
        let entries = self.corridor.mappings.entries();
        let all = entries.values();
        let mut all: Vec<_> = all
            .map(|entry| (entry.mapping.clone(), entry.progress.said()))
            .collect();
        all.sort_by_key(|(mapping, _)| mapping.id);
        all
    }
}

/// Checks what a mapping says, its filters included.
///
/// # Errors
/// Names the parameter, as the Lambda API calls it.
pub(crate) fn check(spec: &MappingSpec) -> std::result::Result<(), Invalid> {
    spec.check()?;
    filter_of(spec).map(drop)
}

fn filter_of(spec: &MappingSpec) -> std::result::Result<Filter, Invalid> {
    Filter::parse(&spec.filters).map_err(|error| Invalid::new("FilterCriteria", error.to_string()))
}

fn no_mapping(id: uuid::Uuid) -> Error {
    Error::State(state::Error::NotFound {
        what: "event source mapping",
        name: id.to_string(),
    })
}

impl Corridor {
    /// Writes a mapping down and lets it read by what it says now.
    async fn keep_mapping(self: &Arc<Self>, mapping: Mapping) -> Result<()> {
        self.state.put_mapping(mapping.clone()).await?;
        self.start_mapping(mapping);
        Ok(())
    }

    async fn remove_mapping(&self, id: uuid::Uuid) -> Result<()> {
        self.state.delete_mapping(id).await?;
        if let Some(entry) = self.mappings.entries().remove(&id) {
            entry.stop.cancel();
        }
        Ok(())
    }

    /// Begins to read, in place of what was begun before.
    fn start_mapping(self: &Arc<Self>, mapping: Mapping) {
        let progress = Progress {
            last: Mutex::new("No records processed".to_owned()),
        };
        let entry = Entry {
            stop: self.draining.child_token(),
            progress: Arc::new(progress),
            mapping,
        };
        if entry.mapping.spec.enabled {
            let reader = Reader {
                corridor: self.clone(),
                mapping: entry.mapping.clone(),
                stop: entry.stop.clone(),
                progress: entry.progress.clone(),
            };
            tokio::spawn(reader.run());
        }
        let before = self.mappings.entries().insert(entry.mapping.id, entry);
        if let Some(before) = before {
            before.stop.cancel();
        }
    }

    /// Begins all that are kept.
    ///
    /// # Errors
    /// Of the store.
    pub(crate) async fn start_mappings(self: &Arc<Self>) -> Result<()> {
        for mapping in self.state.list_mappings().await? {
            self.start_mapping(mapping);
        }
        Ok(())
    }

    /// Makes the mappings of `functions` what a deployment declares: others that a deployment made for
    /// them go, those that were made by hand stay. The caller holds `changing`.
    ///
    /// # Errors
    /// Of the store.
    pub(crate) async fn declare_mappings(
        self: &Arc<Self>,
        functions: &[FunctionName],
        specs: Vec<MappingSpec>,
    ) -> Result<()> {
        let present: Vec<Mapping> = {
            let entries = self.mappings.entries();
            entries
                .values()
                .map(|entry| entry.mapping.clone())
                .collect()
        };
        for mapping in &present {
            let ours = mapping.spec.declared && functions.contains(&mapping.spec.function);
            if ours && !specs.iter().any(|spec| spec.is_same_pair(&mapping.spec)) {
                self.remove_mapping(mapping.id).await?;
            }
        }
        for spec in specs {
            let before = present
                .iter()
                .find(|mapping| mapping.spec.is_same_pair(&spec));
            if before.is_some_and(|before| before.spec == spec) {
                continue;
            }
            let id = before.map_or_else(uuid::Uuid::new_v4, |before| before.id);
            let modified = Timestamp::now();
            self.keep_mapping(Mapping { id, spec, modified }).await?;
        }
        Ok(())
    }
}

/// The ARN of a queue, as events name it.
fn queue_arn(name: &QueueName, region: &str) -> String {
    format!("arn:aws:sqs:{region}:000000000000:{name}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_mapping_leaves_places_to_others() {
        let mappings = Mappings::default();
        let (one, other) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
        while mappings.may(one, usize::MAX) {
            mappings.take(one);
        }
        assert!(mappings.may(other, 1));
        mappings.take(other);
        assert!(!mappings.may(other, 1), "no more than it may have");
    }
}
