//! The schema: whose file this is, and how it is brought up to date.

use crate::{Error, Result, crash};
use rusqlite::Connection;
use std::path::Path;

/// `application_id` of the file's header: "rous".
const APPLICATION: i32 = 0x726f_7573;

/// One step for each version; `user_version` counts the steps that were taken. Steps that were
/// released are never changed, only followed.
const MIGRATIONS: [&str; 15] = [
    include_str!("migrations/1.sql"),
    include_str!("migrations/2.sql"),
    include_str!("migrations/3.sql"),
    include_str!("migrations/4.sql"),
    include_str!("migrations/5.sql"),
    include_str!("migrations/6.sql"),
    include_str!("migrations/7.sql"),
    include_str!("migrations/8.sql"),
    include_str!("migrations/9.sql"),
    include_str!("migrations/10.sql"),
    include_str!("migrations/11.sql"),
    include_str!("migrations/12.sql"),
    include_str!("migrations/13.sql"),
    include_str!("migrations/14.sql"),
    include_str!("migrations/15.sql"),
];

/// Refuses a file that is not ours or newer than this binary. Changes nothing.
pub(crate) fn check(db: &Connection, path: &Path) -> Result<()> {
    let refuse = |reason: String| Error::Folder {
        path: path.display().to_string(),
        reason,
    };
    let header = || -> rusqlite::Result<(i32, usize, i64)> {
        let application = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        let version = version(db)?;
        let tables = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((application, version, tables))
    };
    let (application, version, tables) = header().map_err(|error| {
        refuse(format!(
            "cannot be read as rouse's database ({error}); give another data folder, or restore \
             this file from a backup"
        ))
    })?;
    let empty = application == 0 && version == 0 && tables == 0;
    if !empty && application != APPLICATION {
        let reason = "is a database of another program; give rouse a data folder of its own";
        return Err(refuse(reason.to_owned()));
    }
    if version > MIGRATIONS.len() {
        return Err(refuse(format!(
            "was written by a newer rouse (schema {version}, this one knows {}); start that \
             version, or restore a backup from before the upgrade",
            MIGRATIONS.len()
        )));
    }
    Ok(())
}

/// Takes the steps that are missing, all in one transaction.
pub(crate) fn migrate(db: &mut Connection) -> Result<()> {
    let failed = |source| Error::Sql {
        doing: "bringing its schema up to date",
        source,
    };
    let done = version(db).map_err(failed)?;
    if done == MIGRATIONS.len() {
        return Ok(());
    }
    let mut steps = || -> rusqlite::Result<()> {
        let tx = db.transaction()?;
        for step in &MIGRATIONS[done..] {
            tx.execute_batch(step)?;
            crash::point("migration-step");
        }
        tx.pragma_update(None, "application_id", APPLICATION)?;
        tx.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
        crash::point("migration-before-commit");
        tx.commit()
    };
    crash::point("migration-before");
    steps().map_err(failed)?;
    crash::point("migration-after");
    Ok(())
}

fn version(db: &Connection) -> rusqlite::Result<usize> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    // A negative version is no version of ours; as the largest it is refused as newer.
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}
