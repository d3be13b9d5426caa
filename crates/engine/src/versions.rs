//! Versions of functions: published, listed, deleted; and the aliases that name them.

use crate::attempt::PATIENCE;
use crate::engine::Corridor;
use crate::functions::Found;
use crate::line::Released;
use crate::pool::{Grant, Pool};
use crate::{Engine, Error, Result, chance};
use model::{
    Alias, AliasName, Code, Ending, Function, FunctionName, FunctionVersion, Invalid, Qualifier,
    Share, Timestamp, kept_labels,
};
use state::PutAlias;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Longest that a new version's first start is waited for, whatever its timeout: other changes of functions wait
/// meanwhile.
const LONGEST_TRIAL: Duration = Duration::from_secs(60);

/// What is published, and by whom.
#[derive(Debug, Clone, Default)]
pub struct Publish {
    /// Free text; `None` for the function's.
    pub description: Option<String>,
    /// If given, only if the function's `revision_id` is still this.
    pub revision_id: Option<String>,
    /// A principal's key.
    pub by: String,
}

/// What an alias shall be.
#[derive(Debug, Clone)]
pub struct AliasChange {
    /// The version that it names.
    pub version: u64,
    /// A second version with a part of the calls.
    pub share: Option<Share>,
    /// Free text.
    pub description: String,
    /// A principal's key.
    pub by: String,
}

/// A function as one qualifier means it.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Its declaration and revision.
    pub function: Function,
    /// The published version; `None` for what was declared last.
    pub version: Option<FunctionVersion>,
}

impl Engine {
    /// Publishes what was declared last as a version, unless the newest version is the same.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when the function is another by now.
    pub async fn publish_version(
        &self,
        name: &FunctionName,
        publish: Publish,
    ) -> Result<FunctionVersion> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        let function = corridor.functions.find(name);
        let function = function.ok_or_else(|| Error::no_function(name))?;
        if let Some(expected) = &publish.revision_id
            && *expected != function.revision_id
        {
            return Err(Error::State(state::Error::Conflict {
                what: "function",
                name: name.to_string(),
                reason: "was changed meanwhile: its revision id is another; read it again".into(),
            }));
        }
        let newest = corridor.functions.versions(name)?.pop();
        if let Some(same) = newest.filter(|one| one.version().is_of(&function.spec)) {
            return Ok(same.version().clone());
        }
        let released = corridor.publish(&function, publish).await?;
        Ok(released.version().clone())
    }

    /// The versions of a function by number.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn list_versions(&self, name: &FunctionName) -> Result<Vec<FunctionVersion>> {
        let versions = self.corridor.functions.versions(name)?;
        let versions = versions.iter().map(|released| released.version().clone());
        Ok(versions.collect())
    }

    /// What a qualifier means now; without one, what was declared last. Of an alias, the version that
    /// it names first.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_qualified(
        &self,
        name: &FunctionName,
        qualifier: Option<&Qualifier>,
    ) -> Result<Resolved> {
        let functions = &self.corridor.functions;
        let qualifier = qualifier.unwrap_or(&Qualifier::Latest);
        // No weight is above 1, so that this picks an alias's own version.
        match functions.resolve(name, Some(qualifier), || 1.0)? {
            Found::Version(released, of) => Ok(Resolved {
                function: released.function(&of),
                version: Some(released.version().clone()),
            }),
            Found::Pool(_) => Ok(Resolved {
                function: self.get_function(name).await?,
                version: None,
            }),
        }
    }

    /// Removes a version; its calls under way end.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` while an alias names it.
    pub async fn delete_version(&self, name: &FunctionName, number: u64) -> Result<()> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        corridor.functions.latest(name)?;
        corridor.delete_version(name, number).await
    }

    /// The aliases of a function by name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn list_aliases(&self, name: &FunctionName) -> Result<Vec<Alias>> {
        self.corridor.functions.aliases(name)
    }

    /// Makes or changes an alias. Whether it leads stays as it was.
    ///
    /// # Errors
    /// `Invalid`; `NotFound`, the function, a version or the alias of an update; `Conflict` as
    /// [`state::State::put_alias`] says.
    pub async fn put_alias(
        &self,
        name: &FunctionName,
        alias: AliasName,
        change: AliasChange,
        put: PutAlias,
    ) -> Result<Alias> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        let before = corridor.functions.aliases(name)?;
        let leads = before.iter().any(|one| one.name == alias && one.leads);
        corridor.put_alias(name, alias, change, put, leads).await
    }

    /// Removes an alias. Without its leading alias a function's calls go to what was declared last.
    ///
    /// # Errors
    /// `NotFound`, the function.
    pub async fn delete_alias(&self, name: &FunctionName, alias: &AliasName) -> Result<()> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        corridor.functions.latest(name)?;
        let (function, alias) = (name.clone(), alias.clone());
        corridor.state.delete_alias(function, alias.clone()).await?;
        corridor.functions.remove_alias(name, &alias);
        Ok(())
    }

    /// Lets calls without a qualifier go to another version from now on: `to`, else the newest kept
    /// one before the one that serves. Nothing is built and nothing is waited for; calls under way end
    /// where they are. Gives the alias as it is now.
    ///
    /// # Errors
    /// `NotFound`; `Refused` when there is no version before.
    pub async fn rollback(&self, name: &FunctionName, to: Option<u64>, by: &str) -> Result<Alias> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        let live = corridor.leading(name)?;
        let to = match to {
            Some(number) => number,
            None => {
                let serving = live.as_ref().map_or(u64::MAX, |alias| alias.version);
                let all = corridor.functions.versions(name)?;
                let numbers = all.iter().map(|released| released.version().number);
                let earlier = numbers.filter(|number| *number < serving).max();
                earlier.ok_or_else(|| {
                    Error::Refused(format!(
                        "{name} has no version before the one that serves; `rouse versions {name}` lists them"
                    ))
                })?
            }
        };
        let released = corridor.functions.version(name, to)?;
        let pool = corridor.open_version(name, &released).await?;
        if pool.is_broken() {
            return Err(Error::Absent(format!(
                "the image of version {to} of {name} is not here any more; import it again, or name another version with --to"
            )));
        }
        corridor.go_live(name, to, by).await
    }
}

