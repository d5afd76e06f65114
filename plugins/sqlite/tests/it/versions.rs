//! A database of each older version is brought to this one, with all that is in it.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use rusqlite::{Connection, params};
use skep::JobId;
use skep::job::{Caller, JobState, Priority};
use skep::store::{JobQuery, Retention, Store};
use skep_sqlite::SqliteStore;
use tempfile::tempdir;

use crate::sample::{Log, SEGMENT, check, job, log_file, open, raw, sweep};

/// As it was released, whatever becomes of the migration.
const VERSION_1: &str = include_str!("versions/1.sql");

/// A job of version 1: in state `state`, with `outcome`, and a log in the database or in a file.
struct Old {
    id: JobId,
    state: i64,
    outcome: Option<&'static str>,
    log: Log,
}

/// Writes a data directory as version 1 left it: a queued job, a running one with a log in a file,
/// one that succeeded with a small log, one that failed.
fn write_version_1(data_dir: &Path) -> Vec<Old> {
    let failed = r#"{"type":"urn:skep:problem:timeout","title":"t","status":504,"detail":"late","code":"timeout"}"#;
    let mut jobs: Vec<_> = [(1, None), (2, None), (3, Some("[1.0]")), (4, Some(failed))]
        .into_iter()
        .map(|(state, outcome)| Old { id: job().id, state, outcome, log: Log::default() })
        .collect();
    let db = Connection::open(data_dir.join("jobs.sqlite3")).unwrap();
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL").unwrap();
    db.execute_batch(VERSION_1).unwrap();
    db.pragma_update(None, "application_id", 0x536B_6570).unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    for (number, job) in (1_i64..).zip(&mut jobs) {
        let is_long = job.state == 2;
        for _ in 0..2 * number {
            let segment = job.log.segment(if is_long { SEGMENT } else { 100 });
            db.execute(
                "INSERT INTO segments VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    job.id.as_bytes(),
                    segment.last,
                    segment.first,
                    segment.offset,
                    segment.bytes.len(),
                    crc32fast::hash(&segment.bytes),
                    (!is_long).then_some(&segment.bytes[..]),
                ],
            )
            .unwrap();
        }
        if is_long {
            let path = log_file(data_dir, job.id);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &job.log.bytes).unwrap();
        }
        let code = (job.state == 4).then_some("timeout");
        let ended = (job.state > 2).then_some(number);
        db.execute(
            "INSERT INTO jobs VALUES (?1, 'echo', ?2, ?3, 2, 1, 'high', 'client', NULL, ?4, NULL, \
             ?4, ?5, ?6, 1500000, ?7)",
            params![job.id.as_bytes(), job.state, code, number, ended, job.log.last, job.outcome],
        )
        .unwrap();
        db.execute("INSERT INTO inputs VALUES (?1, '{ }')", [job.id.as_bytes()]).unwrap();
        db.execute(
            "UPDATE totals SET bytes = bytes + ?1, ended = ended + ?2",
            params![job.log.bytes.len() + 3 + job.outcome.map_or(0, str::len), ended.is_some()],
        )
        .unwrap();
    }
    jobs
}

async fn assert_kept(store: &SqliteStore, jobs: &[Old]) {
    for (number, old) in (1_i64..).zip(jobs) {
        let job = store.job(old.id).await.unwrap().expect("the job is kept");
        assert_eq!((job.attempt, job.crashes), (2, 1));
        assert_eq!((job.input.get(), &*job.operation), ("{ }", "echo"));
        assert_eq!((job.priority, job.caller), (Priority::High, Caller::Client(None)));
        assert_eq!(job.created_at, Timestamp::from_microsecond(number).unwrap());
        assert_eq!(job.timeout.unwrap().as_millis(), 1_500);
        assert_eq!((job.attached, job.idempotency_key), (false, None));
        match (&job.state, old.state) {
            (JobState::Queued, 1) | (JobState::Running, 2) => {}
            (JobState::Succeeded(result), 3) => assert_eq!(result.get(), "[1.0]"),
            (JobState::Failed(problem), 4) => assert_eq!(problem.detail, "late"),
            (state, number) => panic!("{state:?} was state {number}"),
        }
        old.log.assert_kept(store, old.id).await;
    }
}

#[tokio::test]
async fn a_database_of_version_1_keeps_all_its_jobs_and_logs() {
    let dir = tempdir().unwrap();
    let mut jobs = write_version_1(dir.path());
    // It can be looked at before it's changed.
    let whole = check(dir.path()).await.unwrap();
    assert!(whole.starts_with("format 1, 4 jobs, "), "{whole}");
    let store = open(dir.path());
    assert_kept(&store, &jobs).await;
    assert_eq!(store.list(&JobQuery::newest(10)).await.unwrap().len(), 4);

    // It goes on like any other.
    let claimed: Vec<_> =
        store.claim(10).await.unwrap().iter().map(|claimed| claimed.record.id).collect();
    assert_eq!(claimed, [jobs[0].id, jobs[1].id]);
    let more = jobs[1].log.segment(SEGMENT);
    store.append(jobs[1].id, vec![more]).await.unwrap();
    let mut keyed = job();
    keyed.idempotency_key = Some("key".into());
    keyed.attached = true;
    store.accept(&keyed).await.unwrap();
    store.checkpoint(jobs[0].id, "place", &raw("1")).await.unwrap();
    drop(store);

    check(dir.path()).await.unwrap();
    let store = open(dir.path());
    assert_kept(&store, &jobs).await;
    assert_eq!(store.keyed("key").await.unwrap(), Some(keyed.id));
    assert!(store.job(keyed.id).await.unwrap().unwrap().attached);
    sweep(&store, &only(0)).await;
    assert_kept(&store, &jobs[..2]).await;
    assert!(store.job(jobs[2].id).await.unwrap().is_none());
}

fn only(max_jobs: u64) -> Retention {
    let mut keep = Retention::ALL;
    keep.max_jobs = max_jobs;
    keep
}

#[tokio::test]
async fn a_migration_that_fails_leaves_the_database_as_it_was() {
    let dir = tempdir().unwrap();
    let jobs = write_version_1(dir.path());
    let path = dir.path().join("jobs.sqlite3");
    // Version 2 is about to make a table of this name, after it has changed another.
    let db = Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE documents (a)").unwrap();
    assert!(SqliteStore::open(dir.path()).is_err());
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 1);
    assert!(db.prepare("SELECT attached FROM jobs").is_err());
    db.execute_batch("DROP TABLE documents").unwrap();
    drop(db);
    assert_kept(&open(dir.path()), &jobs).await;
}
