//! One commit: the database's, and that of the log files with it.

use std::collections::HashMap;

use rusqlite::{CachedStatement, Connection};
use skep::JobId;
use skep::store::Change;

use crate::change::Tail;
use crate::error::Failure;
use crate::log_files::LogFiles;
use crate::schema::VERSION;

/// What is counted over all jobs. The writer alone changes it, and keeps it in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    /// What all inputs, outcomes and logs take.
    pub(crate) bytes: u64,
    /// How many jobs have ended.
    pub(crate) ended: u64,
    /// The revision of the last change of a document.
    pub(crate) revision: u64,
}

impl Totals {
    pub(crate) fn load(db: &Connection) -> rusqlite::Result<Self> {
        db.query_row("SELECT bytes, ended, revision FROM totals", [], |row| {
            Ok(Self { bytes: row.get(0)?, ended: row.get(1)?, revision: row.get(2)? })
        })
    }
}

/// The jobs that haven't ended and of which the writer knows what it would otherwise ask the database:
/// those that it has accepted itself.
pub(crate) type LiveJobs = HashMap<JobId, LiveJob>;

/// What the writer knows of a job that hasn't ended.
#[derive(Default)]
pub(crate) struct LiveJob {
    /// The end of its log.
    pub(crate) tail: Option<Tail>,
    pub(crate) has_checkpoints: bool,
}

/// A transaction that changes are made in. Unless it's committed, it's rolled back: of the database
/// and of the log files nothing stays, and the next one begins as if it had never been.
pub(crate) struct Transaction<'a> {
    db: &'a Connection,
    /// The files of long logs.
    pub(crate) logs: &'a mut LogFiles,
    pub(crate) live: &'a mut LiveJobs,
    /// As they are with the changes so far.
    pub(crate) totals: Totals,
    before: Totals,
    changes_before: u64,
    is_open: bool,
    result: Committed,
}

/// What is to be done once a transaction is committed.
#[derive(Default)]
pub(crate) struct Committed {
    /// Whether anything was written.
    pub(crate) has_written: bool,
    /// How many log files were synced for it.
    pub(crate) log_syncs: usize,
    /// The jobs whose log files are to be removed.
    pub(crate) log_files: Vec<JobId>,
    /// Whether the database's file is to shrink.
    pub(crate) shrinks: bool,
    /// Changes of documents, and their namespaces.
    pub(crate) published: Vec<(String, Change)>,
}

impl<'a> Transaction<'a> {
    pub(crate) fn begin(
        db: &'a Connection,
        logs: &'a mut LogFiles,
        live: &'a mut LiveJobs,
        totals: Totals,
    ) -> Result<Self, Failure> {
        if logs.is_in_doubt() {
            // Takes the place, in the database's log, of the commit that failed. A row that stays as
            // it was isn't written; this is, whatever its value.
            db.pragma_update(None, "user_version", VERSION)?;
            logs.settle();
        }
        db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(Self {
            db,
            logs,
            live,
            before: totals.clone(),
            totals,
            changes_before: db.total_changes(),
            is_open: true,
            result: Committed::default(),
        })
    }

    /// A statement, prepared once and for all.
    pub(crate) fn statement(&self, sql: &str) -> Result<CachedStatement<'a>, Failure> {
        Ok(self.db.prepare_cached(sql)?)
    }

    /// What is written to, for what needs more than a statement.
    pub(crate) fn database(&self) -> &'a Connection {
        self.db
    }

    /// Has a log file removed that nothing speaks of any more, once that is committed.
    pub(crate) fn remove_log_file(&mut self, job: JobId) {
        self.result.log_files.push(job);
    }

    /// Has the database's file shrink to what is in use of it, once this is committed.
    pub(crate) fn shrink(&mut self) {
        self.result.shrinks = true;
    }

    /// Has watchers told of a change, once it's kept.
    pub(crate) fn publish(&mut self, namespace: &str, change: Change) {
        self.result.published.push((namespace.to_owned(), change));
    }

    /// Commits, and leaves the new totals in `totals`.
    pub(crate) fn commit(mut self, totals: &mut Totals) -> Result<Committed, Failure> {
        if self.totals != self.before {
            let Totals { bytes, ended, revision } = self.totals;
            self.statement("UPDATE totals SET bytes = ?1, ended = ?2, revision = ?3")?
                .execute((bytes, ended, revision))?;
        }
        self.result.log_syncs = self.logs.sync()?;
        if let Err(error) = self.statement("COMMIT")?.execute([]) {
            // It may stand in the database's log as a whole, where only the sync failed, and count
            // if the process dies now: then the log files must have what it speaks of.
            self.logs.doubt();
            return Err(error.into());
        }
        self.is_open = false;
        self.logs.committed();
        totals.clone_from(&self.totals);
        let mut committed = std::mem::take(&mut self.result);
        committed.has_written = self.db.total_changes() > self.changes_before;
        Ok(committed)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        // SQLite has rolled back by itself after some errors. If it can't, the next one that begins
        // says so.
        if !self.db.is_autocommit() {
            let _ = self.db.execute_batch("ROLLBACK");
        }
        self.logs.rolled_back();
        // What was learnt in this transaction isn't so; the database knows.
        self.live.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::open::{Opened, open};

    #[test]
    fn a_commit_in_doubt_is_written_over_before_the_next_transaction() {
        let dir = tempfile::tempdir().unwrap();
        let Opened { db, logs, .. } = open(dir.path()).unwrap();
        let mut logs = LogFiles::new(logs);
        let log_size = || fs::metadata(dir.path().join("jobs.sqlite3-wal")).unwrap().len();
        let mut totals = Totals::load(&db).unwrap();
        let mut live = LiveJobs::new();
        let mut first = Transaction::begin(&db, &mut logs, &mut live, totals.clone()).unwrap();
        first.totals.bytes = 1;
        first.commit(&mut totals).unwrap();
        logs.doubt();
        let before = log_size();
        drop(Transaction::begin(&db, &mut logs, &mut live, totals.clone()).unwrap());
        let settled = log_size();
        assert!(settled > before, "nothing is written in its place");
        live.insert(JobId::from_bytes([0; 16]), LiveJob::default());
        drop(Transaction::begin(&db, &mut logs, &mut live, totals).unwrap());
        assert!(live.is_empty(), "what was learnt outlives a rollback");
        assert_eq!(log_size(), settled, "what is settled is in doubt again");
    }
}
