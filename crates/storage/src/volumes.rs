//! Named volumes of services.

use crate::{Result, Storage, blocking, folders};
use std::path::PathBuf;

impl Storage {
    /// The folder of a volume, made if it is not there. `name` was checked by the model.
    ///
    /// # Errors
    /// Of the file system, and `Invalid` for a name that is not a single folder's.
    pub async fn ensure_volume(&self, name: &str) -> Result<PathBuf> {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            let shown = name.escape_debug();
            return Err(crate::Error::Invalid(format!(
                "volume name \"{shown}\" must not be empty, begin with '.' or hold '/'"
            )));
        }
        let folder = self.folders().volumes().join(name);
        blocking::on_disk(move || {
            folders::make_folder(&folder)?;
            Ok(folder)
        })
        .await
    }
}
