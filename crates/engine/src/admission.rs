//! Whether a deployment may be carried out: what can be known of it before anything is done.

use crate::catalog::{self, below};
use crate::{Engine, Result, declared, mapping, schedule, service};
use model::{BucketSpec, Deployment, FunctionSpec, Invalid, MappingSpec, Target};
use std::collections::BTreeSet;

/// Most rules of one bucket (S3's bound).
const MAX_RULES: usize = 100;

impl Engine {
    /// What can be checked of a deployment whose code may not be here.
    ///
    /// # Errors
    /// `Invalid` names the place.
    pub(crate) async fn check_deployment(&self, deployment: &Deployment) -> Result<()> {
        check_names(deployment)?;
        for spec in &deployment.functions {
            let checked = catalog::check(spec, &self.corridor.storage);
            checked.map_err(|error| place("functions", &spec.name, error))?;
        }
        for spec in &deployment.functions {
            self.check_destinations(spec, deployment).await?;
        }
        for spec in &deployment.services {
            service::check(spec).map_err(|error| place("services", &spec.name, error))?;
        }
        for spec in &deployment.queues {
            let checked = spec.attributes.check(&spec.name);
            checked.map_err(|error| place("queues", &spec.name, error))?;
        }
        for spec in &deployment.mappings {
            self.check_mapping(spec, deployment).await?;
        }
        for bucket in &deployment.buckets {
            self.check_rules(bucket, deployment).await?;
        }
        self.corridor.check_dependencies(&deployment.services)?;
        schedule::check_declared(deployment)?;
        declared::check(deployment)?;
        self.check_letters(deployment).await
    }

    async fn check_mapping(&self, spec: &MappingSpec, deployment: &Deployment) -> Result<()> {
        let at = |error| place("functions", &spec.function, error);
        mapping::check(spec).map_err(at)?;
        let declared = deployment
            .queues
            .iter()
            .any(|queue| queue.name == spec.queue);
        if !declared && self.get_queue(&spec.queue).await.is_err() {
            let reason = format!(
                "reads queue \"{}\", which is neither declared nor there",
                spec.queue
            );
            return Err(at(Invalid::new("triggers", reason)).into());
        }
        Ok(())
    }

    async fn check_rules(&self, bucket: &BucketSpec, deployment: &Deployment) -> Result<()> {
        let at = format!("buckets.{}.notify", bucket.name);
        if bucket.notify.len() > MAX_RULES {
            let reason = format!("has {} rules, more than {MAX_RULES}", bucket.notify.len());
            return Err(Invalid::new(at, reason).into());
        }
        let mut ids = BTreeSet::new();
        for rule in &bucket.notify {
            if !ids.insert(&rule.id) {
                let reason = format!("has two rules \"{}\"", rule.id.escape_debug());
                return Err(Invalid::new(at, reason).into());
            }
            let refused = |reason| Invalid::new(format!("{at}.{}", rule.id.escape_debug()), reason);
            let checked = self.check_woken(&rule.target, deployment).await;
            checked.map_err(refused)?;
        }
        Ok(())
    }

    async fn check_destinations(&self, spec: &FunctionSpec, deployment: &Deployment) -> Result<()> {
        let at = |field: &str, reason| {
            place(
                "functions",
                &spec.name,
                Invalid::new(format!("destinations.{field}"), reason),
            )
        };
        let destinations = &spec.destinations;
        let letters = destinations
            .dead_letter
            .clone()
            .map(|name| Target::Queue { name });
        for (field, target) in [
            ("on_success", &destinations.on_success),
            ("on_failure", &destinations.on_failure),
            ("dead_letter", &letters),
        ] {
            if let Some(target) = target {
                let checked = self.check_woken(target, deployment).await;
                checked.map_err(|reason| at(field, reason))?;
            }
        }
        Ok(())
    }

