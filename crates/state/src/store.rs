//! The database: opening, the writer thread with its group commit, and the readers.

use crate::Result;
use std::path::Path;

/// The store. A cheap handle; every clone is the same store.
#[derive(Clone)]
pub struct State {}

impl State {
    /// Opens or makes the database `folder/state.db` (mode 0600) and brings its schema up to date.
    /// Events that were leased when the server died wait again, with their attempts unspent.
    ///
    /// # Errors
    /// When the folder cannot be written, the file is not ours, or it is newer than this binary.
    pub async fn open(folder: &Path) -> Result<Self> {
        let _ = folder;
        todo!()
    }

    /// Completes what was handed in, then closes. Later calls answer [`crate::Error::Closed`].
    pub async fn close(&self) {
        todo!()
    }
}
