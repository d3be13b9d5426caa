//! Functions: declared, changed, looked up.

use crate::engine::Corridor;
use crate::functions::Found;
use crate::pool::Pool;
use crate::prototype::Prototype;
use crate::{Engine, Error, Result, chance};
use model::{
    ChangeKind, Code, Contract, Digest, Function, FunctionName, FunctionSpec, Invalid, Networks,
    Principal, Qualifier, Routing, Timestamp,
};
use std::sync::Arc;
use storage::Storage;

/// What a put may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Put {
    /// Only make a new one.
    Create,
    /// Only change an existing one; if given, only if its `revision_id` is still this.
    Update {
        /// For compare-and-set.
        revision_id: Option<String>,
    },
    /// Make or change; nothing happens if it is as declared.
    Upsert,
}

/// A function that was checked and whose code is here.
pub(crate) struct PreparedFunction(FunctionSpec);

impl PreparedFunction {
    pub(crate) fn name(&self) -> &FunctionName {
        &self.0.name
    }

    pub(crate) fn spec(&self) -> &FunctionSpec {
        &self.0
    }
}

impl Engine {
    /// Checks the declaration, unpacks the code, makes sure that the runtime is there, then keeps it.
    /// Instances of the revision before end their calls and are stopped.
    ///
    /// # Errors
    /// `Invalid`, `Storage` (bad zip, missing blob or image), `Runtime` (missing interpreter),
    /// `State` (`Conflict`, `NotFound`). Nothing half-made stays.
    pub async fn put_function(
        &self,
        spec: FunctionSpec,
        put: Put,
    ) -> Result<(Function, ChangeKind)> {
        let corridor = &self.corridor;
        // Told apart before any work is done for it; looked at again under the lock.
        corridor.admissible(&spec.name, &put)?;
        let prepared = corridor.prepare_function(spec).await?;
        let _changing = corridor.changing.lock().await;
        let leads = corridor.functions.is_unled(prepared.name());
        corridor.keep_function(prepared, &put, leads).await
    }

    /// One function.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_function(&self, name: &FunctionName) -> Result<Function> {
        let found = self.corridor.functions.find(name);
        let function = found.ok_or_else(|| Error::no_function(name))?;
        Ok(Function::clone(&function))
    }

    /// How one function is talked to by a call without a qualifier. Where its alias gives parts of the
    /// calls to versions that are talked to in different ways, one of them is picked, and the call must
    /// say that qualifier.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn contract(&self, name: &FunctionName) -> Result<(Contract, Option<Qualifier>)> {
        let functions = &self.corridor.functions;
        let alias = self.corridor.leading(name)?;
        if let Some(alias) = alias.filter(|alias| alias.share.is_some()) {
            let routing = Routing::of(&alias);
            let contract = |number: u64| -> Result<Contract> {
                Ok(functions.version(name, number)?.version().spec.contract)
            };
            let picked = alias.pick(chance::fraction());
            let mut all = routing.versions().map(contract);
            let first = all.next().transpose()?;
            if all.any(|other| other.ok() != first) {
                return Ok((contract(picked)?, Some(Qualifier::Version(picked))));
            }
        }
        let pool = functions.pool(name)?;
        Ok((pool.function().spec.contract, None))
    }

    /// Whether an instance that is on these networks may reach what a qualifier names of a function, or
    /// without one what its calls go to. Where an alias has two versions, it must reach both.
    ///
    /// # Errors
    /// `NotFound`, `Apart`.
    pub fn check_function_reach(
        &self,
        from: &Networks,
        name: &FunctionName,
        qualifier: Option<&Qualifier>,
    ) -> Result<()> {
        let functions = &self.corridor.functions;
        // No chance is below 0 or reaches 1: the one picks the share if it has any weight, the other never.
        for chance in [0.0, 1.0 - f64::EPSILON] {
            let meets = match functions.resolve(name, qualifier, || chance)? {
                Found::Pool(pool) => pool.function().spec.networks.meet(from),
                Found::Version(released, _) => released.version().spec.networks.meet(from),
            };
            if !meets {
                return Err(Error::Apart(format!("function \"{name}\"")));
            }
        }
        Ok(())
    }

    /// All functions by name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_functions(&self) -> Result<Vec<Function>> {
        let functions = self.corridor.functions.list();
        Ok(functions.iter().map(|f| Function::clone(f)).collect())
    }

    /// Removes a function, its waiting events (cancelled) and its instances: idle ones at once,
    /// busy ones when their call ends.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_function(&self, name: &FunctionName) -> Result<()> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        corridor.state.delete_function(name.clone()).await?;
        corridor.functions.remove(name);
        corridor.deleted.notify_one();
        let owner = format!("function:{name}");
        corridor.drop_declared_rules(owner).await
    }

    /// Digests of code and images that functions, their versions and services need.
    ///
    /// # Errors
    /// Of the store.
    pub async fn digests_in_use(&self) -> Result<Vec<model::Digest>> {
        let functions = self.list_functions().await?;
        let services = self.corridor.services.all();
        let services = services.iter().map(|resident| resident.service());
        let mut digests: Vec<_> = functions
            .iter()
            .map(|function| digest(&function.spec.code))
            .chain(services.map(|service| digest(&service.spec.code)))
            .chain(self.corridor.functions.digests())
            .collect();
        digests.sort_unstable();
        digests.dedup();
        Ok(digests)
    }
}

