//! Who may use the registry: the owner's keys by HTTP Basic, the owner's token, or a token that was
//! given for one of them and says what it is good for
//! (<https://distribution.github.io/distribution/spec/auth/token/>).

use super::{Auth, Refused, Verified, basic_of};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use model::{Principal, RepositoryName, Timestamp};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use sha2_next::Sha256;
use std::sync::OnceLock;
use std::time::Duration;
use subtle::ConstantTimeEq as _;

/// How long a token is good for.
pub(crate) const TOKEN_LIFE: Duration = Duration::from_secs(300);
/// Most repositories that one token may be for.
const MAX_SCOPES: usize = 16;
/// Longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 16 * 1024;

/// What may be done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// Read what it holds.
    Pull,
    /// Add to it.
    Push,
    /// Take from it.
    Delete,
}

/// What one token is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Grant {
    repository: RepositoryName,
    actions: Vec<Action>,
}

/// What a token says. Only the owner gets one.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    expires: Timestamp,
    grants: Vec<Grant>,
    catalog: bool,
}

/// What somebody who was verified may do in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegistryAccess {
    /// `None` is everything: the owner without a token in between.
    grants: Option<Vec<Grant>>,
    catalog: bool,
}

impl RegistryAccess {
    /// Whether it is good for this.
    pub(crate) fn allows(&self, repository: &RepositoryName, action: Action) -> bool {
        self.grants.as_ref().is_none_or(|grants| {
            let mut of = grants
                .iter()
                .filter(|grant| grant.repository == *repository);
            of.any(|grant| grant.actions.contains(&action))
        })
    }

    /// Whether it is good for the list of all repositories.
    pub(crate) fn allows_catalog(&self) -> bool {
        self.catalog
    }
}

/// The secret that signs tokens: random, and gone with the process.
#[derive(Default)]
pub(super) struct Signer(OnceLock<[u8; 32]>);

impl Signer {
    fn sign(&self, text: &str) -> Result<Vec<u8>, Refused> {
        let secret = match self.0.get() {
            Some(secret) => secret,
            None => {
                let mut fresh = [0; 32];
                let filled = OsRng.try_fill_bytes(&mut fresh);
                filled.map_err(|_| Refused::Unavailable)?;
                self.0.get_or_init(|| fresh)
            }
        };
        let mac = Hmac::<Sha256>::new_from_slice(secret);
        let mut mac = mac.map_err(|_| Refused::Unavailable)?;
        mac.update(text.as_bytes());
        Ok(mac.finalize().into_bytes().to_vec())
    }

    fn issue(&self, claims: &Claims) -> Result<String, Refused> {
        let json = serde_json::to_vec(claims).map_err(|_| Refused::Unavailable)?;
        let text = URL_SAFE_NO_PAD.encode(json);
        let signature = URL_SAFE_NO_PAD.encode(self.sign(&text)?);
        Ok(format!("{text}.{signature}"))
    }

    fn check(&self, token: &str, now: Timestamp) -> Result<RegistryAccess, Refused> {
        let bad = || Refused::BadToken;
        let (text, signature) = token
            .split_once('.')
            .filter(|_| token.len() <= MAX_TOKEN)
            .ok_or_else(bad)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| bad())?;
        if !bool::from(signature.ct_eq(&self.sign(text)?)) {
            return Err(bad());
        }
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
        let claims: Claims = serde_json::from_slice(&json).map_err(|_| bad())?;
        if claims.expires <= now {
            return Err(bad());
        }
        Ok(RegistryAccess {
            grants: Some(claims.grants),
            catalog: claims.catalog,
        })
    }
}

/// Reads scopes: `repository:NAME:ACTION,ACTION` and `registry:catalog:*`, separated by spaces. What
/// else stands there grants nothing.
fn claims_of<'a>(scopes: impl Iterator<Item = &'a str>, expires: Timestamp) -> Claims {
    let mut claims = Claims {
        expires,
        grants: Vec::new(),
        catalog: false,
    };
    for scope in scopes.flat_map(str::split_whitespace).take(MAX_SCOPES) {
        let Some((kind, rest)) = scope.split_once(':') else {
            continue;
        };
        let Some((name, actions)) = rest.rsplit_once(':') else {
            continue;
        };
        if (kind, name) == ("registry", "catalog") {
            claims.catalog |= actions == "*";
        } else if let ("repository", Ok(repository)) = (kind, name.parse()) {
            let all = [Action::Pull, Action::Push, Action::Delete];
            let actions = actions.split(',').flat_map(|action| match action {
                "pull" => &all[..1],
                "push" => &all[1..2],
                "delete" => &all[2..],
                "*" => &all[..],
                _ => &[],
            });
            claims.grants.push(Grant {
                repository,
                actions: actions.copied().collect(),
            });
        }
    }
    claims
}

