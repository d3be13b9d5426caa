//! Table `credential`: keys of functions and services. The root credential is a file of its own.

use crate::error::{Done, Failure};
use crate::job::Tx;
use crate::row::{first, run};
use crate::{Result, State};
use model::{Credential, FunctionName, Principal};
use rusqlite::{Connection, Row, params};

fn read(row: &Row<'_>) -> Done<Credential> {
    let key: String = row.get("principal")?;
    let principal = match key.split_once(':') {
        None if key == "root" => Principal::Root,
        Some(("function", name)) => Principal::Function {
            name: name.parse()?,
        },
        Some(("service", name)) => Principal::Service {
            name: name.parse()?,
        },
        _ => return Err(Failure::Corrupt(format!("column principal: \"{key}\""))),
    };
    Ok(Credential {
        principal,
        access_key_id: row.get("access_key_id")?,
        secret_access_key: row.get("secret_access_key")?,
    })
}

/// Takes the credential of a principal, named by [`Principal::key`], away.
pub(crate) fn remove(db: &Connection, principal: &str) -> Done<()> {
    run(
        db,
        "DELETE FROM credential WHERE principal = ?1",
        [principal],
    )?;
    Ok(())
}

fn ensure(tx: &Tx<'_>, candidate: &Credential) -> Done<Credential> {
    let principal = candidate.principal.key();
    let sql = "SELECT * FROM credential WHERE principal = ?1";
    if let Some(present) = first(tx, sql, [&principal], read)? {
        return Ok(present);
    }
    let sql = "INSERT INTO credential (access_key_id, principal, secret_access_key)
               VALUES (?1, ?2, ?3)";
    let (id, secret) = (&candidate.access_key_id, &candidate.secret_access_key);
    run(tx, sql, params![id, principal, secret])?;
    Ok(candidate.clone())
}

impl State {
    /// Gives the principal's credential, adding `candidate` if it has none yet.
    ///
    /// # Errors
    /// Of the store.
    pub async fn ensure_credential(&self, candidate: Credential) -> Result<Credential> {
        self.write("storing a credential", move |tx| ensure(tx, &candidate))
            .await
    }

    /// The same for a function that must be there: one that is deleted meanwhile does not get its
    /// credential back.
    ///
    /// # Errors
    /// `NotFound`, the function.
    pub async fn ensure_function_credential(
        &self,
        function: FunctionName,
        candidate: Credential,
    ) -> Result<Credential> {
        self.write("storing a function's credential", move |tx| {
            let sql = "SELECT 1 FROM function WHERE name = ?1";
            first(tx, sql, [function.as_str()], |_| Ok(()))?
                .ok_or_else(|| Failure::not_found("function", function.clone()))?;
            ensure(tx, &candidate)
        })
        .await
    }

    /// The credential with this access key id, if there is one.
    ///
    /// # Errors
    /// Of the store.
    pub async fn find_credential(&self, access_key_id: &str) -> Result<Option<Credential>> {
        let id = access_key_id.to_owned();
        self.read("reading a credential", move |db| {
            first(
                db,
                "SELECT * FROM credential WHERE access_key_id = ?1",
                [id],
                read,
            )
        })
        .await
    }

    /// Takes a principal's credential away.
    ///
    /// # Errors
    /// Of the store.
    pub async fn delete_credential(&self, principal: Principal) -> Result<()> {
        self.write("deleting a credential", move |tx| {
            remove(tx, &principal.key())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::store;

    fn credential(principal: Principal, id: &str) -> Credential {
        let secret_access_key = format!("secret of {id}");
        Credential {
            principal,
            access_key_id: id.to_owned(),
            secret_access_key,
        }
    }

    #[tokio::test]
    async fn a_function_that_is_not_there_gets_none() {
        let (_folder, state) = store().await;
        let name: FunctionName = "f".parse().unwrap();
        let candidate = credential(Principal::Function { name: name.clone() }, "A");
        let refused = state.ensure_function_credential(name, candidate).await;
        assert_eq!(refused.unwrap_err().kind(), model::Kind::NotFound);
        assert_eq!(state.find_credential("A").await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_first_credential_of_a_principal_stays() {
        let (_folder, state) = store().await;
        let principals = [
            Principal::Root,
            Principal::Function {
                name: "f".parse().unwrap(),
            },
            Principal::Service {
                name: "f".parse().unwrap(),
            },
        ];
        for (number, principal) in principals.into_iter().enumerate() {
            let first = credential(principal.clone(), &format!("A{number}"));
            let second = credential(principal.clone(), &format!("B{number}"));
            assert_eq!(state.ensure_credential(first.clone()).await.unwrap(), first);
            assert_eq!(
                state.ensure_credential(second.clone()).await.unwrap(),
                first
            );
            let found = state.find_credential(&first.access_key_id).await.unwrap();
            assert_eq!(found, Some(first));
            assert_eq!(
                state.find_credential(&second.access_key_id).await.unwrap(),
                None
            );
            state.delete_credential(principal).await.unwrap();
            assert_eq!(
                state.ensure_credential(second.clone()).await.unwrap(),
                second
            );
        }
    }
}