impl Corridor {
    /// The alias that calls without a qualifier go by.
    pub(crate) fn leading(&self, name: &FunctionName) -> Result<Option<Alias>> {
        let aliases = self.functions.aliases(name)?;
        Ok(aliases.into_iter().find(|alias| alias.leads))
    }

    /// The pool for one call of a function.
    ///
    /// # Errors
    /// `NotFound`; of the store.
    pub(crate) async fn pool_for(
        &self,
        name: &FunctionName,
        qualifier: Option<&Qualifier>,
    ) -> Result<Arc<Pool>> {
        match self.functions.resolve(name, qualifier, chance::fraction)? {
            Found::Pool(pool) => Ok(pool),
            Found::Version(released, of) => self.open(name, &released, &of).await,
        }
    }

    /// The pool of a version.
    pub(crate) async fn open_version(
        &self,
        name: &FunctionName,
        released: &Arc<Released>,
    ) -> Result<Arc<Pool>> {
        let of = self.functions.find(name);
        let of = of.ok_or_else(|| Error::no_function(name))?;
        self.open(name, released, &of).await
    }

    async fn open(
        &self,
        name: &FunctionName,
        released: &Arc<Released>,
        of: &Function,
    ) -> Result<Arc<Pool>> {
        if let Some(pool) = released.pool() {
            return Ok(pool);
        }
        let pool = released.open(of, &self.vault, &self.node).await?;
        // Taken away or renewed while it was opened: whoever asks it is sent back to ask again.
        if !self.functions.adopts(name, released) {
            pool.retire();
        }
        Ok(pool)
    }

    /// Opens the pools that calls without a qualifier go to. The caller holds `changing`, or nobody
    /// can change anything yet.
    pub(crate) async fn open_leading(&self, name: &FunctionName) -> Result<()> {
        let Some(alias) = self.leading(name)? else {
            return Ok(());
        };
        let second = alias.share.as_ref().map(|share| share.version);
        for number in std::iter::once(alias.version).chain(second) {
            let released = self.functions.version(name, number)?;
            self.open_version(name, &released).await?;
        }
        Ok(())
    }

