//! Schedules: made, changed, listed; and the clock that makes events of their ticks.

mod clock;

pub(crate) use clock::{Scheduler, run};

use crate::catalog::below;
use crate::engine::Corridor;
use crate::{Engine, Once, Result, ScheduleFilter};
use model::{
    ChangeKind, Deployment, EventId, Invalid, Schedule, ScheduleGroup, ScheduleGroupName,
    ScheduleKey, ScheduleSpec, Target, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most schedules that the manifest of one function or service declares.
const MAX_DECLARED: usize = 100;

impl Engine {
    /// Makes a schedule. Its target need not be there before its first tick.
    ///
    /// # Errors
    /// `Invalid`, `NotFound` (group), `Conflict` when the name is taken, `Bound`.
    pub async fn create_schedule(&self, spec: ScheduleSpec, once: Option<Once>) -> Result<()> {
        spec.check()?;
        let corridor = &self.corridor;
        let now = Timestamp::now();
        corridor.state.create_schedule(spec, now, once).await?;
        corridor.scheduler.changed();
        Ok(())
    }

    /// Replaces a schedule's declaration, but for what becomes of missed ticks and who declares it.
    ///
    /// # Errors
    /// `Invalid`, `NotFound`.
    pub async fn update_schedule(&self, spec: ScheduleSpec, once: Option<Once>) -> Result<()> {
        spec.check()?;
        let key = spec.key.clone();
        let change = move |before: &ScheduleSpec| ScheduleSpec {
            catch_up: before.catch_up,
            owner: before.owner.clone(),
            ..spec
        };
        self.change_schedule(key, once, change).await
    }

    /// Lets a schedule's ticks make events, or stops that.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn enable_schedule(&self, key: ScheduleKey, enabled: bool) -> Result<()> {
        let change = move |before: &ScheduleSpec| ScheduleSpec {
            enabled,
            ..before.clone()
        };
        self.change_schedule(key, None, change).await
    }

    async fn change_schedule(
        &self,
        key: ScheduleKey,
        once: Option<Once>,
        change: impl FnOnce(&ScheduleSpec) -> ScheduleSpec + Send + 'static,
    ) -> Result<()> {
        let corridor = &self.corridor;
        let now = Timestamp::now();
        let changed = corridor.state.change_schedule(key, now, once, change);
        changed.await?;
        corridor.scheduler.changed();
        Ok(())
    }

    /// One schedule.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_schedule(&self, key: ScheduleKey) -> Result<Schedule> {
        Ok(self.corridor.state.get_schedule(key).await?)
    }

    /// Schedules that fit, by group and name.
    ///
    /// # Errors
    /// `NotFound` (group).
    pub async fn list_schedules(&self, filter: ScheduleFilter) -> Result<Vec<Schedule>> {
        Ok(self.corridor.state.list_schedules(filter).await?)
    }

    /// Removes a schedule. Events of ticks that were stay.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_schedule(&self, key: ScheduleKey, once: Option<Once>) -> Result<()> {
        Ok(self.corridor.state.delete_schedule(key, once).await?)
    }

    /// Accepts an event as if a tick of the schedule were now, enabled or not.
    ///
    /// # Errors
    /// `NotFound`, the schedule or its target.
    pub async fn run_schedule(&self, key: ScheduleKey) -> Result<EventId> {
        let schedule = self.get_schedule(key).await?;
        let scheduler = &self.corridor.scheduler;
        let now = Timestamp::now();
        self.submit(scheduler.event(&schedule, now, now, clock::RUN))
            .await
    }

    /// Makes a group.
    ///
    /// # Errors
    /// `Conflict` when the name is taken, `Bound`.
    pub async fn create_schedule_group(
        &self,
        name: ScheduleGroupName,
        tags: BTreeMap<String, String>,
        once: Option<Once>,
    ) -> Result<()> {
        let now = Timestamp::now();
        let group = ScheduleGroup {
            name,
            tags,
            created: now,
            modified: now,
        };
        let state = &self.corridor.state;
        Ok(state.create_schedule_group(group, once).await?)
    }

    /// One group.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_schedule_group(&self, name: ScheduleGroupName) -> Result<ScheduleGroup> {
        Ok(self.corridor.state.get_schedule_group(name).await?)
    }

    /// Groups whose name begins with `prefix` and comes after `after`, by name, at most `limit`.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_schedule_groups(
        &self,
        prefix: String,
        after: String,
        limit: u32,
    ) -> Result<Vec<ScheduleGroup>> {
        let state = &self.corridor.state;
        Ok(state.list_schedule_groups(prefix, after, limit).await?)
    }

    /// Changes a group's tags.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn tag_schedule_group(
        &self,
        name: ScheduleGroupName,
        change: impl FnOnce(&mut BTreeMap<String, String>) + Send + 'static,
    ) -> Result<()> {
        let state = &self.corridor.state;
        let now = Timestamp::now();
        Ok(state.tag_schedule_group(name, now, change).await?)
    }

    /// Removes a group and all of its schedules.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for the group `default`.
    pub async fn delete_schedule_group(
        &self,
        name: ScheduleGroupName,
        once: Option<Once>,
    ) -> Result<()> {
        Ok(self
            .corridor
            .state
            .delete_schedule_group(name, once)
            .await?)
    }
}

impl Corridor {
    /// Makes the schedules of an owner those that its manifest declares.
    pub(crate) async fn declare_schedules(
        &self,
        owner: &str,
        specs: Vec<ScheduleSpec>,
    ) -> Result<Vec<(ScheduleKey, ChangeKind)>> {
        let now = Timestamp::now();
        let changes = self.state.declare_schedules(owner.to_owned(), specs, now);
        let changes = changes.await?;
        self.scheduler.changed();
        Ok(changes)
    }
}

/// Checks what a deployment schedules: each for a function or service that it declares too.
pub(crate) fn check_declared(deployment: &Deployment) -> std::result::Result<(), Invalid> {
    let functions = deployment.functions.iter();
    let functions = functions.map(|spec| format!("function:{}", spec.name));
    let services = deployment.services.iter();
    let services = services.map(|spec| (format!("service:{}", spec.name), spec));
    let services: BTreeMap<String, _> = services.collect();
    let functions: BTreeSet<String> = functions.collect();
    let mut keys = BTreeSet::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for spec in &deployment.schedules {
        let place = format!("schedules.{}", spec.key);
        spec.check().map_err(|error| below(&place, error))?;
        let refuse = |reason: &str| Err(Invalid::new(place.as_str(), reason));
        if !keys.insert(&spec.key) {
            return refuse("is declared twice");
        }
        let owner = spec.owner.as_deref().unwrap_or_default();
        let count = counts.entry(owner).or_default();
        *count += 1;
        if *count > MAX_DECLARED {
            return refuse("is one more than the 100 that one function or service may have");
        }
        match &spec.target {
            Target::Function { .. } if spec.target.key() == owner && functions.contains(owner) => {}
            Target::Service { name, .. } if format!("service:{name}") == owner => {
                match services.get(owner) {
                    Some(service) if service.ports.is_empty() => {
                        return refuse("wakes a service that listens on no port");
                    }
                    Some(_) => {}
                    None => return refuse("wakes a service that is not declared here"),
                }
            }
            _ => return refuse("must wake its owner, a function or service that is declared here"),
        }
    }
    Ok(())
}
