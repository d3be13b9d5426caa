//! What can go wrong with bytes.

use model::Kind;

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the storage.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Of the store below.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The file system refused.
    #[error("{doing} {path}: {source}")]
    Io {
        /// Such as `writing`.
        doing: &'static str,
        /// Which file.
        path: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// An archive or image is not what it must be; names the entry and the rule.
    #[error("{0}")]
    Archive(String),
    /// The named thing does not exist.
    #[error("{what} \"{name}\" does not exist")]
    NotFound {
        /// Such as `blob`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The bytes are not those of the digest or checksum that was named.
    #[error("{0}")]
    Mismatch(String),
    /// A documented bound was passed.
    #[error("{what} is more than {limit} bytes")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The bound.
        limit: u64,
    },
    /// A request that cannot be meant (range, part number, key length).
    #[error("{0}")]
    Invalid(String),
    /// The server is going down and began nothing new.
    #[error("the storage is stopping; try again after the server's start")]
    Stopping,
}

impl Error {
    /// The file system refused `doing` with `path`.
    pub(crate) fn io(
        doing: &'static str,
        path: &std::path::Path,
        source: impl Into<std::io::Error>,
    ) -> Self {
        let path = path.display().to_string();
        let source = source.into();
        Self::Io {
            doing,
            path,
            source,
        }
    }

    /// The transport-free kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::State(error) => error.kind(),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Kind::StorageFull
            }
            Self::Io { .. } => Kind::Internal,
            Self::Stopping => Kind::Unavailable,
            Self::Archive(_) | Self::Mismatch(_) | Self::Invalid(_) => Kind::Invalid,
            Self::NotFound { .. } => Kind::NotFound,
            Self::TooLarge { .. } => Kind::TooLarge,
        }
    }
}
