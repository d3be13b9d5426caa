//! Upstreams: declared, listed, removed; their passwords sealed.

use crate::engine::Corridor;
use crate::outbound;
use crate::secrets::Vault;
use crate::secrets::cipher::Belongs;
use crate::{Engine, Result};
use model::{
    ChangeKind, ContentDigest, Invalid, MAX_UPSTREAM_PASSWORD, RepositoryName, Secret, Timestamp,
    Upstream, UpstreamName,
};
use state::{SealedPassword, SealedUpstream};
use std::time::Duration;

/// For how long pulled manifests are kept that nobody asks for.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);

fn belongs<'a>(name: &'a UpstreamName, revision_id: &'a str) -> Belongs<'a> {
    Belongs {
        what: "upstream",
        name: name.as_str(),
        revision_id,
    }
}

/// The password in the clear, or why it cannot be read.
fn opened(vault: &Vault, kept: &SealedUpstream) -> std::result::Result<Option<Secret>, String> {
    let Some(password) = &kept.password else {
        return Ok(None);
    };
    let belongs = belongs(&kept.upstream.name, &password.revision_id);
    let bytes = vault
        .keys()
        .open(belongs, &password.key_id, &password.sealed)
        .map_err(|reason| reason.to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| "it is no text: set it anew".to_owned())?;
    Ok(Some(Secret::new(text)))
}

fn sealed(vault: &Vault, name: &UpstreamName, password: &Secret) -> Result<SealedPassword> {
    let revision_id = uuid::Uuid::new_v4().to_string();
    let bytes = password.expose().as_bytes();
    let sealed = vault.keys().seal(belongs(name, &revision_id), bytes)?;
    Ok(SealedPassword {
        key_id: sealed.key_id,
        sealed: sealed.bytes,
        revision_id,
    })
}

fn check(upstream: &Upstream, password: Option<&Secret>) -> std::result::Result<(), Invalid> {
    upstream.check()?;
    if let Some(pem) = &upstream.certificates {
        outbound::own_tls(pem).map_err(|reason| Invalid::new("certificates", reason))?;
    }
    if upstream.username.is_some() != password.is_some() {
        let reason = "goes with a username, and neither without the other";
        return Err(Invalid::new("password", reason));
    }
    let legal = |password: &Secret| {
        let text = password.expose();
        !text.is_empty()
            && text.len() <= MAX_UPSTREAM_PASSWORD
            && !text.contains(['\n', '\r', '\0'])
    };
    if !password.is_none_or(legal) {
        let reason = "must be one line of 1 to 16384 bytes";
        return Err(Invalid::new("password", reason));
    }
    Ok(())
}

impl Corridor {
    /// Takes all upstreams into memory, and seals anew what an earlier key of the key file has sealed.
    pub(crate) async fn load_upstreams(&self) -> Result<()> {
        for kept in self.state.list_upstreams().await? {
            let password = opened(&self.vault, &kept);
            let name = kept.upstream.name.clone();
            if let Err(reason) = &password {
                tracing::error!(upstream = %name, reason, "the password of an upstream cannot be read");
            }
            let keys = self.vault.keys();
            let outdated = kept.password.as_ref().map(|password| &password.key_id);
            if let (Ok(Some(password)), true) =
                (&password, outdated.is_some_and(|id| keys.is_outdated(id)))
                && let Some(before) = &kept.password
            {
                let belongs = belongs(&name, &before.revision_id);
                let anew = keys.seal(belongs, password.expose().as_bytes())?;
                let anew = SealedPassword {
                    revision_id: before.revision_id.clone(),
                    key_id: anew.key_id,
                    sealed: anew.bytes,
                };
                self.state.reseal_upstream(name, anew).await?;
            }
            self.upstreams.put(kept.upstream, password);
        }
        Ok(())
    }

    /// Deletes what was pulled of manifests that nobody needs any more.
    pub(crate) async fn forget_pulled(&self, pinned: &[ContentDigest]) -> Result<()> {
        let unused = i64::try_from(UNUSED.as_millis()).unwrap_or(i64::MAX);
        let before = Timestamp(Timestamp::now().0.saturating_sub(unused));
        for upstream in self.upstreams.list() {
            let (name, pinned) = (upstream.spec().name.clone(), pinned.to_vec());
            let gone = self.state.collect_pulled_manifests(name, before, pinned);
            let gone = gone.await?;
            if gone > 0 {
                tracing::info!(upstream = %upstream.spec().name, manifests = gone, "unused: removed");
            }
        }
        Ok(())
    }
}

impl Engine {
    /// Makes or changes an upstream. It keeps no password that is not given again.
    ///
    /// # Errors
    /// `Invalid`; `State` (`Conflict`: there are 100, or something was pushed under such a name).
    pub async fn put_upstream(
        &self,
        upstream: Upstream,
        password: Option<Secret>,
    ) -> Result<(Upstream, ChangeKind)> {
        check(&upstream, password.as_ref())?;
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        let sealed = password
            .as_ref()
            .map(|password| sealed(&corridor.vault, &upstream.name, password))
            .transpose()?;
        let new = SealedUpstream {
            upstream,
            password: sealed,
        };
        let (kept, new) = corridor.state.put_upstream(new).await?;
        corridor.upstreams.put(kept.upstream.clone(), Ok(password));
        let change = match new {
            true => ChangeKind::Created,
            false => ChangeKind::Updated,
        };
        Ok((kept.upstream, change))
    }

    /// All upstreams by name, and whether the password of each can be read.
    pub fn list_upstreams(&self) -> Vec<(Upstream, bool)> {
        let all = self.corridor.upstreams.list();
        all.iter()
            .map(|registered| (registered.spec().clone(), registered.is_readable()))
            .collect()
    }

    /// Removes an upstream and what its repositories hold here.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_upstream(&self, name: &UpstreamName) -> Result<()> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        corridor.state.delete_upstream(name.clone()).await?;
        corridor.upstreams.remove(name);
        Ok(())
    }

    /// Whether a repository is an upstream's, into which nothing is pushed.
    pub fn is_pulled(&self, repository: &RepositoryName) -> bool {
        self.corridor.upstreams.place(repository).is_some()
    }
}
