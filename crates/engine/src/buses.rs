//! The buses as they are now, each with its rules compiled.

use crate::engine::Corridor;
use crate::{Engine, Error, Result};
use model::{Bus, BusName, Delivery, Rule, RuleName, RuleTarget, Target, Timestamp};
use pattern::{Input, Pattern};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Rules of one bus that are enabled.
pub(crate) type Rules = Arc<Vec<Compiled>>;

/// Follows the store: changed only after the store was.
pub(crate) struct Buses {
    region: String,
    rules: RwLock<BTreeMap<BusName, Rules>>,
}

/// An enabled rule.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) name: RuleName,
    pub(crate) arn: String,
    pub(crate) pattern: Pattern,
    pub(crate) targets: Vec<Told>,
}

/// A target of an enabled rule.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) target: Target,
    /// What of an event it is told.
    pub(crate) input: Input,
    pub(crate) delivery: Delivery,
}

impl Buses {
    pub(crate) fn new(region: &str) -> Self {
        Self {
            region: region.to_owned(),
            rules: RwLock::default(),
        }
    }

    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// The enabled rules of a bus.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn rules(&self, bus: &BusName) -> Result<Rules> {
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let missing = || state::Error::NotFound {
            what: "event bus",
            name: bus.to_string(),
        };
        rules.get(bus).cloned().ok_or_else(|| missing().into())
    }

    fn put(&self, bus: BusName, rules: Rules) {
        let mut all = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(bus, rules);
    }

    fn remove(&self, bus: &BusName) {
        let mut all = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        all.remove(bus);
    }

    /// What a rule says, ready to be held against events.
    ///
    /// # Errors
    /// `Pattern`, `Invalid`: the same checks when it is made and when it is loaded.
    pub(crate) fn compile(&self, rule: &Rule) -> Result<Compiled> {
        let arn = rule_arn(&self.region, &rule.bus, &rule.name);
        Ok(Compiled {
            name: rule.name.clone(),
            pattern: Pattern::parse(&rule.pattern).map_err(Error::Pattern)?,
            targets: rule
                .targets
                .iter()
                .map(|target| {
                    Ok(Told {
                        id: target.id.clone(),
                        target: target.target.clone(),
                        input: input_of(target)?,
                        delivery: delivery_of(target, &arn),
                    })
                })
                .collect::<Result<_>>()?,
            arn,
        })
    }
}

/// What its dead letters say besides the error is whose they are.
fn delivery_of(target: &RuleTarget, rule: &str) -> Delivery {
    let mut delivery = target.delivery.clone();
    if let Some(letters) = &mut delivery.dead_letter {
        letters.say("RULE_ARN", rule);
        letters.say("TARGET_ARN", &target.arn);
    }
    delivery
}

fn input_of(target: &RuleTarget) -> Result<Input> {
    target.check()?;
    let transformer = target.transformer.as_ref();
    let transformer = transformer.map(|t| (&t.paths, t.template.as_str()));
    let input = Input::parse(
        target.input.as_deref(),
        target.input_path.as_deref(),
        transformer,
    );
    let refused = |error: pattern::Invalid| {
        model::Invalid::new(format!("target {}", target.id), error.to_string())
    };
    Ok(input.map_err(refused)?)
}

/// The ARN of a rule; that of the default bus is left out, as in AWS.
pub fn rule_arn(region: &str, bus: &BusName, name: &RuleName) -> String {
    let bus = match bus.as_str() {
        "default" => String::new(),
        other => format!("{other}/"),
    };
    format!("arn:aws:events:{region}:000000000000:rule/{bus}{name}")
}

impl Corridor {
    /// Takes all buses into memory.
    pub(crate) async fn load_buses(&self) -> Result<()> {
        for bus in self.state.list_buses().await? {
            self.renew_rules(&bus.name).await?;
        }
        Ok(())
    }

    /// Takes the rules of a bus into memory, as the store has them.
    pub(crate) async fn renew_rules(&self, bus: &BusName) -> Result<()> {
        let mut compiled = Vec::new();
        for rule in self.state.list_rules(bus.clone()).await? {
            if !rule.enabled {
                continue;
            }
            match self.buses.compile(&rule) {
                Ok(rule) => compiled.push(rule),
                // It was checked when it was made; only another version of rouse can have made it.
                Err(error) => {
                    tracing::error!(%bus, rule = %rule.name, %error, "a rule is passed over");
                }
            }
        }
        self.buses.put(bus.clone(), Arc::new(compiled));
        Ok(())
    }
}

impl Engine {
    /// Makes a bus.
    ///
    /// # Errors
    /// `State` (`Conflict`: the name is taken), `Limit` (there are 100).
    pub async fn create_bus(
        &self,
        name: BusName,
        description: String,
        tags: BTreeMap<String, String>,
    ) -> Result<Bus> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        let now = Timestamp::now();
        let bus = Bus {
            name,
            description,
            tags,
            created: now,
            modified: now,
        };
        let made = corridor.state.create_bus(bus.clone()).await;
        match made {
            Err(error @ state::Error::Conflict { .. })
                if self.get_bus(&bus.name).await.is_err() =>
            {
                return Err(Error::Limit(error.to_string()));
            }
            made => made?,
        }
        corridor.renew_rules(&bus.name).await?;
        Ok(bus)
    }

    /// Removes a bus without rules. Its events that have not ended are cancelled.
    ///
    /// # Errors
    /// `Refused` (the default bus), `State` (`NotFound`, `Conflict` while it has rules).
    pub async fn delete_bus(&self, name: &BusName) -> Result<()> {
        if *name == BusName::default_bus() {
            return Err(Error::Refused(
                "Cannot delete event bus default.".to_owned(),
            ));
        }
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        corridor.state.delete_bus(name.clone()).await?;
        corridor.buses.remove(name);
        corridor.deleted.notify_one();
        Ok(())
    }

    /// One bus.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_bus(&self, name: &BusName) -> Result<Bus> {
        Ok(self.corridor.state.get_bus(name.clone()).await?)
    }

    /// Whether there is a bus of this name, without asking the store.
    pub fn has_bus(&self, name: &BusName) -> bool {
        self.corridor.buses.rules(name).is_ok()
    }

    /// All buses, by name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_buses(&self) -> Result<Vec<Bus>> {
        Ok(self.corridor.state.list_buses().await?)
    }

    /// Changes what of a bus its rules do not depend on: description and tags.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn update_bus(
        &self,
        name: &BusName,
        change: impl FnOnce(&mut Bus) + Send + 'static,
    ) -> Result<Bus> {
        let change = move |bus: &mut Bus| {
            change(bus);
            bus.modified = Timestamp::now();
        };
        Ok(self.corridor.state.update_bus(name.clone(), change).await?)
    }
}
