//! Reading: threads and connections of their own, so that readers don't wait for the writer, nor it
//! for them, and neither for operations that keep the runtime's blocking threads.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, OpenFlags};
use skep::store::StoreError;
use tokio::sync::{mpsc, oneshot};

use crate::error::Failure;

/// How many read at once. More wait: what bounds them is the disk, and each has a page cache.
const READERS: usize = 4;

/// How many calls wait before a further one waits for its place.
const QUEUE: usize = 64;

/// The page cache of each, KiB.
const CACHE: i64 = 4096;

/// How many prepared statements a connection keeps.
pub(crate) const STATEMENTS: usize = 64;

/// A query, and the answer to who asked for it.
type Call = Box<dyn FnOnce(&mut Reader) + Send>;

/// Those who read. Each call sees the database as the last commit before it left it. Dropping them
/// waits until they have closed it.
pub(crate) struct Readers {
    /// `None` once they're being dropped.
    queue: Option<mpsc::Sender<Call>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(crate) fn start(database: &Path) -> io::Result<Self> {
        let (queue, calls) = mpsc::channel(QUEUE);
        let calls = Arc::new(Mutex::new(calls));
        let mut readers = Self { queue: Some(queue), threads: Vec::new() };
        for _ in 0..READERS {
            let (reader, calls) = (Reader { path: database.to_owned(), db: None }, calls.clone());
            let thread = thread::Builder::new().name("skep-sqlite-read".to_owned());
            readers.threads.push(thread.spawn(move || reader.run(&calls))?);
        }
        Ok(readers)
    }

    /// Runs `query` in one snapshot of the database. It isn't run if the future is dropped before its
    /// turn.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let stopped = || StoreError::Unavailable("its reader has stopped".to_owned());
        let (caller, answer) = oneshot::channel();
        let call: Call = Box::new(move |reader| {
            if !caller.is_closed() {
                let _ = caller.send(reader.query(query));
            }
        });
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(call).await.map_err(|_| stopped())?;
        Ok(answer.await.map_err(|_| stopped())??)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue = None;
        for thread in self.threads.drain(..) {
            // Its panics were told.
            let _ = thread.join();
        }
    }
}

/// A thread that reads.
struct Reader {
    path: PathBuf,
    /// `None` until it's needed, and after a query that failed: the next may find the disk in better
    /// health.
    db: Option<Connection>,
}

impl Reader {
    fn run(mut self, calls: &Mutex<mpsc::Receiver<Call>>) {
        loop {
            // One waits for a call, and the others for its place.
            let call = calls.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
            let Some(call) = call else { return };
            // The thread outlives the call, whose caller is told by the answer's absence.
            let _ = catch_unwind(AssertUnwindSafe(|| call(&mut self)));
        }
    }

    fn query<T>(
        &mut self,
        query: impl FnOnce(&Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let db = self.db.take().map_or_else(|| connect(&self.path), Ok)?;
        let result = in_snapshot(&db, query)?;
        self.db = Some(db);
        Ok(result)
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
