//! The data folder: opening and sweeping.

use crate::Result;
use state::State;
use std::path::Path;

/// The storage. A cheap handle; every clone is the same storage.
#[derive(Clone)]
pub struct Storage {}

impl Storage {
    /// Opens or makes the folders below `data`, empties `staging/`, and deletes object files that no
    /// row refers to (left by a crash between writing and committing).
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub async fn open(data: &Path, state: State) -> Result<Self> {
        let _ = (data, state);
        todo!()
    }

    /// The store below.
    pub fn state(&self) -> &State {
        todo!()
    }
}
