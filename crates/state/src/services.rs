//! Table `service`.

use crate::error::{Done, Failure};
use crate::row::{all, count, first, int, json, run, time, to_json};
use crate::{Result, State, credentials, leases};
use model::{Service, ServiceName, Timestamp};
use rusqlite::{Row, params};

fn read(row: &Row<'_>) -> Done<Service> {
    Ok(Service {
        spec: json(row, "spec")?,
        revision: count(row, "revision")?,
        created: time(row, "created")?,
        modified: time(row, "modified")?,
    })
}

impl State {
    /// Adds or replaces a service.
    ///
    /// # Errors
    /// Of the store.
    pub async fn put_service(&self, service: Service) -> Result<()> {
        self.write("storing a service", move |tx| {
            let sql = "REPLACE INTO service (name, revision, created, modified, spec)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            let Service {
                spec,
                revision,
                created,
                modified,
            } = &service;
            let row = params![
                spec.name.as_str(),
                int(*revision),
                created.0,
                modified.0,
                to_json(spec)?
            ];
            run(tx, sql, row)?;
            Ok(())
        })
        .await
    }

    /// One service.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_service(&self, name: ServiceName) -> Result<Service> {
        self.read("reading a service", move |db| {
            first(
                db,
                "SELECT * FROM service WHERE name = ?1",
                [name.as_str()],
                read,
            )?
            .ok_or_else(|| Failure::not_found("service", name))
        })
        .await
    }

    /// All services by name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_services(&self) -> Result<Vec<Service>> {
        self.read("listing services", |db| {
            all(db, "SELECT * FROM service ORDER BY name", [], read)
        })
        .await
    }

    /// Removes a service and its credential; its events that have not ended are buried as with a
    /// function, with the reason "service deleted".
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_service(&self, name: ServiceName) -> Result<()> {
        self.write("deleting a service", move |tx| {
            if run(tx, "DELETE FROM service WHERE name = ?1", [name.as_str()])? == 0 {
                return Err(Failure::not_found("service", name));
            }
            let key = format!("service:{name}");
            credentials::remove(tx, &key)?;
            leases::bury_all(tx, &key, "service deleted", Timestamp::now())
        })
        .await
    }
}
