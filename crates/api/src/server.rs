//! The server: listeners, connections, and which request goes through which door.

use crate::RootCredential;
use engine::{Engine, Inbound};
use model::{InstanceId, Owner};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Where a connection comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The client port.
    Client,
    /// The platform door inside an instance.
    Instance {
        /// Whose it is.
        owner: Owner,
        /// Which instance.
        instance: InstanceId,
    },
}

/// Settings of the server.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The region that signatures must name; others are accepted too and not compared.
    pub region: String,
    /// Largest code archive or image that is taken in, in bytes.
    pub max_upload: u64,
}

/// The server.
pub struct Server {}

impl Server {
    /// Puts the doors together.
    pub fn new(options: ServerOptions, engine: Engine, root: RootCredential) -> Self {
        let _ = (options, engine, root);
        todo!()
    }

    /// Serves the client port and the connections out of instances until `stop` resolves; then takes
    /// no new connections and gives those under way until `grace` to end.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        inbound: mpsc::Receiver<Inbound>,
        stop: impl Future<Output = ()> + Send + 'static,
        grace: std::time::Duration,
    ) -> std::io::Result<()> {
        let _ = (listener, inbound, stop, grace);
        todo!()
    }
}
