//! Where logs are, and how they're read.

use std::fs::{self, File};

use futures_util::future::join;
use rusqlite::Connection;
use skep::job::JobRecord;
use skep::store::{Position, Store};
use skep_sqlite::SqliteStore;
use tempfile::tempdir;

use crate::sample::{Log, SEGMENT, as_one_commit, check, ended, job, log_file, open};

#[tokio::test]
async fn a_small_log_is_stored_with_its_jobs_end_in_one_commit() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (job, mut log) = (job(), Log::default());
    store.accept(&job).await.unwrap();
    let before = store.stats().commits;
    let rest = vec![log.segment(1_000), log.segment(1_000)];
    store.end(&ended(&job, &log), rest).await.unwrap();
    assert_eq!(store.stats().commits, before + 1);
    assert!(!log_file(dir.path(), job.id).exists());
    log.assert_kept(&store, job.id).await;
}

#[tokio::test]
async fn a_log_that_outgrows_a_segment_goes_on_in_a_file() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (job, mut log) = (job(), Log::default());
    let path = log_file(dir.path(), job.id);
    store.accept(&job).await.unwrap();
    while log.bytes.len() + 10_300 < SEGMENT {
        store.append(job.id, vec![log.segment(10_000)]).await.unwrap();
        assert!(!path.exists(), "a log of {} bytes has a file", log.bytes.len());
    }
    for size in [10_000, 10, SEGMENT, 1 << 20] {
        store.append(job.id, vec![log.segment(size)]).await.unwrap();
        // The file has all of the log, and nothing of it stays in the database.
        assert!(fs::read(&path).unwrap() == log.bytes);
        log.assert_kept(&store, job.id).await;
    }
    let db = Connection::open(dir.path().join("jobs.sqlite3")).unwrap();
    let inside = "SELECT count(*) FROM segments WHERE bytes IS NOT NULL";
    assert_eq!(db.query_row(inside, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    drop(store);
    log.assert_kept(&open(dir.path()), job.id).await;
}

#[tokio::test]
async fn every_commit_syncs_the_log_files_that_it_speaks_of() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (job, mut log) = (job(), Log::default());
    store.accept(&job).await.unwrap();
    store.append(job.id, vec![log.segment(1_000)]).await.unwrap();
    assert_eq!(store.stats().log_syncs, 0, "a small log has a file");
    for syncs in 1..=3 {
        let segments = vec![log.segment(SEGMENT), log.segment(10)];
        store.append(job.id, segments).await.unwrap();
        assert_eq!(store.stats().log_syncs, syncs);
    }
    let rest = vec![log.segment(10)];
    store.end(&ended(&job, &log), rest).await.unwrap();
    assert_eq!(store.stats().log_syncs, 4);
}

#[tokio::test]
async fn a_late_reader_gets_a_long_log_in_small_pieces() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (job, mut log) = (job(), Log::default());
    store.accept(&job).await.unwrap();
    for _ in 0..40 {
        let segments = (0..50).map(|_| log.segment(10_000)).collect();
        store.append(job.id, segments).await.unwrap();
    }
    let mut position = Position::START;
    let mut pieces = 0;
    while let Some(segment) = store.read(job.id, position).await.unwrap() {
        assert!(segment.bytes.len() <= 128 << 10, "{} bytes at once", segment.bytes.len());
        position = segment.end();
        pieces += 1;
    }
    assert_eq!(position.event, log.last);
    // Not so small that each costs more than what it brings.
    assert!(pieces <= log.bytes.len() / (48 << 10), "{pieces} pieces");
}

#[tokio::test]
async fn a_reader_begins_in_the_middle() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (job, mut log) = (job(), Log::default());
    store.accept(&job).await.unwrap();
    let mut ends = vec![0];
    for _ in 0..100 {
        let segment = log.segment(20_000);
        ends.push(log.bytes.len());
        store.append(job.id, vec![segment]).await.unwrap();
    }
    for event in [1, 37, 50, 99] {
        let position = Position::after(event);
        let segment = store.read(job.id, position).await.unwrap().unwrap();
        let new = segment.after(position);
        assert!(log.bytes[ends[usize::try_from(event).unwrap()]..].starts_with(&new));
        assert!(!new.is_empty());
    }
    assert!(store.read(job.id, Position::after(100)).await.unwrap().is_none());
}

#[tokio::test]
async fn more_long_logs_grow_at_once_than_files_are_kept_open() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let mut jobs: Vec<_> = (0..150).map(|_| (job(), Log::default())).collect();
    for (job, _) in &jobs {
        store.accept(job).await.unwrap();
    }
    for size in [SEGMENT + 1, 100, 100] {
        for (job, log) in &mut jobs {
            store.append(job.id, vec![log.segment(size)]).await.unwrap();
        }
    }
    for (job, log) in &jobs {
        log.assert_kept(&store, job.id).await;
    }
}

