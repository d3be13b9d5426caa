//! Table `service`.

use crate::{Result, State};
use model::{Service, ServiceName};

impl State {
    /// Adds or replaces a service.
    ///
    /// # Errors
    /// Of the store.
    pub async fn put_service(&self, service: Service) -> Result<()> {
        let _ = service;
        todo!()
    }

    /// One service.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_service(&self, name: ServiceName) -> Result<Service> {
        let _ = name;
        todo!()
    }

    /// All services by name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_services(&self) -> Result<Vec<Service>> {
        todo!()
    }

    /// Removes a service and its credential; its waiting events are buried as with a function.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_service(&self, name: ServiceName) -> Result<()> {
        let _ = name;
        todo!()
    }
}
