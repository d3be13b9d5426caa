//! Routes, by rtnetlink(7): one by which every address is the namespace's own, and the question where
//! an address leads.

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};
use std::io;
use std::net::Ipv4Addr;

/// Kinds of messages.
const ERROR: u16 = 2;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

const REQUEST: u16 = 0x1;
/// `NLM_F_ACK | NLM_F_EXCL | NLM_F_CREATE`.
const CREATE: u16 = 0x4 | 0x200 | 0x400;

const TABLE_LOCAL: u8 = 255;
const PROTOCOL_STATIC: u8 = 4;
const SCOPE_HOST: u8 = 254;
const TYPE_UNICAST: u8 = 1;
const TYPE_LOCAL: u8 = 2;

const DESTINATION: u16 = 1;
const OUTPUT_LINK: u16 = 4;
const PREFERRED_SOURCE: u16 = 7;

/// The loopback link is the first of every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;
/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Where a message about a route has its `rtm_type`.
const ROUTE_TYPE: usize = HEADER + 7;

/// `struct rtmsg`, and attributes of four bytes.
struct Route<'a> {
    destination_bits: u8,
    table: u8,
    protocol: u8,
    scope: u8,
    kind: u8,
    attributes: &'a [(u16, [u8; 4])],
}

/// `ip route add local 0.0.0.0/0 dev lo src 127.0.0.1` in this thread's network namespace, whose
/// loopback link must be up. The kernel calls it AnyIP: a connection to any IPv4 address is delivered
/// here, if a socket takes it.
pub(crate) fn all_to_loopback() -> io::Result<()> {
    let route = Route {
        destination_bits: 0,
        table: TABLE_LOCAL,
        protocol: PROTOCOL_STATIC,
        scope: SCOPE_HOST,
        kind: TYPE_LOCAL,
        attributes: &[
            (OUTPUT_LINK, LOOPBACK.to_ne_bytes()),
            (PREFERRED_SOURCE, Ipv4Addr::LOCALHOST.octets()),
        ],
    };
    ask(&message(NEW_ROUTE, REQUEST | CREATE, &route)).map(drop)
}

/// Whether packets to `address` leave this machine for one other host, as its kernel routes them now:
/// `false` for the addresses of its own links, for broadcast and multicast. Needs no privilege.
///
/// # Errors
/// When there is no route.
pub fn leaves_host(address: Ipv4Addr) -> io::Result<bool> {
    let route = Route {
        destination_bits: 32,
        table: 0,
        protocol: 0,
        scope: 0,
        kind: 0,
        attributes: &[(DESTINATION, address.octets())],
    };
    let answer = ask(&message(GET_ROUTE, REQUEST, &route))?;
    Ok(answer.get(ROUTE_TYPE) == Some(&TYPE_UNICAST))
}

fn message(kind: u16, flags: u16, route: &Route<'_>) -> Vec<u8> {
    let family = AddressFamily::INET.as_raw() as u8;
    // Family, lengths of destination and source, type of service.
    let mut body = vec![family, route.destination_bits, 0, 0];
    body.extend([route.table, route.protocol, route.scope, route.kind]);
    body.extend([0; 4]); // flags
    for (attribute, value) in route.attributes {
        body.extend(8_u16.to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(value);
    }
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence number and port: there is one question, and the kernel is asked.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Asks the kernel, which has answered before sending returns.
fn ask(message: &[u8]) -> io::Result<Vec<u8>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // The protocol NETLINK_ROUTE is number 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, message, SendFlags::empty(), &kernel)?;
    let mut buffer = [0; 1024];
    let (read, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
    check(buffer.get(..read).unwrap_or_default())
}

/// An error is `struct nlmsghdr` and a negative error number, or 0 for an acknowledgement.
fn check(answer: &[u8]) -> io::Result<Vec<u8>> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok());
    let code = answer.get(HEADER..HEADER + 4);
    let code = code.and_then(|bytes| bytes.try_into().ok());
    match (kind.map(u16::from_ne_bytes), code.map(i32::from_ne_bytes)) {
        (Some(ERROR), Some(code)) if code != 0 => {
            Err(io::Error::from_raw_os_error(code.saturating_neg()))
        }
        (Some(ERROR | NEW_ROUTE), Some(_)) => Ok(answer.to_vec()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_answer_is_an_acknowledgement_a_route_an_error_or_refused() {
        let answer = |kind: u16, code: i32| {
            let mut bytes = vec![0; HEADER];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes.extend(code.to_ne_bytes());
            bytes
        };
        assert!(check(&answer(ERROR, 0)).is_ok());
        assert!(check(&answer(NEW_ROUTE, 7)).is_ok());
        let refused = check(&answer(ERROR, -libc::EPERM)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        assert!(check(&answer(GET_ROUTE, 0)).is_err());
        assert!(check(&answer(ERROR, 0)[..HEADER]).is_err());
    }

    #[test]
    fn loopback_and_broadcast_do_not_leave_the_host() {
        for own in [[127, 0, 0, 1], [127, 255, 0, 9]] {
            assert!(!leaves_host(own.into()).unwrap());
        }
        assert!(!leaves_host(Ipv4Addr::BROADCAST).unwrap_or(false));
    }
}