impl Auth {
    /// Who asks the registry, by any of its ways.
    ///
    /// # Errors
    /// `Missing`, `Malformed`, `BadToken`, `UnknownKey`, `Forbidden`, `Unavailable`.
    pub(crate) async fn verify_registry(
        &self,
        headers: &HeaderMap,
    ) -> Result<Verified<RegistryAccess>, Refused> {
        let header = headers.get(AUTHORIZATION).ok_or(Refused::Missing)?;
        let text = header.to_str().unwrap_or_default();
        let everything = RegistryAccess {
            grants: None,
            catalog: true,
        };
        match text.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
                if self.is_root_token(token.trim()) {
                    return Ok(Verified(everything));
                }
                let access = self.signer.check(token.trim(), Timestamp::now())?;
                Ok(Verified(access))
            }
            _ => {
                self.verify_registry_owner(headers).await?;
                Ok(Verified(everything))
            }
        }
    }

    /// The owner by HTTP Basic: access key id and secret, or any user and the owner's token.
    ///
    /// # Errors
    /// As [`Auth::verify_registry`].
    pub(crate) async fn verify_registry_owner(
        &self,
        headers: &HeaderMap,
    ) -> Result<Verified, Refused> {
        let (user, password) = basic_of(headers)?;
        self.verify_keys(&user, &password).await
    }

    /// The owner by access key id and secret, or any user and the owner's token.
    ///
    /// # Errors
    /// `UnknownKey`, `Forbidden`, `Unavailable`.
    pub(crate) async fn verify_keys(
        &self,
        user: &str,
        password: &str,
    ) -> Result<Verified, Refused> {
        if self.is_root_token(password) {
            return Ok(Verified(Principal::Root));
        }
        let known = self.find(user).await?;
        let secret = known.secret_access_key.as_bytes();
        if !bool::from(secret.ct_eq(password.as_bytes())) {
            return Err(Refused::UnknownKey);
        }
        match known.principal {
            Principal::Root => Ok(Verified(Principal::Root)),
            other => Err(Refused::Forbidden {
                who: other.key(),
                reason: "the registry is for the owner of the server",
            }),
        }
    }

    /// A token for the owner, good for these scopes and [`TOKEN_LIFE`].
    ///
    /// # Errors
    /// `Unavailable` when the kernel gives no random bytes.
    pub(crate) fn registry_token<'a>(
        &self,
        _: &Verified,
        scopes: impl Iterator<Item = &'a str>,
    ) -> Result<String, Refused> {
        let expires = Timestamp::now().after(TOKEN_LIFE);
        self.signer.issue(&claims_of(scopes, expires))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn name(text: &str) -> RepositoryName {
        text.parse().unwrap()
    }

    #[test]
    fn a_token_is_good_for_its_scopes_and_its_time() {
        let signer = Signer::default();
        let scopes = [
            "repository:shop/a:pull,push repository:b:*",
            "odd",
            "repository:../x:pull",
        ];
        let claims = claims_of(scopes.into_iter(), Timestamp(1_000));
        let token = signer.issue(&claims).unwrap();
        let access = signer.check(&token, Timestamp(999)).unwrap();
        assert!(access.allows(&name("shop/a"), Action::Push));
        assert!(!access.allows(&name("shop/a"), Action::Delete));
        assert!(access.allows(&name("b"), Action::Delete));
        assert!(!access.allows(&name("shop"), Action::Pull));
        assert!(!access.allows_catalog());
        assert_eq!(
            signer.check(&token, Timestamp(1_000)).unwrap_err(),
            Refused::BadToken
        );
        let catalog = claims_of(["registry:catalog:*"].into_iter(), Timestamp(1_000));
        assert!(catalog.catalog);
    }

    #[test]
    fn tokens_of_others_and_changed_ones_are_refused() {
        let (signer, other) = (Signer::default(), Signer::default());
        let token = signer
            .issue(&claims_of(["repository:a:pull"].into_iter(), Timestamp(9)))
            .unwrap();
        assert!(other.check(&token, Timestamp(1)).is_err());
        let (_, signature) = token.split_once('.').unwrap();
        let forged = signer
            .issue(&claims_of(["repository:a:*"].into_iter(), Timestamp(9)))
            .unwrap();
        let (claims, _) = forged.split_once('.').unwrap();
        let mixed = format!("{claims}.{signature}");
        for bad in [mixed.as_str(), "", ".", "a.b", claims] {
            assert_eq!(
                signer.check(bad, Timestamp(1)).unwrap_err(),
                Refused::BadToken
            );
        }
    }
}
