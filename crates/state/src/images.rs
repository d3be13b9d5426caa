//! Table `image`: references and the manifests they mean.

use crate::{Result, State};
use model::{Digest, ImageRecord};

impl State {
    /// Adds an image, or moves its reference to another digest.
    ///
    /// # Errors
    /// Of the store.
    pub async fn put_image(&self, image: ImageRecord) -> Result<()> {
        let _ = image;
        todo!()
    }

    /// The image that a reference means now.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_image(&self, reference: &str) -> Result<ImageRecord> {
        let _ = reference;
        todo!()
    }

    /// Any record with this manifest digest.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_image_by_digest(&self, digest: Digest) -> Result<ImageRecord> {
        let _ = digest;
        todo!()
    }

    /// All images by reference.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_images(&self) -> Result<Vec<ImageRecord>> {
        todo!()
    }

    /// Removes a reference.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_image(&self, reference: &str) -> Result<()> {
        let _ = reference;
        todo!()
    }
}
