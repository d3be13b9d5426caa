//! Rules of buses that manifests declare: made with their functions and services, and gone with them.

use crate::engine::Corridor;
use crate::{Error, Result};
use model::{
    Change, ChangeKind, DeclaredRule, Deployment, Invalid, Kind, Rule, RuleTarget, Target,
    Timestamp,
};
use pattern::Pattern;
use std::collections::BTreeSet;

/// Checks what of a rule does not depend on the store. Its target must be declared beside it.
pub(crate) fn check(deployment: &Deployment) -> std::result::Result<(), Invalid> {
    let owners: BTreeSet<String> = owners(deployment).into_iter().collect();
    let mut seen = BTreeSet::new();
    for rule in &deployment.rules {
        let at = format!("rules.{}", rule.name);
        if !seen.insert((&rule.bus, &rule.name)) {
            return Err(Invalid::new(at, "is declared twice"));
        }
        if !owners.contains(&DeclaredRule::owner_of(&rule.target)) {
            let reason = format!("wakes {}, which is not declared beside it", rule.target);
            return Err(Invalid::new(at, reason));
        }
        if let Target::Service { name, path } = &rule.target {
            let mut services = deployment.services.iter();
            let spec = services.find(|spec| spec.name == *name);
            if spec.is_some_and(|spec| spec.ports.is_empty()) {
                let reason = format!("wakes service \"{name}\", which has no port: give it one");
                return Err(Invalid::new(at, reason));
            }
            if !path.starts_with('/') || path.parse::<http::Uri>().is_err() {
                let reason = "needs a path that begins with / and is a URL's";
                return Err(Invalid::new(at, reason));
            }
        }
        let checked = rule.delivery.check(&rule.target);
        checked
            .map_err(|invalid| Invalid::new(format!("{at}.{}", invalid.field), invalid.reason))?;
        Pattern::parse(&rule.pattern)
            .map_err(|error| Invalid::new(format!("{at}.pattern"), error.to_string()))?;
    }
    Ok(())
}

/// The keys of everything that the deployment declares and that can own rules.
pub(crate) fn owners(deployment: &Deployment) -> Vec<String> {
    let functions = deployment.functions.iter();
    let functions = functions.map(|spec| format!("function:{}", spec.name));
    let services = deployment.services.iter();
    let services = services.map(|spec| format!("service:{}", spec.name));
    functions.chain(services).collect()
}

fn rule_of(declared: DeclaredRule) -> Rule {
    let owner = DeclaredRule::owner_of(&declared.target);
    let target = RuleTarget {
        id: "target".to_owned(),
        arn: declared.target.key(),
        target: declared.target,
        role: None,
        input: None,
        input_path: None,
        transformer: None,
        delivery: declared.delivery,
    };
    Rule {
        bus: declared.bus,
        name: declared.name,
        description: String::new(),
        pattern: declared.pattern,
        enabled: true,
        targets: vec![target],
        role: String::new(),
        tags: Default::default(),
        owner: Some(owner),
        created: Timestamp::now(),
    }
}

impl Corridor {
    /// Makes the rules of these owners be the declared ones, on buses that are made where they are
    /// missing. Whoever calls holds `changing`.
    pub(crate) async fn put_declared_rules(
        &self,
        owners: Vec<String>,
        declared: Vec<DeclaredRule>,
    ) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        let mut report = |what: &str, name: String, change| {
            let what = what.to_owned();
            changes.push(Change { what, name, change });
        };
        let buses: BTreeSet<_> = declared.iter().map(|rule| rule.bus.clone()).collect();
        for bus in buses {
            match self.state.get_bus(bus.clone()).await {
                Ok(_) => {}
                Err(error) if error.kind() == Kind::NotFound => {
                    let now = Timestamp::now();
                    let made = model::Bus {
                        name: bus.clone(),
                        description: String::new(),
                        tags: Default::default(),
                        created: now,
                        modified: now,
                    };
                    self.state.create_bus(made).await?;
                    report("bus", bus.to_string(), ChangeKind::Created);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let names: Vec<_> = declared.iter().map(|rule| rule.name.clone()).collect();
        let rules = declared.into_iter().map(rule_of).collect();
        let changed = self.state.put_owned_rules(owners, rules).await?;
        for name in names {
            let found = changed.iter().find(|(changed, _)| *changed == name);
            let change = match found {
                Some((_, true)) => ChangeKind::Created,
                Some((_, false)) => ChangeKind::Updated,
                None => ChangeKind::Unchanged,
            };
            report("rule", name.to_string(), change);
        }
        self.load_buses().await?;
        Ok(changes)
    }

    /// Takes away the rules of something that is being deleted. Whoever calls holds `changing`.
    pub(crate) async fn drop_declared_rules(&self, owner: String) -> Result<()> {
        self.put_declared_rules(vec![owner], Vec::new())
            .await
            .map(drop)
    }
}

/// What went wrong with the rules of a deployment.
pub(crate) fn failed(error: Error) -> Error {
    Error::Apply {
        what: "rules of",
        name: "buses".to_owned(),
        source: Box::new(error),
    }
}
