//! How the host's kernel would route an address (rtnetlink(7)): whether it is the host's own.

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};
use std::io;
use std::net::Ipv4Addr;

const GET_ROUTE: u16 = 26;
const NEW_ROUTE: u16 = 24;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
const ATTRIBUTE_DESTINATION: u16 = 1;
const TYPE_UNICAST: u8 = 1;
/// Of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Of the message, and where its `rtm_type` is.
const LENGTH: usize = HEADER + 12 + 8;
const TYPE: usize = HEADER + 7;

/// Whether packets to `address` leave this machine to one other host: `false` for the addresses of its
/// own links, for broadcast, and where a route forbids it.
///
/// # Errors
/// When there is no route.
pub(super) fn leaves_host(address: Ipv4Addr) -> io::Result<bool> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // The protocol NETLINK_ROUTE is number 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, &question(address), SendFlags::empty(), &kernel)?;
    // The kernel has answered before it returns from the call above.
    let mut buffer = [0; 1024];
    let (read, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
    let answer = buffer.get(..read).unwrap_or_default();
    match (answer.get(4..6), answer.get(TYPE)) {
        (Some(kind), Some(route)) if kind == NEW_ROUTE.to_ne_bytes() => Ok(*route == TYPE_UNICAST),
        _ => Err(io::ErrorKind::NetworkUnreachable.into()),
    }
}

/// `struct nlmsghdr`, `struct rtmsg`, one attribute.
fn question(address: Ipv4Addr) -> Vec<u8> {
    let mut message = Vec::with_capacity(LENGTH);
    message.extend((LENGTH as u32).to_ne_bytes());
    message.extend(GET_ROUTE.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    // Sequence number and port: there is one question, and the kernel is asked.
    message.extend([0; 8]);
    message.extend([rustix::net::AddressFamily::INET.as_raw() as u8, 32]);
    message.extend([0; 10]);
    message.extend(8_u16.to_ne_bytes());
    message.extend(ATTRIBUTE_DESTINATION.to_ne_bytes());
    message.extend(address.octets());
    message
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn loopback_does_not_leave_the_host() {
        assert_eq!(question(Ipv4Addr::LOCALHOST).len(), LENGTH);
        for own in [[127, 0, 0, 1], [127, 255, 0, 9]] {
            assert!(!leaves_host(own.into()).unwrap());
        }
        assert!(!leaves_host(Ipv4Addr::BROADCAST).unwrap_or(false));
    }
}
