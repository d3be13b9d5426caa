//! The owner of the server, as an argument that every handler of the control API takes.

use super::error::Error;
use crate::auth::Verified;
use axum::extract::FromRequestParts;
use http::request::Parts;
use model::{Kind, Principal};

/// A proof that the owner of the server asks, and as whom.
pub(super) struct Owner(pub(super) Principal);

impl<S: Sync> FromRequestParts<S> for Owner {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let verified = Verified::from_request_parts(parts, state)
            .await
            .map_err(|_| Error::new(Kind::Unauthenticated, "nobody was verified"))?;
        match verified.get() {
            root @ Principal::Root => Ok(Self(root.clone())),
            other => Err(Error::new(
                Kind::Forbidden,
                format!("{} may not use the control API", other.key()),
            )),
        }
    }
}
