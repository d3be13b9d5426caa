//! Connections that come out of instances: to the platform's own port, or to a service by name.
//! They are accepted on listeners inside the instance's network namespace, so nothing is routed.

use model::{InstanceId, Owner, ServiceName};
use tokio::net::TcpStream;

/// What the instance connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// The client port: S3, Lambda and so on, at `127.0.0.1:4566` inside.
    Platform,
    /// A service.
    Service {
        /// Which.
        name: ServiceName,
        /// Which of its ports.
        port: u16,
    },
}

/// One connection out of an instance.
#[derive(Debug)]
pub struct Inbound {
    /// Whose it is.
    pub owner: Owner,
    /// Which instance.
    pub instance: InstanceId,
    /// What it connected to.
    pub door: Door,
    /// The connection.
    pub stream: TcpStream,
}
