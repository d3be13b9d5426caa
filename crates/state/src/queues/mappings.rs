//! Table `mapping`: which queues are read for which functions.

use crate::error::{Done, Failure};
use crate::row::{all, json, run, to_json};
use crate::{Result, State};
use model::{Mapping, Timestamp};
use rusqlite::{Row, params};

fn read(row: &Row<'_>) -> Done<Mapping> {
    let id: [u8; 16] = row.get("id")?;
    Ok(Mapping {
        id: uuid::Uuid::from_bytes(id),
        spec: json(row, "spec")?,
        modified: Timestamp(row.get("modified")?),
    })
}

impl State {
    /// Adds a mapping, or replaces the one with its id.
    ///
    /// # Errors
    /// `Conflict` when another one maps the same queue to the same version of the same function.
    pub async fn put_mapping(&self, mapping: Mapping) -> Result<()> {
        self.write("storing an event source mapping", move |tx| {
            let (queue, function) = (mapping.spec.queue.as_str(), mapping.spec.function.as_str());
            let id = mapping.id.into_bytes();
            let sql = "SELECT * FROM mapping WHERE queue = ?1 AND function = ?2 AND id <> ?3";
            let others = all(tx, sql, params![queue, function, id], read)?;
            let same = |other: &&Mapping| other.spec.is_same_pair(&mapping.spec);
            if let Some(other) = others.iter().find(same) {
                let name = other.id.to_string();
                let reason =
                    "maps this queue to this function already; update or delete that mapping first";
                return Err(Failure::conflict("event source mapping", name, reason));
            }
            let sql = "INSERT OR REPLACE INTO mapping (id, queue, function, modified, spec)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            run(
                tx,
                sql,
                params![
                    id,
                    queue,
                    function,
                    mapping.modified.0,
                    to_json(&mapping.spec)?
                ],
            )?;
            Ok(())
        })
        .await
    }

    /// All mappings.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_mappings(&self) -> Result<Vec<Mapping>> {
        self.read("listing event source mappings", |db| {
            all(db, "SELECT * FROM mapping ORDER BY id", [], read)
        })
        .await
    }

    /// Removes a mapping.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_mapping(&self, id: uuid::Uuid) -> Result<()> {
        self.write("deleting an event source mapping", move |tx| {
            match run(tx, "DELETE FROM mapping WHERE id = ?1", [id.into_bytes()])? {
                0 => Err(Failure::not_found("event source mapping", id.to_string())),
                _ => Ok(()),
            }
        })
        .await
    }
}
