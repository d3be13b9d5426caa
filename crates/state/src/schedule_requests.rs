//! Table `schedule_request`: what was asked with which token, so that asking again does nothing.

use crate::error::{Done, Failure};
use crate::row::{first, run};
use model::Timestamp;
use rusqlite::{Connection, params};
use std::time::Duration;

/// How long a token is known.
const KNOWN: Duration = Duration::from_secs(24 * 3600);

/// A request that shall happen once, however often it is sent within a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// What the client chose, 64 characters at most.
    pub token: String,
    /// A digest of all that is asked: the same token with another one is refused.
    pub digest: String,
    /// When it came.
    pub now: Timestamp,
}

impl Once {
    /// Whether it is new; from now on it is not. In the transaction that carries the request out, so
    /// that a token is known if and only if its request happened.
    pub(crate) fn begin(&self, tx: &Connection) -> Done<bool> {
        let Self { token, digest, now } = self;
        let kept = i64::try_from(KNOWN.as_millis()).unwrap_or(i64::MAX);
        let sql = "DELETE FROM schedule_request WHERE made < ?1";
        run(tx, sql, [now.0.saturating_sub(kept)])?;
        let sql = "SELECT digest FROM schedule_request WHERE token = ?1";
        let known: Option<String> = first(tx, sql, [token], |row| Ok(row.get(0)?))?;
        match known {
            Some(known) if known == *digest => Ok(false),
            Some(_) => Err(Failure::conflict(
                "client token",
                token,
                "was used for another request within the last day",
            )),
            None => {
                let sql = "INSERT INTO schedule_request (token, digest, made) VALUES (?1, ?2, ?3)";
                run(tx, sql, params![token, digest, now.0])?;
                Ok(true)
            }
        }
    }

    /// As `begin`; a request without a token is always new.
    pub(crate) fn is_new(once: Option<&Self>, tx: &Connection) -> Done<bool> {
        once.map_or(Ok(true), |once| once.begin(tx))
    }
}
