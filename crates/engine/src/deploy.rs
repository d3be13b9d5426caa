//! Deployments: everything that a manifest declares.

use crate::catalog::{PreparedFunction, below};
use crate::declared;
use crate::engine::Corridor;
use crate::overtaken::{self, UnderWay};
use crate::service::PreparedService;
use crate::turn::Turn;
use crate::{Engine, Error, Result};
use model::{
    BucketSpec, Change, ChangeKind, DeclaredRule, Deployment, DeploymentReport, FunctionName,
    MappingSpec, Queue, QueueSpec, ScheduleSpec, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Engine {
    /// Checks all of it first, then does it: queues, buckets, services, functions, schedules, then what
    /// buckets and buses wake.
    /// A target that is neither declared nor there is refused. All services are known by name before
    /// the first of them starts. What is as declared is left alone.
    ///
    /// # Errors
    /// `Invalid` names the place, such as `functions.thumbnail.limits.memory`; then nothing was done.
    /// `Apply` names the thing at which it stopped; what comes before it is in place.
    pub async fn deploy(&self, deployment: Deployment) -> Result<DeploymentReport> {
        let corridor = &self.corridor;
        self.check_deployment(&deployment).await?;
        let services = deployment.services.clone();
        let keys = overtaken::keys(&deployment);
        let prepared = corridor.prepare(deployment).await?;
        let mut turn = Turn::take(&corridor.changing).await;
        if corridor.draining.is_cancelled() {
            return Err(Error::Draining);
        }
        // Another deployment may have closed a circle since.
        corridor.check_dependencies(&services)?;
        let under_way = corridor.deployments.begin(keys);
        let report = corridor.apply(prepared, &mut turn, &under_way).await?;
        // What follows a tag since now knows the push that it was deployed with.
        corridor.pushed.notify_one();
        Ok(report)
    }
}

/// A deployment whose code is here.
struct Prepared {
    queues: Vec<QueueSpec>,
    mappings: Vec<MappingSpec>,
    buckets: Vec<BucketSpec>,
    services: Vec<PreparedService>,
    functions: Vec<PreparedFunction>,
    schedules: Vec<ScheduleSpec>,
    /// What of them can own rules of buses, and the rules.
    owners: Vec<String>,
    rules: Vec<DeclaredRule>,
}

impl Corridor {
    async fn prepare(&self, deployment: Deployment) -> Result<Prepared> {
        let owners = declared::owners(&deployment);
        let mut functions = Vec::new();
        for spec in deployment.functions {
            let name = spec.name.to_string();
            let prepared = self.prepare_function(spec).await;
            functions.push(prepared.map_err(|error| named("function", &name, error))?);
        }
        let mut services = Vec::new();
        for spec in deployment.services {
            let name = spec.name.to_string();
            let prepared = self.prepare_service(spec).await;
            services.push(prepared.map_err(|error| named("service", &name, error))?);
        }
        Ok(Prepared {
            queues: deployment.queues,
            mappings: deployment.mappings,
            buckets: deployment.buckets,
            services,
            functions,
            schedules: deployment.schedules,
            owners,
            rules: deployment.rules,
        })
    }

    async fn apply(
        self: &Arc<Self>,
        prepared: Prepared,
        turn: &mut Turn<'_>,
        under_way: &UnderWay<'_>,
    ) -> Result<DeploymentReport> {
        let mut report = DeploymentReport::default();
        let mut done = |what: &str, name: &str, change| {
            report.changes.push(Change {
                what: what.to_owned(),
                name: name.to_owned(),
                change,
            });
        };
        for spec in in_order(prepared.queues) {
            let name = spec.name.clone();
            let change = self.ensure_queue(spec).await;
            done(
                "queue",
                name.as_str(),
                change.map_err(|e| apply("queue", name.as_str(), e))?,
            );
        }
        for bucket in &prepared.buckets {
            let change = self.ensure_bucket(bucket).await;
            let name = bucket.name.as_str();
            done(
                "bucket",
                name,
                change.map_err(|e| apply("bucket", name, e))?,
            );
        }
        let mut owners = Vec::new();
        let mut declared = Vec::new();
        let mut failed = None;
        for service in prepared.services {
            let name = service.name().to_string();
            match self.declare_service(service).await {
                Ok((_, change, more)) => {
                    done("service", &name, change);
                    owners.push(format!("service:{name}"));
                    declared.extend(more);
                }
                Err(error) => {
                    failed = Some(apply("service", &name, error));
                    break;
                }
            }
        }
        // Names first, so that each knows all the others. Those that were declared before one
        // failed are in the store, so they run too.
        self.renew_peers();
        for service in declared {
            service.resident.apply(service.prototype, &self.node);
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let mut functions = Vec::new();
        for function in prepared.functions {
            functions.push(function.name().clone());
            let name = function.name().to_string();
            let kept = self.release_function(function, turn).await;
            let change = kept.map_err(|error| apply("function", &name, error))?;
            done("function", &name, change);
            owners.push(format!("function:{name}"));
            // Others had their turn while it was started.
            if under_way.is_overtaken() {
                let reason = "another deployment ran meanwhile; deploy again";
                return Err(apply(
                    "function",
                    &name,
                    changed("deployment", &name, reason),
                ));
            }
        }
        self.check_there(&owners)?;
        for owner in owners {
            let mine = |spec: &&ScheduleSpec| spec.owner.as_ref() == Some(&owner);
            let specs = prepared.schedules.iter().filter(mine).cloned();
            let kept = self.declare_schedules(&owner, specs.collect()).await;
            for (key, change) in kept.map_err(|e| apply("schedules of", &owner, e))? {
                done("schedule", &key.to_string(), change);
            }
        }
        self.read_queues(&functions, prepared.mappings).await?;
        for bucket in prepared.buckets {
            let name = bucket.name.to_string();
            let ruled = self.put_rules(bucket).await;
            ruled.map_err(|error| apply("bucket", &name, error))?;
        }
        let rules = self.put_declared_rules(prepared.owners, prepared.rules);
        report
            .changes
            .extend(rules.await.map_err(declared::failed)?);
        Ok(report)
    }

    /// Whether all functions and services that were declared just now are still there: what follows is
    /// theirs.
    fn check_there(&self, owners: &[String]) -> Result<()> {
        let functions = self.functions.list();
        let functions = functions.iter();
        let functions = functions.map(|function| format!("function:{}", function.spec.name));
        let services = self.services.all();
        let services = services.iter().map(|resident| resident.service());
        let services = services.map(|service| format!("service:{}", service.spec.name));
        let there: BTreeSet<String> = functions.chain(services).collect();
        match owners.iter().find(|owner| !there.contains(*owner)) {
            Some(gone) => {
                let reason = "was removed while another function was started; deploy again";
                Err(apply(
                    "what belongs to",
                    gone,
                    changed("owner", gone, reason),
                ))
            }
            None => Ok(()),
        }
    }

    /// Makes a queue, or gives it the settings that are declared.
    async fn ensure_queue(&self, spec: QueueSpec) -> Result<ChangeKind> {
        let now = Timestamp::now();
        let wanted = Queue {
            name: spec.name.clone(),
            created: now,
            modified: now,
            attributes: spec.attributes.clone(),
            tags: BTreeMap::new(),
        };
        let (present, made) = self.state.create_queue(wanted).await?;
        if made {
            return Ok(ChangeKind::Created);
        }
        if present.attributes == spec.attributes {
            return Ok(ChangeKind::Unchanged);
        }
        let attributes = spec.attributes;
        let change = move |now: &mut model::QueueAttributes| {
            *now = attributes;
            Ok(())
        };
        self.state.change_queue(spec.name, now, change).await??;
        Ok(ChangeKind::Updated)
    }

    /// Lets functions read what is declared for them, and no more of what was declared before.
    async fn read_queues(
        self: &Arc<Self>,
        functions: &[FunctionName],
        mappings: Vec<MappingSpec>,
    ) -> Result<()> {
        let name = mappings.first().map(|spec| spec.function.to_string());
        let declared = self.declare_mappings(functions, mappings).await;
        declared.map_err(|error| apply("function", name.as_deref().unwrap_or("-"), error))
    }

    /// Makes a bucket if it is not there, and tells what its declaration changes in all.
    async fn ensure_bucket(&self, spec: &BucketSpec) -> Result<ChangeKind> {
        match self.storage.get_bucket(&spec.name).await {
            Ok(bucket) if bucket.notify == spec.notify => Ok(ChangeKind::Unchanged),
            Ok(_) => Ok(ChangeKind::Updated),
            Err(error) if error.kind() == model::Kind::NotFound => {
                self.storage.create_bucket(spec.name.clone()).await?;
                Ok(ChangeKind::Created)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn put_rules(&self, spec: BucketSpec) -> Result<()> {
        let bucket = self.storage.get_bucket(&spec.name).await?;
        if bucket.notify != spec.notify {
            self.storage
                .put_notification(&spec.name, spec.notify)
                .await?;
        }
        Ok(())
    }
}

/// Dead-letter queues before those that name them.
fn in_order(mut queues: Vec<QueueSpec>) -> Vec<QueueSpec> {
    let mut ordered = Vec::with_capacity(queues.len());
    while !queues.is_empty() {
        let names: BTreeSet<_> = queues.iter().map(|spec| spec.name.clone()).collect();
        let waits = |spec: &QueueSpec| {
            let redrive = spec.attributes.redrive.as_ref();
            redrive.is_some_and(|redrive| names.contains(&redrive.dead_letter))
        };
        let (waiting, ready): (Vec<_>, Vec<_>) = queues.into_iter().partition(waits);
        if ready.is_empty() {
            // A circle: whichever comes first is told what it lacks.
            ordered.extend(waiting);
            break;
        }
        ordered.extend(ready);
        queues = waiting;
    }
    ordered
}

/// What went wrong while a thing was made ready; nothing of the deployment was done.
fn named(what: &'static str, name: &str, error: Error) -> Error {
    match error {
        Error::Invalid(error) => Error::Invalid(below(&format!("{what}s.{name}"), error)),
        source => Error::Prepare {
            what,
            name: name.to_owned(),
            source: Box::new(source),
        },
    }
}

/// What was declared is not as this deployment left it.
fn changed(what: &'static str, name: &str, reason: &str) -> Error {
    Error::State(state::Error::Conflict {
        what,
        name: name.to_owned(),
        reason: reason.to_owned(),
    })
}

fn apply(what: &'static str, name: &str, source: Error) -> Error {
    Error::Apply {
        what,
        name: name.to_owned(),
        source: Box::new(source),
    }
}
