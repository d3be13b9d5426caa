//! A container, whichever driver made it: what can be done to it from outside.

use super::docker::Container;
use launcher::{Exit, Sandbox};
use std::os::fd::OwnedFd;

/// See the module. Dropped, it is killed.
pub(crate) enum Body {
    /// Made by the launcher.
    Sandbox(Sandbox),
    /// Made by Docker Engine.
    Docker(Container),
}

impl Body {
    /// Process id of its program as the host sees it.
    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Sandbox(sandbox) => sandbox.pid,
            Self::Docker(container) => container.pid(),
        }
    }

    /// Resolves when its program is executed, or its stem was told; asked again, at once.
    pub(super) fn begun(&mut self) -> impl Future<Output = launcher::Result<()>> + Send + 'static {
        enum Begun<S, C> {
            Sandbox(S),
            Docker(C),
        }
        let begun = match self {
            Self::Sandbox(sandbox) => Begun::Sandbox(sandbox.begun()),
            Self::Docker(container) => Begun::Docker(container.begun()),
        };
        async move {
            match begun {
                Begun::Sandbox(begun) => begun.await,
                Begun::Docker(begun) => begun.await,
            }
        }
    }

    /// Whether it has not ended yet.
    pub(super) fn is_alive(&self) -> bool {
        match self {
            Self::Sandbox(sandbox) => sandbox.is_alive(),
            Self::Docker(container) => container.is_alive(),
        }
    }

    /// Stops all of its processes until [`Self::thaw`].
    pub(super) fn freeze(&self) {
        match self {
            Self::Sandbox(sandbox) => sandbox.freeze(),
            Self::Docker(container) => container.freeze(),
        }
    }

    /// Lets its processes run on.
    pub(super) fn thaw(&self) {
        match self {
            Self::Sandbox(sandbox) => sandbox.thaw(),
            Self::Docker(container) => container.thaw(),
        }
    }

    /// The most memory that it used so far, in bytes, if the kernel tells.
    pub(super) fn memory_peak(&self) -> Option<u64> {
        match self {
            Self::Sandbox(sandbox) => sandbox.memory_peak(),
            Self::Docker(container) => container.memory_peak(),
        }
    }

    /// An unconnected TCP socket inside its network, non-blocking.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) async fn socket(&self) -> launcher::Result<OwnedFd> {
        match self {
            Self::Sandbox(sandbox) => sandbox.socket().await,
            Self::Docker(container) => container.socket().await,
        }
    }

    /// Asks its first process to end (SIGTERM); one without a handler for it is killed.
    pub(super) fn terminate(&self) {
        match self {
            Self::Sandbox(sandbox) => sandbox.terminate(),
            Self::Docker(container) => container.terminate(),
        }
    }

    /// Kills all of it.
    pub(super) fn kill(&self) {
        match self {
            Self::Sandbox(sandbox) => sandbox.kill(),
            Self::Docker(container) => container.kill(),
        }
    }

    /// Resolves when its first process has ended and nothing of it is left; any number of waiters.
    pub(super) async fn exited(&self) -> Exit {
        match self {
            Self::Sandbox(sandbox) => sandbox.exited().await,
            Self::Docker(container) => container.exited().await,
        }
    }
}
