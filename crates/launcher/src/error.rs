//! What can go wrong while a sandbox is made.

use model::Kind;

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the launcher.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A step of making the sandbox failed.
    #[error("{step}: {reason}")]
    Step {
        /// Such as `mounting /proc` or `executing /var/task/bootstrap`.
        step: String,
        /// What the kernel said, and what to do about it.
        reason: String,
    },
    /// The machine lacks something; says exactly what, and how to get it.
    #[error("{0}")]
    Missing(String),
    /// The launcher has ended.
    #[error("the launcher has ended: {0}")]
    Gone(String),
    /// The request is not acceptable (too many listeners, a relative path).
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// The transport-free kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Step { .. } | Self::Gone(_) | Self::Missing(_) => Kind::Unavailable,
            Self::Invalid(_) => Kind::Invalid,
        }
    }
}
