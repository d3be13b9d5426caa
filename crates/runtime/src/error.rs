//! What can go wrong while an instance is started.

use model::Kind;

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the runtime: the platform's fault or the deployer's. What the function's own code does
/// wrong is an `Ending`, not an error.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The launcher could not make the sandbox.
    #[error(transparent)]
    Launcher(#[from] launcher::Error),
    /// Code or image could not be read.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// The base does not have what the function needs, such as an interpreter; says how to get it.
    #[error("{0}")]
    Missing(String),
    /// Docker Engine could not be reached, or refused something.
    #[error("{step}: {reason}")]
    Docker {
        /// What was tried.
        step: String,
        /// What Docker said, and what to do about it.
        reason: String,
        /// It does not have what it was asked about.
        missing: bool,
    },
    /// A bootstrap could not be written.
    #[error("writing the bootstrap {path}: {source}; make the data folder writable")]
    Bootstrap {
        /// Which file.
        path: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// A pipe or listener of a new instance could not be watched; most likely too many are open.
    #[error("watching a new instance's pipes and listeners: {0}; raise the limit of open files")]
    Register(#[source] std::io::Error),
    /// It ended or failed before it was ready: how, with what it said.
    #[error("{ending_error}")]
    Init {
        /// How it ended; a `InitFailed`, `Crashed`, `TimedOut` or `OutOfMemory`.
        ending: Box<model::Ending>,
        /// [`model::Ending::error`] of it.
        ending_error: String,
        /// The last 4 KiB that it logged.
        log_tail: bytes::Bytes,
    },
}

impl Error {
    /// It failed before it was ready.
    pub(crate) fn init(ending: model::Ending, log_tail: bytes::Bytes) -> Self {
        let ending_error = ending.error().unwrap_or_else(|| ending.word().to_owned());
        Self::Init {
            ending: Box::new(ending),
            ending_error,
            log_tail,
        }
    }

    /// The transport-free kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Launcher(error) => error.kind(),
            Self::Storage(error) => error.kind(),
            Self::Bootstrap { .. } => Kind::Internal,
            Self::Register(_) | Self::Missing(_) | Self::Docker { .. } | Self::Init { .. } => {
                Kind::Unavailable
            }
        }
    }
}
