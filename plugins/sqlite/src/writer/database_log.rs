//! The database's own log (WAL), which is to stay small.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use tracing::warn;

use crate::open::PATIENCE;

/// How large it may grow, bytes, before the writer waits for its readers.
const LIMIT: u64 = 128 << 20;

/// How long it waits for them: one of ours reads for milliseconds. A backup takes longer, and the log
/// grows until it's done.
const WAIT: Duration = Duration::from_millis(100);

/// SQLite brings the log into the database by itself, but begins it anew only when no reader is in
/// it, and of many readers that come and go one always is.
pub(crate) struct DatabaseLog {
    path: PathBuf,
    /// The size at which readers are waited for.
    limit: u64,
}

impl DatabaseLog {
    pub(crate) fn of(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        Self { path: path.into(), limit: LIMIT }
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
}

/// Returns whether it's empty.
fn empty(db: &Connection) -> rusqlite::Result<bool> {
    db.busy_timeout(WAIT)?;
    let is_busy = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
    db.busy_timeout(PATIENCE)?;
    Ok(!is_busy?)
}
