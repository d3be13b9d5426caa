//! Table `secret`: secrets and configs, sealed. Nothing here knows the key.

use crate::error::{Done, Failure};
use crate::row::{all, count, first, int, name, run, time};
use crate::{Result, State};
use model::{MAX_SECRETS, SecretKind, SecretName, SecretRecord};
use rusqlite::{Row, params};

/// A secret or config as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// What may be told of it.
    pub record: SecretRecord,
    /// Its value, encrypted.
    pub sealed: Vec<u8>,
}

fn read_record(row: &Row<'_>) -> Done<SecretRecord> {
    let kind: String = row.get("kind")?;
    let kind = match kind.as_str() {
        "secret" => SecretKind::Secret,
        "config" => SecretKind::Config,
        other => return Err(Failure::Corrupt(format!("column kind: \"{other}\""))),
    };
    Ok(SecretRecord {
        kind,
        name: name(row, "name")?,
        revision: count(row, "revision")?,
        revision_id: row.get("revision_id")?,
        size: count(row, "size")?,
        key_id: row.get("key_id")?,
        created: time(row, "created")?,
        modified: time(row, "modified")?,
    })
}

fn read(row: &Row<'_>) -> Done<SealedSecret> {
    Ok(SealedSecret {
        record: read_record(row)?,
        sealed: row.get("sealed")?,
    })
}

impl State {
    /// Makes or sets one. Its record's revision and time of making are told by what is there. Gives the record
    /// as it is kept.
    ///
    /// # Errors
    /// `Conflict` when there are 1 000 of its kind.
    pub async fn put_secret(&self, secret: SealedSecret) -> Result<SecretRecord> {
        self.write("storing a secret", move |tx| {
            let SealedSecret { mut record, sealed } = secret;
            let (kind, name) = (record.kind.as_str(), record.name.as_str());
            let sql = "SELECT * FROM secret WHERE kind = ?1 AND name = ?2";
            match first(tx, sql, [kind, name], read_record)? {
                Some(before) => {
                    record.revision = before.revision + 1;
                    record.created = before.created;
                }
                None => {
                    let sql = "SELECT count(*) FROM secret WHERE kind = ?1";
                    let there: i64 = tx.query_row(sql, [kind], |row| row.get(0))?;
                    if there >= MAX_SECRETS as i64 {
                        let reason =
                            "there are 1000 of its kind, which is the most; remove one first";
                        return Err(Failure::conflict(record.kind.as_str(), record.name, reason));
                    }
                    record.revision = 1;
                }
            }
            let sql = "REPLACE INTO secret (kind, name, revision, revision_id, size, key_id,
                                            created, modified, sealed)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            let row = params![
                kind,
                name,
                int(record.revision),
                record.revision_id,
                int(record.size),
                record.key_id,
                record.created.0,
                record.modified.0,
                sealed
            ];
            run(tx, sql, row)?;
            Ok(record)
        })
        .await
    }

    /// Seals one anew with another key, if it is still of this revision. Its value stays.
    ///
    /// # Errors
    /// Of the store.
    pub async fn reseal_secret(&self, secret: SealedSecret) -> Result<()> {
        self.write("sealing a secret anew", move |tx| {
            let SealedSecret { record, sealed } = secret;
            let sql = "UPDATE secret SET key_id = ?4, sealed = ?5
                       WHERE kind = ?1 AND name = ?2 AND revision_id = ?3";
            let (kind, name) = (record.kind.as_str(), record.name.as_str());
            let row = params![kind, name, record.revision_id, record.key_id, sealed];
            run(tx, sql, row)?;
            Ok(())
        })
        .await
    }

    /// One, sealed.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_secret(&self, kind: SecretKind, name: SecretName) -> Result<SealedSecret> {
        self.read("reading a secret", move |db| {
            let sql = "SELECT * FROM secret WHERE kind = ?1 AND name = ?2";
            let found = first(db, sql, [kind.as_str(), name.as_str()], read)?;
            found.ok_or_else(|| Failure::not_found(kind.as_str(), name))
        })
        .await
    }

    /// What may be told of all of a kind, by name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_secrets(&self, kind: SecretKind) -> Result<Vec<SecretRecord>> {
        self.read("listing secrets", move |db| {
            let sql = "SELECT kind, name, revision, revision_id, size, key_id, created, modified
                       FROM secret WHERE kind = ?1 ORDER BY name";
            all(db, sql, [kind.as_str()], read_record)
        })
        .await
    }

    /// Removes one.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_secret(&self, kind: SecretKind, name: SecretName) -> Result<()> {
        self.write("deleting a secret", move |tx| {
            let sql = "DELETE FROM secret WHERE kind = ?1 AND name = ?2";
            match run(tx, sql, [kind.as_str(), name.as_str()])? {
                0 => Err(Failure::not_found(kind.as_str(), name)),
                _ => Ok(()),
            }
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

    fn sealed(kind: SecretKind, name: &str, revision_id: &str) -> SealedSecret {
        let time = if revision_id == "r1" { 1 } else { 2 };
        SealedSecret {
            record: SecretRecord {
                kind,
                name: name.parse().unwrap(),
                revision: 0,
                revision_id: revision_id.to_owned(),
                size: 3,
                key_id: "k".to_owned(),
                created: Timestamp(time),
                modified: Timestamp(time),
            },
            sealed: vec![0, 1, 2],
        }
    }

    #[tokio::test]
    async fn a_secret_counts_its_revisions_and_is_apart_from_a_config_of_its_name() {
        let (_folder, state) = store().await;
        let (secret, config) = (SecretKind::Secret, SecretKind::Config);
        let first = state.put_secret(sealed(secret, "a", "r1")).await.unwrap();
        assert_eq!(first.revision, 1);
        let second = state.put_secret(sealed(secret, "a", "r2")).await.unwrap();
        assert_eq!((second.revision, second.created), (2, Timestamp(1)));
        assert_eq!(second.modified, Timestamp(2));
        state.put_secret(sealed(config, "a", "r1")).await.unwrap();
        assert_eq!(
            state.list_secrets(secret).await.unwrap(),
            std::slice::from_ref(&second)
        );
        let name: SecretName = "a".parse().unwrap();
        let read = state.get_secret(secret, name.clone()).await.unwrap();
        assert_eq!((read.record, read.sealed), (second, vec![0, 1, 2]));
        state.delete_secret(secret, name.clone()).await.unwrap();
        let gone = state.get_secret(secret, name.clone()).await.unwrap_err();
        assert_eq!(gone.kind(), Kind::NotFound);
        assert!(state.get_secret(config, name).await.is_ok());
    }

    #[tokio::test]
    async fn only_the_revision_that_was_read_is_sealed_anew() {
        let (_folder, state) = store().await;
        let kind = SecretKind::Secret;
        state.put_secret(sealed(kind, "a", "r2")).await.unwrap();
        for (revision_id, expected) in [("r1", vec![0, 1, 2]), ("r2", vec![9])] {
            let mut anew = sealed(kind, "a", revision_id);
            anew.sealed = vec![9];
            state.reseal_secret(anew).await.unwrap();
            let read = state.get_secret(kind, "a".parse().unwrap()).await.unwrap();
            assert_eq!(read.sealed, expected);
        }
    }
}
