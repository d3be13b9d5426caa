//! Who asks: AWS Signature Version 4 for AWS doors, a bearer token for the rest.
//!
//! A handler that does something for somebody takes a [`Verified`], and only this module can make
//! one. Secrets are compared in constant time and are never in an error, a log or `Debug`.

mod policy;
mod registry;
mod root;
mod signature;

pub(crate) use policy::{PolicySignature, SignedPolicy};
pub(crate) use registry::{Action, RegistryAccess, TOKEN_LIFE};
pub use root::RootCredential;
pub(crate) use signature::scope_of;

use axum::extract::FromRequestParts;
use base64::Engine as _;
use engine::Engine;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use model::{Credential, Kind, Principal};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// Longest access key id that is looked up; ours have 20 characters.
const MAX_ACCESS_KEY_ID: usize = 128;

/// A proof that somebody was verified. Handlers take it as an argument (it is an axum extractor), so
/// that one which forgets to ask who is there does not compile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified<T = Principal>(T);

impl<T> Verified<T> {
    /// Who it is.
    pub(crate) fn get(&self) -> &T {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Verified {
    type Rejection = StatusCode;

    /// Reads what `server` put there; a request that came another way is refused.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let found = parts.extensions.get::<Self>().cloned();
        found.ok_or(StatusCode::UNAUTHORIZED)
    }
}

/// Why somebody was not let in. The texts are fit for the outside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Nothing was said about who asks. For browsers, a door may ask for HTTP Basic.
    #[error("no credentials were sent; `rouse env` prints the ones of this server")]
    Missing,
    /// A token that is not the server's.
    #[error("the token is not this server's; `rouse env` prints the right one")]
    BadToken,
    /// The header cannot be read.
    #[error("the Authorization header cannot be read: {0}")]
    Malformed(String),
    /// No such access key id.
    #[error(
        "the access key id is not known to this server; `rouse env` prints the credentials of its owner"
    )]
    UnknownKey,
    /// The signature does not fit the request and the secret key, or is not of this hour.
    #[error("{0}")]
    BadSignature(String),
    /// Who asks is known, and may not.
    #[error("{who} may not do this: {reason}")]
    Forbidden {
        /// [`Principal::key`].
        who: String,
        /// Why not.
        reason: &'static str,
    },
    /// A body that must be checked against its signature is too large to be.
    #[error("the body is more than {limit} bytes")]
    TooLarge {
        /// The bound in bytes.
        limit: u64,
    },
    /// A body that must be checked against its signature came without its length, or broken off.
    #[error("the body cannot be read: {0}")]
    BadBody(&'static str),
    /// Too many large bodies are being checked now.
    #[error("too many large requests are being read at once; try again later")]
    Busy,
    /// The store of credentials does not answer.
    #[error("the credentials cannot be looked up now; try again later")]
    Unavailable,
}

impl Refused {
    /// The transport-free kind.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Missing | Self::BadToken => Kind::Unauthenticated,
            Self::UnknownKey | Self::BadSignature(_) | Self::Forbidden { .. } => Kind::Forbidden,
            Self::Malformed(_) | Self::BadBody(_) => Kind::Invalid,
            Self::TooLarge { .. } => Kind::TooLarge,
            Self::Busy => Kind::Throttled,
            Self::Unavailable => Kind::Unavailable,
        }
    }
}

/// Which ways to send the token a door takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schemes {
    /// `Authorization: Bearer TOKEN`.
    Bearer,
    /// That, or HTTP Basic with any user and the token as password, so that a browser can ask.
    BearerOrBasic,
}

/// Knows the credentials. A cheap handle.
#[derive(Clone)]
pub(crate) struct Auth {
    root: Arc<Root>,
    engine: Engine,
    /// Signs tokens of the registry.
    signer: Arc<registry::Signer>,
}

struct Root {
    credential: Credential,
    /// SHA-256 of the token: two digests have one length, so comparing them tells nothing.
    token: [u8; 32],
}

impl Auth {
    /// With the owner's credential; those of functions and services are looked up in the engine.
    pub(crate) fn new(root: RootCredential, engine: Engine) -> Self {
        let token = Sha256::digest(root.token.as_bytes()).into();
        let credential = Credential {
            principal: Principal::Root,
            access_key_id: root.access_key_id,
            secret_access_key: root.secret_access_key,
        };
        let root = Arc::new(Root { credential, token });
        Self {
            root,
            engine,
            signer: Arc::default(),
        }
    }

    /// Verifies a token. Only the owner of the server has one.
    ///
    /// # Errors
    /// `Missing`, `Malformed`, `BadToken`.
    pub(crate) fn verify_token(
        &self,
        headers: &HeaderMap,
        schemes: Schemes,
    ) -> Result<Verified, Refused> {
        let token = token_of(headers, schemes)?;
        match self.is_root_token(&token) {
            true => Ok(Verified(Principal::Root)),
            false => Err(Refused::BadToken),
        }
    }

    fn is_root_token(&self, token: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        bool::from(digest.ct_eq(&self.root.token))
    }

