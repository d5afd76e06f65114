//! Jobs and logs to try the store with, and `skep store` as the command line finds it.

use std::iter;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::poll;
use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::value::RawValue;
use skep::JobId;
use skep::job::{JobRecord, JobState};
use skep::plugin::{StoreContext, StoreRegistration};
use skep::store::{Position, Retention, Segment, Store, Sweep};
use skep_sqlite::SqliteStore;
use tokio::task::yield_now;

/// As large as the engine makes segments.
pub(crate) const SEGMENT: usize = 64 << 10;

pub(crate) fn open(data_dir: &Path) -> SqliteStore {
    SqliteStore::open(data_dir).unwrap()
}

pub(crate) fn raw(json: &str) -> Arc<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap().into()
}

pub(crate) fn job() -> JobRecord {
    JobRecord::new("echo", raw("{}"))
}

/// A job whose long log is in the first of the directories of log files.
pub(crate) fn job_in_first_directory() -> JobRecord {
    iter::repeat_with(job).find(|job| job.id.as_bytes()[15] == 0).unwrap()
}

/// `job`, ended now with a result, and its log.
pub(crate) fn ended(job: &JobRecord, log: &Log) -> JobRecord {
    let mut ended = job.clone();
    ended.state = JobState::Succeeded(raw("1"));
    // The store keeps microseconds.
    ended.ended_at = Timestamp::from_microsecond(Timestamp::now().as_microsecond()).ok();
    ended.last_event = log.last;
    ended
}

/// A log as the engine writes it.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) bytes: Vec<u8>,
    pub(crate) last: u64,
}

impl Log {
    /// The next segment: one event of about `size` bytes.
    pub(crate) fn segment(&mut self, size: usize) -> Segment {
        self.last += 1;
        let (id, offset) = (self.last, self.bytes.len());
        // Each event's own, so that one is never taken for another.
        let data = format!("{id:020}").repeat(size.div_ceil(20));
        self.bytes.extend(format!("id: {id}\ndata: \"{data}\"\n\n").bytes());
        Segment::new(id, id, offset as u64, Bytes::copy_from_slice(&self.bytes[offset..]))
    }

    pub(crate) async fn assert_kept(&self, store: &dyn Store, job: JobId) {
        assert!(read(store, job).await == self.bytes, "the log of job {job} isn't what was kept");
    }
}

/// A whole log, read as a reader does.
pub(crate) async fn read(store: &dyn Store, job: JobId) -> Vec<u8> {
    let mut position = Position::START;
    let mut bytes = Vec::new();
    while let Some(segment) = store.read(job, position).await.unwrap() {
        assert_eq!(segment.offset, bytes.len() as u64);
        bytes.extend_from_slice(&segment.bytes);
        position = segment.end();
    }
    bytes
}

/// Sweeps until nothing is left to forget, and the files of what was forgotten are gone. Returns the
/// number of steps.
pub(crate) async fn sweep(store: &dyn Store, keep: &Retention) -> usize {
    let mut steps = 1;
    while store.sweep(keep).await.unwrap() == Sweep::More {
        steps += 1;
        assert!(steps < 10_000, "the sweep doesn't end");
    }
    // Files are removed after the answer, and before the next call is looked at.
    assert_eq!(store.sweep(keep).await.unwrap(), Sweep::Done);
    steps
}

/// Holds the writer up until all of `calls` are made, in their order: they become one commit.
pub(crate) async fn as_one_commit<T>(
    data_dir: &Path,
    store: &SqliteStore,
    calls: impl Future<Output = T>,
) -> T {
    let other = Connection::open(data_dir.join("jobs.sqlite3")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (first, before) = (job(), store.stats().calls);
    let (mut first, mut calls) = (pin!(store.accept(&first)), pin!(calls));
    assert!(poll!(&mut first).is_pending());
    while store.stats().calls == before {
        yield_now().await;
    }
    assert!(poll!(&mut calls).is_pending());
    other.execute_batch("ROLLBACK").unwrap();
    first.await.unwrap();
    calls.await
}

/// `skep store check`: what it looked at, or what it found.
pub(crate) async fn check(data_dir: &Path) -> Result<String, String> {
    let checked = (registration().check)(StoreContext::new("sqlite", data_dir)).await;
    checked.map_err(|error| error.to_string())
}

/// `skep store backup`.
pub(crate) async fn back_up(data_dir: &Path, to: &Path) -> Result<String, String> {
    let context = StoreContext::new("sqlite", data_dir);
    (registration().backup)(context, to.to_owned()).await.map_err(|error| error.to_string())
}

fn registration() -> &'static StoreRegistration {
    let mut stores = inventory::iter::<StoreRegistration>();
    stores.find(|store| store.name == "sqlite").expect("the crate is linked")
}

/// Where a job's long log is.
pub(crate) fn log_file(data_dir: &Path, job: JobId) -> std::path::PathBuf {
    let shard = format!("{:02x}", job.as_bytes()[15]);
    data_dir.join("logs").join(shard).join(format!("{job}.log"))
}
