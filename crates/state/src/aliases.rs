//! Table `function_alias`.

use crate::alias_moves::{self, Moved};
use crate::error::{Done, Failure};
use crate::row::{all, count, first, int, json, name, run, time, to_json};
use crate::{Result, State, event_invokes, versions};
use model::{Alias, AliasName, FunctionName, MAX_ALIASES, Routing, Timestamp};
use rusqlite::{Connection, Row, params};

/// What putting an alias may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutAlias {
    /// Only make a new one.
    Create,
    /// Only change an existing one; if given, only if its `revision_id` is still this.
    Update {
        /// For compare-and-set.
        revision_id: Option<String>,
    },
    /// Make or change.
    Upsert,
    /// Make or change, as a step back in its history.
    Back,
}

fn read(row: &Row<'_>) -> Done<Alias> {
    let share: Option<String> = row.get("share")?;
    Ok(Alias {
        name: name(row, "name")?,
        version: count(row, "version")?,
        share: share.map(|_| json(row, "share")).transpose()?,
        description: row.get("description")?,
        revision_id: row.get("revision_id")?,
        leads: row.get("leads")?,
        modified: time(row, "modified")?,
        by: row.get("by")?,
    })
}

/// The aliases of a function by name.
pub(crate) fn of_function(db: &Connection, function: &FunctionName) -> Done<Vec<Alias>> {
    let sql = "SELECT * FROM function_alias WHERE function = ?1 ORDER BY name";
    all(db, sql, [function.as_str()], read)
}

/// Whether the put may be done to what is there; gives that, if it may.
fn admit(
    db: &Connection,
    function: &FunctionName,
    alias: &Alias,
    put: &PutAlias,
) -> Done<Option<Alias>> {
    let all = of_function(db, function)?;
    let present = all.iter().find(|present| present.name == alias.name);
    let shown = || format!("{function}:{}", alias.name);
    let conflict = |reason: &str| Err(Failure::conflict("alias", shown(), reason));
    match (put, present) {
        (PutAlias::Create, Some(_)) => conflict("exists already"),
        (PutAlias::Update { .. }, None) => Err(Failure::not_found("alias", shown())),
        (PutAlias::Update { revision_id }, Some(present))
            if revision_id
                .as_ref()
                .is_some_and(|id| *id != present.revision_id) =>
        {
            conflict("was changed meanwhile")
        }
        (_, None) if all.len() >= MAX_ALIASES => {
            conflict("is one too many: a function has 100 aliases at most")
        }
        _ => Ok(present.cloned()),
    }
}

impl State {
    /// Makes or moves an alias, and writes down where it led before. If it leads, no other alias of the
    /// function does any more.
    ///
    /// # Errors
    /// `NotFound` (function, version, or the alias of an update), `Conflict` (the alias of a creation,
    /// one that was changed meanwhile, or one past the hundred that a function may have).
    pub async fn put_alias(
        &self,
        function: FunctionName,
        alias: Alias,
        put: PutAlias,
    ) -> Result<()> {
        self.write("moving an alias", move |tx| {
            let sql = "SELECT 1 FROM function WHERE name = ?1";
            first(tx, sql, [function.as_str()], |_| Ok(()))?
                .ok_or_else(|| Failure::not_found("function", function.clone()))?;
            versions::require(tx, &function, alias.version)?;
            if let Some(share) = &alias.share {
                versions::require(tx, &function, share.version)?;
            }
            let before = admit(tx, &function, &alias, &put)?;
            if alias.leads {
                let sql = "UPDATE function_alias SET leads = 0 WHERE function = ?1 AND leads";
                run(tx, sql, [function.as_str()])?;
            }
            let sql = "REPLACE INTO function_alias (function, name, version, share, description,
                           revision_id, leads, modified, by)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            let row = params![
                function.as_str(),
                alias.name.as_str(),
                int(alias.version),
                alias.share.as_ref().map(to_json).transpose()?,
                alias.description,
                alias.revision_id,
                alias.leads,
                alias.modified.0,
                alias.by
            ];
            run(tx, sql, row)?;
            let moved = Moved {
                function: &function,
                alias: &alias.name,
                at: alias.modified,
                by: &alias.by,
                from: before.as_ref().map(Routing::of),
                to: Some(Routing::of(&alias)),
                back: put == PutAlias::Back,
            };
            alias_moves::note(tx, moved)
        })
        .await
    }

    /// All aliases of all functions, by function and name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_aliases(&self) -> Result<Vec<(FunctionName, Alias)>> {
        self.read("listing aliases", |db| {
            let sql = "SELECT * FROM function_alias ORDER BY function, name";
            all(db, sql, [], |row| Ok((name(row, "function")?, read(row)?)))
        })
        .await
    }

    /// Removes an alias, if it is there, and writes down who did.
    ///
    /// # Errors
    /// Of the store.
    pub async fn delete_alias(
        &self,
        function: FunctionName,
        alias: AliasName,
        by: String,
        at: Timestamp,
    ) -> Result<()> {
        self.write("deleting an alias", move |tx| {
            let all = of_function(tx, &function)?;
            let present = all.iter().find(|present| present.name == alias);
            let sql = "DELETE FROM function_alias WHERE function = ?1 AND name = ?2";
            run(tx, sql, [function.as_str(), alias.as_str()])?;
            event_invokes::forget(tx, &function, alias.as_str())?;
            let moved = Moved {
                function: &function,
                alias: &alias,
                at,
                by: &by,
                from: present.map(Routing::of),
                to: None,
                back: false,
            };
            alias_moves::note(tx, moved)
        })
        .await
    }
}
