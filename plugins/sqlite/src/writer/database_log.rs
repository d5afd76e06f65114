//! The database's own log (WAL), which is to stay small.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use tracing::warn;

use crate::open::{PATIENCE, size};

/// How large it may grow, bytes, before the writer waits for its readers.
const LIMIT: u64 = 128 << 20;

/// How long it waits for them: one of ours reads for milliseconds. A backup takes longer, and the log
/// grows until it's done.
const WAIT: Duration = Duration::from_millis(100);

/// SQLite brings the log into the database by itself, but begins it anew only when no reader is in
/// it, and of many readers that come and go one always is.
pub(crate) struct DatabaseLog {
    database: PathBuf,
    path: PathBuf,
    /// The size at which readers are waited for.
    limit: u64,
}

impl DatabaseLog {
    pub(crate) fn of(database: &Path) -> Self {
        Self { database: database.to_owned(), path: path_of_log(database), limit: LIMIT }
    }

    /// Empties the log if it has grown too large, between two transactions.
    pub(super) fn bound(&mut self, db: &Connection) {
        let size = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if size < LIMIT {
            self.limit = LIMIT;
        }
        if size < self.limit {
            return;
        }
        match empty(db) {
            Ok(true) => self.limit = LIMIT,
            // Someone reads for long: tried again when it has grown as much again.
            Ok(false) => self.limit = size + LIMIT,
            Err(error) => {
                self.limit = size + LIMIT;
                warn!("can't empty the database's log of {size} bytes: {error}");
            }
        }
    }

    /// Cuts off the pages that were given back, between two transactions. SQLite does so when all of
    /// the log is in the database, which a reader may put off: then it's for the next sweep to do.
    pub(super) fn shrink_database(&self, db: &Connection) {
        let shrunk = size(db).and_then(|needed| {
            if fs::metadata(&self.database).is_ok_and(|metadata| metadata.len() > needed) {
                db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
            }
            Ok(())
        });
        if let Err(error) = shrunk {
            warn!("can't shrink the database: {error}");
        }
    }
}

/// Where a database's log is.
pub(crate) fn path_of_log(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

/// Returns whether it's empty.
fn empty(db: &Connection) -> rusqlite::Result<bool> {
    db.busy_timeout(WAIT)?;
    let is_busy = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
    db.busy_timeout(PATIENCE)?;
    Ok(!is_busy?)
}
