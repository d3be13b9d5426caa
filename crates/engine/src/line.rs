//! The versions of one function and its aliases, as they are now.

use crate::pool::Pool;
use crate::prototype::Prototype;
use crate::secrets::Vault;
use crate::{Result, node::Node};
use model::{Alias, AliasName, EventInvoke, Function, FunctionVersion, Qualifier};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// A published version, and its pool once it was needed.
pub(crate) struct Released {
    version: FunctionVersion,
    pool: OnceCell<Arc<Pool>>,
}

impl Released {
    pub(crate) fn new(version: FunctionVersion) -> Arc<Self> {
        Arc::new(Self {
            version,
            pool: OnceCell::new(),
        })
    }

    /// What was published.
    pub(crate) fn version(&self) -> &FunctionVersion {
        &self.version
    }

    /// Its pool, if it is open.
    pub(crate) fn pool(&self) -> Option<Arc<Pool>> {
        self.pool.get().cloned()
    }

    /// Its pool, which is opened if it is not.
    ///
    /// # Errors
    /// Of the store.
    pub(crate) async fn open(
        &self,
        of: &Function,
        vault: &Arc<Vault>,
        node: &Arc<Node>,
    ) -> Result<Arc<Pool>> {
        let open = || async {
            let function = self.function(of);
            let number = self.version.number;
            let prototype = Prototype::of_function(vault, &function, Some(number)).await?;
            let pool = Pool::open_version(Arc::new(function), number, prototype, node.clone());
            Ok::<_, crate::Error>(pool)
        };
        self.pool.get_or_try_init(open).await.cloned()
    }

    /// As a function: what the version pins, and the rest as the function has it now.
    pub(crate) fn function(&self, of: &Function) -> Function {
        let mut spec = self.version.spec.clone();
        spec.scaling.reserved = of.spec.scaling.reserved;
        spec.retry = of.spec.retry.clone();
        spec.destinations = of.spec.destinations.clone();
        spec.description.clone_from(&self.version.description);
        Function {
            spec,
            revision: self.version.revision,
            revision_id: self.version.revision_id.clone(),
            created: of.created,
            modified: self.version.created,
        }
    }
}

/// All of one function's.
#[derive(Default)]
pub(crate) struct Line {
    versions: BTreeMap<u64, Arc<Released>>,
    aliases: BTreeMap<AliasName, Alias>,
    invokes: BTreeMap<Qualifier, EventInvoke>,
}

impl Line {
    pub(crate) fn version(&self, number: u64) -> Option<&Arc<Released>> {
        self.versions.get(&number)
    }

    pub(crate) fn versions(&self) -> impl Iterator<Item = &Arc<Released>> {
        self.versions.values()
    }

    pub(crate) fn put(&mut self, released: Arc<Released>) {
        self.versions.insert(released.version.number, released);
    }

    /// Forgets the pool of a version and gives it, if it was open; all else of the version stays.
    pub(crate) fn renew_version(&mut self, number: u64) -> Option<Arc<Pool>> {
        let released = self.versions.get_mut(&number)?;
        let pool = released.pool();
        *released = Released::new(released.version.clone());
        pool
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Arc<Released>> {
        self.invokes.remove(&Qualifier::Version(number));
        self.versions.remove(&number)
    }

    /// How events that say a qualifier are delivered, each.
    pub(crate) fn invokes(&self) -> &BTreeMap<Qualifier, EventInvoke> {
        &self.invokes
    }

    pub(crate) fn put_invoke(&mut self, qualifier: Qualifier, config: Option<EventInvoke>) {
        match config {
            Some(config) => self.invokes.insert(qualifier, config),
            None => self.invokes.remove(&qualifier),
        };
    }

    pub(crate) fn alias(&self, name: &AliasName) -> Option<&Alias> {
        self.aliases.get(name)
    }

    pub(crate) fn aliases(&self) -> impl Iterator<Item = &Alias> {
        self.aliases.values()
    }

    /// The alias that calls without a qualifier go by.
    pub(crate) fn leading(&self) -> Option<&Alias> {
        self.aliases.values().find(|alias| alias.leads)
    }

    pub(crate) fn put_alias(&mut self, alias: Alias) {
        if alias.leads {
            self.aliases
                .values_mut()
                .for_each(|other| other.leads = false);
        }
        self.aliases.insert(alias.name.clone(), alias);
    }

    pub(crate) fn remove_alias(&mut self, name: &AliasName) {
        self.aliases.remove(name);
        self.invokes.remove(&Qualifier::Alias(name.clone()));
    }

    /// Tells the open pools whether they lead.
    pub(crate) fn lead(&self) {
        let leading = self.leading();
        for released in self.versions.values() {
            if let Some(pool) = released.pool.get() {
                pool.lead(leading.is_some_and(|alias| alias.names(released.version.number)));
            }
        }
    }

    /// Gives the pools that are open; from now on the versions have none. One that is being opened now is
    /// no version's any more.
    pub(crate) fn renew(&mut self) -> Vec<Arc<Pool>> {
        let mut open = Vec::new();
        for released in self.versions.values_mut() {
            open.extend(released.pool());
            *released = Released::new(released.version.clone());
        }
        open
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::Timestamp;

    #[test]
    fn a_version_whose_pool_is_being_opened_is_renewed_too() {
        let spec = serde_json::json!({
            "name": "f", "runtime": "nodejs20.x", "handler": "index.handler",
            "code": {"zip": {"digest": format!("sha256:{}", "a".repeat(64)), "size": 1}},
        });
        let version = FunctionVersion {
            number: 1,
            spec: serde_json::from_value(spec).unwrap(),
            revision: 1,
            revision_id: "v".into(),
            description: String::new(),
            created: Timestamp(3),
            by: "root".into(),
            labels: BTreeMap::new(),
        };
        let mut line = Line::default();
        line.put(Released::new(version));
        let named = Qualifier::Version(1);
        line.put_invoke(named.clone(), Some(EventInvoke::default()));
        let opening = line.version(1).unwrap().clone();
        assert!(line.renew().is_empty());
        let now = line.version(1).unwrap();
        assert!(!Arc::ptr_eq(now, &opening));
        assert_eq!(now.version(), opening.version());
        let again = now.clone();
        assert!(line.renew_version(1).is_none(), "its pool is not open");
        assert!(!Arc::ptr_eq(line.version(1).unwrap(), &again));
        assert!(
            line.invokes().contains_key(&named),
            "what is said of it stays"
        );
    }
}
