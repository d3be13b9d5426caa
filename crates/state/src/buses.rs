//! Table `bus`.

use crate::error::{Done, Failure};
use crate::row::{all, first, json, run, to_json};
use crate::{Result, State, cancellations};
use model::{Bus, BusName, MAX_BUSES};
use rusqlite::{Connection, params};

pub(crate) fn find(db: &Connection, name: &BusName) -> Done<Option<Bus>> {
    let sql = "SELECT spec FROM bus WHERE name = ?1";
    first(db, sql, [name.as_str()], |row| json(row, "spec"))
}

pub(crate) fn require(db: &Connection, name: &BusName) -> Done<Bus> {
    find(db, name)?.ok_or_else(|| Failure::not_found("event bus", name.as_str()))
}

impl State {
    /// Adds a bus.
    ///
    /// # Errors
    /// `Conflict` when the name is taken or there are too many.
    pub async fn create_bus(&self, bus: Bus) -> Result<()> {
        self.write("creating a bus", move |tx| {
            let count: i64 = tx.query_row("SELECT count(*) FROM bus", [], |row| row.get(0))?;
            if count >= MAX_BUSES as i64 {
                let reason = "there are 100 buses, which is the most; delete one first";
                return Err(Failure::conflict("event bus", bus.name, reason));
            }
            let sql = "INSERT INTO bus (name, spec) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING";
            match run(tx, sql, params![bus.name.as_str(), to_json(&bus)?])? {
                0 => Err(Failure::conflict("event bus", bus.name, "exists already")),
                _ => Ok(()),
            }
        })
        .await
    }

    /// One bus.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_bus(&self, name: BusName) -> Result<Bus> {
        self.read("reading a bus", move |db| require(db, &name))
            .await
    }

    /// All buses by name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_buses(&self) -> Result<Vec<Bus>> {
        self.read("listing buses", |db| {
            all(db, "SELECT spec FROM bus ORDER BY name", [], |row| {
                json(row, "spec")
            })
        })
        .await
    }

    /// Changes a bus as `change` says, in one step.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn update_bus(
        &self,
        name: BusName,
        change: impl FnOnce(&mut Bus) + Send + 'static,
    ) -> Result<Bus> {
        self.write("changing a bus", move |tx| {
            let mut bus = require(tx, &name)?;
            change(&mut bus);
            let sql = "UPDATE bus SET spec = ?2 WHERE name = ?1";
            run(tx, sql, params![name.as_str(), to_json(&bus)?])?;
            Ok(bus)
        })
        .await
    }

    /// Removes a bus that has no rules; its events that have not ended are cancelled with the reason
    /// "event bus deleted", as with a function.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` while it has rules.
    pub async fn delete_bus(&self, name: BusName) -> Result<()> {
        self.write("deleting a bus", move |tx| {
            require(tx, &name)?;
            let ruled = "SELECT 1 FROM rule WHERE bus = ?1 LIMIT 1";
            if first(tx, ruled, [name.as_str()], |_| Ok(()))?.is_some() {
                let reason = "still has rules; delete them first";
                return Err(Failure::conflict("event bus", name, reason));
            }
            run(tx, "DELETE FROM bus WHERE name = ?1", [name.as_str()])?;
            let key = format!("bus:{name}");
            cancellations::begin(tx, &key, "event bus deleted")
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{event, store};
    use model::{EventState, Kind, Target};

    #[tokio::test]
    async fn the_default_bus_is_there_and_others_come_and_go_with_their_events() {
        let (_folder, state) = store().await;
        let default = BusName::default_bus();
        assert_eq!(state.list_buses().await.unwrap()[0].name, default);
        let name: BusName = "orders".parse().unwrap();
        let bus = Bus {
            name: name.clone(),
            ..state.get_bus(default.clone()).await.unwrap()
        };
        state.create_bus(bus.clone()).await.unwrap();
        let taken = state.create_bus(bus).await.unwrap_err();
        assert_eq!(taken.kind(), Kind::Conflict);
        let renamed = state.update_bus(name.clone(), |bus| bus.description = "d".into());
        assert_eq!(renamed.await.unwrap().description, "d");
        let waiting = event(&Target::Bus { name: name.clone() }, 1);
        state.put_events(vec![waiting.clone()]).await.unwrap();
        state.delete_bus(name.clone()).await.unwrap();
        let kept = state.get_event(waiting.id).await.unwrap();
        assert_eq!(kept.accepted, waiting);
        assert_eq!(kept.state, EventState::Cancelled);
        let missing = state.get_bus(name).await.unwrap_err();
        assert_eq!(missing.kind(), Kind::NotFound);
    }
}
