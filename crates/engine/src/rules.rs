//! Rules of buses: made, changed, given targets.

use crate::{Engine, Error, Result};
use model::{
    BusName, Invalid, MAX_RULE_TARGETS, Qualifier, Rule, RuleName, RuleTarget, Target, Timestamp,
};
use pattern::Pattern;
use std::collections::{BTreeMap, BTreeSet};

/// What a rule is to be. Its targets stay as they are.
#[derive(Debug, Clone)]
pub struct PutRule {
    /// On which bus.
    pub bus: BusName,
    /// Its name.
    pub name: RuleName,
    /// For people.
    pub description: String,
    /// The event pattern.
    pub pattern: String,
    /// Whether it is heeded.
    pub enabled: bool,
    /// Kept and given back.
    pub role: String,
    /// Only of a rule that is new; those of another stay.
    pub tags: BTreeMap<String, String>,
}

impl Engine {
    /// Makes or changes a rule.
    ///
    /// # Errors
    /// `Pattern`, `Managed`, `Limit` (the bus has 300 rules), `State` (`NotFound`: the bus).
    pub async fn put_rule(&self, put: PutRule) -> Result<Rule> {
        Pattern::parse(&put.pattern).map_err(Error::Pattern)?;
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        let (bus, name) = (put.bus.clone(), put.name.clone());
        self.refuse_managed(&bus, &name, false).await?;
        let change = move |old: Option<Rule>| {
            let (targets, tags, created) = match old {
                Some(old) => (old.targets, old.tags, old.created),
                None => (Vec::new(), put.tags, Timestamp::now()),
            };
            Rule {
                bus: put.bus,
                name: put.name,
                description: put.description,
                pattern: put.pattern,
                enabled: put.enabled,
                targets,
                role: put.role,
                tags,
                owner: None,
                created,
            }
        };
        let put = corridor.state.put_rule(bus.clone(), name, change).await;
        let rule = put.map_err(|error| match error {
            // The one conflict there is: the bus is full.
            state::Error::Conflict { .. } => Error::Limit(error.to_string()),
            error => error.into(),
        })?;
        corridor.renew_rules(&bus).await?;
        Ok(rule)
    }

    /// One rule.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_rule(&self, bus: &BusName, name: &RuleName) -> Result<Rule> {
        Ok(self
            .corridor
            .state
            .get_rule(bus.clone(), name.clone())
            .await?)
    }

    /// The rules of a bus, by name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn list_rules(&self, bus: &BusName) -> Result<Vec<Rule>> {
        Ok(self.corridor.state.list_rules(bus.clone()).await?)
    }

    /// Removes a rule without targets; nothing happens if there is none. One that a manifest declares
    /// goes only with `force`.
    ///
    /// # Errors
    /// `Refused` while it has targets, `Managed`, `State` (`NotFound`: the bus).
    pub async fn delete_rule(&self, bus: &BusName, name: &RuleName, force: bool) -> Result<()> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        self.refuse_managed(bus, name, force).await?;
        match self.get_rule(bus, name).await {
            Ok(rule) if !rule.targets.is_empty() => {
                let reason = "Rule can't be deleted since it has targets.";
                return Err(Error::Refused(reason.to_owned()));
            }
            Ok(_) => {}
            Err(error) if error.kind() == model::Kind::NotFound => {
                // A bus that is not there is told, a rule is not.
                return self.get_bus(bus).await.map(drop);
            }
            Err(error) => return Err(error),
        }
        let (store, rule) = (&corridor.state, name.clone());
        store.delete_rule(bus.clone(), rule).await?;
        corridor.renew_rules(bus).await
    }

    /// Changes what `change` says of a rule and takes it into memory: its state or its tags.
    ///
    /// # Errors
    /// `NotFound`, the bus or the rule.
    pub async fn update_rule(
        &self,
        bus: &BusName,
        name: &RuleName,
        change: impl FnOnce(&mut Rule) + Send + 'static,
    ) -> Result<()> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        let (store, rule) = (&corridor.state, name.clone());
        store.update_rule(bus.clone(), rule, change).await?;
        corridor.renew_rules(bus).await
    }

    /// Adds targets to a rule; one whose id is there takes its place.
    ///
    /// # Errors
    /// `Invalid`, `Limit` (more than five in all), `Managed`, `NotFound` (bus, rule or what a target
    /// names).
    pub async fn put_targets(
        &self,
        bus: &BusName,
        name: &RuleName,
        targets: Vec<RuleTarget>,
    ) -> Result<()> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        self.refuse_managed(bus, name, false).await?;
        let mut rule = self.get_rule(bus, name).await?;
        let mut seen = BTreeSet::new();
        for target in targets {
            self.check_target(&target.target).await?;
            target.delivery.check(&target.target)?;
            if let Some(letters) = &target.delivery.dead_letter {
                self.get_queue(&letters.queue).await?;
            }
            if !seen.insert(target.id.clone()) {
                let reason = format!("\"{}\" is there twice", target.id.escape_debug());
                return Err(Invalid::new("target id", reason).into());
            }
            rule.targets.retain(|known| known.id != target.id);
            rule.targets.push(target);
        }
        if rule.targets.len() > MAX_RULE_TARGETS {
            return Err(Error::Limit(
                "The requested resource exceeds the maximum number allowed.".to_owned(),
            ));
        }
        corridor.buses.compile(&rule)?;
        let targets = rule.targets;
        let change = move |rule: &mut Rule| rule.targets = targets;
        let (store, rule) = (&corridor.state, name.clone());
        store.update_rule(bus.clone(), rule, change).await?;
        corridor.renew_rules(bus).await
    }

    /// Takes targets off a rule. Gives the ids that it did not have.
    ///
    /// # Errors
    /// `NotFound`, `Managed`.
    pub async fn remove_targets(
        &self,
        bus: &BusName,
        name: &RuleName,
        ids: Vec<String>,
        force: bool,
    ) -> Result<Vec<String>> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        self.refuse_managed(bus, name, force).await?;
        let change = move |rule: &mut Rule| {
            let (known, unknown) = ids
                .into_iter()
                .partition::<Vec<_>, _>(|id| rule.targets.iter().any(|target| target.id == *id));
            rule.targets.retain(|target| !known.contains(&target.id));
            unknown
        };
        let (store, rule) = (&corridor.state, name.clone());
        let unknown = store.update_rule(bus.clone(), rule, change).await?;
        corridor.renew_rules(bus).await?;
        Ok(unknown)
    }

    /// The rules of a bus that wake a target, of a function this version.
    ///
    /// # Errors
    /// `NotFound` (bus).
    pub async fn rules_by_target(
        &self,
        bus: &BusName,
        (target, qualifier): &(Target, Option<Qualifier>),
    ) -> Result<Vec<RuleName>> {
        let is_it =
            |one: &RuleTarget| one.target == *target && one.delivery.qualifier == *qualifier;
        let wakes = |rule: &Rule| rule.targets.iter().any(is_it);
        let rules = self.list_rules(bus).await?.into_iter();
        Ok(rules.filter(wakes).map(|rule| rule.name).collect())
    }

    async fn refuse_managed(&self, bus: &BusName, name: &RuleName, force: bool) -> Result<()> {
        let rule = match self.get_rule(bus, name).await {
            Ok(rule) => rule,
            Err(error) if error.kind() == model::Kind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        match rule.owner {
            Some(owner) if !force => Err(Error::Managed(format!(
                "rule {name} is declared by the manifest of {owner}; change that, and deploy again"
            ))),
            _ => Ok(()),
        }
    }
}
