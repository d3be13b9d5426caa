//! A function's own zygote as the server holds it.

use super::sandbox::exit_of;
use super::{Launcher, Sandbox};
use crate::error::{Error, Result};
use crate::wire;
use crate::{Exit, Shape, Stem};
use model::Limits;
use rustix::net::RecvFlags;
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// Longest greeting in bytes.
const GREETING_MAX: usize = 64 * 1024;

/// A program with user code in it, that sandboxes can be forked from ([`Stem::Restored`]). Dropped, it is
/// killed; its forks live on.
///
/// The program has a socket (`SOCK_SEQPACKET`) as descriptor 3. It reads the system call filter of its forks
/// (`struct sock_filter`s), writes one packet, its greeting, and then reads one packet for each fork, whose
/// descriptors are the stem's socket, a pidfd of the sandbox, stdout, stderr, and the cgroup files to write
/// "0" to. The fork's parent must be the program's (`CLONE_PARENT`). It enters all of the sandbox's
/// namespaces but the user namespace, which it is in already, gives up its capabilities, installs the
/// filter, and speaks as a stem does. What is not as it should be by then is killed.
pub struct Snapshot {
    sandbox: Sandbox,
    control: AsyncFd<OwnedFd>,
}

impl Launcher {
    /// Starts a function's own zygote: a sandbox of this shape, whose program is executed at once. The code
    /// must be among the shape's binds, and nothing mounted beneath `/tmp`.
    ///
    /// # Errors
    /// `Step` names the step that failed; nothing of it is left then. What keeps the program from being
    /// executed it writes to its standard error, and ends with status 127.
    pub async fn snapshot(
        &self,
        shape: Shape,
        argv: Vec<String>,
        environment: Vec<(String, String)>,
        limits: Limits,
    ) -> Result<Snapshot> {
        if shape.is_unique() || !shape.places.is_empty() {
            let reason = "nothing can be mounted later, or beneath /tmp, in a snapshot";
            return Err(Error::Invalid(reason.to_owned()));
        }
        let stem = Stem::Snapshot { argv, environment };
        let (sandbox, rest) = self.armed(shape, stem, limits).await?;
        let lost = |reason: String| Error::Step {
            step: "receiving the snapshot's socket".to_owned(),
            reason,
        };
        let control = rest.into_iter().next();
        let control = control.ok_or_else(|| lost(super::NO_ROOM.to_owned()))?;
        // SAFETY: an `OwnedFd` names the same open descriptor for as long as it exists, and the
        // `AsyncFd` owns it until both are dropped.
        let control = unsafe { AsyncFd::register(control) };
        let control = control.map_err(|error| lost(error.to_string()))?;
        Ok(Snapshot { sandbox, control })
    }
}

impl Snapshot {
    /// What [`Stem::Restored`] names it by.
    pub fn number(&self) -> u64 {
        self.sandbox.number
    }

    /// Its sandbox, with its standard streams and listeners; to kill that kills it.
    pub fn sandbox(&mut self) -> &mut Sandbox {
        &mut self.sandbox
    }

    /// Process id of its program as the host sees it.
    pub fn pid(&self) -> u32 {
        self.sandbox.pid
    }

    /// Whether its program has not ended yet.
    pub fn is_alive(&self) -> bool {
        self.sandbox.is_alive()
    }

    /// What it says first, at most 64 KiB; user code may have written it.
    ///
    /// # Errors
    /// When it says nothing, or too much.
    pub async fn greeting(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; GREETING_MAX];
        loop {
            let mut ready = self.control.readable().await?;
            let received = ready
                .try_io(|fd| wire::receive_bytes(fd.get_ref(), &mut buffer, RecvFlags::DONTWAIT));
            match received {
                Ok(Ok(Some((length, _)))) => {
                    buffer.truncate(length);
                    return Ok(buffer);
                }
                Ok(Ok(None)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }

    /// Resolves when its program has ended; does not keep it.
    pub fn exit(&self) -> impl Future<Output = Exit> + Send + 'static {
        exit_of(self.sandbox.exit.clone())
    }
}
