//! Table `function`.

use crate::{Result, State};
use model::{Function, FunctionName};

impl State {
    /// Adds a function.
    ///
    /// # Errors
    /// `Conflict` when the name is taken.
    pub async fn create_function(&self, function: Function) -> Result<()> {
        let _ = function;
        todo!()
    }

    /// Replaces a function if its `revision_id` is still `expected`.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` when it was changed meanwhile.
    pub async fn update_function(&self, function: Function, expected: String) -> Result<()> {
        let _ = (function, expected);
        todo!()
    }

    /// One function.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_function(&self, name: FunctionName) -> Result<Function> {
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

    /// Removes a function and its credential. Its waiting events are buried (state dead, reason
    /// "function deleted") in the same transaction; records of what ran stay.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_function(&self, name: FunctionName) -> Result<()> {
        let _ = name;
        todo!()
    }
}
