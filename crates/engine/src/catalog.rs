//! Functions: declared, changed, looked up.

use crate::{Engine, Result};
use model::{ChangeKind, Function, FunctionName, FunctionSpec};

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
        let _ = (spec, put);
        todo!()
    }

    /// One function.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_function(&self, name: &FunctionName) -> Result<Function> {
        let _ = name;
        todo!()
    }

    /// All functions by name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_functions(&self) -> Result<Vec<Function>> {
        todo!()
    }

    /// Removes a function, its waiting events (to dead letters) and its instances.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_function(&self, name: &FunctionName) -> Result<()> {
        let _ = name;
        todo!()
    }

    /// Digests of code and images that functions and services need.
    ///
    /// # Errors
    /// Of the store.
    pub async fn digests_in_use(&self) -> Result<Vec<model::Digest>> {
        todo!()
    }
}
