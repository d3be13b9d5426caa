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
    /// A manifest names blobs or manifests that its repository does not have.
    #[error("the manifest names {}, which the repository does not have; push it first", shown(.0))]
    Unknown(Vec<model::ContentDigest>),
    /// Another request is at it for longer than this one may wait.
    #[error("another request is still writing to {0}; try again later")]
    Busy(String),
    /// The server is going down and began nothing new.
    #[error("the storage is stopping; try again after the server's start")]
    Stopping,
}

/// The first of several digests, and how many more.
fn shown(digests: &[model::ContentDigest]) -> String {
    match digests {
        [] => "nothing".to_owned(),
        [only] => only.to_string(),
        [first, others @ ..] => format!("{first} and {} more", others.len()),
    }
}

impl Error {
    /// Whether there are as many of something as there may be.
    pub fn is_bound(&self) -> bool {
        matches!(self, Self::State(state::Error::Bound { .. }))
    }

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

    /// What the file system or a reader said of an archive's entry: a full disk and the like are the
    /// machine's fault, all else is the archive's.
    pub(crate) fn of_entry(place: String, error: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let rule = match error.kind() {
            K::StorageFull | K::QuotaExceeded | K::PermissionDenied => {
                return Self::Io {
                    doing: "unpacking",
                    path: place,
                    source: error,
                };
            }
            K::AlreadyExists => "stands twice, or as file and folder".to_owned(),
            K::NotADirectory => "goes through a file as if it were a folder".to_owned(),
            K::UnexpectedEof => "is cut short".to_owned(),
            _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                "goes through a link as if it were a folder".to_owned()
            }
            _ => error.to_string(),
        };
        Self::Archive(format!("{place}: {rule}"))
    }

    /// The transport-free kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::State(error) => error.kind(),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Kind::StorageFull
            }
            Self::Io { .. } => Kind::Internal,
            Self::Busy(_) => Kind::Throttled,
            Self::Stopping => Kind::Unavailable,
            Self::Archive(_) | Self::Mismatch(_) | Self::Invalid(_) | Self::Unknown(_) => {
                Kind::Invalid
            }
            Self::NotFound { .. } => Kind::NotFound,
            Self::TooLarge { .. } => Kind::TooLarge,
        }
    }
}
