//! What can go wrong in the store.

use model::Kind;
use rusqlite::ffi;

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
    /// There are as many as there may be.
    #[error("there may be {most} {what} at most; delete some")]
    Bound {
        /// Such as `schedules`.
        what: &'static str,
        /// How many.
        most: u32,
    },
    /// SQLite refused.
    #[error("the store failed while {doing}: {source}{}", remedy(source))]
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
            Self::Bound { .. } => Kind::TooLarge,
            Self::Sql { source, .. } if is_full(source) => Kind::StorageFull,
            Self::Closed => Kind::Unavailable,
            Self::Sql { .. } | Self::Corrupt { .. } | Self::Folder { .. } => Kind::Internal,
        }
    }
}

impl Error {
    /// Whether the change surely did not happen. Where the log's index could not grow that is not
    /// known: the commit is in the log already, and a crash would bring it back.
    pub fn is_undone(&self) -> bool {
        match self {
            Self::NotFound { .. } | Self::Conflict { .. } | Self::Bound { .. } => true,
            Self::Sql { source, .. } => {
                let code = source.sqlite_error().map(|error| error.extended_code);
                code == Some(ffi::SQLITE_FULL)
            }
            _ => false,
        }
    }
}

/// What to do about it, where that is known.
fn remedy(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        _ if is_full(error) => "; free some space in the data folder's file system and try again",
        Some(rusqlite::ErrorCode::DatabaseBusy) => {
            "; another program is writing the database: end it and try again"
        }
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => {
            "; stop the server and restore the database from a backup"
        }
        _ => "",
    }
}

/// Whether there was no room: on the disk, or for the index of the log, which SQLite tells apart.
fn is_full(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_FULL | ffi::SQLITE_IOERR_SHMSIZE))
}

/// Why a closure failed, before it is said what was being done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// SQLite refused.
    Sql(rusqlite::Error),
    /// A row does not parse.
    Corrupt(String),
    /// A refusal that is already worded.
    Refused(Error),
}

/// What a closure of the writer or of a reader gives.
pub(crate) type Done<T> = std::result::Result<T, Failure>;

impl Failure {
    /// Completes the error by what was being done.
    pub(crate) fn during(self, doing: &'static str) -> Error {
        match self {
            Self::Sql(source) => Error::Sql { doing, source },
            Self::Corrupt(reason) => Error::Corrupt { doing, reason },
            Self::Refused(error) => error,
        }
    }

    /// The named row does not exist.
    pub(crate) fn not_found(what: &'static str, name: impl Into<String>) -> Self {
        Self::Refused(Error::NotFound {
            what,
            name: name.into(),
        })
    }

    /// There are as many as there may be.
    pub(crate) fn bound(what: &'static str, most: u32) -> Self {
        Self::Refused(Error::Bound { what, most })
    }

    /// The named row exists, or is not as expected.
    pub(crate) fn conflict(what: &'static str, name: impl Into<String>, reason: &str) -> Self {
        Self::Refused(Error::Conflict {
            what,
            name: name.into(),
            reason: reason.to_owned(),
        })
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Corrupt(error.to_string())
    }
}

impl From<model::Invalid> for Failure {
    fn from(error: model::Invalid) -> Self {
        Self::Corrupt(error.to_string())
    }
}
