//! What is no longer kept leaves no space taken.

use std::fs;
use std::path::{Path, PathBuf};

use futures_util::future::join;
use rusqlite::Connection;
use skep::JobId;
use skep::store::{Position, Retention, Store, StoreError, Sweep};
use tempfile::tempdir;

use crate::sample::{
    Log, SEGMENT, as_one_commit, check, ended, job, job_in_first_directory, log_file, open, raw,
    sweep,
};

/// No ended job is to be kept.
fn nothing() -> Retention {
    let mut keep = Retention::ALL;
    keep.max_jobs = 0;
    keep
}

fn pages(data_dir: &Path) -> i64 {
    let db = Connection::open(data_dir.join("jobs.sqlite3")).unwrap();
    db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn the_files_of_forgotten_jobs_are_removed() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let mut jobs = Vec::new();
    for _ in 0..10 {
        let (job, mut log) = (job(), Log::default());
        store.accept(&job).await.unwrap();
        store.append(job.id, vec![log.segment(SEGMENT + 1)]).await.unwrap();
        assert!(log_file(dir.path(), job.id).exists());
        jobs.push((job, log));
    }
    for (job, log) in &mut jobs[..5] {
        let rest = vec![log.segment(10)];
        store.end(&ended(job, log), rest).await.unwrap();
    }
    sweep(&store, &nothing()).await;
    for (number, (job, log)) in jobs.iter().enumerate() {
        assert_eq!(log_file(dir.path(), job.id).exists(), number >= 5);
        if number >= 5 {
            log.assert_kept(&store, job.id).await;
        }
    }
    drop(store);
    check(dir.path()).await.unwrap();
}

#[tokio::test]
async fn a_step_removes_a_few_files_only() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let mut files = Vec::new();
    for _ in 0..20 {
        let (job, mut log) = (job(), Log::default());
        store.accept(&job).await.unwrap();
        let rest = vec![log.segment(SEGMENT + 1)];
        store.end(&ended(&job, &log), rest).await.unwrap();
        files.push(log_file(dir.path(), job.id));
    }
    let left = || files.iter().filter(|file| file.exists()).count();
    let mut before = left();
    while before > 0 {
        let swept = store.sweep(&nothing()).await.unwrap();
        // A call after which the files of the one before it are gone.
        store.cancel(job().id).await.unwrap_err();
        let now = left();
        assert!(before - now <= 8, "one step removes {} files", before - now);
        assert!(now == 0 || swept == Sweep::More);
        before = now;
    }
}

#[tokio::test]
async fn the_database_shrinks_and_its_readers_go_on() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (running, mut log) = (job(), Log::default());
    store.accept(&running).await.unwrap();
    store.append(running.id, vec![log.segment(1_000)]).await.unwrap();
    for _ in 0..300 {
        let (job, mut log) = (job(), Log::default());
        store.accept(&job).await.unwrap();
        let rest = vec![log.segment(60_000)];
        store.end(&ended(&job, &log), rest).await.unwrap();
    }
    let before = pages(dir.path());
    let steps = sweep(&store, &nothing()).await;
    assert!(steps > 1, "all is forgotten in one step");
    let after = pages(dir.path());
    assert!(after * 5 < before, "{before} pages have become {after}");
    // The file too, while the store is open and nothing else is written.
    let size = fs::metadata(dir.path().join("jobs.sqlite3")).unwrap().len();
    assert_eq!(size, u64::try_from(after).unwrap() * 4_096);
    log.assert_kept(&store, running.id).await;
    drop(store);
    check(dir.path()).await.unwrap();
}

#[tokio::test]
async fn a_database_that_gives_nothing_back_is_swept_to_the_end() {
    let dir = tempdir().unwrap();
    drop(open(dir.path()));
    let db = Connection::open(dir.path().join("jobs.sqlite3")).unwrap();
    db.execute_batch("PRAGMA auto_vacuum = NONE; VACUUM").unwrap();
    let mode: i64 = db.query_row("PRAGMA auto_vacuum", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, 0);
    drop(db);
    let store = open(dir.path());
    for _ in 0..100 {
        let (job, mut log) = (job(), Log::default());
        store.accept(&job).await.unwrap();
        let rest = vec![log.segment(60_000)];
        store.end(&ended(&job, &log), rest).await.unwrap();
    }
    let before = pages(dir.path());
    sweep(&store, &nothing()).await;
    assert_eq!(pages(dir.path()), before);
    drop(store);
    check(dir.path()).await.unwrap();
}

