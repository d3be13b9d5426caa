//! What can go wrong before a request is even taken; each door has its own dialect for the rest.

use model::Kind;

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the server itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of the root credential cannot be read or written.
    #[error("{doing} {path}: {source}")]
    CredentialFile {
        /// Such as `reading`.
        doing: &'static str,
        /// Which file.
        path: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The file of the root credential is there and cannot be used as it is.
    #[error("{path}: {reason}")]
    CredentialRefused {
        /// Which file.
        path: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

impl Error {
    /// The transport-free kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::CredentialFile { source, .. }
                if source.kind() == std::io::ErrorKind::StorageFull =>
            {
                Kind::StorageFull
            }
            Self::CredentialFile { .. } => Kind::Internal,
            Self::CredentialRefused { .. } => Kind::Invalid,
        }
    }
}