    /// Keeps what was declared as the next version. The caller holds `changing`.
    pub(crate) async fn publish(
        &self,
        function: &Function,
        publish: Publish,
    ) -> Result<Arc<Released>> {
        let name = function.spec.name.clone();
        let description = publish.description;
        let description = description.unwrap_or_else(|| function.spec.description.clone());
        if description.chars().count() > 256 {
            return Err(Invalid::new("description", "is longer than 256 characters").into());
        }
        let version = FunctionVersion {
            number: 0,
            spec: function.spec.clone(),
            revision: function.revision,
            revision_id: uuid::Uuid::new_v4().to_string(),
            description,
            created: Timestamp::now(),
            by: publish.by,
            labels: self.labels(&function.spec.code).await?,
        };
        let expected = function.revision_id.clone();
        let kept = self
            .state
            .publish_version(version, expected, self.max_versions);
        let published = kept.await?;
        self.functions.withdraw(&name, &published.dropped);
        let released = Released::new(published.version);
        self.functions.release(&name, released.clone());
        Ok(released)
    }

    async fn labels(&self, code: &Code) -> Result<BTreeMap<String, String>> {
        match code {
            Code::Zip { .. } => Ok(BTreeMap::new()),
            Code::Image { digest, .. } => {
                let image = self.state.get_image_by_digest(digest.clone()).await?;
                Ok(kept_labels(&image.config.labels))
            }
        }
    }

    /// The caller holds `changing`.
    pub(crate) async fn delete_version(&self, name: &FunctionName, number: u64) -> Result<()> {
        self.state.delete_version(name.clone(), number).await?;
        self.functions.withdraw(name, &[number]);
        Ok(())
    }

    async fn put_alias(
        &self,
        name: &FunctionName,
        alias: AliasName,
        change: AliasChange,
        put: PutAlias,
        leads: bool,
    ) -> Result<Alias> {
        let alias = Alias {
            name: alias,
            version: change.version,
            share: change.share,
            description: change.description,
            revision_id: uuid::Uuid::new_v4().to_string(),
            leads,
            modified: Timestamp::now(),
            by: change.by,
        };
        alias.check()?;
        let kept = self.state.put_alias(name.clone(), alias.clone(), put);
        kept.await?;
        self.functions.put_alias(name, alias.clone());
        self.open_leading(name).await?;
        // What was starved may find room there.
        self.dispatcher.slot_freed();
        Ok(alias)
    }

    /// Moves the alias `live` to one version, for all calls. The caller holds `changing`.
    pub(crate) async fn go_live(
        &self,
        name: &FunctionName,
        version: u64,
        by: &str,
    ) -> Result<Alias> {
        let live = AliasName::live();
        let before = self.functions.aliases(name)?;
        let before = before.into_iter().find(|alias| alias.name == live);
        let change = AliasChange {
            version,
            share: None,
            description: before.map_or_else(String::new, |alias| alias.description),
            by: by.to_owned(),
        };
        self.put_alias(name, live, change, PutAlias::Upsert, true)
            .await
    }

    /// Whether an instance of a version starts; if not, why.
    pub(crate) async fn try_start(&self, pool: &Arc<Pool>) -> std::result::Result<(), Unstarted> {
        let timeout = Duration::from_millis(pool.function().spec.limits.timeout);
        match pool.acquire(timeout.min(LONGEST_TRIAL) + PATIENCE).await {
            // Given back unused, for the first call. With nothing reserved there are no calls.
            Ok(Grant::Ready(_)) | Err(crate::pool::Refused::Off) => Ok(()),
            Ok(Grant::Failed(failure)) => {
                let error = failure.ending.error().unwrap_or_default();
                let log = String::from_utf8_lossy(&failure.log_tail);
                // The platform's own last line repeats the error.
                let own = |line: &&str| !line.trim().is_empty() && !line.contains("INIT_REPORT ");
                let last = log.lines().rev().find(own);
                let reason = match last {
                    Some(line) => format!("{error} (its log ends with: {})", line.escape_debug()),
                    None => error,
                };
                let untried = matches!(failure.ending, Ending::Unavailable { .. });
                Err(Unstarted { reason, untried })
            }
            Ok(Grant::Moved) => Err(Unstarted::by_machine("it was taken away meanwhile")),
            Err(_) => Err(Unstarted::by_machine(
                "the machine had no room for it in time",
            )),
        }
    }
}

/// Why no instance of a version started.
pub(crate) struct Unstarted {
    pub(crate) reason: String,
    /// Whether it says nothing of the version: there was no room, or this machine failed.
    pub(crate) untried: bool,
}

impl Unstarted {
    fn by_machine(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            untried: true,
        }
    }
}