#[tokio::test]
async fn a_step_forgets_a_few_jobs_only() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let jobs: Vec<_> = (0..500).map(|_| job()).collect();
    futures_util::future::join_all(jobs.iter().map(async |job| {
        store.accept(job).await.unwrap();
        let mut log = Log::default();
        let rest = vec![log.segment(10)];
        store.end(&ended(job, &log), rest).await.unwrap();
    }))
    .await;
    let mut left = 500;
    for _ in 0..3 {
        store.sweep(&nothing()).await.unwrap();
        let query = skep::store::JobQuery::newest(1_000);
        let now = store.list(&query).await.unwrap().len();
        assert!(left - now <= 200, "one step forgets {}", left - now);
        left = now;
    }
}

#[tokio::test]
async fn a_forgotten_job_is_unknown_to_its_readers_and_refused_to_its_writers() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (job, mut log) = (job(), Log::default());
    store.accept(&job).await.unwrap();
    for _ in 0..4 {
        store.append(job.id, vec![log.segment(SEGMENT)]).await.unwrap();
    }
    let ended = ended(&job, &log);
    store.end(&ended, Vec::new()).await.unwrap();
    let read = store.read(job.id, Position::START).await.unwrap().unwrap();
    sweep(&store, &nothing()).await;
    // The reader sees at the job itself that this isn't the log's end.
    assert!(store.read(job.id, read.end()).await.unwrap().is_none());
    assert!(store.job(job.id).await.unwrap().is_none());

    let changes = [
        store.update(&job).await,
        store.cancel(job.id).await,
        store.append(job.id, vec![log.segment(10)]).await,
        store.checkpoint(job.id, "place", &raw("1")).await,
        store.end(&ended, Vec::new()).await,
    ];
    for change in changes {
        assert!(matches!(change, Err(StoreError::Forgotten(id)) if id == job.id), "{change:?}");
    }
}

#[tokio::test]
async fn a_file_without_a_job_is_removed_after_the_next_start() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (kept, mut log) = (job(), Log::default());
    store.accept(&kept).await.unwrap();
    store.append(kept.id, vec![log.segment(SEGMENT + 1)]).await.unwrap();
    let orphans: Vec<_> = (0..20).map(|_| leave_file(dir.path(), job().id)).collect();
    drop(store);

    let store = open(dir.path());
    sweep(&store, &Retention::ALL).await;
    assert!(!orphans.iter().any(|orphan| orphan.exists()));
    log.assert_kept(&store, kept.id).await;
}

/// Leaves a log file that the database doesn't know, as a process does that is killed before its
/// commit.
fn leave_file(data_dir: &Path, job: JobId) -> PathBuf {
    let path = log_file(data_dir, job);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "id: 1\n").unwrap();
    path
}

#[tokio::test]
async fn a_log_that_outgrows_the_database_in_the_commit_of_a_sweep_keeps_its_file() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (job, mut log) = (job_in_first_directory(), Log::default());
    store.accept(&job).await.unwrap();
    leave_file(dir.path(), job.id);
    let calls =
        join(store.sweep(&Retention::ALL), store.append(job.id, vec![log.segment(SEGMENT + 1)]));
    let (swept, appended) = as_one_commit(dir.path(), &store, calls).await;
    swept.unwrap();
    appended.unwrap();
    sweep(&store, &Retention::ALL).await;
    log.assert_kept(&store, job.id).await;
}

#[tokio::test]
async fn a_sweep_whose_commit_fails_overlooks_nothing_when_it_is_made_again() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (job, mut log) = (job(), Log::default());
    store.accept(&job).await.unwrap();
    // Where its log is to go on there's a directory: its call spoils the commit.
    fs::create_dir_all(log_file(dir.path(), job.id)).unwrap();
    let orphan = leave_file(dir.path(), job_in_first_directory().id);
    let calls =
        join(store.sweep(&Retention::ALL), store.append(job.id, vec![log.segment(SEGMENT + 1)]));
    let (swept, appended) = as_one_commit(dir.path(), &store, calls).await;
    swept.unwrap();
    appended.unwrap_err();
    sweep(&store, &Retention::ALL).await;
    assert!(!orphan.exists());
}
