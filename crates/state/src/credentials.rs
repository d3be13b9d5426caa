//! Table `credential`: keys of functions and services. The root credential is a file of its own.

use crate::{Result, State};
use model::{Credential, Principal};

impl State {
    /// Gives the principal's credential, adding `candidate` if it has none yet.
    ///
    /// # Errors
    /// Of the store.
    pub async fn ensure_credential(&self, candidate: Credential) -> Result<Credential> {
        let _ = candidate;
        todo!()
    }

    /// The credential with this access key id, if there is one.
    ///
    /// # Errors
    /// Of the store.
    pub async fn find_credential(&self, access_key_id: &str) -> Result<Option<Credential>> {
        let _ = access_key_id;
        todo!()
    }

    /// Takes a principal's credential away.
    ///
    /// # Errors
    /// Of the store.
    pub async fn delete_credential(&self, principal: Principal) -> Result<()> {
        let _ = principal;
        todo!()
    }
}
