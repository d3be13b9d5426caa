//! Services: replicas kept running, checked, restarted with backoff, and reached by name.

use crate::{Engine, Result};
use model::{ChangeKind, Service, ServiceName, ServiceSpec, ServiceStatus};
use tokio::net::TcpStream;

impl Engine {
    /// Makes or changes a service and brings its replicas to what is declared.
    ///
    /// # Errors
    /// As `put_function`.
    pub async fn put_service(&self, spec: ServiceSpec) -> Result<(Service, ChangeKind)> {
        let _ = spec;
        todo!()
    }

    /// All services with their replicas.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_services(&self) -> Result<Vec<ServiceStatus>> {
        todo!()
    }

    /// Stops and removes a service. Its volumes stay.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_service(&self, name: &ServiceName) -> Result<()> {
        let _ = name;
        todo!()
    }

    /// A connection to a healthy replica, taking turns. `port`: `None` means its first. Waits up to
    /// 10 s for a replica that is starting.
    ///
    /// # Errors
    /// `NotFound`, `NoReplica`.
    pub async fn connect_service(
        &self,
        name: &ServiceName,
        port: Option<u16>,
    ) -> Result<TcpStream> {
        let _ = (name, port);
        todo!()
    }
}
