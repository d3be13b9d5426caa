//! Secrets and configs: kept sealed, given to instances when they start, followed by those that run.

pub(crate) mod cipher;
mod key;
mod vault;

pub use key::{KeyError, SecretKeys};
pub(crate) use vault::{Furnished, Vault};

use crate::engine::Corridor;
use crate::prototype::Prototype;
use crate::{Engine, Error, Result};
use model::{
    ChangeKind, MAX_SECRET, SecretKind, SecretName, SecretRecord, SecretUse, Timestamp,
    environment_bytes,
};
use state::SealedSecret;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Engine {
    /// Makes or sets a secret or config; nothing happens if it has this value already. Functions that use it replace
    /// their instances, idle ones at once and busy ones after their call; services are rolled over to new replicas.
    ///
    /// # Errors
    /// `Limit` (there are 1 000), `Refused` when it is too large, or something that has it in its environment cannot.
    pub async fn put_secret(
        &self,
        kind: SecretKind,
        name: SecretName,
        value: Vec<u8>,
    ) -> Result<(SecretRecord, ChangeKind)> {
        if value.len() > MAX_SECRET {
            return Err(Error::Refused(format!(
                "{kind} \"{name}\" has {} bytes; {MAX_SECRET} are the most",
                value.len()
            )));
        }
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        if corridor.draining.is_cancelled() {
            return Err(Error::Draining);
        }
        let before = corridor.vault.find(kind, &name).await?;
        if let Some((record, Ok(old))) = &before
            && *old == value
        {
            return Ok((record.clone(), ChangeKind::Unchanged));
        }
        if kind == SecretKind::Secret {
            corridor.check_users(&name, &value).await?;
        }
        let record = corridor.vault.put(kind, name.clone(), &value).await?;
        corridor.follow(kind, &name).await?;
        let change = match before {
            Some(_) => ChangeKind::Updated,
            None => ChangeKind::Created,
        };
        Ok((record, change))
    }

    /// All of a kind by name, and whether the server has the key of each.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_secrets(&self, kind: SecretKind) -> Result<Vec<(SecretRecord, bool)>> {
        let corridor = &self.corridor;
        let all = corridor.state.list_secrets(kind).await?;
        let readable = |record: SecretRecord| {
            let has = corridor.vault.keys().has(&record.key_id);
            (record, has)
        };
        Ok(all.into_iter().map(readable).collect())
    }

    /// What a config says. There is no such thing for secrets.
    ///
    /// # Errors
    /// `NotFound`, `Sealed`.
    pub async fn read_config(&self, name: SecretName) -> Result<(SecretRecord, Vec<u8>)> {
        let vault = &self.corridor.vault;
        vault.get(SecretKind::Config, name).await
    }

    /// Removes one that nothing uses.
    ///
    /// # Errors
    /// `NotFound`; `Refused` with what uses it.
    pub async fn delete_secret(&self, kind: SecretKind, name: SecretName) -> Result<()> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        if let Some(user) = corridor.user_of(kind, &name) {
            return Err(Error::Managed(format!(
                "{user} uses the {kind} \"{name}\": change or remove that first"
            )));
        }
        Ok(corridor.state.delete_secret(kind, name).await?)
    }
}

/// Somebody who uses secrets.
struct User {
    title: String,
    secrets: SecretUse,
    /// Bytes of its environment without them.
    environment: usize,
}

impl User {
    fn new(title: String, secrets: &SecretUse, environment: &BTreeMap<String, String>) -> Self {
        Self {
            title,
            secrets: secrets.clone(),
            environment: environment_bytes(environment),
        }
    }
}

impl Corridor {
    /// Whether everything that is named is here and fits.
    ///
    /// # Errors
    /// `Absent`, `Refused`, `Sealed`.
    pub(crate) async fn check_secrets(
        &self,
        used: &SecretUse,
        environment: &BTreeMap<String, String>,
    ) -> Result<()> {
        for (kind, name) in used.names() {
            let found = self.vault.find(kind, name).await?;
            if found.is_none() {
                return Err(Error::Absent(format!(
                    "the {kind} \"{name}\" is not on this server: make it with `rouse {kind} set {name}`"
                )));
            }
        }
        for name in used.environment.values() {
            let (_, value) = self.vault.get(SecretKind::Secret, name.clone()).await?;
            vault::check_variable(name, &value)?;
        }
        let taken = environment_bytes(environment) + self.bytes_with(used, None).await?;
        vault::check_bytes(taken)
    }

