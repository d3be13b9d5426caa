//! Table `function`.

use crate::error::{Done, Failure};
use crate::row::{all, count, first, int, json, run, time, to_json};
use crate::{Result, State, cancellations, credentials, schedules, versions};
use model::{Function, FunctionName};
use rusqlite::{Row, params};

fn read(row: &Row<'_>) -> Done<Function> {
    Ok(Function {
        spec: json(row, "spec")?,
        revision: count(row, "revision")?,
        revision_id: row.get("revision_id")?,
        created: time(row, "created")?,
        modified: time(row, "modified")?,
    })
}

impl State {
    /// Adds a function.
    ///
    /// # Errors
    /// `Conflict` when the name is taken.
    pub async fn create_function(&self, function: Function) -> Result<()> {
        self.write("creating a function", move |tx| {
            let sql = "INSERT INTO function
                           (name, revision, revision_id, created, modified, spec)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (name) DO NOTHING";
            let Function {
                spec,
                revision,
                revision_id,
                created,
                modified,
            } = &function;
            let row = params![
                spec.name.as_str(),
                int(*revision),
                revision_id,
                created.0,
                modified.0,
                to_json(spec)?
            ];
            match run(tx, sql, row)? {
                0 => Err(Failure::conflict(
                    "function",
                    function.spec.name,
                    "exists already",
                )),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Replaces a function if its `revision_id` is still `expected`.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` when it was changed meanwhile.
    pub async fn update_function(&self, function: Function, expected: String) -> Result<()> {
        self.write("changing a function", move |tx| {
            let Function {
                spec,
                revision,
                revision_id,
                created,
                modified,
            } = &function;
            let name = spec.name.as_str();
            let sql = "SELECT revision_id FROM function WHERE name = ?1";
            let present: String = first(tx, sql, [name], |row| Ok(row.get(0)?))?
                .ok_or_else(|| Failure::not_found("function", name))?;
            if present != expected {
                return Err(Failure::conflict("function", name, "was changed meanwhile"));
            }
            let sql = "UPDATE function SET revision = ?2, revision_id = ?3, created = ?4,
                           modified = ?5, spec = ?6
                       WHERE name = ?1";
            let row = params![
                name,
                int(*revision),
                revision_id,
                created.0,
                modified.0,
                to_json(spec)?
            ];
            run(tx, sql, row)?;
            Ok(())
        })
        .await
    }

    /// One function.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_function(&self, name: FunctionName) -> Result<Function> {
        self.read("reading a function", move |db| {
            first(
                db,
                "SELECT * FROM function WHERE name = ?1",
                [name.as_str()],
                read,
            )?
            .ok_or_else(|| Failure::not_found("function", name))
        })
        .await
    }

    /// All functions by name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_functions(&self) -> Result<Vec<Function>> {
        self.read("listing functions", |db| {
            all(db, "SELECT * FROM function ORDER BY name", [], read)
        })
        .await
    }

    /// Removes a function, its versions and aliases, its credential and what its manifest scheduled. Its
    /// events that have not ended are cancelled ("function deleted"): 500 in the same transaction, and from
    /// then on none is given out until [`State::cancel_step`] has cancelled the others. Records of what ran
    /// stay.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_function(&self, name: FunctionName) -> Result<()> {
        self.write("deleting a function", move |tx| {
            if run(tx, "DELETE FROM function WHERE name = ?1", [name.as_str()])? == 0 {
                return Err(Failure::not_found("function", name));
            }
            versions::forget(tx, &name)?;
            let key = format!("function:{name}");
            credentials::remove(tx, &key)?;
            schedules::forget(tx, &key)?;
            cancellations::begin(tx, &key, "function deleted")
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::store;
    use model::{Credential, Kind, Principal, Timestamp};

    fn function(name: &str, revision: u64) -> Function {
        let spec = serde_json::json!({
            "name": name, "runtime": "nodejs20.x", "handler": "index.handler",
            "code": {"zip": {"digest": format!("sha256:{}", "a".repeat(64)), "size": 1}},
            "environment": {"A": "ä"},
        });
        Function {
            spec: serde_json::from_value(spec).unwrap(),
            revision,
            revision_id: format!("r{revision}"),
            created: Timestamp(1),
            modified: Timestamp(2),
        }
    }

    #[tokio::test]
    async fn a_function_changes_only_from_the_revision_that_was_seen() {
        let (_folder, state) = store().await;
        let (first, second) = (function("f", 1), function("f", 2));
        let name = || first.spec.name.clone();
        let missing = state
            .update_function(second.clone(), "r1".into())
            .await
            .unwrap_err();
        assert_eq!(missing.kind(), Kind::NotFound);
        state.create_function(first.clone()).await.unwrap();
        state.create_function(function("e", 1)).await.unwrap();
        assert_eq!(state.get_function(name()).await.unwrap(), first);
        assert_eq!(
            state
                .create_function(second.clone())
                .await
                .unwrap_err()
                .kind(),
            Kind::Conflict
        );
        state
            .update_function(second.clone(), "r1".into())
            .await
            .unwrap();
        let late = state
            .update_function(function("f", 3), "r1".into())
            .await
            .unwrap_err();
        assert_eq!(late.to_string(), "function \"f\": was changed meanwhile");
        assert_eq!(
            state.list_functions().await.unwrap(),
            [function("e", 1), second]
        );
    }

    #[tokio::test]
    async fn a_deleted_function_leaves_no_credential() {
        let (_folder, state) = store().await;
        let function = function("f", 1);
        let name = function.spec.name.clone();
        state.create_function(function).await.unwrap();
        let credential = Credential {
            principal: Principal::Function { name: name.clone() },
            access_key_id: "A".into(),
            secret_access_key: "s".into(),
        };
        state.ensure_credential(credential).await.unwrap();
        state.delete_function(name.clone()).await.unwrap();
        assert_eq!(state.find_credential("A").await.unwrap(), None);
        assert_eq!(
            state.delete_function(name).await.unwrap_err().kind(),
            Kind::NotFound
        );
    }
}