    /// Verifies the SigV4 signature in the headers of a request, all of whose body is `body`, for an
    /// AWS door other than S3.
    ///
    /// # Errors
    /// `Missing`, `Malformed`, `UnknownKey`, `BadSignature`, `Unavailable`.
    pub(crate) async fn verify_sigv4(
        &self,
        parts: &Parts,
        body: &bytes::Bytes,
    ) -> Result<Verified, Refused> {
        let scope = scope_of(parts).ok_or(Refused::Missing)?;
        let credential = self.find(&scope.access_key_id).await?;
        signature::verify(parts, body, &scope, &credential).await?;
        Ok(Verified(credential.principal))
    }

    /// The keys that belong to an access key id, for those that check a signature themselves.
    ///
    /// # Errors
    /// `UnknownKey`, `Unavailable`.
    pub(crate) async fn find(&self, access_key_id: &str) -> Result<Credential, Refused> {
        if access_key_id == self.root.credential.access_key_id {
            return Ok(self.root.credential.clone());
        }
        let plausible = !access_key_id.is_empty()
            && access_key_id.len() <= MAX_ACCESS_KEY_ID
            && access_key_id.bytes().all(|b| b.is_ascii_alphanumeric());
        if !plausible {
            return Err(Refused::UnknownKey);
        }
        match self.engine.find_credential(access_key_id).await {
            Ok(found) => found.ok_or(Refused::UnknownKey),
            Err(error) => {
                tracing::warn!(%error, "credentials cannot be looked up");
                Err(Refused::Unavailable)
            }
        }
    }

    /// Turns what s3s verified (it checked a signature with this secret) into a principal.
    ///
    /// # Errors
    /// `Missing` without credentials, `UnknownKey` when they are no longer valid, `Unavailable`.
    pub(crate) async fn verified_by_s3s(
        &self,
        credentials: Option<&s3s::auth::Credentials>,
    ) -> Result<Verified, Refused> {
        let signed = credentials.ok_or(Refused::Missing)?;
        let known = self.find(&signed.access_key).await?;
        let secret = s3s::auth::SecretKey::from(known.secret_access_key.as_str());
        if bool::from(secret.ct_eq(&signed.secret_key)) {
            return Ok(Verified(known.principal));
        }
        Err(Refused::UnknownKey)
    }
}

/// Finds the token in the headers.
fn token_of(headers: &HeaderMap, schemes: Schemes) -> Result<String, Refused> {
    let malformed = |what: &str| Refused::Malformed(what.to_owned());
    let header = headers.get(AUTHORIZATION).ok_or(Refused::Missing)?;
    let text = header.to_str().map_err(|_| malformed("it is not ASCII"))?;
    let (scheme, rest) = text
        .split_once(' ')
        .ok_or_else(|| malformed("write `Bearer TOKEN`"))?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(rest.trim().to_owned());
    }
    if schemes == Schemes::BearerOrBasic && scheme.eq_ignore_ascii_case("basic") {
        return Ok(basic_of(headers)?.1);
    }
    Err(malformed("this address takes `Bearer TOKEN`"))
}

/// User and password of HTTP Basic in the headers.
fn basic_of(headers: &HeaderMap) -> Result<(String, String), Refused> {
    let malformed = |what: &str| Refused::Malformed(what.to_owned());
    let header = headers.get(AUTHORIZATION).ok_or(Refused::Missing)?;
    let text = header.to_str().map_err(|_| malformed("it is not ASCII"))?;
    let encoded = match text.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("basic") => rest.trim(),
        _ => return Err(malformed("this address takes Basic and Bearer")),
    };
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .map_err(|_| malformed("its Basic part is not base64"))?;
    let decoded = String::from_utf8(decoded).map_err(|_| malformed("it is not UTF-8"))?;
    let (user, password) = decoded
        .split_once(':')
        .ok_or_else(|| malformed("its Basic part has no ':'"))?;
    Ok((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn a_token_is_found_in_bearer_and_where_allowed_in_basic() {
        let bearer = headers("bearer  abc ");
        assert_eq!(token_of(&bearer, Schemes::Bearer).unwrap(), "abc");
        let encoded = base64::engine::general_purpose::STANDARD.encode("me:a:b");
        let basic = headers(&format!("Basic {encoded}"));
        assert_eq!(token_of(&basic, Schemes::BearerOrBasic).unwrap(), "a:b");
        let refused = token_of(&basic, Schemes::Bearer).unwrap_err();
        assert!(matches!(refused, Refused::Malformed(_)));
    }

    #[test]
    fn nothing_and_nonsense_are_told_apart() {
        let none = token_of(&HeaderMap::new(), Schemes::Bearer);
        assert_eq!(none.unwrap_err(), Refused::Missing);
        for bad in ["Bearer", "Digest x", "Basic ???", "Basic YWJj"] {
            let refused = token_of(&headers(bad), Schemes::BearerOrBasic).unwrap_err();
            assert!(matches!(refused, Refused::Malformed(_)), "{bad}");
        }
    }
}
