//! Messages between server, launcher and the child that becomes a sandbox: postcard over
//! `SOCK_SEQPACKET`, one message a packet, file descriptors by `SCM_RIGHTS`.

use crate::cgroup::Version;
use crate::error::Failure;
use crate::root::Ids;
use crate::{Assignment, Belongings, Exit, Furniture, Pinned, Shape, Stem, Usage};
use model::Limits;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::Pid;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// Largest message in bytes. A packet must fit the socket's send buffer, 208 KiB by default.
pub(crate) const MESSAGE_MAX: usize = 192 * 1024;
/// Most file descriptors with one message: 64 listeners, and what belongs to them.
pub(crate) const FDS_MAX: usize = 76;

/// What the server asks. `sandbox` is the number that the server gave it in `Arm` or `Zygote`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Make a sandbox, and let it wait.
    Arm {
        sandbox: u64,
        shape: Box<Shape>,
        stem: Stem,
        limits: Box<Limits>,
    },
    /// Let it run.
    Assign {
        sandbox: u64,
        assignment: Box<Assignment>,
    },
    /// Start a zygote: a program in a root of this shape, that will be asked for forks.
    Zygote {
        sandbox: u64,
        shape: Box<Shape>,
        argv: Vec<String>,
        environment: Vec<(String, String)>,
    },
    Socket {
        request: u64,
        sandbox: u64,
    },
    Usage {
        request: u64,
        sandbox: u64,
    },
    Terminate {
        sandbox: u64,
    },
    Kill {
        sandbox: u64,
    },
    /// Stop all of its processes, or let them run on.
    Freeze {
        sandbox: u64,
        frozen: bool,
    },
    /// Which files a zygote, or a stem that nobody was told of yet, has mapped.
    Mapped {
        request: u64,
        sandbox: u64,
    },
    /// Keep these files in memory, so many bytes of them at most, and no others.
    Pin {
        request: u64,
        files: Vec<PathBuf>,
        bytes: u64,
    },
    /// Make a container's network what a sandbox's is; with its network namespace.
    Furnish {
        request: u64,
        furniture: Box<Furniture>,
    },
    /// Make a socket in a container's network; with its network namespace.
    Reach {
        request: u64,
    },
    /// Give a container's user what is its own; with its mount namespace.
    Endow {
        request: u64,
        belongings: Box<Belongings>,
    },
}

/// Which files of its group the server is given, opened, in this order.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct GroupFiles {
    /// What freezes and thaws it.
    pub(crate) freezer: Option<Version>,
    /// What tells the most memory that it used.
    pub(crate) memory_peak: bool,
}

impl GroupFiles {
    /// How many.
    pub(crate) fn count(self) -> usize {
        usize::from(self.freezer.is_some()) + usize::from(self.memory_peak)
    }
}

/// What the launcher says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// First of all: it is ready. Each warning is a loss that does not prevent a start. `egress`:
    /// whether sandboxes can reach out.
    Ready { warnings: Vec<String>, egress: bool },
    /// First and last: this machine cannot make sandboxes.
    Missing { reason: String },
    /// It waits. With stdout, stderr, the files of its group, and the listeners in their order. A zygote comes without any. `greeting`: what a stem or zygote said when it was ready.
    Armed {
        sandbox: u64,
        pid: u32,
        files: GroupFiles,
        greeting: Vec<u8>,
    },
    /// What it was assigned runs.
    Started { sandbox: u64 },
    /// Nothing of the sandbox is left.
    Failed { sandbox: u64, failure: Failure },
    /// With the socket. Answers `Socket` or `Reach`.
    Socket { request: u64 },
    /// Answers `Furnish`. With the listeners in their order, those for what goes elsewhere, and, if it was
    /// made, what leads connections to them: its table and its link.
    Furnished { request: u64, redirect: bool },
    /// Answers `Endow`.
    Endowed { request: u64 },
    /// Answers `Usage`.
    Usage { request: u64, usage: Usage },
    /// Answers any question.
    Refused { request: u64, failure: Failure },
    /// It has ended and nothing of it is left.
    Exited { sandbox: u64, exit: Exit },
    /// Answers `Mapped`.
    Mapped { request: u64, files: Vec<PathBuf> },
    /// Answers `Pin`.
    Pinned { request: u64, pinned: Pinned },
}

/// What a child says to the launcher before it becomes the program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// All is made; it waits. With the listeners and what `made` names, in its order.
    Parked(Made),
    /// A step failed; the child ends.
    Failed(Failure),
    /// A process waits, or will; with its pidfd.
    Begun,
}

/// What a child made, for the launcher to keep.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Made {
    /// What leads connections to the listeners: its table and its link.
    pub(crate) redirect: bool,
    /// A network namespace.
    pub(crate) network: bool,
    /// The mount namespace of a template.
    pub(crate) template: bool,
    /// The slot's other namespaces.
    pub(crate) spaces: bool,
    /// As whom the program runs.
    pub(crate) ids: Ids,
}

