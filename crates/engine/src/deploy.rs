//! Deployments: everything that a manifest declares.

use crate::{Engine, Result};
use model::{Deployment, DeploymentReport};

impl Engine {
    /// Checks all of it first, then does it: buckets, services, functions, then what buckets wake.
    /// A target that is neither declared nor there is refused.
    ///
    /// # Errors
    /// `Invalid` names the place, such as `functions.thumbnail.limits.memory`.
    pub async fn deploy(&self, deployment: Deployment) -> Result<DeploymentReport> {
        let _ = deployment;
        todo!()
    }
}
