//! The one thread that writes: it gathers what comes together into one commit.
//!
//! A call is a [`Change`]. It waits in a bounded queue; the writer takes all that wait, applies them
//! in one transaction, syncs the log files that they wrote to, commits, and only then answers. So a
//! thousand calls that come at once cost one sync of the database's log, and so does a single one.

mod database_log;
mod transaction;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use rusqlite::Connection;
use skep::store::{Feed, StoreError};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

pub(crate) use self::database_log::{DatabaseLog, path_of_log};
use self::transaction::Committed;
pub(crate) use self::transaction::{LiveJob, LiveJobs, Totals, Transaction};
use crate::error::Failure;
use crate::lock::Lock;
use crate::log_files::LogFiles;

/// How many calls wait before a further one waits for its place.
const QUEUE: usize = 1024;

/// How many calls, and how many bytes of them, become one commit.
const MAX_BATCH: (usize, usize) = (1024, 8 << 20);

/// One call's work.
pub(crate) trait Change: Send + 'static {
    /// What the caller is answered.
    type Output: Send + 'static;

    /// Does it. May be called again if the transaction didn't come to be.
    ///
    /// Who returns [`Failure::Refused`] has changed nothing; after any other failure the transaction
    /// is rolled back.
    fn apply(&self, to: &mut Transaction<'_>) -> Result<Self::Output, Failure>;

    /// About how many bytes it writes.
    fn size(&self) -> usize {
        0
    }
}

/// A change that waits for its commit.
trait Pending: Send {
    fn size(&self) -> usize;

    /// Applies the change and keeps its answer. A call that is refused is one that's answered.
    fn apply(&mut self, to: &mut Transaction<'_>) -> Result<(), Failure>;

    /// After the commit.
    fn answer(self: Box<Self>);

    /// In place of it.
    fn fail(self: Box<Self>, why: &Failure);
}

struct Call<C: Change> {
    change: C,
    answer: Option<Result<C::Output, StoreError>>,
    caller: oneshot::Sender<Result<C::Output, StoreError>>,
}

impl<C: Change> Pending for Call<C> {
    fn size(&self) -> usize {
        self.change.size()
    }

    fn apply(&mut self, to: &mut Transaction<'_>) -> Result<(), Failure> {
        self.answer = match self.change.apply(to) {
            Ok(output) => Some(Ok(output)),
            Err(Failure::Refused(why)) => Some(Err(why)),
            Err(failure) => return Err(failure),
        };
        Ok(())
    }

    fn answer(self: Box<Self>) {
        // A caller who is gone doesn't want it.
        if let Some(answer) = self.answer {
            let _ = self.caller.send(answer);
        }
    }

    fn fail(self: Box<Self>, why: &Failure) {
        let _ = self.caller.send(Err(StoreError::Unavailable(why.to_string())));
    }
}

/// What a store has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls that changed something, or tried to.
    pub calls: u64,
    /// Commits: each synced the database once.
    pub commits: u64,
    /// Syncs of log files, each before the commit that speaks of what was written.
    pub log_syncs: u64,
}

#[derive(Default)]
struct Counters {
    calls: AtomicU64,
    commits: AtomicU64,
    log_syncs: AtomicU64,
}

/// The writer's handle. Dropping it waits until all that was asked for is done.
pub(crate) struct Writer {
    /// `None` once it's being dropped.
    queue: Option<mpsc::Sender<Box<dyn Pending>>>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
}

/// All that the writer's thread owns.
pub(crate) struct Owned {
    pub(crate) db: Connection,
    pub(crate) database_log: DatabaseLog,
    pub(crate) logs: LogFiles,
    pub(crate) totals: Totals,
    pub(crate) feed: Arc<Feed>,
    /// Given back last of all.
    pub(crate) lock: Lock,
}