    /// Whether everything that has this secret in its environment can start with a new value.
    ///
    /// # Errors
    /// `Refused`, with who cannot.
    async fn check_users(&self, name: &SecretName, value: &[u8]) -> Result<()> {
        for user in self.uses() {
            if !user.secrets.environment.values().any(|known| known == name) {
                continue;
            }
            vault::check_variable(name, value)?;
            let secrets = self
                .bytes_with(&user.secrets, Some((name, value.len())))
                .await?;
            vault::check_bytes(user.environment + secrets)
                .map_err(|error| Error::Refused(format!("{}: {error}", user.title)))?;
        }
        Ok(())
    }

    /// What secrets add to an environment, in bytes; `new` is one that has another size from now on.
    async fn bytes_with(
        &self,
        used: &SecretUse,
        new: Option<(&SecretName, usize)>,
    ) -> Result<usize> {
        let mut bytes = 0;
        for (variable, name) in &used.environment {
            let size = match new {
                Some((changed, size)) if changed == name => size,
                _ => match self.vault.find(SecretKind::Secret, name).await? {
                    Some((record, _)) => usize::try_from(record.size).unwrap_or(usize::MAX),
                    None => 0,
                },
            };
            bytes += variable.len() + size + 2;
        }
        Ok(bytes)
    }

    /// What functions, their versions and services use.
    fn uses(&self) -> Vec<User> {
        let pools = self.functions.list().into_iter().map(|function| {
            let spec = &function.spec;
            let title = format!("function \"{}\"", spec.name);
            User::new(title, &spec.secrets, &spec.environment)
        });
        let services = self.services.all().into_iter().map(|resident| {
            let spec = &resident.service().spec;
            let title = format!("service \"{}\"", spec.name);
            User::new(title, &spec.secrets, &spec.environment)
        });
        let versions = self.functions.specs_of_versions();
        let versions = versions.into_iter().map(|(number, spec)| {
            let title = format!("version {number} of function \"{}\"", spec.name);
            User::new(title, &spec.secrets, &spec.environment)
        });
        pools.chain(services).chain(versions).collect()
    }

    fn user_of(&self, kind: SecretKind, name: &SecretName) -> Option<String> {
        let mut users = self.uses().into_iter();
        let user = users.find(|user| user.secrets.uses(kind, name));
        user.map(|user| user.title)
    }

    /// Replaces what runs with an earlier value. The caller holds `changing`.
    async fn follow(&self, kind: SecretKind, name: &SecretName) -> Result<()> {
        for pool in self.functions.all() {
            if pool.function().spec.secrets.uses(kind, name) {
                pool.recycle();
            }
        }
        let mut failure = None;
        for resident in self.services.all() {
            let service = resident.service();
            if !service.spec.secrets.uses(kind, name) {
                continue;
            }
            // One that cannot follow holds up no other.
            match Prototype::of_service(&self.vault, &service).await {
                Ok(prototype) => resident.apply(prototype, &self.node),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

/// Seals anew what an earlier key of the key file has sealed, and says what cannot be read.
///
/// # Errors
/// Of the store.
pub(crate) async fn renew(vault: &Arc<Vault>) -> Result<()> {
    let mut unreadable = 0_usize;
    for kind in [SecretKind::Secret, SecretKind::Config] {
        for record in vault.state().list_secrets(kind).await? {
            if !vault.keys().has(&record.key_id) {
                unreadable += 1;
            } else if vault.keys().is_outdated(&record.key_id) {
                vault.reseal(record).await?;
            }
        }
    }
    if unreadable > 0 {
        tracing::error!(
            unreadable,
            "secrets or configs are sealed by a key that is not in the key file, and what uses them does not \
             start: give the right file (--secrets-key), or set them anew (`rouse secret ls`)"
        );
    }
    Ok(())
}

impl Vault {
    async fn reseal(&self, record: SecretRecord) -> Result<()> {
        let (name, kind) = (record.name.clone(), record.kind);
        match self.get(kind, name).await {
            Ok((record, value)) => {
                let sealed = self.keys().seal(vault::belongs(&record), &value)?;
                let record = SecretRecord {
                    key_id: sealed.key_id,
                    ..record
                };
                let sealed = sealed.bytes;
                Ok(self
                    .state()
                    .reseal_secret(SealedSecret { record, sealed })
                    .await?)
            }
            Err(Error::Sealed { .. }) => {
                tracing::error!(%kind, name = %record.name, "is kept damaged: set it anew");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn put(&self, kind: SecretKind, name: SecretName, value: &[u8]) -> Result<SecretRecord> {
        let now = Timestamp::now();
        let mut record = SecretRecord {
            kind,
            name,
            revision: 1,
            revision_id: uuid::Uuid::new_v4().to_string(),
            size: value.len() as u64,
            key_id: String::new(),
            created: now,
            modified: now,
        };
        let sealed = self.keys().seal(vault::belongs(&record), value)?;
        record.key_id = sealed.key_id;
        let sealed = sealed.bytes;
        Ok(self
            .state()
            .put_secret(SealedSecret { record, sealed })
            .await?)
    }
}