impl Corridor {
    /// Everything of a put that can fail because of what was asked.
    pub(crate) async fn prepare_function(
        &self,
        mut spec: FunctionSpec,
    ) -> Result<PreparedFunction> {
        if self.draining.is_cancelled() {
            return Err(Error::Draining);
        }
        check(&spec, &self.storage)?;
        if !self.has_image_of(&spec) {
            spec.code = self.pin_code(&spec.code).await?;
        }
        self.prepare_pinned(spec).await
    }

    /// The same of a declaration whose code was pinned just now.
    pub(crate) async fn prepare_pinned(&self, spec: FunctionSpec) -> Result<PreparedFunction> {
        if self.draining.is_cancelled() {
            return Err(Error::Draining);
        }
        check(&spec, &self.storage)?;
        let runtime = &self.node.runtime;
        let checked = runtime.check(spec.runtime, spec.driver, spec.snapshot);
        checked.await?;
        self.check_secrets(&spec.secrets, &spec.environment).await?;
        Ok(PreparedFunction(spec))
    }

    /// Whether a function has this very image already, and it is here. Its tag may mean another by now: only who
    /// changes the code wants that.
    fn has_image_of(&self, spec: &FunctionSpec) -> bool {
        let Code::Image { digest, .. } = &spec.code else {
            return false;
        };
        let before = self.functions.latest(&spec.name);
        before.is_ok_and(|pool| pool.function().spec.code == spec.code)
            && self.storage.image_root(digest).is_ok()
    }

    /// Keeps a function and opens the pool of its new revision; `leads`: calls without a qualifier go
    /// to it. The caller holds `changing`.
    pub(crate) async fn keep_function(
        &self,
        PreparedFunction(mut spec): PreparedFunction,
        put: &Put,
        leads: bool,
    ) -> Result<(Function, ChangeKind)> {
        let before = self.admissible(&spec.name, put)?;
        // One may have been removed since.
        self.check_secrets(&spec.secrets, &spec.environment).await?;
        if let (Some(before), Put::Update { .. }) = (&before, put) {
            // Changed by themselves, without a new revision id: they may be newer than what `spec` was made of.
            let (kept, told) = (&before.spec, &mut spec.destinations);
            told.on_success.clone_from(&kept.destinations.on_success);
            told.on_failure.clone_from(&kept.destinations.on_failure);
            told.modified = kept.destinations.modified;
            spec.retry = kept.retry.clone();
        }
        if let Some(before) = &before
            && *put == Put::Upsert
            && before.spec == spec
            && !self.functions.latest(&spec.name)?.is_broken()
        {
            return Ok((Function::clone(before), ChangeKind::Unchanged));
        }
        let now = Timestamp::now();
        if let Some(before) = &before
            && before.spec.runs_like(&spec)
            && !self.functions.latest(&spec.name)?.is_broken()
            && before.spec != spec
        {
            let function = Function {
                revision_id: uuid::Uuid::new_v4().to_string(),
                modified: now,
                spec,
                ..Function::clone(before)
            };
            self.amend_function(function.clone(), &before.revision_id)
                .await?;
            return Ok((function, ChangeKind::Updated));
        }
        self.check_reserved(&spec, before.as_deref())?;
        let function = Function {
            revision: before.as_ref().map_or(1, |before| before.revision + 1),
            revision_id: uuid::Uuid::new_v4().to_string(),
            created: before.as_ref().map_or(now, |before| before.created),
            modified: now,
            spec,
        };
        let prototype = Prototype::of_function(&self.vault, &function, None).await?;
        if prototype.is_broken() {
            let reason = "its image was removed meanwhile: import it again, then deploy";
            return Err(Error::Absent(reason.to_owned()));
        }
        let change = match before {
            Some(before) => {
                let expected = before.revision_id.clone();
                self.state
                    .update_function(function.clone(), expected)
                    .await?;
                ChangeKind::Updated
            }
            None => {
                if let Err(error) = self.state.create_function(function.clone()).await {
                    self.forget_credential(Principal::Function {
                        name: function.spec.name,
                    })
                    .await;
                    return Err(error.into());
                }
                ChangeKind::Created
            }
        };
        let opened = Arc::new(function.clone());
        let pool = Pool::open(opened, leads, prototype, self.node.clone());
        self.functions.put(pool);
        self.open_leading(&function.spec.name).await?;
        // The new revision may have room where the old one had none.
        self.dispatcher.slot_freed();
        Ok((function, change))
    }

