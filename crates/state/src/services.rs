//! Table `service`.

use crate::error::{Done, Failure};
use crate::row::{all, count, first, int, json, run, time, to_json};
use crate::{Result, State, cancellations, credentials, schedules};
use model::{Service, ServiceName};
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

    /// Removes a service and its credential; its events that have not ended are cancelled as with a
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
            schedules::forget(tx, &key)?;
            cancellations::begin(tx, &key, "service deleted")
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::{event, service, store};
    use model::{EventState, Kind, Timestamp};

    fn stored(name: &str, revision: u64) -> Service {
        let spec = serde_json::json!({
            "name": name, "runtime": "nodejs20.x", "command": ["node", "index.js"],
            "code": {"zip": {"digest": format!("sha256:{}", "a".repeat(64)), "size": 1}},
            "ports": [8080],
        });
        Service {
            spec: serde_json::from_value(spec).unwrap(),
            revision,
            created: Timestamp(1),
            modified: Timestamp(2),
        }
    }

    #[tokio::test]
    async fn a_service_is_replaced_and_deleted() {
        let (_folder, state) = store().await;
        let name: ServiceName = "catalog".parse().unwrap();
        state.put_service(stored("catalog", 1)).await.unwrap();
        state.put_service(stored("catalog", 2)).await.unwrap();
        state.put_service(stored("basket", 1)).await.unwrap();
        assert_eq!(
            state.get_service(name.clone()).await.unwrap(),
            stored("catalog", 2)
        );
        let all = state.list_services().await.unwrap();
        assert_eq!(all, [stored("basket", 1), stored("catalog", 2)]);
        state.delete_service(name.clone()).await.unwrap();
        assert_eq!(
            state.get_service(name.clone()).await.unwrap_err().kind(),
            Kind::NotFound
        );
        assert_eq!(
            state.delete_service(name).await.unwrap_err().kind(),
            Kind::NotFound
        );
    }

    #[tokio::test]
    async fn events_of_every_path_of_a_deleted_service_are_buried() {
        let (_folder, state) = store().await;
        state.put_service(stored("catalog", 1)).await.unwrap();
        let dead = [
            event(&service("catalog", "/a"), 1),
            event(&service("catalog", "/b/c"), 1),
        ];
        let other = event(&service("catalog-2", "/a"), 1);
        let all = [dead.to_vec(), vec![other.clone()]].concat();
        state.put_events(all).await.unwrap();
        state
            .delete_service("catalog".parse().unwrap())
            .await
            .unwrap();
        for event in dead {
            let event = state.get_event(event.id).await.unwrap();
            assert_eq!(event.state, EventState::Cancelled);
            assert_eq!(event.last_error.as_deref(), Some("service deleted"));
        }
        assert_eq!(
            state.get_event(other.id).await.unwrap().state,
            EventState::Waiting
        );
    }
}