#[tokio::test]
async fn what_a_crash_left_behind_a_logs_end_is_never_read() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (job, mut log) = (job(), Log::default());
    store.accept(&job).await.unwrap();
    store.append(job.id, vec![log.segment(SEGMENT + 1)]).await.unwrap();
    drop(store);
    let path = log_file(dir.path(), job.id);
    // More than what is written over it next.
    let torn = [&log.bytes[..], &b"id: 2\ndata: half a li".repeat(100)].concat();
    fs::write(&path, torn).unwrap();

    let store = open(dir.path());
    log.assert_kept(&store, job.id).await;
    store.append(job.id, vec![log.segment(5)]).await.unwrap();
    assert!(fs::read(&path).unwrap() == log.bytes);
    log.assert_kept(&store, job.id).await;
}

/// A running job with a long log of ten events: the database has rows of three, and of the last.
async fn long_log(store: &SqliteStore) -> (JobRecord, Log) {
    let (job, mut log) = (job(), Log::default());
    store.accept(&job).await.unwrap();
    for _ in 0..10 {
        store.append(job.id, vec![log.segment(20_000)]).await.unwrap();
    }
    (job, log)
}

/// Reads a log from behind event `event` on; `Err` is what its reader is told.
async fn read_on(store: &SqliteStore, job: &JobRecord, event: u64) -> Result<Vec<u8>, String> {
    let position = Position::after(event);
    let read = store.read(job.id, position).await.map_err(|error| error.to_string())?;
    Ok(read.map(|segment| segment.after(position).to_vec()).unwrap_or_default())
}

#[tokio::test]
async fn a_job_whose_log_file_was_lost_or_cut_off_goes_on_and_ends() {
    for kept in [None, Some(0), Some(100_000)] {
        let dir = tempdir().unwrap();
        let store = open(dir.path());
        let (job, mut log) = long_log(&store).await;
        drop(store);
        let path = log_file(dir.path(), job.id);
        match kept {
            Some(size) => File::options().write(true).open(&path).unwrap().set_len(size).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }

        let store = open(dir.path());
        let before = log.bytes.len();
        store.append(job.id, vec![log.segment(100)]).await.unwrap();
        let rest = vec![log.segment(100)];
        store.end(&ended(&job, &log), rest).await.unwrap();
        // What is new is read, and of the old what is whole; the rest is never shown.
        assert_eq!(read_on(&store, &job, 10).await.unwrap(), log.bytes[before..]);
        let lost = read_on(&store, &job, 9).await.unwrap_err();
        assert!(lost.contains(&format!("of job {} aren't what was written", job.id)), "{lost}");
        match read_on(&store, &job, 0).await {
            Ok(first) => assert!(kept > Some(0) && log.bytes.starts_with(&first)),
            Err(_) => assert!(kept <= Some(0)),
        }
        drop(store);
        let found = check(dir.path()).await.unwrap_err();
        assert!(found.contains(&format!("the log of job {}: events ", job.id)), "{found}");
    }
}

#[tokio::test]
async fn what_was_lost_of_a_log_stays_lost_where_the_first_commit_after_it_fails() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (other, mut other_log) = (job(), Log::default());
    let (job, mut log) = long_log(&store).await;
    store.accept(&other).await.unwrap();
    drop(store);
    let path = log_file(dir.path(), job.id);
    File::options().write(true).open(path).unwrap().set_len(190_000).unwrap();
    fs::create_dir_all(log_file(dir.path(), other.id)).unwrap();

    let store = open(dir.path());
    let more = log.segment(100);
    let calls = join(
        store.append(job.id, vec![more.clone()]),
        store.append(other.id, vec![other_log.segment(SEGMENT + 1)]),
    );
    let (appended, failed) = as_one_commit(dir.path(), &store, calls).await;
    appended.unwrap();
    failed.unwrap_err();
    assert_eq!(read_on(&store, &job, 10).await.unwrap(), more.bytes);
}

#[tokio::test]
async fn a_part_of_a_log_that_is_damaged_is_never_shown_and_the_others_are() {
    let dir = tempdir().unwrap();
    let store = open(dir.path());
    let (job, log) = long_log(&store).await;
    let path = log_file(dir.path(), job.id);
    let mut damaged = log.bytes.clone();
    damaged[100_000] ^= 1;
    fs::write(&path, damaged).unwrap();
    for event in 0..10 {
        match read_on(&store, &job, event).await {
            Ok(bytes) => {
                let next = format!("id: {}\n", event + 1);
                let mut places = log.bytes.windows(next.len());
                let start = places.position(|place| place == next.as_bytes()).unwrap();
                assert!(log.bytes[start..].starts_with(&bytes));
                assert!(!(3..6).contains(&event), "the damaged part is shown after {event}");
            }
            Err(error) => {
                let expected = format!("events 4 to 6 of job {} aren't what was written", job.id);
                assert!(error.contains(&expected), "{error}");
                assert!((3..6).contains(&event), "nothing is shown after {event}");
            }
        }
    }
}
