//! A sandbox's own network: loopback only, with the listeners that the server asked for, and, if it
//! may reach out, three sockets that take all that it sends elsewhere.

use crate::cgroup::Kept;
use crate::error::{Failure, Step};
use crate::redirect::Redirect;
use crate::{kernel, route};
use rustix::fs::{Mode, OFlags, open};
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_reuseaddr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Connections that may wait to be accepted, for each listener.
const BACKLOG: i32 = 128;

/// First of the ports on which listeners stand that are out of the program's way: past those that the
/// kernel gives to connections (`ip_local_port_range`).
const APART: u16 = 61_000;
/// Where the listener stands that takes connections to elsewhere.
const EGRESS: u16 = 61_900;
/// The name server of a sandbox that may reach out, as its `/etc/resolv.conf` says.
pub(crate) const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 53);
const DNS: u16 = 53;

/// Sockets that a sandbox has besides its listeners if it may reach out.
pub(crate) const EGRESS_SOCKETS: usize = 3;

/// A network namespace that sandboxes use one after the other.
pub(crate) struct Namespace {
    pub(crate) fd: OwnedFd,
    /// Whether every IPv4 address is delivered inside.
    pub(crate) egress: bool,
    /// What leads connections to listeners, once one was needed.
    pub(crate) redirect: Option<Redirect>,
    /// What tells of its sockets, once that was asked.
    pub(crate) counts: Kept,
}

impl Namespace {
    /// Whether it has no socket any more, bound, connected or lingering. `inside`: does something in this
    /// namespace, of a process that sees the host's `/proc`.
    pub(crate) fn is_quiet<E>(
        &self,
        inside: impl FnOnce(&mut dyn FnMut() -> io::Result<String>) -> Result<String, E>,
    ) -> Result<bool, E> {
        // The file tells of the namespace of whoever opened it, as it is when it is read.
        let path = Path::new("/proc/self/net/sockstat");
        let counts = match self.counts.read_open() {
            Some(Ok(counts)) => counts,
            _ => inside(&mut || self.counts.read(path))?,
        };
        Ok(is_quiet(&counts))
    }
}

/// What was made in a sandbox's network.
pub(crate) struct Network {
    /// In the order in which they were asked for. If it may reach out, then come the listener for
    /// connections to elsewhere, the listener for DNS and the UDP socket for DNS.
    pub(crate) listeners: Vec<OwnedFd>,
    /// Made for this network namespace, to be kept with it.
    pub(crate) redirect: Option<Redirect>,
}

/// Brings loopback up in this process's new network namespace. The process must still be the host's
/// root and see the host's `/proc`. `egress`: from here on every IPv4 address is delivered inside.
pub(crate) fn establish(egress: bool) -> Result<(), Failure> {
    let any = tcp(AddressFamily::INET).step("bringing up loopback")?;
    kernel::loopback_up(any.as_fd()).step("bringing up loopback")?;
    // Without capabilities no program could listen on port 80, which many images do.
    std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
        .step("allowing low ports")?;
    // Connections end at once, so that nothing of one sandbox's lingers when the next one comes: no
    // packet can be late on loopback.
    std::fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "0")
        .step("letting connections end at once")?;
    if egress {
        route::all_to_loopback().step("routing every address to loopback")?;
    }
    Ok(())
}

/// Makes the sockets, non-blocking, in this process's network namespace, which was established with the
/// same `egress`. `apart`: the program listens itself, and must be able to on any port; where the kernel
/// cannot do that, ours take their ports. `egress`: what the program sends elsewhere is taken too; where
/// the kernel cannot do that, it fails. `redirect`: what an earlier sandbox made here.
pub(crate) fn listen_on(
    addresses: &[SocketAddr],
    apart: bool,
    egress: bool,
    redirect: Option<&Redirect>,
) -> Result<Network, Failure> {
    let outbound = if egress { Some(outbound()?) } else { None };
    let elsewhere = outbound.as_ref().map(|[elsewhere, ..]| elsewhere);
    let mut network = match apart.then(|| set_apart(addresses, elsewhere, redirect)) {
        Some(Ok(network)) => network,
        _ => in_place(addresses, elsewhere, redirect)?,
    };
    network.listeners.extend(outbound.into_iter().flatten());
    Ok(network)
}

