//! The store: each call goes to the writer or to the readers.

mod documents;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::value::RawValue;
use skep::JobId;
use skep::job::{JobRecord, JobSummary};
use skep::store::{
    Accepted, Claimed, Feed, JobQuery, Position, Retention, Segment, Store, StoreError, Sweep,
};

use crate::change::{Accept, Append, Cancel, Checkpoint, End, Orphans, Step, Update};
use crate::error::{Failure, OpenError};
use crate::log_files::LogFiles;
use crate::log_reader::{self, Found};
use crate::open::{Opened, open};
use crate::query;
use crate::reader::Readers;
use crate::writer::{DatabaseLog, Owned, Stats, Totals, Writer};

/// The store in a data directory.
///
/// Dropping it waits until all that was asked for is done, and leaves one database without a log
/// beside it.
pub struct SqliteStore {
    // They close the database before the writer does, which is the one to tidy up.
    readers: Readers,
    writer: Writer,
    feed: Arc<Feed>,
    /// The directory of the log files.
    logs: PathBuf,
    /// The jobs that hadn't ended when the store was opened and that nobody has taken over yet.
    unclaimed: Mutex<VecDeque<JobId>>,
    /// How far the sweep has looked for files without a job.
    orphans: Mutex<Orphans>,
}

impl SqliteStore {
    /// Opens the store in `data_dir`, which is made if it isn't there. Blocks.
    ///
    /// # Errors
    /// If another server uses the directory; if it can't be written to; if what is in it is damaged,
    /// or was written by a newer version.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let Opened { lock, db, database, logs } = open(data_dir)?;
        let totals = Totals::load(&db).map_err(OpenError::sqlite(&database))?;
        let unclaimed = query::unfinished(&db).map_err(OpenError::sqlite(&database))?;
        let feed = Arc::new(Feed::default());
        let files = LogFiles::new(logs.clone());
        let database_log = DatabaseLog::of(&database);
        let owned = Owned { db, database_log, logs: files, totals, feed: feed.clone(), lock };
        let writer = Writer::start(owned).map_err(OpenError::io("start a writer of", &database))?;
        let readers =
            Readers::start(&database).map_err(OpenError::io("start a reader of", &database))?;
        Ok(Self {
            readers,
            writer,
            feed,
            logs,
            unclaimed: Mutex::new(unclaimed.into()),
            orphans: Mutex::default(),
        })
    }

    /// What it has done since it was opened.
    pub fn stats(&self) -> Stats {
        self.writer.stats()
    }
}

/// Jobs that are being claimed. Unless that succeeds, they can be claimed again.
struct Claim<'a> {
    unclaimed: &'a Mutex<VecDeque<JobId>>,
    ids: Vec<JobId>,
}

impl<'a> Claim<'a> {
    /// Takes the first `limit` of those that are left.
    fn take(unclaimed: &'a Mutex<VecDeque<JobId>>, limit: usize) -> Self {
        let mut left = lock(unclaimed);
        let count = limit.min(left.len());
        let ids = left.drain(..count).collect();
        drop(left);
        Self { unclaimed, ids }
    }

    fn succeed(mut self) {
        self.ids.clear();
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut unclaimed = lock(self.unclaimed);
        for id in self.ids.drain(..).rev() {
            unclaimed.push_front(id);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that may panic is done under it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Store for SqliteStore {
    fn is_durable(&self) -> bool {
        true
    }

    async fn accept(&self, job: &JobRecord) -> Result<Accepted, StoreError> {
        self.writer.make(Accept { job: job.clone() }).await
    }

    async fn update(&self, job: &JobRecord) -> Result<(), StoreError> {
        self.writer.make(Update { job: job.clone() }).await
    }

    async fn cancel(&self, id: JobId) -> Result<(), StoreError> {
        self.writer.make(Cancel { id }).await
    }

    async fn append(&self, id: JobId, segments: Vec<Segment>) -> Result<(), StoreError> {
        self.writer.make(Append { id, segments }).await
    }

    async fn checkpoint(&self, id: JobId, name: &str, value: &RawValue) -> Result<(), StoreError> {
        let (name, value) = (name.to_owned(), value.get().to_owned());
        self.writer.make(Checkpoint { id, name, value }).await
    }

    async fn checkpointed(
        &self,
        id: JobId,
        name: &str,
    ) -> Result<Option<Box<RawValue>>, StoreError> {
        let name = name.to_owned();
        self.readers.run(move |db| query::checkpointed(db, id, &name)).await
    }

    async fn end(&self, job: &JobRecord, rest: Vec<Segment>) -> Result<(), StoreError> {
        self.writer.make(End { job: job.clone(), rest }).await
    }

    async fn claim(&self, limit: usize) -> Result<Vec<Claimed>, StoreError> {
        loop {
            let claim = Claim::take(&self.unclaimed, limit);
            if claim.ids.is_empty() {
                return Ok(Vec::new());
            }
            let ids = claim.ids.clone();
            let claimed = self.readers.run(move |db| query::claimed(db, &ids)).await?;
            claim.succeed();
            // An empty answer would say that none are left.
            if !claimed.is_empty() {
                return Ok(claimed);
            }
        }
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, StoreError> {
        self.readers.run(move |db| query::job(db, id)).await
    }

    async fn keyed(&self, key: &str) -> Result<Option<JobId>, StoreError> {
        let key = key.to_owned();
        self.readers.run(move |db| query::keyed(db, &key)).await
    }

    async fn read(&self, id: JobId, position: Position) -> Result<Option<Segment>, StoreError> {
        for is_last in [false, true] {
            let logs = self.logs.clone();
            let read = move |db: &_| log_reader::read(db, &logs, id, position);
            match self.readers.run(read).await? {
                Found::Segment(segment) => return Ok(Some(segment)),
                Found::End => break,
                // If the job was forgotten in between, the database says so now.
                Found::Missing(error) if is_last => {
                    let failure = Failure::Damaged(format!("the log file of job {id}: {error}"));
                    return Err(failure.into());
                }
                Found::Missing(_) => {}
            }
        }
        Ok(None)
    }

    async fn list(&self, query: &JobQuery) -> Result<Vec<JobSummary>, StoreError> {
        let query = query.clone();
        self.readers.run(move |db| query::list(db, &query)).await
    }

    async fn sweep(&self, keep: &Retention) -> Result<Sweep, StoreError> {
        let orphans = *lock(&self.orphans);
        let (sweep, orphans) = self.writer.make(Step { keep: *keep, orphans }).await?;
        *lock(&self.orphans) = orphans;
        Ok(sweep)
    }
}
