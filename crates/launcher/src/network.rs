//! A sandbox's own network: loopback only, with the listeners that the server asked for.

use crate::error::{Failure, Step};
use crate::{kernel, redirect};
use rustix::fs::{Mode, OFlags, open};
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};

/// Connections that may wait to be accepted, for each listener.
const BACKLOG: i32 = 128;

/// First of the ports on which listeners stand that are out of the program's way: past those that the
/// kernel gives to connections (`ip_local_port_range`).
const APART: u16 = 61_000;

/// What was made in a sandbox's network.
pub(crate) struct Network {
    /// In the order in which they were asked for.
    pub(crate) listeners: Vec<OwnedFd>,
    /// Leads connections to the listeners as long as it is open, if they are apart.
    pub(crate) redirect: Option<OwnedFd>,
}

/// Brings loopback up in this process's new network namespace. The process must still be the host's
/// root and see the host's `/proc`.
pub(crate) fn establish() -> Result<(), Failure> {
    let any = tcp(AddressFamily::INET).step("bringing up loopback")?;
    kernel::loopback_up(any.as_fd()).step("bringing up loopback")?;
    // Without capabilities no program could listen on port 80, which many images do.
    std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
        .step("allowing low ports")?;
    // Connections end at once, so that nothing of one sandbox's lingers when the next one comes: no
    // packet can be late on loopback.
    std::fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0")
        .step("letting connections end at once")
}

/// Makes the listeners, non-blocking, in this process's network namespace. `apart`: the program listens
/// itself, and must be able to on any port; where the kernel cannot do that, ours take their ports.
pub(crate) fn listen_on(addresses: &[SocketAddr], apart: bool) -> Result<Network, Failure> {
    if apart && let Ok(network) = set_apart(addresses) {
        return Ok(network);
    }
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        listeners.push(listener(*address).step(format!("listening on {address} inside"))?);
    }
    Ok(Network {
        listeners,
        redirect: None,
    })
}

/// Whether this process's network namespace has no socket any more, bound, connected or lingering. The
/// process must see the host's `/proc`.
pub(crate) fn is_quiet() -> std::io::Result<bool> {
    // Both files tell of the namespace of whoever opens them.
    let counts = std::fs::read_to_string("/proc/self/net/sockstat")?;
    let sockets = counts
        .lines()
        .find_map(|line| line.strip_prefix("sockets: used "));
    let lingering = counts
        .lines()
        .find(|line| line.starts_with("TCP:"))
        .and_then(|line| line.split(" tw ").nth(1)?.split(' ').next());
    Ok(sockets == Some("0") && lingering == Some("0"))
}

/// Listeners on ports of their own, and the way to them.
fn set_apart(addresses: &[SocketAddr]) -> std::io::Result<Network> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for (address, port) in addresses.iter().zip(APART..) {
        let SocketAddr::V4(address) = address else {
            return Err(std::io::ErrorKind::Unsupported.into());
        };
        let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        listeners.push((*address, listener(at.into())?));
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = open("/proc/self/ns/net", flags, Mode::empty())?;
    let redirect = redirect::attach(namespace.as_fd(), &listeners)?;
    Ok(Network {
        listeners: listeners.into_iter().map(|(_, fd)| fd).collect(),
        redirect: Some(redirect),
    })
}

fn listener(address: SocketAddr) -> rustix::io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = tcp(family)?;
    if family == AddressFamily::INET6 {
        set_ipv6_v6only(&socket, true)?;
    }
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// An unconnected TCP socket in this process's network namespace, non-blocking, close-on-exec.
pub(crate) fn tcp(family: AddressFamily) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, SocketType::STREAM, flags, None)
}
