//! Egress: the way out of an instance.
//!
//! An instance has a loopback link and nothing else. Its launcher delivers every connection to
//! elsewhere to a listener of ours inside it, and its name server is ours ([`launcher::Egress`]). Here
//! each connection is held against the instance's policy, dialled from the host and copied. So nothing
//! is routed, and what is not allowed is not merely filtered: nobody carries it.

mod address;
mod connection;
mod dial;
mod dns;
mod names;
mod policy;
mod refusals;

pub use dial::may_dial;

use crate::logs::Notes;
use crate::{Error, Result};
use dns::Resolvers;
use model::{Egress, Owner};
use names::{Names, Registry};
use policy::Policy;
use refusals::Refusals;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

/// Most connections out of all instances at a time; each takes two open files.
const MAX_CONNECTIONS: usize = 4096;

/// What all instances share. A cheap handle.
#[derive(Clone)]
pub(crate) struct Outbound {
    resolvers: Arc<Resolvers>,
    registry: Arc<Registry>,
    connections: Arc<Semaphore>,
}

impl Outbound {
    /// `dns`: the name servers to ask; none: those that the host's `/etc/resolv.conf` names.
    pub(crate) fn new(dns: Vec<SocketAddr>) -> Self {
        Self {
            resolvers: Arc::new(Resolvers::new(dns)),
            registry: Arc::default(),
            connections: Arc::new(Semaphore::new(share_of_open_files())),
        }
    }

    /// Takes connections and questions out of one instance, for as long as what this gives is held.
    ///
    /// # Errors
    /// When a socket cannot be registered with tokio.
    pub(crate) fn open(
        &self,
        sockets: launcher::Egress,
        egress: Egress,
        owner: &Owner,
        notes: Notes,
    ) -> Result<Outlet> {
        let listener = |listener: std::net::TcpListener| {
            listener.set_nonblocking(true).map_err(Error::Register)?;
            TcpListener::from_std(listener).map_err(Error::Register)
        };
        let datagrams = sockets.datagrams;
        datagrams.set_nonblocking(true).map_err(Error::Register)?;
        let datagrams = UdpSocket::from_std(datagrams).map_err(Error::Register)?;
        let (connections, dns) = (listener(sockets.connections)?, listener(sockets.dns)?);
        let instance = Arc::new(Instance {
            policy: Policy::new(egress),
            names: self.registry.of(&owner.log_key()),
            refusals: Refusals::new(notes),
            shared: self.clone(),
        });
        let tasks = [
            tokio::spawn(connection::accept(instance.clone(), connections)),
            tokio::spawn(dns::serve_datagrams(instance.clone(), datagrams)),
            tokio::spawn(dns::serve_connections(instance, dns)),
        ];
        Ok(Outlet {
            _tasks: tasks.map(AbortOnDropHandle::new),
        })
    }
}

/// An eighth of the files that this process may open is for connections out of instances.
fn share_of_open_files() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let share = files.and_then(|files| usize::try_from(files / 16).ok());
    share.unwrap_or(MAX_CONNECTIONS).clamp(64, MAX_CONNECTIONS)
}

/// The way out of one instance. Dropped, all of its connections end.
pub(crate) struct Outlet {
    _tasks: [AbortOnDropHandle<()>; 3],
}

/// What the tasks of one instance share.
struct Instance {
    policy: Policy,
    names: Arc<Names>,
    refusals: Refusals,
    shared: Outbound,
}
