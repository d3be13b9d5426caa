//! The socket at which the first program of a container knocks (`gate/gate.rs`), and what it is handed.

use crate::error::{Error, Failure, Result, Step as _};
use crate::exec::{self, Told};
use crate::seccomp::{self, Profile};
use crate::wire::{self, MESSAGE_MAX};
use crate::{assignment, bare};
use rustix::fs::{CWD, Mode, OFlags, chmodat, openat};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen,
    socket_with,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::Path;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// See the module. It takes one visitor.
pub struct Gate {
    socket: AsyncFd<OwnedFd>,
}

/// A container's first program, which waits.
pub struct Visitor {
    /// Its network namespace.
    pub network: OwnedFd,
    /// Its mount namespace.
    pub mounts: OwnedFd,
    /// As whom it runs, in ids of the host.
    pub user: (u32, u32),
    socket: AsyncFd<OwnedFd>,
}

/// A container's first program, which was told what to become.
pub struct Handed {
    socket: AsyncFd<OwnedFd>,
    told: Told,
}

impl Gate {
    /// Where the program is to be mounted inside, and to be executed.
    pub const PROGRAM: &str = "/.rouse/gate";
    /// Where the socket is to be mounted inside.
    pub const DOOR: &str = "/.rouse/door";

    /// The program, which runs without anything else of the image.
    pub fn program() -> &'static [u8] {
        bare::GATE
    }

    /// Listens at a new socket named `name` in `folder`; whoever can reach it may knock.
    ///
    /// # Errors
    /// `Step`.
    pub fn open(folder: &Path, name: &str) -> Result<Self> {
        let step = || format!("listening at {}", folder.join(name).display());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, folder, flags, Mode::empty()).step(step())?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        let socket = socket.step(step())?;
        // The whole path may be longer than an address can be.
        let path = format!("/proc/self/fd/{}/{name}", folder.as_raw_fd());
        let address = SocketAddrUnix::new(path).step(step())?;
        bind(&socket, &address).step(step())?;
        // As whom the container's program runs is not known here.
        let everyone = Mode::from_raw_mode(0o666);
        chmodat(&folder, name, everyone, rustix::fs::AtFlags::empty()).step(step())?;
        listen(&socket, 1).step(step())?;
        let socket = register(socket, Interest::READABLE).step(step())?;
        Ok(Self { socket })
    }

    /// Waits for the container's first program. Nobody else can come before it: it is the only one there.
    ///
    /// # Errors
    /// `Step`.
    pub async fn visitor(self) -> Result<Visitor> {
        const STEP: &str = "waiting for the container's first program";
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accept = |gate: &OwnedFd| Ok(accept_with(gate, flags)?);
        let socket = self.socket.async_io(Interest::READABLE, accept);
        let socket = register(socket.await.step(STEP)?, Interest::READABLE).step(STEP)?;
        let received = receive(&socket).await.step(STEP)?;
        let Some((_, fds)) = received else {
            return Err(Failure::new(STEP, "it ended").into());
        };
        let Ok([network, mounts]) = <[OwnedFd; 2]>::try_from(fds) else {
            return Err(Failure::new(STEP, "it does not show its network and mounts").into());
        };
        let peer = socket_peercred(socket.get_ref()).step(STEP)?;
        Ok(Visitor {
            network,
            mounts,
            user: (peer.uid.as_raw(), peer.gid.as_raw()),
            socket,
        })
    }
}

impl Visitor {
    /// Hands it its output and the filter of system calls that every sandbox has, and tells it what to become.
    ///
    /// # Errors
    /// `Invalid` past a bound; `Step` when it has ended.
    pub fn hand(
        self,
        stdout: &OwnedFd,
        stderr: &OwnedFd,
        (argv, environment, working_dir): (&[String], &[(String, String)], &str),
    ) -> Result<Handed> {
        const STEP: &str = "handing a container its work";
        assignment::check_program(argv, environment).map_err(Error::Invalid)?;
        let (packet, told) = exec::packet(argv, environment, working_dir);
        if packet.len() > MESSAGE_MAX {
            let size = packet.len();
            let text = format!("arguments and environment are {size} bytes, past {MESSAGE_MAX}");
            return Err(Error::Invalid(text));
        }
        let socket = self.socket;
        // Both are sent at once: nothing else was, so there is room.
        let filter = wire::filter(&seccomp::compile(Profile::Sandbox));
        let output = [stdout.as_fd(), stderr.as_fd()];
        wire::offer(socket.get_ref(), &filter, &output).step(STEP)?;
        wire::offer(socket.get_ref(), &packet, &[]).step(STEP)?;
        Ok(Handed { socket, told })
    }
}

impl Handed {
    /// Resolves when its program is executed.
    ///
    /// # Errors
    /// `Step` says why it could not be.
    pub async fn begun(self) -> Result<()> {
        match receive(&self.socket).await {
            // Closed by execve, or by its end, which is told elsewhere.
            Ok(None) | Err(_) => Ok(()),
            Ok(Some((answer, _))) => Err(self.told.explain(&answer).into()),
        }
    }
}

/// A short packet.
async fn receive(socket: &AsyncFd<OwnedFd>) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let read = |socket: &OwnedFd| {
        let mut buffer = [0; 64];
        let received = wire::receive_bytes(socket, &mut buffer, RecvFlags::DONTWAIT)?;
        let whole = |length| buffer.get(..length).unwrap_or_default().to_vec();
        Ok(received.map(|(length, fds)| (whole(length), fds)))
    };
    socket.async_io(Interest::READABLE, read).await
}

fn register(socket: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` names the same open descriptor for as long as it exists, and the `AsyncFd`
    // owns it until both are dropped.
    let registered = unsafe { AsyncFd::register_with_interest(socket, interest) };
    Ok(registered?)
}
