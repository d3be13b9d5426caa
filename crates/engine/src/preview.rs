//! What a deployment would meet: checked as if it were carried out, and compared with what is there.

use crate::{Engine, Result};
use model::{BucketSpec, DeclaredRule, Deployment, Kind, QueueSpec, Target};
use std::collections::BTreeSet;

impl Engine {
    /// Checks a deployment, whose code need not be here, and gives what there is now of the things that it would make,
    /// change or remove: what it declares, and schedules, rules and mappings that earlier deployments declared for its
    /// functions and services. Nothing is changed.
    ///
    /// # Errors
    /// Those of [`Engine::deploy`] for what was asked.
    pub async fn preview(&self, deployment: &Deployment) -> Result<Deployment> {
        self.check_deployment(deployment).await?;
        let mut present = Deployment {
            project: deployment.project.clone(),
            ..Deployment::default()
        };
        for spec in &deployment.functions {
            if let Some(function) = self.corridor.functions.find(&spec.name) {
                present.functions.push(function.spec.clone());
            }
        }
        for spec in &deployment.services {
            if let Ok(resident) = self.corridor.services.get(&spec.name) {
                present.services.push(resident.service().spec.clone());
            }
        }
        for spec in &deployment.queues {
            match self.corridor.state.get_queue(spec.name.clone()).await {
                Ok(queue) => present.queues.push(QueueSpec {
                    name: queue.name,
                    attributes: queue.attributes,
                }),
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        for spec in &deployment.buckets {
            match self.corridor.storage.get_bucket(&spec.name).await {
                Ok(bucket) => present.buckets.push(BucketSpec {
                    name: spec.name.clone(),
                    notify: bucket.notify,
                }),
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        let owners: BTreeSet<String> = crate::declared::owners(deployment).into_iter().collect();
        let functions: BTreeSet<_> = deployment.functions.iter().map(|spec| &spec.name).collect();
        for (mapping, _) in self.list_mappings() {
            if mapping.spec.declared && functions.contains(&mapping.spec.function) {
                present.mappings.push(mapping.spec);
            }
        }
        for owner in &owners {
            for mut schedule in self.corridor.state.schedules_of(owner.clone()).await? {
                // A pause is not the manifest's and outlives a deployment.
                schedule.spec.enabled = true;
                present.schedules.push(schedule.spec);
            }
        }
        present.rules = self.declared_rules(&owners).await?;
        Ok(present)
    }

    /// The rules of buses that earlier deployments declared for these owners.
    async fn declared_rules(&self, owners: &BTreeSet<String>) -> Result<Vec<DeclaredRule>> {
        let mut declared = Vec::new();
        for bus in self.list_buses().await? {
            for rule in self.list_rules(&bus.name).await? {
                let mine = rule
                    .owner
                    .as_ref()
                    .is_some_and(|owner| owners.contains(owner));
                let target = rule.targets.into_iter().next();
                let target = target.filter(|target| {
                    matches!(
                        target.target,
                        Target::Function { .. } | Target::Service { .. }
                    )
                });
                if let Some(target) = target.filter(|_| mine) {
                    declared.push(DeclaredRule {
                        bus: rule.bus,
                        name: rule.name,
                        pattern: rule.pattern,
                        target: target.target,
                        delivery: target.delivery,
                    });
                }
            }
        }
        Ok(declared)
    }
}
