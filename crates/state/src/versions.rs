//! Table `function_version`.

use crate::aliases::of_function;
use crate::error::{Done, Failure};
use crate::job::Tx;
use crate::row::{all, count, first, int, json, name, run, time, to_json};
use crate::{Result, State, event_invokes};
use model::{FunctionName, FunctionVersion};
use rusqlite::{Connection, Row, params};

/// What publishing did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The version, with the number that it was given.
    pub version: FunctionVersion,
    /// Numbers of versions that were one too many and that no alias names.
    pub dropped: Vec<u64>,
}

fn read(row: &Row<'_>) -> Done<FunctionVersion> {
    Ok(FunctionVersion {
        number: count(row, "number")?,
        spec: json(row, "spec")?,
        revision: count(row, "revision")?,
        revision_id: row.get("revision_id")?,
        description: row.get("description")?,
        created: time(row, "created")?,
        by: row.get("by")?,
        labels: json(row, "labels")?,
    })
}

/// Whether a function has this version; `NotFound` if not.
pub(crate) fn require(db: &Connection, function: &FunctionName, number: u64) -> Done<()> {
    let sql = "SELECT 1 FROM function_version WHERE function = ?1 AND number = ?2";
    let found = first(db, sql, params![function.as_str(), int(number)], |_| Ok(()))?;
    found.ok_or_else(|| Failure::not_found("version", format!("{function}:{number}")))
}

/// A version of a function, if it is there.
pub(crate) fn find(
    db: &Connection,
    function: &FunctionName,
    number: u64,
) -> Done<Option<FunctionVersion>> {
    let sql = "SELECT * FROM function_version WHERE function = ?1 AND number = ?2";
    first(db, sql, params![function.as_str(), int(number)], read)
}

/// Removes every version, alias, move of an alias and followed push of a function.
pub(crate) fn forget(tx: &Tx<'_>, function: &FunctionName) -> Done<()> {
    let tables = [
        "function_version",
        "function_alias",
        "function_alias_move",
        "function_event_invoke",
        "function_push",
    ];
    for table in tables {
        let sql = format!("DELETE FROM {table} WHERE function = ?1");
        run(tx, &sql, [function.as_str()])?;
    }
    Ok(())
}

/// Removes the oldest versions beyond `keep` that no alias names.
fn drop_surplus(tx: &Tx<'_>, function: &FunctionName, keep: u32) -> Done<Vec<u64>> {
    let sql = "SELECT number FROM function_version WHERE function = ?1 ORDER BY number";
    let numbers: Vec<u64> = all(tx, sql, [function.as_str()], |row| count(row, "number"))?;
    let surplus = numbers.len().saturating_sub(keep.max(1) as usize);
    let aliases = of_function(tx, function)?;
    let named = |number: u64| aliases.iter().any(|alias| alias.names(number));
    // The newest is not among them, however many are named: it was only just asked for.
    let older = numbers
        .iter()
        .take(numbers.len().saturating_sub(1))
        .copied();
    let dropped: Vec<u64> = older.filter(|n| !named(*n)).take(surplus).collect();
    for number in &dropped {
        remove(tx, function, *number)?;
    }
    Ok(dropped)
}

fn remove(tx: &Tx<'_>, function: &FunctionName, number: u64) -> Done<()> {
    let sql = "DELETE FROM function_version WHERE function = ?1 AND number = ?2";
    run(tx, sql, params![function.as_str(), int(number)])?;
    event_invokes::forget(tx, function, &number.to_string())
}

impl State {
    /// Keeps a version of a function whose `revision_id` is still `expected`, and gives it the next
    /// number, whatever number it says. Of more than `keep` versions (1 at least) the oldest go that
    /// no alias names.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` when the function was changed meanwhile.
    pub async fn publish_version(
        &self,
        version: FunctionVersion,
        expected: String,
        keep: u32,
    ) -> Result<Published> {
        self.write("publishing a version", move |tx| {
            let function = version.spec.name.clone();
            let sql = "SELECT revision_id, versions FROM function WHERE name = ?1";
            let read = |row: &Row<'_>| Ok((row.get("revision_id")?, count(row, "versions")?));
            let (present, given): (String, u64) = first(tx, sql, [function.as_str()], read)?
                .ok_or_else(|| Failure::not_found("function", function.clone()))?;
            if present != expected {
                return Err(Failure::conflict(
                    "function",
                    function,
                    "was changed meanwhile",
                ));
            }
            let version = FunctionVersion {
                number: given + 1,
                ..version.clone()
            };
            let sql = "UPDATE function SET versions = ?2 WHERE name = ?1";
            run(tx, sql, params![function.as_str(), int(version.number)])?;
            let sql = "INSERT INTO function_version (function, number, revision, revision_id,
                           description, created, by, labels, spec)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            let row = params![
                function.as_str(),
                int(version.number),
                int(version.revision),
                version.revision_id,
                version.description,
                version.created.0,
                version.by,
                to_json(&version.labels)?,
                to_json(&version.spec)?
            ];
            run(tx, sql, row)?;
            let dropped = drop_surplus(tx, &function, keep)?;
            Ok(Published { version, dropped })
        })
        .await
    }

    /// All versions of all functions, by function and number.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_versions(&self) -> Result<Vec<(FunctionName, FunctionVersion)>> {
        self.read("listing versions", |db| {
            let sql = "SELECT * FROM function_version ORDER BY function, number";
            all(db, sql, [], |row| Ok((name(row, "function")?, read(row)?)))
        })
        .await
    }

    /// Removes a version.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` while an alias names it.
    pub async fn delete_version(&self, function: FunctionName, number: u64) -> Result<()> {
        self.write("deleting a version", move |tx| {
            require(tx, &function, number)?;
            let all = of_function(tx, &function)?;
            if let Some(alias) = all.iter().find(|alias| alias.names(number)) {
                let reason = format!(
                    "alias \"{}\" names it; move or delete that first",
                    alias.name
                );
                let name = format!("{function}:{number}");
                return Err(Failure::conflict("version", name, &reason));
            }
            remove(tx, &function, number)
        })
        .await
    }
}

#[cfg(test)]
mod tests;
