//! A route by which every address is the namespace's own.

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};
use std::io;

/// Numbers of rtnetlink(7).
const NEW_ROUTE: u16 = 24;
const ERROR: u16 = 2;
/// `NLM_F_REQUEST | NLM_F_ACK | NLM_F_EXCL | NLM_F_CREATE`.
const FLAGS: u16 = 0x1 | 0x4 | 0x200 | 0x400;
const TABLE_LOCAL: u8 = 255;
const PROTOCOL_STATIC: u8 = 4;
const SCOPE_HOST: u8 = 254;
const TYPE_LOCAL: u8 = 2;
const ATTRIBUTE_OIF: u16 = 4;
const ATTRIBUTE_PREFSRC: u16 = 7;

/// The loopback link is the first of every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;
const HEADER: usize = 16;

/// `ip route add local 0.0.0.0/0 dev lo src 127.0.0.1` in this thread's network namespace, whose
/// loopback link must be up. The kernel calls it AnyIP: a connection to any IPv4 address is delivered
/// here, if a socket takes it.
pub(crate) fn all_to_loopback() -> io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    // The protocol NETLINK_ROUTE is number 0.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, &message(), SendFlags::empty(), &kernel)?;
    let mut buffer = [0; 256];
    let (read, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
    acknowledged(buffer.get(..read).unwrap_or_default())
}

/// `struct nlmsghdr`, `struct rtmsg`, two attributes.
fn message() -> Vec<u8> {
    let family = AddressFamily::INET.as_raw() as u8;
    // Family, lengths of destination and source, type of service, table, protocol, scope, type, flags.
    let mut body = vec![family, 0, 0, 0, TABLE_LOCAL, PROTOCOL_STATIC];
    body.extend([SCOPE_HOST, TYPE_LOCAL, 0, 0, 0, 0]);
    let values = [
        (ATTRIBUTE_OIF, LOOPBACK.to_ne_bytes()),
        (ATTRIBUTE_PREFSRC, [127, 0, 0, 1]),
    ];
    for (attribute, value) in values {
        body.extend(8_u16.to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(value);
    }
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    message.extend(NEW_ROUTE.to_ne_bytes());
    message.extend(FLAGS.to_ne_bytes());
    // Sequence number and port: there is one question, and the kernel is asked.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Whether the kernel did it: `struct nlmsghdr`, then a negative error number or 0.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok());
    let code = answer.get(HEADER..HEADER + 4);
    let code = code.and_then(|bytes| bytes.try_into().ok());
    match (kind.map(u16::from_ne_bytes), code.map(i32::from_ne_bytes)) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(code)) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn lengths_in_the_message_are_true() {
        let message = message();
        assert_eq!(message.len(), HEADER + 12 + 2 * 8);
        assert_eq!(
            message[..4],
            u32::try_from(message.len()).unwrap().to_ne_bytes()
        );
    }

    #[test]
    fn an_answer_is_an_acknowledgement_an_error_or_refused() {
        let answer = |kind: u16, code: i32| {
            let mut bytes = vec![0; HEADER];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes.extend(code.to_ne_bytes());
            bytes
        };
        assert!(acknowledged(&answer(ERROR, 0)).is_ok());
        let refused = acknowledged(&answer(ERROR, -libc::EPERM)).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        assert!(acknowledged(&answer(NEW_ROUTE, 0)).is_err());
        assert!(acknowledged(&answer(ERROR, 0)[..HEADER]).is_err());
    }
}
