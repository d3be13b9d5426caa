//! What can go wrong in the command, and the exit code it ends with.

use crate::manifest::ManifestError;
use model::Kind;

/// Shorthand.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// An error of the command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nothing answers at the address.
    #[error("no rouse answers at {url}: {hint}")]
    NoServer {
        /// Where it was looked for.
        url: String,
        /// What to do.
        hint: String,
    },
    /// The server answered with an error.
    #[error("{message}")]
    Refused {
        /// What kind of error it is.
        kind: Kind,
        /// What the server said, without control characters.
        message: String,
    },
    /// The server answered something that is not understood.
    #[error("the server's answer to {request} is not understood: {reason}")]
    Answer {
        /// Method and path.
        request: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The command line or the environment asks for something that cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// The manifest cannot be deployed.
    #[error(transparent)]
    Manifest(#[from] Box<ManifestError>),
    /// The file system or the terminal refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was tried, such as `reading compose.yaml`.
        doing: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// It was carried out and failed: a function's error, a service that does not become healthy, a
    /// server that cannot start.
    #[error("{0}")]
    Failed(String),
    /// As `Failed`, with everything said already.
    #[error("failed")]
    Reported,
}

/// What every command's long help says about exit codes.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  what was asked for failed: the function, a service, the server, a check
  2  the command line or the manifest is wrong; nothing was done
  3  no rouse answers, or it does not know the token";

impl Error {
    /// The transport-free kind.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::NoServer { .. } => Kind::Unavailable,
            Self::Refused { kind, .. } => *kind,
            Self::Usage(_) | Self::Manifest(_) => Kind::Invalid,
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Kind::StorageFull
            }
            Self::Answer { .. } | Self::Io { .. } | Self::Failed(_) | Self::Reported => {
                Kind::Internal
            }
        }
    }

    /// The exit code; [`EXIT_CODES`] says what they mean.
    pub(crate) fn exit_code(&self) -> u8 {
        match (self, self.kind()) {
            (Self::Usage(_) | Self::Manifest(_), _) => 2,
            (Self::NoServer { .. }, _) | (_, Kind::Unauthenticated) => 3,
            _ => 1,
        }
    }

    /// With what was being done.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// Whether the reader of our output has gone (`rouse logs | head`), which is no error of ours.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
    }
}