/// Encodes a message.
///
/// # Errors
/// `InvalidInput` past [`MESSAGE_MAX`].
pub(crate) fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    if bytes.len() > MESSAGE_MAX {
        let text = format!("a message of {} bytes is past {MESSAGE_MAX}", bytes.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(bytes)
}

/// Sends one encoded message. A blocking socket blocks; a broken one answers `EPIPE`, no signal.
pub(crate) fn send(
    socket: impl AsFd,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> rustix::io::Result<()> {
    send_with(socket, bytes, fds, SendFlags::NOSIGNAL)
}

/// As [`send`], and never blocks: `EAGAIN` when there is no room.
pub(crate) fn offer(
    socket: impl AsFd,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> rustix::io::Result<()> {
    send_with(
        socket,
        bytes,
        fds,
        SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    )
}

/// A system call filter as zygotes take it, `struct sock_filter`s one after the other.
pub(crate) fn filter(filter: &[libc::sock_filter]) -> Vec<u8> {
    let bytes = filter.iter().flat_map(|one| {
        let [code_low, code_high] = one.code.to_ne_bytes();
        let mut bytes = vec![code_low, code_high, one.jt, one.jf];
        bytes.extend(one.k.to_ne_bytes());
        bytes
    });
    bytes.collect()
}

fn send_with(
    socket: impl AsFd,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(rustix::io::Errno::TOOBIG);
    }
    rustix::io::retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, flags))?;
    Ok(())
}

/// Receives one message; `None` at the end of the stream.
///
/// # Errors
/// The kernel's, and `InvalidData` for what is no message of this kind; the stream stays usable.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let Some((length, fds)) = receive_bytes(socket, buffer, flags)? else {
        return Ok(None);
    };
    let bytes = buffer.get(..length).unwrap_or_default();
    Ok(Some((decode(bytes)?, fds)))
}

/// Decodes a message.
///
/// # Errors
/// `InvalidData` for what is no message of this kind.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(|error| malformed(&format!("not a message: {error}")))
}

fn malformed(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

/// Receives one packet as it is: its length; `None` at the end of the stream.
///
/// # Errors
/// The kernel's, and `InvalidData` for a packet that is longer than the buffer.
pub(crate) fn receive_bytes(
    socket: impl AsFd,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
    let packet = receive_packet(socket, buffer, flags)?;
    Ok(packet.map(|packet| (packet.length, packet.fds)))
}

/// A packet as it is.
pub(crate) struct Packet {
    pub(crate) length: usize,
    pub(crate) fds: Vec<OwnedFd>,
    /// The process that sent it, as the kernel says, if the socket asks for that (`SO_PASSCRED`).
    pub(crate) sender: Option<Pid>,
}

/// As [`receive_bytes`], with the sender.
///
/// # Errors
/// As of [`receive_bytes`].
pub(crate) fn receive_packet(
    socket: impl AsFd,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> io::Result<Option<Packet>> {
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let message = rustix::io::retry_on_intr(|| {
        recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)
    })?;
    let (mut fds, mut sender) = (Vec::new(), None);
    for part in control.drain() {
        match part {
            RecvAncillaryMessage::ScmRights(rights) => fds.extend(rights),
            RecvAncillaryMessage::ScmCredentials(who) => sender = Some(who.pid),
            _ => {}
        }
    }
    if message.bytes == 0 {
        return Ok(None);
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(malformed("the message is too long"));
    }
    Ok(Some(Packet {
        length: message.bytes,
        fds,
        sender,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap()
    }

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (ours, theirs) = pair();
        let fds = vec![ours.as_fd(); FDS_MAX];
        let bytes = encode(&Reply::Started { sandbox: 7 }).unwrap();
        send(&ours, &bytes, &fds).unwrap();
        let mut buffer = [0; 64];
        let (reply, fds) = receive(&theirs, &mut buffer, RecvFlags::empty())
            .unwrap()
            .unwrap();
        assert!(matches!(reply, Reply::Started { sandbox: 7 }));
        assert_eq!(fds.len(), FDS_MAX);
        for fd in &fds {
            let flags = rustix::io::fcntl_getfd(fd).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
        drop((ours, fds));
        let end = receive::<Reply>(&theirs, &mut buffer, RecvFlags::empty()).unwrap();
        assert!(end.is_none());
    }

    #[test]
    fn the_largest_message_fits_the_socket_and_a_larger_one_is_refused() {
        let (ours, theirs) = pair();
        send(&ours, &vec![0xff; MESSAGE_MAX], &[]).unwrap();
        let mut short = [0; 64];
        let error = receive::<Reply>(&theirs, &mut short, RecvFlags::empty()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let warnings = vec!["x".repeat(MESSAGE_MAX)];
        assert!(
            encode(&Reply::Ready {
                warnings,
                egress: true
            })
            .is_err()
        );
    }

    proptest! {
        #[test]
        fn anything_else_is_refused_and_the_stream_goes_on(bytes in prop::collection::vec(any::<u8>(), 1..300)) {
            let (ours, theirs) = pair();
            let mut buffer = [0; 512];
            send(&ours, &bytes, &[]).unwrap();
            let first = receive::<Request>(&theirs, &mut buffer, RecvFlags::empty());
            prop_assert!(first.is_ok_and(|m| m.is_some()) || postcard::from_bytes::<Request>(&bytes).is_err());
            send(&ours, &encode(&Request::Kill { sandbox: 1 }).unwrap(), &[]).unwrap();
            let next = receive::<Request>(&theirs, &mut buffer, RecvFlags::empty()).unwrap();
            prop_assert!(matches!(next, Some((Request::Kill { sandbox: 1 }, _))), "the next message is whole");
        }
    }
}
