//! Reading what is sealed, for instances.

use super::cipher::{Belongs, Unreadable};
use super::key::SecretKeys;
use crate::{Error, Result};
use model::{Ending, Kind, MAX_ENVIRONMENT, SecretKind, SecretName, SecretRecord, SecretUse};
use runtime::SecretFile;
use state::{SealedSecret, State};
use std::collections::BTreeMap;

/// The store of secrets and configs with the keys to it. No `Debug`.
pub(crate) struct Vault {
    state: State,
    keys: SecretKeys,
}

/// What one instance is given.
pub(crate) struct Furnished {
    pub(crate) files: Vec<SecretFile>,
    pub(crate) environment: BTreeMap<String, String>,
}

/// What a secret or config is sealed for.
pub(super) fn belongs(record: &SecretRecord) -> Belongs<'_> {
    Belongs {
        what: record.kind.as_str(),
        name: record.name.as_str(),
        revision_id: &record.revision_id,
    }
}

/// A value as a variable of an environment.
///
/// # Errors
/// `Refused` when it cannot be one.
pub(super) fn check_variable<'a>(name: &SecretName, value: &'a [u8]) -> Result<&'a str> {
    let refuse = |reason: &str| {
        Err(Error::Refused(format!(
            "the secret \"{name}\" {reason}, so it cannot be an environment variable: mount it as a file"
        )))
    };
    match std::str::from_utf8(value) {
        Ok(text) if text.contains('\0') => refuse("has a NUL byte"),
        Ok(text) if text.len() > MAX_ENVIRONMENT => refuse("has more than 32 KiB"),
        Ok(text) => Ok(text),
        Err(_) => refuse("is not UTF-8"),
    }
}

/// # Errors
/// `Refused` when an environment with secrets is larger than it may be.
pub(super) fn check_bytes(taken: usize) -> Result<()> {
    if taken > MAX_ENVIRONMENT {
        return Err(Error::Refused(format!(
            "with its secrets the environment has {taken} bytes, more than {MAX_ENVIRONMENT}: mount some as files"
        )));
    }
    Ok(())
}

impl Vault {
    pub(crate) fn new(state: State, keys: SecretKeys) -> Self {
        Self { state, keys }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn keys(&self) -> &SecretKeys {
        &self.keys
    }

    /// One, and its value if it can be read.
    ///
    /// # Errors
    /// Of the store.
    pub(super) async fn find(
        &self,
        kind: SecretKind,
        name: &SecretName,
    ) -> Result<Option<(SecretRecord, std::result::Result<Vec<u8>, Unreadable>)>> {
        match self.state.get_secret(kind, name.clone()).await {
            Ok(SealedSecret { record, sealed }) => {
                let opened = self.keys.open(belongs(&record), &record.key_id, &sealed);
                Ok(Some((record, opened)))
            }
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// One and its value.
    ///
    /// # Errors
    /// `NotFound`, `Sealed`.
    pub(super) async fn get(
        &self,
        kind: SecretKind,
        name: SecretName,
    ) -> Result<(SecretRecord, Vec<u8>)> {
        let SealedSecret { record, sealed } = self.state.get_secret(kind, name).await?;
        match self.keys.open(belongs(&record), &record.key_id, &sealed) {
            Ok(value) => Ok((record, value)),
            Err(reason) => Err(Error::Sealed {
                what: kind.as_str(),
                name: record.name.to_string(),
                reason: reason.to_string(),
            }),
        }
    }

    /// What an instance is given that is started now. `taken`: bytes of its environment already.
    ///
    /// # Errors
    /// How the start ends.
    pub(crate) async fn furnish(
        &self,
        used: &SecretUse,
        taken: usize,
    ) -> std::result::Result<Furnished, Ending> {
        let given = self.give(used, taken).await;
        given.map_err(|error| Ending::Unavailable {
            reason: error.to_string(),
        })
    }

    async fn give(&self, used: &SecretUse, mut taken: usize) -> Result<Furnished> {
        let mut files = Vec::with_capacity(used.files.len());
        for file in &used.files {
            let (record, value) = self.get(file.kind, file.source.clone()).await?;
            files.push(SecretFile {
                target: file.target.clone(),
                mode: file.mode,
                revision_id: record.revision_id,
                content: value.into(),
            });
        }
        let mut environment = BTreeMap::new();
        for (variable, name) in &used.environment {
            let (_, value) = self.get(SecretKind::Secret, name.clone()).await?;
            let text = check_variable(name, &value)?;
            taken += variable.len() + text.len() + 2;
            environment.insert(variable.clone(), text.to_owned());
        }
        check_bytes(taken)?;
        Ok(Furnished { files, environment })
    }
}
