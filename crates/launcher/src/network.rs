//! A sandbox's own network: loopback only, with the listeners that the server asked for.

use crate::error::{Failure, Step};
use crate::kernel;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

/// Connections that may wait to be accepted, for each listener.
const BACKLOG: i32 = 128;

/// Brings loopback up and makes the listeners, non-blocking. The process must be in the new network
/// namespace, still be the host's root, and still see the host's `/proc`.
pub(crate) fn set_up(addresses: &[SocketAddr]) -> Result<Vec<OwnedFd>, Failure> {
    let any = tcp(AddressFamily::INET).step("bringing up loopback")?;
    kernel::loopback_up(any.as_fd()).step("bringing up loopback")?;
    // Without capabilities no program could listen on port 80, which many images do.
    std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
        .step("allowing low ports")?;
    let mut listeners = Vec::with_capacity(addresses.len());
    for address in addresses {
        listeners.push(listener(*address).step(format!("listening on {address} inside"))?);
    }
    Ok(listeners)
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
