//! A deployment: what one manifest declares, and what deploying it changed.

use crate::{
    BucketSpec, BusName, Delivery, FunctionSpec, MappingSpec, QueueSpec, RuleName, ScheduleSpec,
    ServiceSpec, Target,
};
use serde::{Deserialize, Serialize};

/// Everything that one manifest declares. Names are unique in the server, not in the project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deployment {
    /// The project's name; shown, and used to tell whose things are whose.
    pub project: String,
    /// Buckets, made first. Existing objects stay.
    pub buckets: Vec<BucketSpec>,
    /// Queues, made before what they are named by. Existing messages stay.
    pub queues: Vec<QueueSpec>,
    /// Which functions read which queues. On deploy, replaces what an earlier deployment said for the
    /// functions that are declared.
    pub mappings: Vec<MappingSpec>,
    /// Functions.
    pub functions: Vec<FunctionSpec>,
    /// Resident services.
    pub services: Vec<ServiceSpec>,
    /// What wakes them by the clock. Each has an owner, which is declared here; schedules of that
    /// owner that are not, go.
    pub schedules: Vec<ScheduleSpec>,
    /// What buses wake of these functions and services: these rules, and of earlier deployments of
    /// them no others. A bus that is not there is made.
    pub rules: Vec<DeclaredRule>,
}

/// A rule of a bus for one target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredRule {
    /// On which bus.
    pub bus: BusName,
    /// Its name.
    pub name: RuleName,
    /// The event pattern, JSON.
    pub pattern: String,
    /// A function or a service.
    pub target: Target,
    /// How its events are delivered.
    #[serde(default, skip_serializing_if = "Delivery::is_plain")]
    pub delivery: Delivery,
}

impl DeclaredRule {
    /// Whose rule it is: the key of its target, without a service's path.
    pub fn owner_of(target: &Target) -> String {
        match target {
            Target::Service { name, .. } => format!("service:{name}"),
            target => target.key(),
        }
    }
}

/// What happened to one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is new.
    Created,
    /// It was changed.
    Updated,
    /// It was as declared.
    Unchanged,
}

/// One thing of a deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `bucket`, `bus`, `function`, `queue`, `rule`, `schedule` or `service`.
    pub what: String,
    /// Its name.
    pub name: String,
    /// What happened to it.
    pub change: ChangeKind,
}

/// What a deployment changed, in the order in which it was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentReport {
    /// One entry for each declared thing.
    pub changes: Vec<Change>,
}