    /// Keeps a change that does not concern instances. The caller holds `changing`.
    pub(crate) async fn amend_function(&self, function: Function, before: &str) -> Result<()> {
        let kept = self
            .state
            .update_function(function.clone(), before.to_owned());
        kept.await?;
        self.functions.amend(function);
        Ok(())
    }

    /// Instances that are reserved for functions, but for one.
    fn reserved(&self, but: Option<&FunctionName>) -> usize {
        let functions = self.functions.list();
        let specs = functions.iter().map(|function| &function.spec);
        let specs = specs.filter(|spec| but != Some(&spec.name));
        let reserved = specs.filter_map(|spec| spec.scaling.reserved);
        reserved.map(|count| count as usize).sum()
    }

    /// Says so if the machine was set to fewer instances than are reserved.
    pub(crate) fn warn_of_reservations(&self) {
        let (reserved, most) = (self.reserved(None), self.node.places.most());
        if reserved >= most {
            tracing::warn!(
                reserved,
                most,
                "functions without a reservation get no instances: raise --max-instances or reserve less"
            );
        }
    }

    /// A tenth of the machine's instances, one at least, stays for functions without a reservation. A
    /// function that asks for no more than it had is not held to what the machine was set to since.
    fn check_reserved(&self, spec: &FunctionSpec, before: Option<&Function>) -> Result<()> {
        let Some(asked) = spec.scaling.reserved else {
            return Ok(());
        };
        let had = before.and_then(|before| before.spec.scaling.reserved);
        if had.is_some_and(|had| asked <= had) {
            return Ok(());
        }
        let reserved = self.reserved(Some(&spec.name)) + asked as usize;
        let most = self.node.places.most();
        let left = (most / 10).max(1);
        if asked > 0 && reserved > most.saturating_sub(left) {
            return Err(Error::Reserved {
                name: spec.name.to_string(),
                asked,
                reserved,
                most,
                left,
            });
        }
        Ok(())
    }

    /// The function as it is, if this put may be done to it.
    fn admissible(&self, name: &FunctionName, put: &Put) -> Result<Option<Arc<Function>>> {
        if self.draining.is_cancelled() {
            return Err(Error::Draining);
        }
        let before = self.functions.find(name);
        let conflict = |reason: &str| {
            Err(Error::State(state::Error::Conflict {
                what: "function",
                name: name.to_string(),
                reason: reason.to_owned(),
            }))
        };
        match (put, &before) {
            (Put::Create, Some(_)) => conflict("exists already; update it, or take another name"),
            (Put::Update { .. }, None) => Err(Error::no_function(name)),
            (Put::Update { revision_id }, Some(before))
                if revision_id
                    .as_ref()
                    .is_some_and(|id| *id != before.revision_id) =>
            {
                conflict("was changed meanwhile: its revision id is another; read it again")
            }
            _ => Ok(before),
        }
    }
}

/// The model's rules, with the place of a limit named.
pub(crate) fn check(spec: &FunctionSpec, storage: &Storage) -> std::result::Result<(), Invalid> {
    let limits = spec.limits.check();
    limits.map_err(|error| below("limits", error))?;
    spec.check()?;
    match &spec.code {
        Code::Image { reference, .. } if spec.follow && storage.local_tag(reference).is_none() => {
            let reason = "needs an image by a tag of this server's registry, such as \
                          localhost:4566/shop/thumbnail:prod (other names: `rouse serve --registry-name`)";
            Err(Invalid::new("follow", reason))
        }
        _ => Ok(()),
    }
}

/// The same rule, one level further in.
pub(crate) fn below(place: &str, error: Invalid) -> Invalid {
    Invalid::new(format!("{place}.{}", error.field), error.reason)
}

fn digest(code: &Code) -> Digest {
    match code {
        Code::Zip { digest, .. } | Code::Image { digest, .. } => digest.clone(),
    }
}
