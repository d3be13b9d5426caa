//! Table `upstream`: other registries that images are pulled through. Nothing here knows the key of their passwords.

use crate::error::{Done, Failure};
use crate::registry;
use crate::row::{all, first, json, run, to_json};
use crate::{Result, State};
use model::{MAX_UPSTREAMS, Upstream, UpstreamName};
use rusqlite::{Row, params};

/// An upstream as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedUpstream {
    /// All but its password.
    pub upstream: Upstream,
    /// Its password, encrypted.
    pub password: Option<SealedPassword>,
}

/// A password that only the holder of the key can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedPassword {
    /// What it was sealed for, with the upstream's name.
    pub revision_id: String,
    /// Names the key that it is sealed by.
    pub key_id: String,
    /// The password, encrypted.
    pub sealed: Vec<u8>,
}

fn read(row: &Row<'_>) -> Done<SealedUpstream> {
    let (revision_id, key_id, sealed) = (
        row.get::<_, Option<String>>("revision_id")?,
        row.get::<_, Option<String>>("key_id")?,
        row.get::<_, Option<Vec<u8>>>("sealed")?,
    );
    let password = match (revision_id, key_id, sealed) {
        (Some(revision_id), Some(key_id), Some(sealed)) => Some(SealedPassword {
            revision_id,
            key_id,
            sealed,
        }),
        _ => None,
    };
    Ok(SealedUpstream {
        upstream: json(row, "spec")?,
        password,
    })
}

impl State {
    /// Makes or changes an upstream; the time of making is that of the one that is there. Manifests and tags of its
    /// repositories go when its URL is another one. Gives it as it is kept, and whether it is new.
    ///
    /// # Errors
    /// `Conflict` when there are too many, or when a new one's name is the first part of repositories that were
    /// pushed.
    pub async fn put_upstream(&self, new: SealedUpstream) -> Result<(SealedUpstream, bool)> {
        self.write("storing an upstream", move |tx| {
            let mut new = new;
            let name = new.upstream.name.clone();
            let sql = "SELECT * FROM upstream WHERE name = ?1";
            let old = first(tx, sql, [name.as_str()], read)?;
            match &old {
                Some(old) => {
                    new.upstream.created = old.upstream.created;
                    // What another registry had under these names is not what this one has.
                    if old.upstream.url != new.upstream.url {
                        registry::forget_below(tx, name.as_str())?;
                    }
                }
                None => {
                    let sql = "SELECT count(*) FROM upstream";
                    let count: i64 = tx.query_row(sql, [], |row| row.get(0))?;
                    if count >= MAX_UPSTREAMS as i64 {
                        let reason = "there are 100 upstreams, which is the most; remove one first";
                        return Err(Failure::conflict("upstream", name, reason));
                    }
                    if registry::has_below(tx, name.as_str())? {
                        let reason = "the registry has repositories whose names begin so, which were pushed; \
                                      take another name";
                        return Err(Failure::conflict("upstream", name, reason));
                    }
                }
            }
            let sql = "REPLACE INTO upstream (name, spec, revision_id, key_id, sealed)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            let password = new.password.as_ref();
            let row = params![
                name.as_str(),
                to_json(&new.upstream)?,
                password.map(|password| &password.revision_id),
                password.map(|password| &password.key_id),
                password.map(|password| &password.sealed),
            ];
            run(tx, sql, row)?;
            Ok((new, old.is_none()))
        })
        .await
    }

    /// Seals a password anew with another key, if it is still the same.
    ///
    /// # Errors
    /// Of the store.
    pub async fn reseal_upstream(
        &self,
        name: UpstreamName,
        password: SealedPassword,
    ) -> Result<()> {
        self.write("sealing a password anew", move |tx| {
            let sql = "UPDATE upstream SET key_id = ?3, sealed = ?4
                       WHERE name = ?1 AND revision_id = ?2";
            let SealedPassword {
                revision_id,
                key_id,
                sealed,
            } = password;
            run(tx, sql, params![name.as_str(), revision_id, key_id, sealed])?;
            Ok(())
        })
        .await
    }

    /// All upstreams by name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_upstreams(&self) -> Result<Vec<SealedUpstream>> {
        self.read("listing upstreams", |db| {
            all(db, "SELECT * FROM upstream ORDER BY name", [], read)
        })
        .await
    }

    /// Removes an upstream, and manifests and tags of its repositories. Their blobs are left to the collection.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_upstream(&self, name: UpstreamName) -> Result<()> {
        self.write("deleting an upstream", move |tx| {
            if run(tx, "DELETE FROM upstream WHERE name = ?1", [name.as_str()])? == 0 {
                return Err(Failure::not_found("upstream", name));
            }
            registry::forget_below(tx, name.as_str())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::store;
    use model::{Kind, Timestamp};

    fn upstream(created: i64) -> SealedUpstream {
        SealedUpstream {
            upstream: Upstream {
                name: "hub".parse().unwrap(),
                url: "https://registry-1.docker.io".to_owned(),
                username: Some("me".to_owned()),
                certificates: None,
                insecure: false,
                private: false,
                created: Timestamp(created),
                modified: Timestamp(created),
            },
            password: Some(SealedPassword {
                revision_id: "r".to_owned(),
                key_id: "k".to_owned(),
                sealed: vec![1, 2],
            }),
        }
    }

    #[tokio::test]
    async fn an_upstream_is_kept_changed_sealed_anew_and_deleted() {
        let (_folder, state) = store().await;
        let (kept, new) = state.put_upstream(upstream(1)).await.unwrap();
        assert!(new && kept == upstream(1));
        let (kept, new) = state.put_upstream(upstream(2)).await.unwrap();
        assert!(!new);
        assert_eq!((kept.upstream.created.0, kept.upstream.modified.0), (1, 2));
        let name = kept.upstream.name.clone();
        for (revision_id, expected) in [("other", "k"), ("r", "new")] {
            let password = SealedPassword {
                revision_id: revision_id.to_owned(),
                key_id: "new".to_owned(),
                sealed: vec![3],
            };
            state.reseal_upstream(name.clone(), password).await.unwrap();
            let all = state.list_upstreams().await.unwrap();
            assert_eq!(all[0].password.as_ref().unwrap().key_id, expected);
        }
        state.delete_upstream(name.clone()).await.unwrap();
        let missing = state.delete_upstream(name).await.unwrap_err();
        assert_eq!(missing.kind(), Kind::NotFound);
    }

    #[tokio::test]
    async fn a_name_under_which_something_was_pushed_is_refused() {
        let (_folder, state) = store().await;
        crate::registry::tests::blob(&state, "hub/x", "a", 1).await;
        let refused = state.put_upstream(upstream(1)).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Conflict);
    }
}
