//! What can go wrong in the store.

use model::Kind;

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The named row does not exist.
    #[error("{what} \"{name}\" does not exist")]
    NotFound {
        /// Such as `bucket`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// The named row exists already or was changed meanwhile.
    #[error("{what} \"{name}\": {reason}")]
    Conflict {
        /// Such as `bucket`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Why it could not be done.
        reason: String,
    },
    /// SQLite refused.
    #[error("the store failed while {doing}: {source}")]
    Sql {
        /// What was being done.
        doing: &'static str,
        /// What SQLite said.
        #[source]
        source: rusqlite::Error,
    },
    /// A row does not read back as what was written.
    #[error("the store holds a row that does not parse while {doing}: {reason}")]
    Corrupt {
        /// What was being done.
        doing: &'static str,
        /// What does not parse.
        reason: String,
    },
    /// The data folder cannot be used.
    #[error("{path}: {reason}")]
    Folder {
        /// The file or folder.
        path: String,
        /// What went wrong and what to do.
        reason: String,
    },
    /// The writer has stopped.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// The transport-free kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::NotFound { .. } => Kind::NotFound,
            Self::Conflict { .. } => Kind::Conflict,
            Self::Sql { source, .. } if is_full(source) => Kind::StorageFull,
            Self::Closed => Kind::Unavailable,
            Self::Sql { .. } | Self::Corrupt { .. } | Self::Folder { .. } => Kind::Internal,
        }
    }
}

fn is_full(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DiskFull)
    )
}
