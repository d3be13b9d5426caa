//! Who asks: from the signature that s3s checked to a verified principal.

use super::error::{error, of_refused};
use crate::Origin;
use crate::auth::{Auth, Refused, Verified};
use engine::Engine;
use http::Extensions;
use model::{EventId, Principal};
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3ErrorCode, S3Request, S3Result};

/// Gives the secrets to check signatures with.
#[derive(Clone)]
pub(super) struct Keys {
    auth: Auth,
}

impl Keys {
    pub(super) fn new(auth: Auth) -> Self {
        Self { auth }
    }
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let found = self.auth.find(access_key).await;
        let credential = found.map_err(|refused| of_refused(&refused))?;
        Ok(SecretKey::from(credential.secret_access_key))
    }
}

/// Lets verified principals in, each to what it may do.
pub(super) struct Doorkeeper {
    auth: Auth,
}

impl Doorkeeper {
    pub(super) fn new(auth: Auth) -> Self {
        Self { auth }
    }
}

#[async_trait::async_trait]
impl S3Access for Doorkeeper {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let verified = self.auth.verified_by_s3s(context.credentials()).await;
        let verified = verified.map_err(|refused| of_refused(&refused))?;
        admit(&verified, context.s3_op().name())?;
        context.extensions_mut().insert(verified);
        Ok(())
    }
}

/// Whether somebody may do what is asked for.
pub(super) fn admit(verified: &Verified, operation: &str) -> S3Result<()> {
    if may(verified.get(), operation) {
        return Ok(());
    }
    let refused = Refused::Forbidden {
        who: verified.get().key(),
        reason: "functions and services read and write objects; only the owner of the server \
                 changes buckets",
    };
    Err(of_refused(&refused))
}

/// Functions and services use all objects, and leave buckets and what they wake as they are.
fn may(principal: &Principal, operation: &str) -> bool {
    match principal {
        Principal::Root => true,
        Principal::Function { .. } | Principal::Service { .. } => {
            let changes_bucket = operation == "CreateBucket"
                || operation.starts_with("PutBucket")
                || operation.starts_with("DeleteBucket");
            !changes_bucket
        }
    }
}

/// Who asks, and during which event.
pub(super) struct Caller {
    pub(super) principal: Principal,
    /// The event that the asking instance works on.
    pub(super) cause: Option<EventId>,
}

impl Caller {
    /// Takes the proof that [`Doorkeeper`] left; without it nobody is let in.
    pub(super) fn take<T>(engine: &Engine, request: &mut S3Request<T>) -> S3Result<Self> {
        let verified: Option<Verified> = request.extensions.remove();
        let verified = verified.ok_or_else(|| error(S3ErrorCode::AccessDenied, "not verified"))?;
        Ok(Self::of(engine, &request.extensions, &verified))
    }

    /// Who was verified, on a connection of which the server noted where it comes from.
    pub(super) fn of(engine: &Engine, extensions: &Extensions, verified: &Verified) -> Self {
        let cause = match extensions.get::<Origin>() {
            Some(Origin::Instance { instance, .. }) => engine.current_event(instance),
            Some(Origin::Client) | None => None,
        };
        let principal = verified.get().clone();
        Self { principal, cause }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_function_uses_objects_and_leaves_buckets() {
        let function = Principal::Function {
            name: "thumbnail".parse().unwrap(),
        };
        for operation in [
            "GetObject",
            "PutObject",
            "DeleteObjects",
            "ListBuckets",
            "HeadBucket",
        ] {
            assert!(may(&function, operation), "{operation}");
        }
        for operation in [
            "CreateBucket",
            "DeleteBucket",
            "PutBucketNotificationConfiguration",
            "DeleteBucketPolicy",
        ] {
            assert!(!may(&function, operation), "{operation}");
            assert!(may(&Principal::Root, operation), "{operation}");
        }
    }
}
