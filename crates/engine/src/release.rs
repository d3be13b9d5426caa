//! What a deployment does to one function: kept, published, tried, made live.

use crate::catalog::{PreparedFunction, Put};
use crate::engine::Corridor;
use crate::line::Released;
use crate::pool::Pool;
use crate::trial::Unstarted;
use crate::turn::Turn;
use crate::versions::Publish;
use crate::{Error, Result};
use model::{Alias, ChangeKind, Function, FunctionName, Kind, Principal, Routing};
use std::sync::Arc;

impl Corridor {
    /// Keeps a declared function, publishes it if it is no version yet, and moves the alias `live` to
    /// it. If a version serves already, an instance of the new one must start first: else the old
    /// version goes on serving. The caller's turn is given to others while that start is waited for; if one
    /// of them changes the function, this release is off.
    ///
    /// # Errors
    /// As [`Corridor::keep_function`]; `NotStarted`; `Draining`.
    pub(crate) async fn release_function(
        &self,
        prepared: PreparedFunction,
        turn: &mut Turn<'_>,
    ) -> Result<ChangeKind> {
        let name = prepared.name().clone();
        self.keep_serving(&prepared).await?;
        let (function, change) = self.keep_function(prepared, &Put::Upsert, false).await?;
        let moved = self.make_live(&name, &function, turn).await?;
        Ok(match change {
            ChangeKind::Unchanged if moved => ChangeKind::Updated,
            change => change,
        })
    }

    /// What has served until now without being a version becomes one, so that it goes on until the
    /// new one has started.
    async fn keep_serving(&self, prepared: &PreparedFunction) -> Result<()> {
        let name = prepared.name();
        let Some(before) = self.functions.find(name) else {
            return Ok(());
        };
        if self.leading(name)?.is_some()
            || before.spec == *prepared.spec()
            || self.functions.latest(name)?.is_broken()
        {
            return Ok(());
        }
        let released = self.published(&before).await?.0;
        self.go_live(name, released.version().number, &by()).await?;
        Ok(())
    }

    /// Gives whether `live` was moved.
    async fn make_live(
        &self,
        name: &FunctionName,
        function: &Function,
        turn: &mut Turn<'_>,
    ) -> Result<bool> {
        let (mut released, new) = self.published(function).await?;
        let number = released.version().number;
        let live = self.leading(name)?;
        let broken = released.pool().is_some_and(|pool| pool.is_broken());
        if broken {
            // Its image was away and is here again.
            released = self.functions.renew_version(name, number)?;
        }
        let there = live.as_ref().filter(|alias| alias.share.is_none());
        if there.is_some_and(|alias| alias.version == number) {
            self.open_leading(name).await?;
            return Ok(broken);
        }
        let pool = self.open_version(name, &released).await?;
        if let Some(live) = live
            && let Err(unstarted) = self
                .try_aside(function, (number, &pool), &live, turn)
                .await?
        {
            if new {
                self.discard(name, number).await?;
            }
            let now = self.leading(name).ok().flatten().unwrap_or(live);
            return Err(Error::NotStarted {
                name: name.to_string(),
                serving: now.version,
                reason: unstarted.reason,
                untried: unstarted.untried,
            });
        }
        self.go_live(name, number, &by()).await?;
        Ok(true)
    }

    /// Whether an instance starts, and the function is still the same after that and its calls still go
    /// where `live` leads, or to the new version already.
    async fn try_aside(
        &self,
        function: &Function,
        (number, pool): (u64, &Arc<Pool>),
        live: &Alias,
        turn: &mut Turn<'_>,
    ) -> Result<std::result::Result<(), Unstarted>> {
        let tried = turn.aside(self.try_start(pool)).await;
        if self.draining.is_cancelled() {
            return Err(Error::Draining);
        }
        let name = &function.spec.name;
        let now = self.functions.find(name);
        if now.is_none_or(|now| now.revision_id != function.revision_id) {
            let reason = "the function was changed while it was started";
            return Ok(Err(Unstarted::by_machine(reason)));
        }
        let leads = self.leading(name)?.as_ref().map(Routing::of);
        let wanted = Routing {
            version: number,
            share: None,
        };
        if leads != Some(Routing::of(live)) && leads != Some(wanted) {
            // Final: whoever moved it wants that, and trying again would undo it.
            return Ok(Err(Unstarted {
                reason: format!("\"{}\" was moved while it was started", live.name),
                untried: false,
            }));
        }
        Ok(tried)
    }

    /// Removes a version that did not start, unless somebody gave it a name meanwhile, or removed it.
    async fn discard(&self, name: &FunctionName, number: u64) -> Result<()> {
        match self.delete_version(name, number).await {
            Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => Ok(()),
            deleted => deleted,
        }
    }

    /// The newest version that is the same as what is declared, or a new one, and whether it is new.
    async fn published(&self, function: &Function) -> Result<(Arc<Released>, bool)> {
        let versions = self.functions.versions(&function.spec.name)?;
        let same = |released: &&Arc<Released>| released.version().is_of(&function.spec);
        if let Some(released) = versions.iter().rev().find(same) {
            return Ok((released.clone(), false));
        }
        let publish = Publish {
            by: by(),
            ..Publish::default()
        };
        Ok((self.publish(function, publish).await?, true))
    }
}

/// Only the owner deploys.
fn by() -> String {
    Principal::Root.key()
}
