//! The connection to the launcher: what waits for which answer, and the two tasks that send and hear.

use super::{Answer, Packet};
use crate::Exit;
use crate::error::Failure;
use crate::wire::{self, MESSAGE_MAX, Reply};
use rustix::net::RecvFlags;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Child;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot, watch};

/// What the handles and the tasks of one connection share.
pub(super) struct Shared {
    /// Messages that wait for room in the socket.
    pub(super) queued: AtomicUsize,
    pub(super) tables: Mutex<Tables>,
    pub(super) next: AtomicU64,
    pub(super) gone: watch::Sender<Option<String>>,
}

/// Sandboxes and requests share one series of numbers.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) answers: HashMap<u64, oneshot::Sender<Answer>>,
    /// Of sandboxes that were assigned: whether the work has begun.
    pub(super) begun: HashMap<u64, oneshot::Sender<std::result::Result<(), Failure>>>,
    pub(super) exits: HashMap<u64, watch::Sender<Option<Exit>>>,
    pub(super) closed: bool,
}

impl Shared {
    pub(super) fn tables(&self) -> MutexGuard<'_, Tables> {
        // No code panics while it holds the lock, and the tables are whole at every moment.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, number: u64, answer: Answer) {
        if let Some(waiting) = self.tables().answers.remove(&number) {
            // Who asked may have gone away.
            let _ = waiting.send(answer);
        }
    }

    fn begin(&self, sandbox: u64, how: std::result::Result<(), Failure>) {
        if let Some(waiting) = self.tables().begun.remove(&sandbox) {
            // Who asked may have gone away.
            let _ = waiting.send(how);
        }
    }

    fn take(&self, reply: Reply, fds: Vec<OwnedFd>) {
        match reply {
            Reply::Armed { sandbox: n, .. }
            | Reply::Socket { request: n }
            | Reply::Furnished { request: n, .. }
            | Reply::Endowed { request: n }
            | Reply::Usage { request: n, .. }
            | Reply::Mapped { request: n, .. }
            | Reply::Pinned { request: n, .. } => self.answer(n, Ok((reply, fds))),
            Reply::Refused { request, failure } => self.answer(request, Err(failure)),
            Reply::Started { sandbox } => self.begin(sandbox, Ok(())),
            Reply::Failed { sandbox, failure } => {
                // Who hears of the end shall know why.
                self.begin(sandbox, Err(failure.clone()));
                self.answer(sandbox, Err(failure));
                self.tables().exits.remove(&sandbox);
            }
            Reply::Exited { sandbox, exit } => {
                let watched = {
                    let mut tables = self.tables();
                    tables.begun.remove(&sandbox);
                    tables.answers.remove(&sandbox);
                    tables.exits.remove(&sandbox)
                };
                if let Some(watched) = watched {
                    watched.send_replace(Some(exit));
                }
            }
            Reply::Ready { .. } | Reply::Missing { .. } => {}
        }
    }

    /// Nobody will answer any more.
    fn close(&self, reason: String) {
        self.gone.send_replace(Some(reason));
        let mut tables = self.tables();
        tables.closed = true;
        tables.answers.clear();
        tables.begun.clear();
        tables.exits.clear();
    }

    pub(super) fn reason(&self) -> String {
        let reason = self.gone.borrow().clone();
        reason.unwrap_or_else(|| "its socket is closed".to_owned())
    }
}

/// Sends what is queued, until every handle is gone; then closes the sending half.
pub(super) async fn write(
    socket: Arc<AsyncFd<OwnedFd>>,
    mut queue: mpsc::UnboundedReceiver<Packet>,
    shared: Arc<Shared>,
) {
    while let Some((bytes, fd)) = queue.recv().await
        && !bytes.is_empty()
    {
        let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
        loop {
            let Ok(mut ready) = socket.writable().await else {
                return;
            };
            match ready.try_io(|socket| Ok(wire::send(socket.get_ref(), &bytes, &fds)?)) {
                Ok(Ok(())) => break,
                // The reader sees the same end, and tells everybody.
                Ok(Err(_)) => return,
                Err(_would_block) => {}
            }
        }
        shared.queued.fetch_sub(1, Ordering::AcqRel);
    }
    let _ = rustix::net::shutdown(socket.get_ref(), rustix::net::Shutdown::Write);
}

/// Hands out what the launcher says, until it ends.
pub(super) async fn read(socket: Arc<AsyncFd<OwnedFd>>, shared: Arc<Shared>, mut process: Child) {
    let mut buffer = vec![0; MESSAGE_MAX];
    loop {
        let Ok(mut ready) = socket.readable().await else {
            break;
        };
        let received =
            ready.try_io(|fd| wire::receive(fd.get_ref(), &mut buffer, RecvFlags::DONTWAIT));
        match received {
            Ok(Ok(Some((reply, fds)))) => shared.take(reply, fds),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::error!("the launcher was not understood: {error}");
            }
            Ok(Ok(None) | Err(_)) => break,
            Err(_would_block) => {}
        }
    }
    // Its end of the socket closes as it ends, so this does not wait long.
    let ended = tokio::task::spawn_blocking(move || process.wait()).await;
    let reason = match ended {
        Ok(Ok(status)) => status.to_string(),
        _ => "its socket is closed".to_owned(),
    };
    shared.close(reason);
}
