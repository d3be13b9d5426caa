//! Aliases of versions: made, moved, removed, gone back in; and the one that calls without a qualifier
//! go by.

use crate::engine::Corridor;
use crate::{Engine, Error, Result};
use model::{
    Alias, AliasMove, AliasName, FunctionName, MAX_ALIAS_MOVES, Routing, Share, Timestamp,
    step_back,
};
use state::PutAlias;

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

impl Engine {
    /// The aliases of a function by name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn list_aliases(&self, name: &FunctionName) -> Result<Vec<Alias>> {
        self.corridor.functions.aliases(name)
    }

    /// Where calls without a qualifier go; `None` when that is what was declared last, and for what is no
    /// function.
    pub fn serving(&self, name: &FunctionName) -> Option<Routing> {
        let leading = self.corridor.leading(name).ok().flatten();
        leading.as_ref().map(Routing::of)
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
    pub async fn delete_alias(
        &self,
        name: &FunctionName,
        alias: &AliasName,
        by: &str,
    ) -> Result<()> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        corridor.functions.latest(name)?;
        let (function, alias) = (name.clone(), alias.clone());
        let (by, now) = (by.to_owned(), Timestamp::now());
        let deleted = corridor
            .state
            .delete_alias(function, alias.clone(), by, now);
        deleted.await?;
        corridor.functions.remove_alias(name, &alias);
        Ok(())
    }

    /// What was done to the aliases of a function, or to one of them, the newest first: `limit` moves at
    /// most, of the [`MAX_ALIAS_MOVES`] that are kept.
    ///
    /// # Errors
    /// `NotFound`, the function.
    pub async fn list_alias_moves(
        &self,
        name: &FunctionName,
        alias: Option<AliasName>,
        limit: u32,
    ) -> Result<Vec<AliasMove>> {
        self.corridor.functions.latest(name)?;
        let limit = limit.min(MAX_ALIAS_MOVES);
        let state = &self.corridor.state;
        Ok(state.list_alias_moves(name.clone(), alias, limit).await?)
    }

    /// Lets calls without a qualifier go elsewhere from now on: to version `to`, else where they went one
    /// step before in the history of the alias `live`, its weights too; where that does not reach so
    /// far, to the newest kept version before the one that serves. Nothing is built and nothing is waited
    /// for; calls under way end where they are. Gives the alias as it is now.
    ///
    /// # Errors
    /// `NotFound`; `Refused` when there is nothing before.
    pub async fn rollback(&self, name: &FunctionName, to: Option<u64>, by: &str) -> Result<Alias> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        let (routing, put) = match to {
            Some(version) => {
                let share = None;
                (Routing { version, share }, PutAlias::Upsert)
            }
            None => (corridor.step_before(name).await?, PutAlias::Back),
        };
        for version in routing.versions() {
            let released = corridor.functions.version(name, version)?;
            let pool = corridor.open_version(name, &released).await?;
            if pool.is_broken() {
                return Err(Error::Absent(format!(
                    "the image of version {version} of {name} is not here any more; import it again, or name another version with --to"
                )));
            }
        }
        corridor.put_live(name, routing, put, by).await
    }
}

impl Corridor {
    /// The alias that calls without a qualifier go by.
    pub(crate) fn leading(&self, name: &FunctionName) -> Result<Option<Alias>> {
        let aliases = self.functions.aliases(name)?;
        Ok(aliases.into_iter().find(|alias| alias.leads))
    }

    /// Where calls without a qualifier went one step before.
    async fn step_before(&self, name: &FunctionName) -> Result<Routing> {
        let now = self.leading(name)?.as_ref().map(Routing::of);
        let live = Some(AliasName::live());
        let moves = self
            .state
            .list_alias_moves(name.clone(), live, MAX_ALIAS_MOVES);
        let mut moves = moves.await?;
        moves.reverse();
        let all = self.functions.versions(name)?;
        let numbers = all.iter().map(|released| released.version().number);
        let numbers: Vec<u64> = numbers.collect();
        if let Some(step) = step_back(&moves, now.as_ref(), |version| numbers.contains(&version)) {
            return Ok(step);
        }
        let serving = now.map_or(u64::MAX, |now| now.version);
        let earlier = numbers.into_iter().filter(|number| *number < serving).max();
        let version = earlier.ok_or_else(|| {
            Error::Refused(format!(
                "{name} has no version before the one that serves; `rouse versions {name}` lists them"
            ))
        })?;
        let share = None;
        Ok(Routing { version, share })
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
        let share = None;
        let routing = Routing { version, share };
        self.put_live(name, routing, PutAlias::Upsert, by).await
    }

    async fn put_live(
        &self,
        name: &FunctionName,
        routing: Routing,
        put: PutAlias,
        by: &str,
    ) -> Result<Alias> {
        let live = AliasName::live();
        let before = self.functions.aliases(name)?;
        let before = before.into_iter().find(|alias| alias.name == live);
        let change = AliasChange {
            version: routing.version,
            share: routing.share,
            description: before.map_or_else(String::new, |alias| alias.description),
            by: by.to_owned(),
        };
        self.put_alias(name, live, change, put, true).await
    }
}