impl Writer {
    pub(crate) fn start(owned: Owned) -> std::io::Result<Self> {
        let (queue, calls) = mpsc::channel(QUEUE);
        let counters = Arc::new(Counters::default());
        let live = LiveJobs::new();
        let state = State { owned, live, counters: counters.clone() };
        let thread = std::thread::Builder::new()
            .name("skep-sqlite".to_owned())
            .spawn(move || state.run(calls))?;
        Ok(Self { queue: Some(queue), thread: Some(thread), counters })
    }

    /// Has a change made, and waits for its commit. If the future is dropped, it may be made all
    /// the same.
    pub(crate) async fn make<C: Change>(&self, change: C) -> Result<C::Output, StoreError> {
        let stopped = || StoreError::Unavailable("its writer has stopped".to_owned());
        let (caller, answer) = oneshot::channel();
        let call = Box::new(Call { change, answer: None, caller });
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        queue.send(call).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            calls: self.counters.calls.load(Ordering::Relaxed),
            commits: self.counters.commits.load(Ordering::Relaxed),
            log_syncs: self.counters.log_syncs.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        // It ends when the queue is empty; if it panicked, that was told.
        self.thread.take().map(JoinHandle::join);
    }
}

struct State {
    owned: Owned,
    live: LiveJobs,
    counters: Arc<Counters>,
}

impl State {
    fn run(mut self, mut calls: mpsc::Receiver<Box<dyn Pending>>) {
        while let Some(first) = calls.blocking_recv() {
            let (most, largest) = MAX_BATCH;
            let mut size = first.size();
            let mut batch = vec![first];
            while batch.len() < most && size < largest {
                let Ok(next) = calls.try_recv() else { break };
                size += next.size();
                batch.push(next);
            }
            self.counters.calls.fetch_add(batch.len() as u64, Ordering::Relaxed);
            self.make(batch);
            // After the answers: nobody waits for it but who comes next.
            self.owned.database_log.bound(&self.owned.db);
        }
        self.close();
    }

    /// Makes all changes of a batch in one commit. If there's none because of one of them, each gets
    /// its own.
    fn make(&mut self, mut batch: Vec<Box<dyn Pending>>) {
        match self.commit(&mut batch) {
            Ok(committed) => {
                batch.into_iter().for_each(Pending::answer);
                self.tidy(committed);
            }
            Err(failure) if batch.len() > 1 && !failure.is_everyones() => {
                for call in batch {
                    self.make(vec![call]);
                }
            }
            Err(failure) => batch.into_iter().for_each(|call| call.fail(&failure)),
        }
    }

    fn commit(&mut self, batch: &mut [Box<dyn Pending>]) -> Result<Committed, Failure> {
        let Owned { db, logs, totals, feed, .. } = &mut self.owned;
        let mut transaction = Transaction::begin(db, logs, &mut self.live, totals.clone())?;
        for call in batch {
            call.apply(&mut transaction)?;
        }
        let mut committed = transaction.commit(totals)?;
        if committed.has_written {
            self.counters.commits.fetch_add(1, Ordering::Relaxed);
        }
        self.counters.log_syncs.fetch_add(committed.log_syncs as u64, Ordering::Relaxed);
        for (namespace, change) in committed.published.drain(..) {
            feed.publish(&namespace, change);
        }
        Ok(committed)
    }

    /// Gives space back, for which no caller has to wait.
    fn tidy(&mut self, committed: Committed) {
        let Owned { db, database_log, logs, .. } = &mut self.owned;
        for job in committed.log_files {
            logs.remove(job);
        }
        if committed.shrinks {
            database_log.shrink_database(db);
        }
    }

    /// Leaves one file, without a log beside it.
    fn close(self) {
        let Owned { db, lock, .. } = self.owned;
        // A backup that is being made keeps the log from being emptied; nothing is lost by that.
        if let Err(error) = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())) {
            warn!("can't empty the database's log: {error}");
        }
        if let Err((_, error)) = db.close() {
            error!("can't close the database: {error}");
        }
        drop(lock);
    }
}
