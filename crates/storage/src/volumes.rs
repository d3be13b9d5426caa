//! Named volumes of services.

use crate::{Result, Storage};
use std::path::PathBuf;

impl Storage {
    /// The folder of a volume, made if it is not there. `name` was checked by the model.
    ///
    /// # Errors
    /// Of the file system.
    pub async fn ensure_volume(&self, name: &str) -> Result<PathBuf> {
        let _ = name;
        todo!()
    }
}
