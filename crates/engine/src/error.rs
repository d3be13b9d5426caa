//! What can go wrong in the engine.

use model::Kind;

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule of the model is broken.
    #[error(transparent)]
    Invalid(#[from] model::Invalid),
    /// Of the storage below.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// Of the store below.
    #[error(transparent)]
    State(#[from] state::Error),
    /// Of the runtime below.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// Too many calls wait for this function.
    #[error(
        "{name} has {waiting} calls waiting, its bound; try again later, or raise its queue or max_instances"
    )]
    Throttled {
        /// Which function.
        name: String,
        /// How many wait.
        waiting: usize,
    },
    /// The server is shutting down.
    #[error("the server is shutting down; try again when it is back")]
    Draining,
    /// A service has no healthy replica.
    #[error("service \"{0}\" has no healthy replica; see `rouse ps` and `rouse logs {0}`")]
    NoReplica(String),
    /// The request cannot be meant.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// The transport-free kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) | Self::Refused(_) => Kind::Invalid,
            Self::Storage(error) => error.kind(),
            Self::State(error) => error.kind(),
            Self::Runtime(error) => error.kind(),
            Self::Throttled { .. } => Kind::Throttled,
            Self::Draining | Self::NoReplica(_) => Kind::Unavailable,
        }
    }
}
