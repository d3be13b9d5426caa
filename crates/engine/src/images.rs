//! Images: kept as long as something runs on them.

use crate::{Engine, Error, Result};

impl Engine {
    /// Removes an image's name, and its files if no other name means them. Nothing that runs on it can
    /// come meanwhile.
    ///
    /// # Errors
    /// `NotFound`; `InUse` when it is the last name of an image that a function or service runs on.
    pub async fn delete_image(&self, reference: &str) -> Result<()> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        let in_use = self.digests_in_use().await?;
        let image = corridor.storage.get_image(reference).await?;
        let all = corridor.storage.list_images().await?;
        let names = all.iter().filter(|other| other.digest == image.digest);
        if names.count() == 1 && in_use.contains(&image.digest) {
            return Err(Error::InUse(reference.to_owned()));
        }
        Ok(corridor.storage.delete_image(reference, &in_use).await?)
    }
}
