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

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Step {
            step: failure.step,
            reason: failure.reason,
        }
    }
}

/// A step that failed, on its way from the child through the launcher to the server.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Failure {
    pub(crate) step: String,
    pub(crate) reason: String,
}

impl Failure {
    pub(crate) fn new(step: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            step: step.into(),
            reason: reason.into(),
        }
    }
}

/// Names the step that an error of the kernel belongs to.
pub(crate) trait Step<T> {
    fn step(self, step: impl Into<String>) -> std::result::Result<T, Failure>;
}

impl<T, E: Into<std::io::Error>> Step<T> for std::result::Result<T, E> {
    fn step(self, step: impl Into<String>) -> std::result::Result<T, Failure> {
        self.map_err(|error| Failure::new(step, error.into().to_string()))
    }
}
