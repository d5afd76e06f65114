//! Reading: connections of their own, so that readers don't wait for the writer, nor it for them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use skep::store::StoreError;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::error::Failure;

/// How many read at once. More wait: what bounds them is the disk, and each has a page cache.
const READERS: usize = 4;

/// The page cache of each, KiB.
const CACHE: i64 = 4096;

/// How many prepared statements a connection keeps.
pub(crate) const STATEMENTS: usize = 64;

/// Connections that read. Each call sees the database as the last commit before it left it.
pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    free: Arc<Semaphore>,
}

impl Readers {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default(), free: Arc::new(Semaphore::new(READERS)) }
    }

    /// Runs `query` on a thread that may block, in one snapshot of the database.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closed = || StoreError::Unavailable("its readers have stopped".to_owned());
        let place = self.free.clone().acquire_owned().await.map_err(|_| closed())?;
        let readers = self.clone();
        let running = spawn_blocking(move || {
            let _place = place;
            readers.query(query)
        });
        Ok(running.await.map_err(|_| closed())??)
    }

    fn query<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let idle = self.idle().pop();
        let db = idle.map_or_else(|| connect(&self.path), Ok)?;
        let result = in_snapshot(&db, query);
        // One that has failed is closed: the next may find the disk in better health.
        if result.is_ok() {
            self.idle().push(db);
        }
        result
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `query` so that all of it sees one state of the database.
pub(crate) fn in_snapshot<T>(
    db: &Connection,
    query: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    // Ended when it's dropped, whatever happens.
    let snapshot = db.unchecked_transaction()?;
    query(&snapshot)
}

fn connect(path: &Path) -> Result<Connection, Failure> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.pragma_update(None, "cache_size", -CACHE)?;
    Ok(db)
}