    /// Where dead letters of schedules and rules go must be declared or there.
    async fn check_letters(&self, deployment: &Deployment) -> Result<()> {
        let schedules = deployment.schedules.iter();
        let schedules = schedules.map(|spec| ("schedules", spec.key.to_string(), &spec.delivery));
        let rules = deployment.rules.iter();
        let rules = rules.map(|rule| ("rules", rule.name.to_string(), &rule.delivery));
        for (what, name, delivery) in schedules.chain(rules) {
            if let Some(letters) = &delivery.dead_letter {
                let target = Target::Queue {
                    name: letters.queue.clone(),
                };
                let checked = self.check_woken(&target, deployment).await;
                checked
                    .map_err(|reason| Invalid::new(format!("{what}.{name}.dead_letter"), reason))?;
            }
        }
        Ok(())
    }

    /// What an event without a message group can wake, declared or there.
    async fn check_woken(
        &self,
        target: &Target,
        deployment: &Deployment,
    ) -> std::result::Result<(), String> {
        let there = self.check_target(target).await.is_ok();
        match target {
            Target::Function { name } => {
                if there || deployment.functions.iter().any(|spec| spec.name == *name) {
                    return Ok(());
                }
                Err(format!(
                    "wakes function \"{name}\", which is neither declared nor there"
                ))
            }
            Target::Service { name, path } => {
                if !path.starts_with('/') || path.parse::<http::Uri>().is_err() {
                    return Err("needs a path that begins with / and is a URL's".to_owned());
                }
                let declared = deployment.services.iter().find(|spec| spec.name == *name);
                match declared {
                    Some(spec) if spec.ports.is_empty() => Err(format!(
                        "wakes service \"{name}\", which has no port: give it one under ports"
                    )),
                    None if !there => Err(format!(
                        "wakes service \"{name}\", which is neither declared nor there"
                    )),
                    _ => Ok(()),
                }
            }
            Target::Queue { name } if name.is_fifo() => Err(format!(
                "wakes \"{name}\", a FIFO queue: an event has no message group, so name a standard queue"
            )),
            Target::Queue { name } => {
                if there || deployment.queues.iter().any(|spec| spec.name == *name) {
                    return Ok(());
                }
                Err(format!(
                    "wakes queue \"{name}\", which is neither declared nor there"
                ))
            }
            Target::Bucket { name } => {
                if there || deployment.buckets.iter().any(|spec| spec.name == *name) {
                    return Ok(());
                }
                Err(format!(
                    "wakes bucket \"{name}\", which is neither declared nor there"
                ))
            }
            Target::Bus { .. } | Target::Webhook { .. } if there => Ok(()),
            Target::Bus { name } if deployment.rules.iter().any(|rule| rule.bus == *name) => Ok(()),
            Target::Bus { name } => Err(format!("wakes bus \"{name}\", which is not there")),
            Target::Webhook { name } => {
                Err(format!("wakes webhook \"{name}\", which is not there"))
            }
        }
    }
}

fn check_names(deployment: &Deployment) -> std::result::Result<(), Invalid> {
    fn twice<'a>(
        what: &str,
        names: impl Iterator<Item = &'a str>,
    ) -> std::result::Result<(), Invalid> {
        let mut seen = BTreeSet::new();
        for name in names {
            if !seen.insert(name) {
                return Err(Invalid::new(format!("{what}.{name}"), "is declared twice"));
            }
        }
        Ok(())
    }
    twice(
        "buckets",
        deployment.buckets.iter().map(|b| b.name.as_str()),
    )?;
    twice("queues", deployment.queues.iter().map(|q| q.name.as_str()))?;
    twice(
        "functions",
        deployment.functions.iter().map(|f| f.name.as_str()),
    )?;
    twice(
        "services",
        deployment.services.iter().map(|s| s.name.as_str()),
    )
}

fn place(what: &str, name: &impl std::fmt::Display, error: Invalid) -> Invalid {
    below(&format!("{what}.{name}"), error)
}
