//! Versions of functions: published, listed, deleted.

use crate::engine::Corridor;
use crate::functions::Found;
use crate::line::Released;
use crate::pool::Pool;
use crate::{Engine, Error, Result, chance};
use model::{
    Code, Function, FunctionName, FunctionVersion, Invalid, Qualifier, Timestamp, kept_labels,
};
use std::collections::BTreeMap;
use std::sync::Arc;

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
}

impl Corridor {
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
            Found::Version(released, of) => match released.pool() {
                Some(pool) => Ok(pool),
                // In a box of its own: rare, and large beside what every call needs.
                None => Box::pin(self.open(name, &released, &of)).await,
            },
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
}
