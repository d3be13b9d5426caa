//! Connections that come out of instances: to the platform's own port, or to a service by name.
//! They are accepted on listeners inside the instance's network namespace, so nothing is routed.

use model::{InstanceId, Networks, Owner, ServiceName};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

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
    /// The networks that it is on.
    pub networks: Networks,
    /// What it connected to.
    pub door: Door,
    /// The connection.
    pub stream: TcpStream,
}

/// One listener of an instance, and to whom its connections go.
pub(crate) struct Gate {
    pub(crate) owner: Owner,
    pub(crate) instance: InstanceId,
    pub(crate) networks: Networks,
    pub(crate) door: Door,
    pub(crate) inbound: mpsc::Sender<Inbound>,
}

impl Gate {
    /// Accepts until nobody takes connections any more. While the channel is full, the instance waits.
    pub(crate) async fn accept(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    let inbound = Inbound {
                        owner: self.owner.clone(),
                        instance: self.instance.clone(),
                        networks: self.networks.clone(),
                        door: self.door.clone(),
                        stream,
                    };
                    if self.inbound.send(inbound).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, instance = %self.instance, "accepting from an instance");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}
