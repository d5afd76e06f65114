//! The database's format, and how an older one becomes it.

use std::path::Path;

use rusqlite::Connection;

use crate::error::OpenError;

/// What makes each version from the one before it. A version that was released never changes: a
/// new one comes behind it.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];

/// The version that this program writes.
#[expect(clippy::cast_possible_wrap, reason = "there are few")]
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Whose the database is, where `file` and other programs look for it: `Skep` in ASCII.
const APPLICATION_ID: i64 = 0x536B_6570;

/// The format's version of the database, 0 if it's new.
///
/// # Errors
/// If it's not ours, or newer than we are.
pub(crate) fn version(db: &Connection, path: &Path) -> Result<i64, OpenError> {
    let number = |query| db.query_row(query, [], |row| row.get(0)).map_err(OpenError::sqlite(path));
    let found: i64 = number("PRAGMA user_version")?;
    let application: i64 = number("PRAGMA application_id")?;
    let tables: i64 = number("SELECT count(*) FROM sqlite_schema")?;
    if application != APPLICATION_ID && (tables > 0 || application != 0 || found != 0) {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    if found > VERSION {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: VERSION });
    }
    Ok(found)
}

/// Brings the database to [`VERSION`], one version after the other, each whole or not at all.
pub(crate) fn migrate(db: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let found = version(db, path)?;
    for (version, migration) in (1_i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        apply(db, version, migration).map_err(OpenError::sqlite(path))?;
    }
    Ok(())
}

fn apply(db: &mut Connection, version: i64, migration: &str) -> rusqlite::Result<()> {
    let transaction = db.transaction()?;
    transaction.execute_batch(migration)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}