/// Whether sandboxes can reach out here: does all of it in a network namespace that is gone
/// afterwards, on a thread that is gone afterwards.
pub(crate) fn try_egress() -> Result<(), String> {
    let attempt = || {
        kernel::unshare(libc::CLONE_NEWNET).step("making a network namespace")?;
        establish(true)?;
        listen_on(&[], false, true, None).map(drop)
    };
    let done = std::thread::spawn(attempt).join();
    let told = |failure: Failure| format!("{}: {}", failure.step, failure.reason);
    done.unwrap_or_else(|_| Err(Failure::new("trying it", "a fault in the launcher")))
        .map_err(told)
}

/// What `sockstat` of proc(5) says of a namespace without any socket.
fn is_quiet(counts: &str) -> bool {
    let sockets = counts
        .lines()
        .find_map(|line| line.strip_prefix("sockets: used "));
    let lingering = counts
        .lines()
        .find(|line| line.starts_with("TCP:"))
        .and_then(|line| line.split(" tw ").nth(1)?.split(' ').next());
    sockets == Some("0") && lingering == Some("0")
}

/// Listeners on ports of their own, and the way to them.
fn set_apart(
    addresses: &[SocketAddr],
    elsewhere: Option<&OwnedFd>,
    redirect: Option<&Redirect>,
) -> std::io::Result<Network> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for (address, port) in addresses.iter().zip(APART..) {
        let SocketAddr::V4(address) = address else {
            return Err(std::io::ErrorKind::Unsupported.into());
        };
        let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        listeners.push((*address, listener(at.into())?));
    }
    let redirect = lead(&listeners, elsewhere, redirect)?;
    Ok(Network {
        listeners: listeners.into_iter().map(|(_, fd)| fd).collect(),
        redirect,
    })
}

/// Listeners at the addresses themselves.
fn in_place(
    addresses: &[SocketAddr],
    elsewhere: Option<&OwnedFd>,
    redirect: Option<&Redirect>,
) -> Result<Network, Failure> {
    let mut listeners = Vec::with_capacity(addresses.len() + EGRESS_SOCKETS);
    for address in addresses {
        listeners.push(listener(*address).step(format!("listening on {address} inside"))?);
    }
    let redirect = match elsewhere {
        Some(_) => lead(&[], elsewhere, redirect)
            .step("leading connections out (BPF sk_lookup, Linux 5.9)")?,
        None => None,
    };
    Ok(Network {
        listeners,
        redirect,
    })
}

/// Leads connections to these listeners; gives what it had to make for that.
fn lead(
    listeners: &[(SocketAddrV4, OwnedFd)],
    elsewhere: Option<&OwnedFd>,
    redirect: Option<&Redirect>,
) -> std::io::Result<Option<Redirect>> {
    if let Some(redirect) = redirect {
        redirect.lead(listeners, elsewhere)?;
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace = open("/proc/thread-self/ns/net", flags, Mode::empty())?;
    let redirect = Redirect::attach(namespace.as_fd())?;
    redirect.lead(listeners, elsewhere)?;
    Ok(Some(redirect))
}

/// The listener for connections to elsewhere, and DNS over TCP and UDP.
fn outbound() -> Result<[OwnedFd; EGRESS_SOCKETS], Failure> {
    let at = |address: Ipv4Addr, port| SocketAddr::new(IpAddr::V4(address), port);
    let elsewhere =
        listener(at(Ipv4Addr::LOCALHOST, EGRESS)).step("listening for connections to elsewhere")?;
    let name_server = at(NAME_SERVER, DNS);
    let step = || format!("listening on {name_server} inside");
    let dns = listener(name_server).step(step())?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let datagrams = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None).step(step())?;
    bind(&datagrams, &name_server).step(step())?;
    Ok([elsewhere, dns, datagrams])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_quiet_without_sockets_of_any_kind() {
        let counts = |used: u32, lingering: u32| {
            format!(
                "sockets: used {used}\nTCP: inuse 0 orphan 0 tw {lingering} alloc 3 mem 0\nUDP: inuse 0 mem 0\n"
            )
        };
        assert!(is_quiet(&counts(0, 0)));
        assert!(!is_quiet(&counts(1, 0)));
        assert!(!is_quiet(&counts(0, 1)));
        assert!(!is_quiet(""));
    }
}
